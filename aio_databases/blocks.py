"""The blocks that choose the connection which the statements inside of them use."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from aio_databases.connection import Connection
from aio_databases.errors import TransactionError
from aio_databases.physical_connection.scopes import Block, connections_here, live_connection

if TYPE_CHECKING:
    import logging
    from types import TracebackType

    from aio_databases.replicas.lag import ReadRequirement
    from aio_databases.replicas.router import Replicas


class ConnectionBlock(Block):
    """A block whose statements use one connection of the primary: ``async with db.connection() as connection``."""

    def __init__(self, owner: Any, connection: Connection, *, create: bool) -> None:
        """Lease ``connection`` when the block begins; without ``create`` only if no connection is in use here."""
        super().__init__(owner)
        self._connection = connection
        self._create = create

    async def __aenter__(self) -> Connection:
        self.check_unused()
        existing: Connection | None = None if self._create else live_connection(self.owner)
        connection = self.connection = existing or await self._connection.acquire()
        self.enter()
        return connection

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()
        connection, self.connection = self.connection, None
        if connection is self._connection:
            await self._connection.end_lease(exc)

    async def acquire(self) -> Connection:
        """Lease the connection without a block; it does not become the current one.  Idempotent."""
        return await self._connection.acquire()

    async def release(self, *_: object) -> None:
        """Give back what `acquire` leased.  Idempotent."""
        await self._connection.release()


class ReplicaBlock(Block):
    """A block whose statements read from a replica and cannot write: ``async with db.replica() as connection``."""

    def __init__(
        self, owner: Any, replicas: Replicas, logger: logging.Logger, wanted: ReadRequirement, *, fallback: bool
    ) -> None:
        """Choose a replica that has what is wanted when the block begins."""
        super().__init__(owner)
        self._replicas = replicas
        self._logger = logger
        self._wanted = wanted
        self._fallback = fallback

    async def __aenter__(self) -> Connection:
        self.check_unused()
        if in_primary_transaction(self.owner):
            raise TransactionError(
                "a replica does not see what the open transaction has written, nor its snapshot: "
                "read in the transaction itself, or open the replica() block outside of it"
            )
        lend = partial(self._replicas.acquire, self._wanted, fallback=self._fallback)
        connection = Connection(self.owner, self._replicas.fallback, self._logger, read_only=True, lend=lend)
        await connection.acquire()
        try:
            self.enter()
        except BaseException:  # another task has entered it meanwhile
            await connection.release()
            raise
        self.connection = connection
        return connection

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.end_lease(exc)


def in_primary_transaction(owner: Any) -> bool:
    """Return whether a call made here stands in an open transaction of the primary, of whatever making.

    Raises TransactionError in the block of a failed one.
    """
    live_connection(owner)  # raises in the block of a failed one
    return any(map(_is_in_transaction, connections_here(owner, hidden=False)))


def _is_in_transaction(connection: Connection) -> bool:
    lock = connection.lock
    if connection.read_only or lock is None:
        return False
    physical = connection.physical
    # What is done with the raw connection is not seen; while a statement runs the server may say that it is in one.
    by_raw = physical.session_changed and not lock.transactions and not lock.locked and physical.driver.in_transaction
    return lock.current_transaction() is not None or physical.in_manual_transaction or by_raw
