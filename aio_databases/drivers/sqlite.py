"""SQLite through the standard library's sqlite3, in one worker thread per connection, on asyncio and trio."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import deque
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from inspect import iscoroutinefunction
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast
from urllib.parse import parse_qsl, quote, urlencode
from uuid import UUID

from aio_databases import errors
from aio_databases.drivers.base import Capabilities, Driver
from aio_databases.drivers.thread import CallConnection, ThreadConnection
from aio_databases.errors import ConfigurationError, Diagnosis
from aio_databases.record import Result
from aio_databases.url import anything, boolean, optional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aio_databases.drivers.base import DriverConnection, TransactionOptions
    from aio_databases.url import Address

__all__ = ("SQLiteConnection", "SQLiteDriver", "SQLiteVerbs")

T = TypeVar("T")

# Reliable on a crash of the process, fast, and readers do not wait for the writer; `pragmas=` has the last word.
_PRAGMAS = {"foreign_keys": "ON", "journal_mode": "WAL", "synchronous": "NORMAL"}
BUSY_TIMEOUT = 5.0  # seconds
_URI_PARAMETERS = frozenset({"cache", "immutable", "mode", "modeof", "nolock", "psow", "vfs"})


class SQLiteVerbs(CallConnection):
    """What is particular to SQLite, wherever its calls are made."""

    db: sqlite3.Connection
    _read_only_transaction = False

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return not self.is_closed and self.db.in_transaction

    async def begin(self, options: TransactionOptions) -> None:
        """Begin a transaction that takes the write lock at once, so that it cannot fail half-way for want of it."""
        mode = options.mode or ("DEFERRED" if options.readonly else "IMMEDIATE")
        await self.run(self._begin, f"BEGIN {mode}", bool(options.readonly))

    async def commit(self) -> None:
        """Commit the transaction."""
        await self.run(self._end, "COMMIT")

    async def rollback(self) -> None:
        """Roll the transaction back, unless SQLite did so itself."""
        await self.run(self._end, "ROLLBACK")

    def read_only_view(self) -> DriverConnection:
        """Return this connection with every call fenced by ``query_only``: `replica()` on a database in memory."""
        return ReadOnlyView(self)

    def _begin(self, sql: str, read_only: bool) -> None:  # noqa: FBT001 - a call in another thread
        self.db.execute(sql)
        if read_only:
            self.db.execute("PRAGMA query_only = ON")
            self._read_only_transaction = True

    def _end(self, sql: str) -> None:
        if self.db.in_transaction:
            self.db.execute(sql)
        if self._read_only_transaction:
            self._insist("PRAGMA query_only = OFF")
            self._read_only_transaction = False

    def open_cursor(self, sql: str, params: Any) -> sqlite3.Cursor:
        """Run a statement and return sqlite3's cursor; part of a call."""
        return self.db.execute(sql, adapted(params))

    def _execute(self, sql: str, params: Any) -> Result:
        cursor = self.open_cursor(sql, params)
        try:
            if cursor.description is not None and cursor.rowcount >= 0:
                deque(cursor, maxlen=0)  # RETURNING: sqlite3 counts the rows only once they are read
            return Result(cursor.rowcount, cursor.lastrowid)
        finally:
            cursor.close()

    def _executemany(self, sql: str, rows: Sequence[Any]) -> Result:
        nested = self.db.in_transaction
        self.db.execute("SAVEPOINT aiodb_many" if nested else "BEGIN IMMEDIATE")
        try:
            cursor = self.db.executemany(sql, map(adapted, rows))
            cursor.close()
            self.db.execute("RELEASE aiodb_many" if nested else "COMMIT")
        except BaseException:
            if self.db.in_transaction:
                for undo in ("ROLLBACK TO aiodb_many", "RELEASE aiodb_many") if nested else ("ROLLBACK",):
                    self._insist(undo)
            raise
        return Result(cursor.rowcount)

    def _insist(self, sql: str) -> None:
        # The interrupt that stops a cancelled statement is repeated, and may hit the one that clears up after it.
        while True:
            try:
                self.db.execute(sql)
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                    raise
            else:
                return


class SQLiteConnection(SQLiteVerbs, ThreadConnection):
    """A connection of the standard library's sqlite3 in a thread of its own."""

    def interrupt(self) -> None:
        """Stop the statement that runs."""
        if self.db is not None:  # pyright: ignore[reportUnnecessaryComparison] - None until it is open
            self.db.interrupt()

    async def initialise(self, init: Callable[[Any], Any]) -> None:
        """Call ``init`` in the thread; a coroutine function gets a connection whose methods are awaited."""
        if iscoroutinefunction(init):
            await init(_Awaited(self))
        else:
            await self.run(init, self.db)


