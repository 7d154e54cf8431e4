"""What the drivers for PostgreSQL have in common, whatever their library."""

from __future__ import annotations

import re
from abc import abstractmethod
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from aio_databases import errors
from aio_databases.dialects.error_codes import kind_of_sqlstate
from aio_databases.drivers.auto import AutoDriver
from aio_databases.drivers.base import Capabilities, Cursor, DriverConnection
from aio_databases.drivers.network import NetworkDriver
from aio_databases.drivers.postgresql.options import (
    ASYNCPG_OPTIONS,
    POSTGRESQL_OPTIONS,
    style_in,
    styles_to_set,
)
from aio_databases.drivers.postgresql.read_only import ReadOnlyTransactions
from aio_databases.errors import ConfigurationError, ConnectionLost, Diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aio_databases.config.url import Address
    from aio_databases.rows.record import Record, Result


def array_text(values: Iterable[Any], text_of: Callable[[Any], str]) -> str:
    """Return an array as text, a list within it as another dimension; ``text_of`` writes each other value."""
    return f"{{{','.join([_element(value, text_of) for value in values])}}}"


def _element(value: Any, text_of: Callable[[Any], str]) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return array_text(value, text_of)  # pyright: ignore[reportUnknownArgumentType]
    return '"' + text_of(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


POSTGRESQL = Capabilities(
    isolation_levels=frozenset({"read uncommitted", "read committed", "repeatable read", "serializable"}),
    deferrable=True,
    exclusive_cursor=True,
    reusable_after_cancel=True,
)


BATCH = "aiodb_many"
"""The savepoint of a batch in a transaction, to which it goes back where the library refuses one of the rows."""


class AutoPostgreSQL(AutoDriver):
    """PostgreSQL by the best library for the running event loop."""

    name: ClassVar[str] = "postgresql"
    dialect: ClassVar[str] = "postgresql"
    paramstyle: ClassVar[str] = "numeric_dollar"
    capabilities: ClassVar[Capabilities] = POSTGRESQL
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = {**POSTGRESQL_OPTIONS, **ASYNCPG_OPTIONS}
    asyncio: ClassVar[tuple[str, ...]] = ("asyncpg", "psycopg")
    trio: ClassVar[tuple[str, ...]] = ("psycopg",)


class PostgreSQLDriver(NetworkDriver):
    """Knows what the server needs when a session begins."""

    dialect: ClassVar[str] = "postgresql"
    paramstyle: ClassVar[str] = "numeric_dollar"
    capabilities: ClassVar[Capabilities] = POSTGRESQL
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = POSTGRESQL_OPTIONS

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Keep where and how to connect.

        Raises ConfigurationError for what PgBouncer would refuse or leak, and for dates and intervals in another style.
        """
        super().__init__(address, options, connect_args)
        args = self.connect_args
        settings: dict[str, Any] = {**self.options.get("server_settings", {}), **(args.get("server_settings") or {})}
        if style := style_in(settings, f"{self.options.get('options')} {args.get('options')}"):
            message = f"an option of {address} changes {style}, by which the libraries read what the server sends: "
            raise ConfigurationError(message + "leave it out, and write dates as you like them with to_char()")
        if self.sessionless and (given := self.options.keys() & {"options", "server_settings", "statement_timeout"}):
            message = f"{min(given)} of {address} does not go with pgbouncer=True, as others would run with it, too: "
            raise ConfigurationError(message + "set it for the role (ALTER ROLE ... SET) or in PgBouncer")

    def place(self) -> dict[str, Any]:
        """Return ``host`` and ``port`` as PostgreSQL's libraries know them: a host may be a folder with a socket."""
        place = {"host": self.located("host"), "port": self.located("port")}
        if self.socket:
            folder, name, port = self.socket.partition("/.s.PGSQL.")
            place = {"host": folder, "port": int(port) if name else place["port"]}
        return {name: value for name, value in place.items() if value is not None}

    def settings(self, *, read_only: bool) -> dict[str, str]:
        """Return the server settings to begin a session with."""
        settings: dict[str, str] = dict(self.options.get("server_settings", {}))
        if "application_name" in self.options:
            settings["application_name"] = self.options["application_name"]
        if self.options.get("statement_timeout"):
            settings["statement_timeout"] = f"{self.options['statement_timeout'] * 1000:.0f}"  # milliseconds
        if read_only and not self.sessionless:
            settings["default_transaction_read_only"] = "on"
        return settings

    async def style(self, connection: Styled) -> None:
        """Have the server write dates and intervals in the styles that values are read by; cut what fails at it."""
        if self.sessionless:
            return  # others would get the session next
        try:
            await connection.set_styles()
        except BaseException:
            connection.terminate()
            raise

    def guarded_against_writes(
        self, connection: DriverConnection, writes_by_default: Callable[[], bool], *, read_only: bool
    ) -> DriverConnection:
        """Return a connection that stays read-only if it shall be, whatever becomes of the settings of its session."""
        if not read_only:
            return connection
        return ReadOnlyTransactions(connection, (lambda: True) if self.sessionless else writes_by_default)


class PostgreSQLConnection(DriverConnection):
    """What is particular to PostgreSQL, for libraries that follow :pep:`249`."""

    @property
    @abstractmethod
    def has_failed(self) -> bool:
        """Whether the open transaction has failed, so that it can only be rolled back."""

    @abstractmethod
    def reported(self, name: str) -> str:
        """Return the value of a setting that the server reports by itself; empty for one that it does not report."""

    def writes_by_default(self) -> bool:
        """Return whether transactions may write unless they say otherwise; servers before 14 do not report that: no."""
        return not self.is_closed and self.reported("default_transaction_read_only") == "off"

    async def set_styles(self) -> None:
        """Have dates and intervals written as the library reads them, if the role or the database has other wishes."""
        if wrong := styles_to_set(self.reported):
            await self.execute(wrong, ())

    def lastrowid(self, cursor: Any) -> None:
        """Return nothing: PostgreSQL returns ids by RETURNING."""

    def cursor(self, sql: str, params: Any, /) -> Cursor:
        """Return a cursor; outside of a transaction it begins one and commits it when it is closed."""
        return DeclaredCursor(self, sql, params)

    async def commit(self) -> None:
        """Commit the transaction.

        PostgreSQL answers ROLLBACK, and no error, when a statement had failed in it: that must not look like success.
        """
        if self.has_failed:
            await self.rollback()
            raise errors.TransactionError(ROLLED_BACK)
        await self.execute("COMMIT", ())

    async def reset(self) -> bool:
        await self.execute(f"{_RESET_LIKE_ASYNCPG}{RESET}", ())
        await self.set_styles()
        return True

    async def absorb_cancel(self) -> None:
        """Make sure that a cancel request which reaches the server late hits no statement of the next user."""
        for _ in range(2):
            try:
                await self.execute("SELECT 1", ())
            except Exception as exc:
                sqlstate = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
                if sqlstate == "25P02":
                    return  # the transaction had failed before: the server answers, which is all that matters here
                if sqlstate != "57014":
                    raise
            else:
                return


class Styled(Protocol):
    """What `PostgreSQLDriver.style` asks of a connection."""

    async def set_styles(self) -> None: ...
    def terminate(self) -> None: ...


class Declares(Protocol):
    """What a `DeclaredCursor` asks of its connection."""

    @property
    def is_closed(self) -> bool: ...
    @property
    def in_transaction(self) -> bool: ...
    @property
    def has_failed(self) -> bool: ...
    async def execute(self, sql: str, params: Any, /) -> Result: ...
    async def fetch(self, sql: str, params: Any, limit: int | None, /) -> list[Record]: ...
    async def commit(self) -> None: ...
    async def rollback(self) -> None: ...


class DeclaredCursor(Cursor):
    """A cursor that is declared, read and closed by SQL."""

    def __init__(self, connection: Declares, sql: str, params: Any) -> None:
        """Keep what to run; nothing is sent before the first `fetch`."""
        self._connection = connection
        self._statement = (sql, params)
        self._name = ""
        self._began = False

    async def fetch(self, size: int) -> list[Record]:
        connection = self._connection
        if connection.is_closed:
            raise ConnectionLost("the connection is closed")
        if not self._name:
            if not connection.in_transaction:
                self._began = True
                await connection.execute("BEGIN", ())
            sql, params = self._statement
            name = f"aiodb_{next(_numbers)}"
            await connection.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}", params)
            self._name = name
        return await connection.fetch(f"FETCH FORWARD {size} FROM {self._name}", (), None)

    async def close(self) -> None:
        """Close the cursor, or commit the transaction that was begun for it."""
        connection = self._connection
        name, self._name = self._name, ""
        began, self._began = self._began, False
        if connection.is_closed or not connection.in_transaction:
            return
        if began:
            await (connection.rollback() if connection.has_failed else connection.commit())
        elif name and not connection.has_failed:
            await connection.execute(_CLOSE.replace("NAME", name), ())


