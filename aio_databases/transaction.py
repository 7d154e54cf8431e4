"""Transactions: a strict stack of BEGIN and savepoints per connection, with statements of our own."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from aio_databases import errors
from aio_databases.concurrency import current_task, shielded
from aio_databases.recovery import translated
from aio_databases.sql import Plan
from aio_databases.turns import Block, current_block, live_connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from aio_databases.concurrency import FifoLock
    from aio_databases.connection import Connection
    from aio_databases.drivers.base import DriverConnection, TransactionOptions
    from aio_databases.physical import Physical
    from aio_databases.pool import Pool
    from aio_databases.turns import Turns

__all__ = ("Transaction", "TransactionState")


class TransactionState(Enum):
    """What has become of a transaction."""

    NEW = "not started"
    ACTIVE = "open"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"


class Transaction(Block):
    """A transaction, or inside of one a nested transaction (a savepoint).

    Use it with ``async with``: the block commits at its end, and rolls back when an exception leaves it.  `commit` and
    `rollback` end it earlier; `start` begins one without a block.  Ending a transaction ends those inside of it first.
    """

    __slots__ = (
        "_connection",
        "_create",
        "_driver",
        "_lease",
        "_options",
        "_owned",
        "_physical",
        "_pool",
        "_savepoint",
        "_silent",
        "_turns",
        "_uncertain",
        "_writer_lock",
        "failure",
        "has_block",
        "state",
    )

    is_transaction = True

    _connection: Connection
    _driver: DriverConnection
    _physical: Physical
    _pool: Pool
    _turns: Turns

    def __init__(
        self,
        owner: Any,
        options: TransactionOptions,
        lease: Callable[[], Connection],
        *,
        connection: Connection | None = None,
        create: bool = False,
        silent: bool = False,
    ) -> None:
        """Prepare a transaction on ``connection``, else on the one in use here, else (or with ``create``) a lease."""
        super().__init__(owner)
        self.connection = connection
        self.state = TransactionState.NEW
        self.failure: str | None = None
        self.has_block = False
        self._lease = lease
        self._create = create
        self._options = options
        self._owned = False
        self._savepoint: str | None = None
        self._silent = silent
        self._uncertain = False
        self._writer_lock: FifoLock | None = None

    def __repr__(self) -> str:
        return f"<Transaction {self.state.value}{' nested' if self._savepoint else ''}>"

    @property
    def turns(self) -> Turns | None:
        """The line in front of the connection that the transaction is on, once it has begun."""
        return getattr(self, "_turns", None)

    @property
    def label(self) -> str:
        """What messages call it."""
        return "a nested transaction" if self._savepoint else "a transaction"

    @property
    def is_active(self) -> bool:
        """Whether statements can be run in it."""
        return self.state is TransactionState.ACTIVE

    @property
    def is_read_only(self) -> bool:
        """Whether it was begun ``readonly``."""
        return bool(self._options.readonly)

    # Beginning

    async def __aenter__(self) -> Self:
        self._check_new()
        self.has_block = True
        return await self.start()

    async def start(self) -> Self:
        """Begin the transaction and return it; `commit` or `rollback` has to end it.

        Raises TransactionError if it was started before, NotSupportedError for an option the database lacks,
        ReadOnlyError in a replica block unless it is ``readonly``, and what leasing a connection raises.
        """
        self._check_new()
        connection = self.connection or (None if self._create else live_connection(self.owner))
        self._owned = connection is None
        if connection is None:
            connection = self._lease()
        _check(self._options, connection)
        if self._owned:
            await connection.acquire()
        self.connection = connection
        try:
            await self._begin(connection)
        except BaseException:
            await self._give_lease_back()
            raise
        if self.has_block or self._owned:
            self.enter()
        return self

    def _check_new(self) -> None:
        if self.state is not TransactionState.NEW:
            message = f"this transaction is {self.state.value} and cannot be started again; make a new one"
            raise errors.TransactionError(message)

    async def _begin(self, connection: Connection) -> None:
        self._physical = physical = connection.physical
        self._connection, self._driver, self._pool = connection, connection.driver, connection.pool
        self._turns = physical.turns
        self.task = current_task()
        lock = self._pool.writer_lock
        if lock is not None and self._writes and physical.turns.standing() is None:
            await connection.lock_writers(lock)
            self._writer_lock = lock
        try:
            await connection.perform(physical, _NO_PLAN, self._send_begin)
        except BaseException:
            self._unlock()
            raise

    @property
    def _writes(self) -> bool:
        options = self._options
        return not options.readonly and (options.mode or "").lower() != "deferred"

    async def _send_begin(self) -> None:
        stack, driver = self._turns.stack, self._driver
        if stack:
            self._unlock()
            known = self._options._replace(readonly=None) if self._connection.read_only else self._options
            if any(option is not None for option in known):
                message = "isolation, readonly, deferrable and mode belong to the outermost transaction"
                raise errors.NotSupportedError(message)
            name = f"aiodb_{len(stack)}"
            await driver.savepoint(name)
            self._savepoint = name
        else:
            if driver.in_transaction:
                message = "a transaction that was begun with SQL is open on this connection; end that first"
                raise errors.TransactionError(message)
            await driver.begin(self._options)
        stack.append(self)
        self.state = TransactionState.ACTIVE

    # Ending

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()
        if isinstance(exc, GeneratorExit):
            self._drop()
            return
        try:
            if exc is not None:
                if self.is_active:
                    await self.abort()
            elif self.is_active:
                await self._commit_or_abort(at_exit=True)
            elif not self._silent:
                self.raise_failure()
        finally:
            await self._give_lease_back()

    def _drop(self) -> None:
        """Leave without waiting, as a coroutine that is being closed has to: the connection's next user rolls back."""
        if self.is_active:
            self._physical.in_doubt = True
            self._turns.end_all("the coroutine that it was open in was closed")
        if self._owned:
            self._owned = False
            self._connection.abandon()

    async def commit(self, *, silent: bool | None = None) -> None:
        """Commit the transaction; if the database refuses, it is rolled back.

        With ``silent`` a transaction whose connection is gone is no error.  Raises TransactionError when it is not
        open, CommitUncertainError when the link breaks meanwhile, and what the database says.
        """
        try:
            if self._can_end("commit", silent=silent):
                await self._commit_or_abort()
        finally:
            await self._leave_if_started_by_hand()

    async def rollback(self, *, silent: bool | None = None) -> None:
        """Roll the transaction back; the exit of its block does nothing then.

        With ``silent`` a transaction whose connection is gone is no error.  Raises TransactionError if it is not open.
        """
        try:
            if self._can_end("roll back", silent=silent):
                await self.abort()
        finally:
            await self._leave_if_started_by_hand()

    async def _commit_or_abort(self, *, at_exit: bool = False) -> None:
        turns, timeout = self._turns, self._pool.options.commit_timeout
        try:
            try:
                await turns.take(self._pool.options.timeout, at=self)
            except errors.TransactionError:
                if at_exit and self.state is not TransactionState.FAILED:
                    return  # another task ended it by hand: the exit has nothing left to do
                raise
            if not self.is_active:
                turns.give_back()
                self.raise_failure()
                return
            await shielded(self._send_commit, timeout)
        except BaseException as exc:
            await self.abort()
            if isinstance(exc, TimeoutError) and not isinstance(exc, errors.Error):
                message = f"COMMIT had no answer for {timeout:g} s: the transaction may or may not be committed, "
                raise errors.CommitUncertainError(message + "look for its rows before you run it again") from None
            raise

    async def _send_commit(self) -> None:
        turns, driver, savepoint = self._turns, self._driver, self._savepoint
        try:
            await (driver.release_savepoint(savepoint) if savepoint else driver.commit())
            for transaction in turns.end(self):
                transaction.finish(TransactionState.COMMITTED)
        except Exception as exc:
            error = translated(self._pool.driver, exc, committing=not savepoint)
            if isinstance(error, errors.ConnectionLost):
                self._physical.driver.terminate()
                turns.end_all("its connection was lost", uncertain=not savepoint)
            elif not driver.in_transaction:  # PostgreSQL ends a transaction that it cannot commit
                for transaction in turns.end(turns.stack[0]):
                    transaction.finish(TransactionState.ROLLED_BACK)
            if error is exc:
                raise
            raise error from exc
        except BaseException:
            self._physical.driver.terminate()  # time is over: nobody will know the answer
            turns.end_all("its COMMIT had no answer", uncertain=True)
            raise
        finally:
            turns.give_back()

    async def abort(self, reason: str | None = None) -> None:
        """Roll back if the transaction is open; ``reason`` tells those who still use it why it is gone.

        Never raises an error: a connection on which ROLLBACK fails is cut, which rolls back as well.
        """
        if not self.is_active:
            return
        turns = self._turns
        if self._physical.driver.is_closed:
            turns.end_all(reason or "its connection was lost")
            return
        try:
            await shielded(lambda: self._send_rollback(reason), self._pool.options.cleanup_timeout)
        except Exception as exc:  # noqa: BLE001 - what matters is the exception that led here
            self._connection.logger.warning("ROLLBACK failed, the connection is cut: %r", exc)
        finally:
            if self in turns.stack:
                self._physical.driver.terminate()
                turns.end_all(reason or "its connection was cut")

    async def _send_rollback(self, reason: str | None) -> None:
        turns, driver, savepoint = self._turns, self._driver, self._savepoint
        await turns.take_urgently(self._pool.options.cleanup_timeout)
        try:
            if self not in turns.stack:
                return
            await (driver.rollback_to_savepoint(savepoint) if savepoint else driver.rollback())
            for transaction in turns.end(self):
                if reason is None and (transaction is self or transaction.is_entered_here):
                    transaction.finish(TransactionState.ROLLED_BACK)
                else:
                    transaction.fail(reason or "the transaction around it was rolled back")
        finally:
            turns.give_back()

    @property
    def is_entered_here(self) -> bool:
        """Whether whoever runs now is inside this transaction's block, and so ends it knowingly."""
        block = current_block.get()
        while block is not None and block is not self:
            block = block.outer
        return block is self

    def finish(self, state: TransactionState) -> None:
        """Note that the transaction has ended."""
        self.state = state
        self._unlock()

    def fail(self, reason: str, *, uncertain: bool = False) -> None:
        """Note that the transaction was ended from outside: whoever uses it from now on is told why.

        ``uncertain`` means that something of it may have been committed.
        """
        self.failure = reason
        self._uncertain = uncertain
        self.finish(TransactionState.FAILED)

    def raise_failure(self) -> None:
        """Raise TransactionError if the transaction was ended from outside."""
        if self.state is TransactionState.FAILED:
            lost = "" if self._uncertain else ", and nothing of it was committed"
            message = f"{self.label} cannot be used any more: {self.failure}{lost}"
            raise errors.TransactionError(message)

    def _can_end(self, verb: str, *, silent: bool | None) -> bool:
        if self.is_active:
            return True
        if self.state is TransactionState.FAILED:
            if self in self._turns.lost:
                self._turns.lost.remove(self)
            if not (self._silent if silent is None else silent):
                self.raise_failure()
            return False
        message = f"cannot {verb} a transaction that is {self.state.value}"
        raise errors.TransactionError(message)

    async def _leave_if_started_by_hand(self) -> None:
        if not self.has_block and not self.is_active:
            self.leave()
            await self._give_lease_back()

    async def _give_lease_back(self) -> None:
        if self._owned:
            self._owned = False
            if not self._connection.release_nowait():
                await self._connection.release()

    def _unlock(self) -> None:
        lock, self._writer_lock = self._writer_lock, None
        if lock is not None:
            lock.release()


def _check(options: TransactionOptions, connection: Connection) -> None:
    """Raise an error for options that the database, or a replica, cannot honour."""
    nested = connection.turns is not None and connection.turns.standing() is not None
    if connection.read_only and not options.readonly and not nested:
        message = "a replica only reads: use transaction(readonly=True), or db.connection() to reach the primary"
        raise errors.ReadOnlyError(message)
    connection.pool.driver.check_options(options)


_NO_PLAN = Plan("", writes=False, session=False)