class _Awaited:
    """A sqlite3 connection whose methods are awaited and run in its thread."""

    def __init__(self, connection: SQLiteConnection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return partial(self._connection.run, getattr(self._connection.db, name))


class ReadOnlyView(SQLiteVerbs):
    """A connection that others write on, fenced for one reader: SQLite refuses writes during its calls."""

    def __init__(self, connection: SQLiteVerbs) -> None:
        """Look through ``connection``."""
        self._connection = connection
        self.db = connection.db
        self.raw = connection.raw

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed."""
        return self._connection.is_closed

    async def run(self, function: Callable[..., T], /, *args: Any) -> T:
        return await self._connection.run(self._fenced, function, *args)

    def _fenced(self, function: Callable[..., T], /, *args: Any) -> T:
        self.db.execute("PRAGMA query_only = ON")
        try:
            return function(*args)
        finally:
            self._insist("PRAGMA query_only = OFF")

    async def settle(self) -> bool:
        """Stop a cancelled statement."""
        return await self._connection.settle()

    async def close(self) -> None:
        """Leave the connection open: it is not this reader's."""

    def terminate(self) -> None:
        """Leave the connection open: it is not this reader's."""


class SQLiteDriver(Driver):
    """Opens SQLite databases: files, and databases in memory."""

    name: ClassVar[str] = "sqlite"
    dialect: ClassVar[str] = "sqlite"
    paramstyle: ClassVar[str] = "qmark"
    connect_hint: ClassVar[str] = "check that its folder exists and that the file and the folder are writable"
    capabilities: ClassVar[Capabilities] = Capabilities(
        lastrowid=True,
        isolation_levels=frozenset({"serializable"}),
        modes=frozenset({"deferred", "immediate", "exclusive"}),
        single_writer=True,
        reusable_after_cancel=True,
    )
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "functions": anything,
        "isolation_level": optional(str),
        "pragmas": dict,
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
            message = f"the SQLite URL {address.redacted!r} has a host; a relative path takes three slashes, as in "
            message += "'sqlite:///file.db', an absolute one four"
            raise ConfigurationError(message)
        self._path = address.database or ":memory:"
        self._uri = self.options.get("uri", False)
        self.shared = ":memory:" in self._path or ("mode=memory" in address.url.query and self._uri)
        self._setting_up = Lock()

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the file is opened so that SQLite refuses every write."""
        connection = SQLiteConnection()
        await connection.open(lambda: self.open(read_only=read_only))
        return connection

    def open(self, *, read_only: bool) -> sqlite3.Connection:
        """Open the database and set it up, in the thread of the connection."""
        path, uri = self._path, self._uri
        if uri:
            pairs = parse_qsl(self.address.url.query)
            path = f"{path.lstrip('/')}?{urlencode([pair for pair in pairs if pair[0] in _URI_PARAMETERS])}"
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
            for name, arity, function in self.options.get("functions") or ():
                db.create_function(name, arity, function)
        except BaseException:
            db.close()
            raise
        return db

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an sqlite3 exception means, by its extended result code."""
        if not isinstance(exc, sqlite3.Error):
            return None
        name = getattr(exc, "sqlite_errorname", None)
        kind = errors.kind_of_sqlite_name(name) if name else errors.kind_of_dbapi_class(exc)
        table, _, column = str(exc).rpartition(": ")[2].partition(".")
        known = issubclass(kind, (errors.UniqueViolation, errors.NotNullViolation)) and "," not in column
        return Diagnosis(
            kind,
            errno=getattr(exc, "sqlite_errorcode", None),
            table=table if known else None,
            column=column if known else None,
            constraint=str(exc).rpartition(": ")[2] if kind is errors.CheckViolation else None,
        )


# Values that sqlite3 does not take, or takes with adapters that are deprecated since Python 3.12.

_PLAIN = frozenset({bool, bytearray, bytes, float, int, memoryview, str, type(None)})
_ADAPTERS: dict[type, Callable[[Any], Any]] = {
    datetime: lambda value: value.isoformat(" "),
    date: date.isoformat,
    time: time.isoformat,
    Decimal: str,
    UUID: str,
    dict: json.dumps,
    list: json.dumps,
}


def adapted(params: Any) -> Any:
    """Return parameters with dates and times, Decimal, UUID, and JSON's dict and list as text."""
    if isinstance(params, Mapping):
        named = cast("Mapping[str, Any]", params)
        return dict(zip(named, adapted(tuple(named.values())), strict=True))
    if _PLAIN.issuperset(map(type, params)):
        return params
    return [_ADAPTERS.get(type(value), anything)(value) for value in cast("Sequence[Any]", params)]