_numbers = count(1)

# The rollback of a savepoint may have closed it before: then CLOSE would fail, and the transaction with it.
_CLOSE = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE name = 'NAME') THEN EXECUTE 'CLOSE NAME'; END IF;
END $$
"""

ROLLED_BACK = (
    "the transaction was rolled back instead of committed, because a statement in it had failed: "
    "run what may fail in a nested transaction"
)

_REFUSALS = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|pg_hba\.conf rejects"
    r'|FATAL: +role ".*" (does not exist|is not permitted to log in)'
)
_FULL = (
    "too many clients already",
    "too many connections for",
    "remaining connection slots",
    "no more connections allowed",
)


def refused_login(text: str) -> Diagnosis | None:
    """Return what the server says of a login that it refused, as libpq keeps the SQLSTATE to itself; None: another."""
    if _REFUSALS.search(text):
        return Diagnosis(errors.AuthenticationError)
    return Diagnosis(errors.ConnectError, "53300") if any(words in text for words in _FULL) else None


_RESET_LIKE_ASYNCPG = """
SELECT pg_catalog.pg_advisory_unlock_all();
CLOSE ALL;
UNLISTEN *;
RESET ALL;
"""

# What asyncpg's reset() leaves: the role, temporary tables, currval(), prepared statements, and the seed of random().
# The library's own statements go, too, as they may return other columns without the temporary tables.
RESET = """
SET SESSION AUTHORIZATION DEFAULT;
RESET ROLE;
DISCARD TEMP;
DISCARD SEQUENCES;
DEALLOCATE ALL;
SELECT pg_catalog.setseed(pg_catalog.sin(1e6 * extract(epoch FROM pg_catalog.clock_timestamp())::float8));
"""


def diagnosis(sqlstate: str, diag: Any) -> Diagnosis:
    """Return what an error with this SQLSTATE means; ``diag`` has libpq's fields of the message."""
    constraint, table, column = (getattr(diag, f"{name}_name", None) for name in ("constraint", "table", "column"))
    columns = key_columns(getattr(diag, "message_detail", None) or getattr(diag, "detail", None), table)
    kind = kind_of_sqlstate(sqlstate)
    severities = (getattr(diag, name, None) for name in ("severity_nonlocalized", "severity_en", "severity"))
    if kind is errors.InternalError and not {"FATAL", "PANIC"}.isdisjoint(severities):
        kind = ConnectionLost  # Pgpool-II has lost a server of its own
    parameter, text = _placeholder(diag) if sqlstate in _ABOUT_PLACEHOLDERS else (None, None)
    position = getattr(diag, "statement_position", None) or getattr(diag, "position", None)
    return Diagnosis(
        kind,
        sqlstate,
        None,
        constraint,
        table,
        column,
        columns,
        parameter=parameter,
        text=text,
        position=int(position) if position else None,
    )


def _placeholder(diag: Any) -> tuple[str | None, str | None]:
    """Return the number of the placeholder that a message is about, and the message with its DETAIL: the two types."""
    message = getattr(diag, "message_primary", None) or getattr(diag, "message", None) or ""
    detail = getattr(diag, "message_detail", None) or getattr(diag, "detail", None)
    found = re.search(r"\$(\d+)", message)
    return (found[1], f"{message} ({detail.rstrip('.')})" if detail else message) if found else (None, None)


_ABOUT_PLACEHOLDERS = frozenset({"42P08", "42P18"})  # their DETAIL has no values


def key_columns(detail: str | None, table: str | None) -> tuple[str, ...]:
    """Return the columns of the key that the DETAIL of a message quotes, in whatever language, if they are ``table``'s.

    A row that another table refers to is described by its own key: ``Key (id)=(1) is still referenced from ...``.
    """
    match = _KEY.match(detail) if detail else None
    if match is None or (table and table in match["rest"]):
        return ()
    return tuple(name.strip('"') for name in match["columns"].split(", "))


_KEY = re.compile(r"[^(]*\((?P<columns>.*?)\)=\(.*\)(?P<rest>.*)", re.DOTALL)
