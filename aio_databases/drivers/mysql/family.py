"""What the drivers for MySQL and MariaDB have in common, whatever their library: all four are relatives of PyMySQL."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from aio_databases import errors
from aio_databases.config.url import boolean
from aio_databases.dialects.error_codes import errno_of, kind_of_mysql_errno
from aio_databases.drivers.auto import AutoDriver
from aio_databases.drivers.base import Capabilities, Driver, diagnose_builtin
from aio_databases.drivers.mysql.json import JsonColumns
from aio_databases.drivers.mysql.literals import literal
from aio_databases.drivers.network import NetworkDriver
from aio_databases.errors import ConnectionLost, Diagnosis

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    from aio_databases.config.url import Address
    from aio_databases.drivers.base import DriverConnection

MYSQL = Capabilities(
    lastrowid=True,
    isolation_levels=frozenset({"read uncommitted", "read committed", "repeatable read", "serializable"}),
    exclusive_cursor=True,
    ddl_commits=True,
)


def _charset(value: Any) -> str:
    if value not in {"utf8", "utf8mb3", "utf8mb4"}:
        message = "expected 'utf8mb4' or 'utf8mb3': the server converts from and to the character sets of columns"
        raise ValueError(message)
    return str(value)


def _autocommit(value: Any) -> bool:
    if not boolean(value):
        message = "statements outside of transaction() are committed at once, with every driver"
        raise ValueError(message)
    return True


MYSQL_OPTIONS: Mapping[str, Callable[[Any], Any]] = {
    **NetworkDriver.option_types,
    "autocommit": _autocommit,
    "charset": _charset,
    "found_rows": boolean,
    "init_command": str,
    "sql_mode": str,
}


class _OfMySQL(Driver):
    """What is known before a library is chosen."""

    dialect: ClassVar[str] = "mysql"
    paramstyle: ClassVar[str] = "format"
    capabilities: ClassVar[Capabilities] = MYSQL
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = MYSQL_OPTIONS

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Keep where and how to connect.  Raises ConfigurationError for what a session must not be."""
        super().__init__(address, options, connect_args)
        for name in ("autocommit", "charset"):
            if name in connect_args:
                try:
                    MYSQL_OPTIONS[name](connect_args[name])
                except ValueError as exc:
                    message = f"{name!r} in connect_args for {address} has a bad value: {exc}"
                    raise errors.ConfigurationError(message) from None


class AutoMySQL(_OfMySQL, AutoDriver):
    """MySQL or MariaDB by the best library for the running event loop."""

    name: ClassVar[str] = "mysql"
    asyncio: ClassVar[tuple[str, ...]] = ("asyncmy", "aiomysql", "pymysql")
    trio: ClassVar[tuple[str, ...]] = ("pymysql", "trio-mysql")


class TlsGuard:
    """Watches over a login; a mixin for the connections of the libraries.

    They would go on without encryption if the server, or an attacker between, says that it has none.
    """

    refusal: str | None = None
    """The error instead of a login without encryption; None: log in all the same."""
    server_capabilities: int

    def _request_authentication(self) -> Any:
        if not self.server_capabilities & _TLS:
            if self.refusal is not None:
                raise errors.ConnectError(self.refusal)
            self.forget_tls()
        # The libraries have this method, as a function or as a coroutine function.
        return super()._request_authentication()  # type: ignore[misc]

    def forget_tls(self) -> None:
        """Keep a library that does not look whether the server has TLS from insisting on it."""


