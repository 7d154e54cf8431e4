"""PostgreSQL through aiopg, which is psycopg 2 on asyncio."""

# The types of psycopg 2 and aiopg have gaps.
# pyright: basic

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from enum import Enum
from itertools import accumulate, chain, count, islice
from typing import TYPE_CHECKING, Any, ClassVar, cast

import aiopg
import psycopg2
import psycopg2.extensions as pg
import psycopg2.extras
from psycopg2.extensions import AsIs
from psycopg2.extras import Json

from aio_databases.drivers.base import diagnose_builtin, one_by_one, run_aside
from aio_databases.drivers.cursor import CursorConnection
from aio_databases.drivers.postgresql.family import BATCH, POSTGRESQL
from aio_databases.drivers.postgresql.libpq import LibpqDriver
from aio_databases.drivers.postgresql.libpq_lists import ListConnection, has_list, is_list
from aio_databases.errors import DataError, Diagnosis, NotSupportedError, note_row
from aio_databases.rows.record import Result

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Iterable, Iterator, Sequence

    from aio_databases.drivers.base import Capabilities, DriverConnection
    from aio_databases.drivers.postgresql.libpq_lists import Kind, Kinds
    from aio_databases.rows.json_values import JsonValues


class UntimedConnection(aiopg.Connection):
    """aiopg's connection, without its deadline and with errors left as they are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Connect."""
        super().__init__(*args, **kwargs)
        self._number: Any = self._fileno
        self._connects = True

    @staticmethod
    def _ready(weak_self: Any) -> None:
        aiopg.Connection._ready(weak_self)  # noqa: SLF001 - it is overridden
        connection = weak_self()
        if connection is not None:
            connection.watch_own_socket()

    def watch_own_socket(self) -> None:
        """Have the event loop watch the socket that libpq has now, and forget one that libpq has closed.

        The next socket gets the number of the closed one: while it connects, that is libpq's own for the next address.
        """
        known, now = self._number, -1 if self._conn.closed else self._conn.fileno()
        if known is None or (now == known and not self._connects):
            return
        self._fileno = self._number = None
        for remove in (self._loop.remove_reader, self._loop.remove_writer):
            with suppress(OSError):  # but then it is forgotten, too
                remove(known)
        if now >= 0 and self._connects:
            self._fileno = self._number = now
            self._loop.add_reader(now, self._ready, self._weakref)
            if self._writing:
                self._loop.add_writer(now, self._ready, self._weakref)

    async def _poll(self, waiter: Future[None], timeout: float) -> None:  # noqa: ARG002 - see above
        # aiopg's own reports a statement that the server has cancelled as the cancellation of the task.
        try:
            self._ready(self._weakref)
            await waiter
            self._connects = False
        finally:
            self._waiter = None

    async def drain(self) -> None:
        """Wait for the end of a statement whose caller was cancelled, and drop its outcome."""
        if self.isexecuting():
            with suppress(psycopg2.Error):
                await self._poll(self._create_waiter("drain"), self.timeout)

    def _close(self) -> None:
        if self._loop.is_closed():
            self._fileno = None  # it watches nothing any more, and raises if it is asked to stop
        super()._close()
        self._fileno = self._number = None  # the next socket of the process will have the number
        closed = self._notifies_proxy._close_event  # noqa: SLF001 - nothing else has it
        if closed.done():
            closed.exception()  # looked at by aiopg, too, but only if the event loop goes on


class _Cursor(aiopg.Cursor):
    async def close(self) -> None:  # type: ignore[override]  # awaited, as in other libraries
        super().close()


