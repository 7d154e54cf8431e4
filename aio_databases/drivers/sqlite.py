"""SQLite through the standard library's sqlite3, in one worker thread per connection, on asyncio and trio."""

from __future__ import annotations

import re
import sqlite3
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, quote, urlencode

from aio_databases import errors
from aio_databases.drivers.base import Driver, diagnose_builtin
from aio_databases.drivers.network import no_network, statement_timeout
from aio_databases.drivers.sqlite_capabilities import CAPABILITIES, CONNECT_HINT
from aio_databases.drivers.sqlite_messages import details, failed_constraint
from aio_databases.drivers.sqlite_thread import SQLiteConnection
from aio_databases.drivers.sqlite_verbs import Stop
from aio_databases.error_codes import kind_of_dbapi_class, kind_of_sqlite_name
from aio_databases.errors import ConfigurationError, Diagnosis
from aio_databases.url import boolean, function, optional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aio_databases.drivers.base import Capabilities, DriverConnection
    from aio_databases.url import Address

__all__ = ("BUSY_TIMEOUT", "SQLiteDriver")

# Reliable on a crash of the process, fast, and readers do not wait for the writer; `pragmas=` has the last word.
_PRAGMAS = {"foreign_keys": "ON", "journal_mode": "WAL", "synchronous": "NORMAL"}
BUSY_TIMEOUT = 5.0  # seconds
_UNBOUND = re.compile(r"Error binding parameter (\d+)?")
_UNREADABLE = " with text "
_URI_PARAMETERS = frozenset({"cache", "immutable", "mode", "modeof", "nolock", "psow", "vfs"})


def _functions(value: Any) -> list[tuple[str, int, Callable[..., Any]]]:
    try:
        return [(str(name), int(arity), function(called)) for name, arity, called in value or ()]
    except (TypeError, ValueError):
        message = "expected triples of a name, the number of arguments (-1 for any) and a function"
        raise ValueError(message) from None


class SQLiteDriver(Driver):
    """Opens SQLite databases: files, and databases in memory."""

    name: ClassVar[str] = "sqlite"
    dialect: ClassVar[str] = "sqlite"
    paramstyle: ClassVar[str] = "qmark"
    connect_hint: ClassVar[str] = CONNECT_HINT
    capabilities: ClassVar[Capabilities] = CAPABILITIES
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "application_name": str,
        "functions": _functions,
        "isolation_level": optional(str),
        "pragmas": dict,
        "ssl": no_network,
        "statement_timeout": optional(statement_timeout),
        "uri": boolean,
    }

    @classmethod
    def url_parameters(cls, options: Mapping[str, Any]) -> frozenset[str]:
        """Return the parameters of an SQLite URI, if the URL is one: https://www.sqlite.org/uri.html."""
        return _URI_PARAMETERS if boolean(options.get("uri", False)) else frozenset()

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Find out which file the URL means."""
        super().__init__(address, options, connect_args)
        if address.host is not None:
            hosts = "several hosts" if len(address.hosts) > 1 else "a host"
            message = f"the SQLite URL {address.redacted!r} has {hosts}; a relative path takes three slashes, as in "
            message += "'sqlite:///file.db', an absolute one four"
            raise ConfigurationError(message)
        self._path = address.database or ":memory:"
        self._uri = self.options.get("uri", False)
        self.shared = ":memory:" in self._path or ("mode=memory" in address.url.query and self._uri)
        self._setting_up = Lock()

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the file is opened so that SQLite refuses every write."""
        stop = self.stop()
        connection = SQLiteConnection(stop)
        await connection.open(lambda: self.open(stop, read_only=read_only))
        return connection

    def stop(self) -> Stop:
        """Return what stops the statements of a new connection."""
        return Stop(self.options.get("statement_timeout"))

    def open(self, stop: Stop, *, read_only: bool) -> sqlite3.Connection:
        """Open the database and set it up, in the thread of the connection."""
        path, uri = self._path, self._uri
        if uri:
            pairs = parse_qsl(self.address.url.query)
            given = {name: value for name, value in pairs if name in _URI_PARAMETERS}
            if read_only and not self.shared:
                given["mode"] = "ro"
            path = f"{path.lstrip('/')}?{urlencode(given)}"
        elif read_only:
            path, uri = f"file:{quote(re.sub('^/+', '/', path))}?mode=ro", True  # two slashes would name a host
        arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT, "check_same_thread": False, **self.connect_args}
        db: sqlite3.Connection = sqlite3.connect(path, isolation_level=None, uri=uri, **arguments)
        try:
            with self._setting_up:  # SQLite does not wait when two connections switch one file to WAL
                for name, value in {**_PRAGMAS, **self.options.get("pragmas", {})}.items():
                    if not (read_only or "mode=ro" in path or "immutable=1" in path) or name != "journal_mode":
                        db.execute(f"PRAGMA {name} = {value}")
            if read_only and uri is self._uri:
                db.execute("PRAGMA query_only = ON")
            stop.watch(db)
            for name, arity, called in self.options.get("functions", ()):
                db.create_function(name, arity, called)
        except BaseException:
            db.close()
            raise
        return db

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an sqlite3 exception means, by its extended result code."""
        if not isinstance(exc, sqlite3.Error):
            return diagnose_builtin(exc)
        if unbound := _UNBOUND.match(str(exc)):
            return Diagnosis(errors.DataError, parameter=unbound[1])
        if _UNREADABLE in str(exc):
            return Diagnosis(errors.DataError, text=str(exc).partition(_UNREADABLE)[0])
        name = getattr(exc, "sqlite_errorname", None)
        kind = kind_of_sqlite_name(name) if name else kind_of_dbapi_class(exc)
        return Diagnosis(kind, errno=getattr(exc, "sqlite_errorcode", None), **details(*failed_constraint(str(exc))))
