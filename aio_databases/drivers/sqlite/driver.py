"""SQLite through the standard library's sqlite3, in one worker thread per connection, on asyncio and trio."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from aio_databases import errors
from aio_databases.config.url import boolean, function, optional
from aio_databases.dialects.error_codes import SQLITE_RESULTS, kind_of_dbapi_class, kind_of_sqlite_name
from aio_databases.drivers.base import Driver, diagnose_builtin
from aio_databases.drivers.network import no_network, statement_timeout
from aio_databases.drivers.sqlite.connection import SQLiteVerbs, Stop
from aio_databases.drivers.sqlite.family import CAPABILITIES, CONNECT_HINT, details, failed_constraint
from aio_databases.drivers.sqlite.files import URI_PARAMETERS, place_of, set_up
from aio_databases.drivers.thread import ThreadConnection
from aio_databases.errors import Diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aio_databases.config.url import Address
    from aio_databases.drivers.base import Capabilities, DriverConnection

T = TypeVar("T")


class SQLiteConnection(SQLiteVerbs, ThreadConnection):
    """A connection of the standard library's sqlite3 in a thread of its own."""

    def __init__(self, stop: Stop) -> None:
        """Start the thread, for statements that look at ``stop``."""
        self.stop = stop
        super().__init__()

    @property
    def raw(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The standard library's connection, on which the transaction that is due has begun."""
        self.begin_for_raw_use()
        return self.db

    def wrap_call(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return a function that runs in the transaction it belongs to, and stops when its time is over."""
        if self._pending_begin or self.is_guarded:
            function = self.in_transaction_call(function)
        return self.stop.timed(function) if self.stop.timeout else function

    def interrupt(self) -> None:
        self.stop.request()

    def resume(self) -> None:
        self.stop.clear()


BUSY_TIMEOUT = 5.0  # seconds
_UNBOUND = re.compile(r"Error binding parameter (\d+)?")
_UNREADABLE = " with text "


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
    connect_hint: ClassVar[str] = (
        f"{CONNECT_HINT}; one that is not can be read with '?uri=true&mode=ro', or, in WAL mode and if nothing writes "
        "it, with '?uri=true&mode=ro&immutable=1'"
    )
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
        return URI_PARAMETERS if boolean(options.get("uri", False)) else frozenset()

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Find out which file the URL means."""
        super().__init__(address, options, connect_args)
        self._place = place_of(address, is_uri=self.options.get("uri", False))
        self.shared = self._place.is_in_memory

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the file is opened so that SQLite refuses every write."""
        stop = self.stop()
        connection = SQLiteConnection(stop)
        connection.use_json(self.json)
        await connection.open(lambda: self.open(stop, read_only=read_only))
        return connection

    def stop(self) -> Stop:
        """Return what stops the statements of a new connection."""
        return Stop(self.options.get("statement_timeout"))

    def open(self, stop: Stop, *, read_only: bool) -> sqlite3.Connection:
        """Open the database and set it up, in the thread of the connection."""
        name, is_uri = self._place.name(read_only=read_only)
        arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT, "check_same_thread": False, **self.connect_args}
        db: sqlite3.Connection = sqlite3.connect(name, isolation_level=None, uri=is_uri, **arguments)
        try:
            is_writable = self._place.is_writable and not read_only
            set_up(db, self.options.get("pragmas", {}), is_writable=is_writable)
            if read_only:
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
        code, name = getattr(exc, "sqlite_errorcode", None), getattr(exc, "sqlite_errorname", None)
        if code is not None and name == "unknown":  # to sqlite3, which has a table of its own, not to SQLite
            name = SQLITE_RESULTS.get(code & 0xFF)
        kind = kind_of_sqlite_name(name) if name else kind_of_dbapi_class(exc)
        return Diagnosis(kind, errno=code, **details(*failed_constraint(str(exc))))