class AiopgConnection(ListConnection, CursorConnection):
    """A connection of aiopg, which is always in autocommit mode."""

    def __init__(self, raw: aiopg.Connection, driver: LibpqDriver) -> None:
        """Take an open connection that ``driver`` has made."""
        self.raw = raw
        self._driver = driver
        self._pid: int = raw.raw.get_backend_pid()
        self._is_within_batch = False
        self.take_lists(driver.json, driver.list_types)

    @property
    def is_closed(self) -> bool:
        return bool(self.raw.closed)

    @property
    def in_transaction(self) -> bool:
        return not self.raw.closed and self.raw.raw.get_transaction_status() != pg.TRANSACTION_STATUS_IDLE

    @property
    def has_failed(self) -> bool:
        return bool(self.raw.raw.get_transaction_status() == pg.TRANSACTION_STATUS_INERROR)

    def reported(self, name: str) -> str:
        """Return the value of a setting that the server reports by itself."""
        return self.raw.raw.get_parameter_status(name) or ""

    def new_cursor(self) -> Any:
        return _Cursor(self.raw, self.raw.raw.cursor(cursor_factory=pg.cursor), self.raw.timeout, echo=False)

    async def open_cursor(self, sql: str, params: Any) -> Any:
        """Run a statement and return its cursor; psycopg 2 refuses an empty one, with an error that has no code."""
        try:
            return await super().open_cursor(sql, _adapted(params, self.json))
        except psycopg2.ProgrammingError as exc:
            if exc.pgcode is None and "empty query" in str(exc):
                return self.new_cursor()
            raise

    def declared(self, sql: str, params: Any, name: str) -> str:
        """Return what prepares a statement by the name, with all of its values in it but the lists."""
        numbers = count(1)
        known = [AsIs(f"${next(numbers)}") if is_list(value) else value for value in params]
        text: bytes = self.raw.raw.cursor().mogrify(f"PREPARE {name} AS {sql}", _adapted(known, self.json))
        return text.decode()

    def laid_out(self, kinds: Kinds, params: Any) -> Kinds:
        """Return the type of each parameter, None for those that were not left open."""
        found = iter(kinds)
        return tuple(next(found, None) if is_list(value) else None for value in params)

    def typed(self, text: str, kind: Kind) -> Any:
        """Return a parameter that is written as ``text`` with a cast to this type."""
        return _Typed(pg.QuotedString(text), kind.name)

    def array(self, value: Sequence[Any], kind: Kind) -> Any:
        """Return a parameter that is written as an array, which texts in it would make one of texts."""
        values = _adapted_value(list(value), self.json)
        return values if kind.number < _FIRST_OF_USERS else _Typed(pg.adapt(values), kind.name)

    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        """Run a statement once per row of parameters, all or nothing; psycopg 2 does not count the changed rows."""
        if has_list(chain.from_iterable(rows)):
            rows = await self.fitted(sql, rows)
        with one_by_one(rows) as given:
            batches = [_END.join(self._written(sql, islice(given, _BATCH))) for _ in range(0, len(rows), _BATCH)]
        # One batch is one transaction by itself.
        several = len(batches) > 1
        around, within = several and not self.in_transaction, several and self.in_transaction
        if within:
            await self.savepoint(BATCH)
        self._is_within_batch = within
        first: int | None = None  # of the rows that are sent
        try:
            if around:
                await self.execute("BEGIN", ())
            for number, batch in enumerate(batches):
                first = number * _BATCH
                await self.execute(batch.decode(), ())
            first = None
            if around:
                await self.execute("COMMIT", ())
        except psycopg2.Error as exc:
            if first is not None and (row := self._row_of(exc, sql, rows[first : first + _BATCH])):
                note_row(exc, first + row)
            if around and self.in_transaction:
                await self.rollback()
            await self._undo_batch()
            raise
        self._is_within_batch = False
        if within:
            await self.release_savepoint(BATCH)
        return Result(-1 if rows else 0)

    def _written(self, sql: str, rows: Iterable[Any]) -> Iterator[bytes]:
        mogrify = self.raw.raw.cursor().mogrify
        return (mogrify(sql or _NOTHING, _adapted(row, self.json)) for row in rows)

    def _row_of(self, exc: psycopg2.Error, sql: str, rows: Sequence[Any]) -> int | None:
        """Return which of the rows that were sent together an error is about: the only one, or as the server points."""
        if len(rows) == 1:
            return 1
        position = getattr(exc.diag, "statement_position", None)
        if not position:
            return None
        ends = accumulate(len((written + _END).decode()) for written in self._written(sql, rows))
        return next((number for number, end in enumerate(ends, 1) if int(position) <= end), None)

    async def _undo_batch(self) -> None:
        """Undo the first rows of a batch that has failed, or was cancelled, in a transaction that goes on."""
        if self._is_within_batch:
            self._is_within_batch = False
            if self.in_transaction and not self.has_failed:
                await self.rollback_to_savepoint(BATCH)

    async def settle(self) -> bool:
        """Stop a cancelled statement on the server and wait for its end."""
        if not self.raw.closed:
            if self.raw.isexecuting():
                if self._driver.sessionless:
                    return False  # the number is the proxy's
                # psycopg 2's own cancel() would stop the whole interpreter until the server answers.
                await run_aside(self._driver, f"SELECT pg_catalog.pg_cancel_backend({self._pid})")
                await self.raw.drain()
            await self.absorb_cancel()
            await self._undo_batch()
        return not self.raw.closed

    async def close(self) -> None:
        self.terminate()

    def terminate(self) -> None:
        self.raw.close()


class _Typed:
    """A value with its type, in the way that psycopg 2 asks for: https://peps.python.org/pep-0246."""

    def __init__(self, value: Any, name: str) -> None:
        self._value = value
        self._name = name

    def __conform__(self, protocol: Any) -> _Typed:
        return self

    def prepare(self, connection: Any) -> None:
        self._value.prepare(connection)

    def getquoted(self) -> bytes:
        return bytes(self._value.getquoted()) + f"::{self._name}".encode()


