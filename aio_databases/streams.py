"""Rows one by one, fetched in chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aio_databases.concurrency.loop_callbacks import LoopCallbacks
from aio_databases.errors import DataError, InterfaceError
from aio_databases.physical_connection.lock import ConnectionReleased
from aio_databases.rows.mapping import mapper
from aio_databases.sql.bad_parameters import add_parameter_hint
from aio_databases.sql.query_objects import text_and_params

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from aio_databases.drivers.base import Cursor
    from aio_databases.physical_connection.connection import PhysicalConnection
    from aio_databases.physical_connection.lock import ConnectionLock
    from aio_databases.physical_connection.scopes import OpenTransaction
    from aio_databases.pool.lease import Lease
    from aio_databases.rows.record import Record
    from aio_databases.sql.translator import CompiledQuery

CHUNK = 1000  # rows

T_co = TypeVar("T_co", covariant=True)


class RecordStream(Generic[T_co]):
    """The rows of a query, one by one.

    Use it with ``async for``.  A loop that is left early is cleaned up before the next statement on the connection;
    ``async with`` or `aclose` do so at once.  Inside a transaction it reads on the transaction's connection.  Outside
    of one, where a cursor needs a transaction, it reads on a connection of its own, so that the loop may write.
    """

    _callbacks: LoopCallbacks
    _compiled: CompiledQuery
    _lease: Lease
    _lock: ConnectionLock
    _owned: bool
    _physical: PhysicalConnection
    _transaction: OpenTransaction | None
    _values: Any

    def __init__(  # noqa: PLR0917 - made in two places, by us
        self,
        find: Callable[[], Lease | None],
        lease: Callable[[], Lease],
        query: Any,
        params: tuple[Any, ...],
        into: Callable[..., T_co] | None,
        chunk_size: int,
    ) -> None:
        """Keep what to read; nothing is sent before the first row is asked for.

        ``find`` returns the connection that a statement made now would use, ``lease`` a new one, not yet acquired.
        """
        self._cursor: Cursor | None = None
        self._done = False
        self._is_cut = False  # by an error or a cancellation, so that there may be more
        self._is_read = False  # by a task, now
        self._buffer: Iterator[Any] = iter(())
        if chunk_size < 1:
            message = f"chunk_size must be at least 1 row, not {chunk_size}"
            raise InterfaceError(message)
        self._find = find
        self._make_lease = lease
        self._statement = (query, params)
        self._into = into
        self._chunk_size = chunk_size

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        for row in self._buffer:
            return row  # type: ignore[no-any-return]
        await self._fill()
        for row in self._buffer:
            return row  # type: ignore[no-any-return]
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            await self.aclose()
        elif self._cursor is not None:
            await self._give_up(self._cursor, exc)

    async def aclose(self) -> None:
        """Stop reading and free the cursor; may be called twice.

        Raises InterfaceError while another task asks for a row.
        """
        self._check_unread()
        self._done, self._buffer = True, iter(())
        if self._cursor is not None:
            await self._finish(self._cursor)

    async def _fill(self) -> None:
        """Read the next rows, if there are any.  Raises InterfaceError while another task does."""
        self._check_unread()
        if self._is_cut:
            raise InterfaceError("the rest of this stream is lost, as reading it has failed: run the query again")
        if self._done:
            return
        self._is_read = True
        try:
            await self._read_on()
        finally:
            self._is_read = False

    async def _read_on(self) -> None:
        begins = self._cursor is None
        try:
            cursor = self._cursor or await self._open()
            if cursor is not None:
                await self._read(cursor)
        except ConnectionReleased:
            found = self._find()
            if not begins or self._owned or (found is not None and not found.is_usable):
                raise
            # Its block ended while it waited for its turn: it reads where a call made now would.
            self._done = self._is_cut = False
            await self._read_on()

    async def _read(self, cursor: Cursor) -> None:
        try:
            self._check_transaction()
            if self._lease.lock is not self._lock:  # even where it has the same connection anew
                raise ConnectionReleased.of(self._lease)  # noqa: TRY301 - the cursor is given up as after every failure
            reading = cursor.fetch(self._chunk_size)
            rows = await self._physical.run_call(self._lease, self._compiled, (), reading)
        except BaseException as exc:
            if isinstance(exc, DataError):
                add_parameter_hint(exc, self._compiled, self._values)
            await self._give_up(cursor, exc)
            raise
        self._take(rows)
        if len(rows) < self._chunk_size:
            self._done = True
            await self._finish(cursor)

    def _check_unread(self) -> None:
        if self._is_read:
            message = "another task waits for a row of this stream: read it in one task, or make a stream for each"
            raise InterfaceError(message)

    async def _open(self) -> Cursor | None:
        """Make a cursor on the right connection; where it would be in the way, read everything at once instead."""
        query, params = self._statement
        connection = self._find()
        self._owned = connection is None
        if connection is not None:
            await connection.make_ready()
        if connection is None or (_is_in_the_way(connection) and _may_lease_another(connection)):
            connection, self._owned = self._make_lease() if connection is None else connection.sibling(), True
            await connection.acquire()
        self._lease = connection
        try:
            if type(query) is not str:  # once, as it may be used twice: see `_read_at_once`
                query, params = self._statement = text_and_params(query, params, connection.pool.driver.dialect)
            self._compiled, self._values = connection.prepare(query, params)
            in_the_way = _is_in_the_way(connection) and not self._owned
            if self._compiled.writes or not self._compiled.selects or in_the_way:
                await self._read_at_once()
                return None
            self._physical = connection.physical
            self._lock = self._physical.lock
            self._transaction = self._lock.current_transaction()
        except BaseException as exc:
            self._done = self._is_cut = True
            await self._end_lease(exc)
            raise
        self._cursor = connection.driver.cursor(self._compiled.sql, self._values)
        self._physical.add_cursor(self._cursor)
        self._callbacks = LoopCallbacks.of_running_loop()
        return self._cursor

    async def _read_at_once(self) -> None:
        """Read all rows: a cursor would keep a write from being committed, or be in the way, or is not available."""
        self._done = True
        self._take(await self._lease.run("fetch", *self._statement))
        await self._end_lease(None)

    def _check_transaction(self) -> None:
        transaction = self._transaction
        if transaction is not None and not transaction.is_active:
            message = f"the rows of this stream are gone: {transaction.label}, in which it was opened, has ended"
            raise InterfaceError(message)

    def _take(self, rows: list[Record]) -> None:
        into = self._into
        if into is None or not rows:
            self._buffer = iter(rows)
        else:
            self._buffer = map(mapper(into, tuple(rows[0].keys())), rows)

    async def _finish(self, cursor: Cursor) -> None:
        self._cursor = None
        physical = self._physical
        try:
            if self._lease.lock is not self._lock:  # the stream outlived its block
                physical.orphan_cursor(cursor)
            elif physical.has_cursor(cursor):
                await physical.run_call(self._lease, self._compiled, (), physical.close_cursor(cursor))
        except ConnectionReleased:
            pass  # the release closes it
        except BaseException as exc:
            await self._end_lease(exc)
            raise
        await self._end_lease(None)

    async def _give_up(self, cursor: Cursor, exc: BaseException) -> None:
        # Nothing here may replace the error that is on its way: the next statement closes the cursor.
        self._done = self._is_cut = True
        self._cursor = None
        self._physical.orphan_cursor(cursor)
        await self._end_lease(exc)

    async def _end_lease(self, exc: BaseException | None) -> None:
        if self._owned:
            await self._lease.end_lease(exc)

    def __del__(self) -> None:
        cursor = self._cursor
        if cursor is None:
            return
        self._physical.orphan_cursor(cursor)
        if self._owned:
            # The garbage collector may run in any thread.
            self._callbacks.post(self._lease.abandon, None)


def _is_in_the_way(connection: Lease) -> bool:
    """Return whether a cursor would keep all else that happens on a connection waiting, or in a transaction."""
    lock = connection.physical.lock
    inside = lock.current_transaction() is not None if lock.transactions else connection.driver.in_transaction
    return connection.pool.driver.capabilities.exclusive_cursor and not inside


def _may_lease_another(connection: Lease) -> bool:
    """Return whether another connection would see the same, and is available without waiting for another caller."""
    return not connection.physical.session_changed and connection.pool.has_room