class MySQLDriver(_OfMySQL, NetworkDriver):
    """Knows what the library and the server need when a session begins, and what their errors mean."""

    library_error: ClassVar[type[Exception]]
    """The class of all errors of the library."""

    library_connection: ClassVar[Callable[..., Any]]
    """Makes a connection of the library's that is not open yet."""
    connection: ClassVar[Callable[..., Any]]
    """Makes of it a connection of ours, which `connect` opens."""

    database_argument: ClassVar[str] = "database"
    """What the library calls the name of the database."""

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        connection: Any = type(self).connection(self, await self.guarded(), read_only=read_only)
        try:
            await connection.open()
        except BaseException:
            connection.terminate()
            raise
        return cast("DriverConnection", connection)

    async def guarded(self) -> Any:
        """Return a connection of the library's, not open yet, that logs in as the options demand."""
        raw = type(self).library_connection(**await self.arguments())
        if not self.socket and self.ssl not in {None, "disable", "allow", "prefer"}:
            raw.refusal = f"cannot connect to {self.address}: the server has no TLS, which the option 'ssl' demands"
        return raw

    async def arguments(self) -> dict[str, Any]:
        """Return the arguments for the library's connection."""
        password = await self.password()
        place = {"unix_socket": self.socket} if self.socket else {"host": self.located("host")}
        given = {
            **place,
            "port": self.located("port"),
            "user": self.located("user"),
            # The libraries encode it as Latin-1, the server's own clients as UTF-8.
            "password": password.encode().decode("latin-1") if password else None,
            self.database_argument: self.database,
            "program_name": self.options.get("application_name", "").encode()[:_LONGEST_NAME].decode(errors="ignore"),
            "ssl": None if self.socket else self._tls,
        }
        arguments = {name: value for name, value in given.items() if value}
        flags = _FOUND_ROWS if self.options.get("found_rows", True) else 0
        arguments |= {"autocommit": None, "charset": "utf8mb4", "client_flag": flags}
        arguments["connect_timeout"] = self.gives_up_after
        return arguments | self._connect_args

    @cached_property
    def json_columns(self) -> JsonColumns:
        """What is known of the columns of JSON."""
        return JsonColumns(self.json, self.library_error)

    async def learn_aside(self, columns: Any) -> None:
        """Look up which columns are JSON by a connection of its own, while another one is being read."""
        aside = await self.connect()
        try:
            await self.json_columns.learn(columns, aside)
            await aside.close()
        finally:
            aside.terminate()

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        return self.ssl_context()  # it takes milliseconds to make one

    @property
    def database(self) -> str | None:
        """The name of the database that sessions begin with."""
        given = self.connect_args
        name: str | None = given.get(self.database_argument) or self.located("database")
        return name

    @property
    def _connect_args(self) -> dict[str, Any]:
        return {name: value for name, value in self.connect_args.items() if name not in _OF_THE_SESSION}

    def session(self, server_version: str, *, read_only: bool) -> Iterator[str]:
        """Give the statements that a session begins with."""
        given = {name: self.options.get(name, self.connect_args.get(name)) for name in _OF_THE_SESSION}
        collation = f" COLLATE {literal(given['collation'], backslashes=False)}" if given["collation"] else ""
        settings = [
            f"NAMES {given['charset'] or 'utf8mb4'}{collation}",
            "SESSION autocommit = 1",
            f"SESSION net_write_timeout = {_PATIENCE}",
        ]
        if given["sql_mode"] is not None:
            settings.append(f"SESSION sql_mode = {literal(given['sql_mode'], backslashes=False)}")
        timeout = self.options.get("statement_timeout")
        if timeout and "MariaDB" in server_version:
            settings.append(f"SESSION max_statement_time = {timeout:f}")
        elif timeout:
            settings.append(f"SESSION max_execution_time = {round(timeout * 1000)}")
        yield f"SET {', '.join(settings)}"
        if read_only:
            yield "SET SESSION TRANSACTION READ ONLY"
        if given["init_command"]:
            yield given["init_command"]

    async def kill(self, what: str, server: Any) -> None:
        """Stop a connection (``"7"``) or its statement (``"QUERY 7"``), if that can be done.

        Behind a load balancer another server than ``server`` may answer now, where the number is another session's.
        """
        try:
            aside: Any = await self.connect()
            try:
                if aside.server == server:
                    await aside.execute(f"KILL {what}", ())
                await aside.close()
            finally:
                aside.terminate()
        except Exception:  # noqa: BLE001, S110 - it has ended meanwhile, or will when it is done
            pass

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of the library means, by its number where it has one."""
        if isinstance(exc, self.library_error):
            errno, text = errno_of(exc), str(exc.args[-1]) if exc.args else ""
            if not errno:
                return Diagnosis(ConnectionLost, errno=errno, text=text or CLOSED)
            told = details(text)
            if number := getattr(exc, "row", None):
                text = _AT_ROW.sub(f" at row {number}", text)
            text += _ADVICE.get(errno, "")
            sqlstate = getattr(exc, "sqlstate", None)
            return Diagnosis(kind_of_mysql_errno(errno), sqlstate, errno, **told, text=f"{text} ({errno})")
        of_uvloop = isinstance(exc, RuntimeError) and any(words in str(exc) for words in _CLOSED_ON_UVLOOP)
        if isinstance(exc, EOFError) or of_uvloop:
            return Diagnosis(ConnectionLost, text=str(exc) or CLOSED)
        return diagnose_builtin(exc)


CLOSED = "the connection is closed"
_CLOSED_ON_UVLOOP = ("TCPTransport closed", "Transport does not expose socket instance")
_FOUND_ROWS = 1 << 1
_TLS = 1 << 11
MULTI_STATEMENTS = 1 << 16
_PATIENCE = 600  # seconds that the server waits for the slow reader of a stream, instead of 60
_LONGEST_NAME = 64  # bytes; aiomysql and asyncmy have 255 for all that they say about themselves
_OF_THE_SESSION = ("autocommit", "charset", "collation", "init_command", "sql_mode")
"""What is done when a session begins, and again after a reset, by us instead of the libraries."""

# The messages of MariaDB and of MySQL; in other languages nothing is found.
_DETAILS = (
    re.compile(r"for key '(?:(?P<table>[^']*)\.)?(?P<constraint>[^'.]*)'$"),
    re.compile(r"`(?P<table>[^`]*)`, CONSTRAINT `(?P<constraint>[^`]*)` FOREIGN KEY \(`(?P<columns>[^)]*)`\)"),
    re.compile(r"^CONSTRAINT `(?P<constraint>[^`]*)` failed for `[^`]*`\.`(?P<table>[^`]*)`"),
    re.compile(r"^Check constraint '(?P<constraint>[^']*)' is violated"),
    re.compile(r"^(?:Column|Field) '(?P<column>[^']*)' (?:cannot be null|doesn't have a default value)"),
    re.compile(r" for column '(?P<column>[^']*)' at row"),
    re.compile(r" for column `[^`]*`\.`(?P<table>[^`]*)`\.`(?P<column>[^`]*)` at row"),
)


_AT_ROW = re.compile(r" at row (\d+)$")
_NO_FILES = "; pass connect_args={'local_infile': True} if the server may ask for any file"
_ADVICE: dict[int, str] = dict.fromkeys((1148, 3948, 4166), _NO_FILES)


def row_of(exc: Exception) -> int | None:
    """Return which row of a statement an error of the server is about, counted from 1, if it says so."""
    match = _AT_ROW.search(str(exc.args[-1])) if exc.args else None
    return int(match[1]) if match else None


def details(message: Any) -> dict[str, Any]:
    """Return what a message of the server says about the constraint, the table and the columns."""
    found = (pattern.search(message) for pattern in _DETAILS) if isinstance(message, str) else ()
    for match in found:
        if match:
            fields: dict[str, Any] = match.groupdict()
            return {**fields, "columns": tuple(fields["columns"].split("`, `"))} if "columns" in fields else fields
    return {}