_BATCH = 1000  # rows
_END = b"\n;"  # the line break ends a comment at the end of a statement
_NOTHING = ";"  # psycopg 2 makes no text of an empty one
_FIRST_OF_USERS = 16384  # the number of a type that was created


def _adapted(params: Any, json: JsonValues) -> Any:
    """Return parameters with each dict as JSON."""
    if isinstance(params, Mapping):
        named = cast("Mapping[str, Any]", params)
        return dict(zip(named, _adapted(named.values(), json), strict=True))
    return [_adapted_value(value, json) for value in params]


def _adapted_value(value: Any, json: JsonValues) -> Any:
    if isinstance(value, dict):
        return Json(value, json.dumps)
    if is_list(value):
        return (list if isinstance(value, list) else tuple)([_adapted_value(each, json) for each in value])
    if isinstance(value, Decimal) and value.is_infinite():
        return AsIs(f"'{value}'::numeric")  # psycopg 2 makes NaN of it
    if isinstance(value, Enum) and not isinstance(value, int | str):
        return _adapted_value(value.value, json)
    return value


class AiopgDriver(LibpqDriver):
    """Opens connections to PostgreSQL with aiopg."""

    name: ClassVar[str] = "aiopg"
    paramstyle: ClassVar[str] = "format"
    loop_hint: ClassVar[str] = "; the scheme psycopg:// runs on both"
    capabilities: ClassVar[Capabilities] = replace(POSTGRESQL, trio=False)

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        raw = await self._open(await self.keywords(read_only=read_only))
        psycopg2.extras.register_default_json(raw.raw, loads=self.json.read)
        psycopg2.extras.register_default_jsonb(raw.raw, loads=self.json.read)
        psycopg2.extras.register_ipaddress(raw.raw)
        for own in (_BYTEA, _BYTEA_ARRAY, _TIME, _TIME_ARRAY):
            pg.register_type(own, raw.raw)
        pg.register_type(_INTERVAL, raw.raw)
        pg.register_type(_INTERVAL_ARRAY, raw.raw)
        connection = AiopgConnection(raw, self)
        await self.style(connection)
        return self.guarded_against_writes(connection, connection.writes_by_default, read_only=read_only)

    async def _open(self, keywords: dict[str, Any]) -> aiopg.Connection:
        # Left to itself libpq connects again without encryption when a password was wrong, by a new socket that aiopg
        # does not look at: it would wait for ever.
        modes = {"prefer": ("require", "disable"), "allow": ("disable", "require")}
        mode = keywords.pop("sslmode", None) or os.environ.get("PGSSLMODE", "prefer")
        *first, last = modes.get(mode, (mode,))
        for tried in first:
            try:
                return await UntimedConnection(None, NO_TIMEOUT, enable_hstore=False, sslmode=tried, **keywords)
            except psycopg2.OperationalError as exc:
                if not _is_about_encryption(exc):
                    raise
        return await UntimedConnection(None, NO_TIMEOUT, enable_hstore=False, sslmode=last, **keywords)

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of psycopg 2 means, by its SQLSTATE where it has one."""
        if isinstance(exc, ValueError) and "NUL" in str(exc):
            return Diagnosis(DataError)  # text with a zero byte
        return self.diagnosed(exc, exc.pgcode, exc.diag) if isinstance(exc, psycopg2.Error) else diagnose_builtin(exc)


NO_TIMEOUT = 0.0  # the pool has timeouts of its own


def _is_about_encryption(exc: Exception) -> bool:
    return "does not support SSL" in str(exc) or "no encryption" in str(exc)


def _bytes(text: Any, cursor: Any) -> bytes | None:
    return None if text is None else bytes(psycopg2.BINARY(text, cursor))


def _interval(text: Any, cursor: Any) -> Any:
    if text is not None and cursor.connection.get_parameter_status("IntervalStyle") not in {None, "postgres"}:
        message = "psycopg 2 reads intervals wrongly while IntervalStyle is another one than postgres: set it back"
        raise NotSupportedError(message)
    return pg.PYINTERVAL(text, cursor)


def _time(text: Any, cursor: Any) -> Any:
    if text is not None and text.startswith("24"):
        raise psycopg2.DataError("hour must be in 0..23")  # psycopg 2 reads it as the beginning of the day
    return pg.PYTIME(text, cursor)


_BYTEA = pg.new_type((17,), "BYTEA", _bytes)  # the numbers are PostgreSQL's for these types
_INTERVAL = pg.new_type((1186,), "INTERVAL", _interval)
_INTERVAL_ARRAY = pg.new_array_type((1187,), "INTERVALARRAY", _INTERVAL)
_BYTEA_ARRAY = pg.new_array_type((1001,), "BYTEAARRAY", _BYTEA)
_TIME = pg.new_type((1083, 1266), "TIME", _time)
_TIME_ARRAY = pg.new_array_type((1183, 1270), "TIMEARRAY", _TIME)
