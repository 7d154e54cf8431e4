"""Read-only connections to PostgreSQL whose sessions do not, or do not any more, refuse writes by themselves.

Behind PgBouncer in transaction mode a setting of the session would reach others; elsewhere it does its work until
a function in the database changes it.  In both cases every transaction is begun read-only instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from aio_databases.drivers.base import Cursor, DriverConnection, TransactionOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from aio_databases.rows.record import Record, Result

T = TypeVar("T")

_READ_ONLY = TransactionOptions(readonly=True)


class ReadOnlyTransactions(DriverConnection):
    """A connection whose statements all run in read-only transactions, whenever its session would let them write."""

    def __init__(self, connection: DriverConnection, may_write: Callable[[], bool]) -> None:
        """Guard ``connection``; ``may_write`` says whether a transaction that says nothing about it could write."""
        self._connection = connection
        self._may_write = may_write
        self.raw = connection.raw

    @property
    def is_closed(self) -> bool:
        return self._connection.is_closed

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    @property
    def is_at_rest(self) -> bool:
        """Whether the connection is open and not in a transaction."""
        return self._connection.is_at_rest

    @property
    def cancels_no_task(self) -> bool:  # type: ignore[override]  # elsewhere it is known beforehand
        """Whether COMMIT needs no task of its own."""
        return self._connection.cancels_no_task

    async def execute(self, sql: str, params: Any, /) -> Result:
        return await self._fenced(self._connection.execute(sql, params))

    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        return await self._fenced(self._connection.executemany(sql, rows))

    async def fetch(self, sql: str, params: Any, limit: int | None, /) -> list[Record]:
        return await self._fenced(self._connection.fetch(sql, params, limit))

    async def _fenced(self, verb: Coroutine[Any, Any, T]) -> T:
        connection = self._connection
        if connection.in_transaction or not self._may_write():
            return await verb
        try:
            await connection.begin(_READ_ONLY)
        except BaseException:
            verb.close()
            raise
        try:
            result = await verb
        except Exception:
            if connection.in_transaction:
                await connection.rollback()
            raise
        await connection.commit()
        return result

    def cursor(self, sql: str, params: Any, /) -> Cursor:
        """Return a cursor; outside of a transaction it begins a read-only one."""
        return _FencedCursor(self._connection, self._may_write, sql, params)

    async def begin(self, options: TransactionOptions) -> None:
        """Begin a read-only transaction."""
        await self._connection.begin(options._replace(readonly=True))

    async def commit(self) -> None:
        await self._connection.commit()

    async def rollback(self) -> None:
        await self._connection.rollback()

    async def ping(self) -> None:
        await self._connection.ping()

    def has_hung_up(self) -> bool:
        return self._connection.has_hung_up()

    async def settle(self) -> bool:
        return await self._connection.settle()

    async def reset(self) -> bool:
        return await self._connection.reset()

    async def initialise(self, init: Callable[[Any], Any]) -> None:
        """Call the user's ``init`` with the library's connection."""
        await self._connection.initialise(init)

    async def close(self) -> None:
        await self._connection.close()

    def terminate(self) -> None:
        self._connection.terminate()


class _FencedCursor(Cursor):
    def __init__(self, connection: DriverConnection, may_write: Callable[[], bool], sql: str, params: Any) -> None:
        self._connection = connection
        self._may_write = may_write
        self._cursor = connection.cursor(sql, params)
        self._began = False

    async def fetch(self, size: int) -> list[Record]:
        connection = self._connection
        if not (connection.in_transaction or connection.is_closed) and self._may_write():
            await connection.begin(_READ_ONLY)
            self._began = True
        return await self._cursor.fetch(size)

    async def close(self) -> None:
        await self._cursor.close()
        if self._began and self._connection.in_transaction:
            await self._connection.rollback()
