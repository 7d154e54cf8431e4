"""Locks: when a call may run on a connection, and when a writer may write to a database with one writer.

A call belongs to the innermost transaction of its connection that its context is inside of, on whatever object it is
made.  It runs when no other call does and no transaction is open inside of the one that it belongs to; until then it
waits, first come, first served.
"""

from __future__ import annotations

from time import monotonic

from aio_databases.concurrency.queues import FifoLock, WaitQueue
from aio_databases.errors import ConnectionBusy, InterfaceError, LockTimeout, TransactionError
from aio_databases.physical_connection.scopes import OpenTransaction, current_block, is_visible


class ConnectionReleased(InterfaceError, RuntimeError):
    """A connection was used after its release, or released while a call waited for its turn."""

    @classmethod
    def of(cls, connection: object) -> ConnectionReleased:
        """Return the error for a connection."""
        return cls(f"{connection!r} was used after its release; use it inside its block, or acquire() it again")


class ConnectionLock:
    """The lock of one connection, and the stack of transactions that are open on it."""

    __slots__ = ("_queues", "_urgent", "_waiting", "is_invalidated", "locked", "transactions")

    def __init__(self) -> None:
        self.locked = False
        self.is_invalidated = False
        self.transactions: list[OpenTransaction] = []
        self._waiting = 0  # tasks in line; while there are any, `release` has to choose one
        self._queues: dict[OpenTransaction | None, WaitQueue[bool]] = {}
        self._urgent: WaitQueue[bool] = WaitQueue()

    def current_transaction(self, at: OpenTransaction | None = None) -> OpenTransaction | None:
        """Return the open transaction that a call made now belongs to, at least ``at``.

        A transaction that was started without a block belongs to every call from where it was started.
        """
        stack = self.transactions
        block = current_block.get()
        found: OpenTransaction | None = None
        while block is not None:
            if isinstance(block, OpenTransaction) and block in stack:
                if block.owner.child_tasks == "forbid":
                    is_visible(block)
                found = block
                break
            block = block.outer
        depth = stack.index(found) + 1 if found is not None else 0
        if at in stack and stack.index(at) >= depth:
            found = at
            depth = stack.index(at) + 1
        while depth < len(stack) and not stack[depth].has_block:
            found = stack[depth]
            depth += 1
        return found

    def acquire_nowait(self, at: OpenTransaction | None = None) -> bool:
        """Take the lock and return True if the call may run now; also if the lease has ended, for its caller to see."""
        if self.is_invalidated:
            return True
        if self.locked or (self.transactions and not self._is_on_top(at)):
            return False
        self.locked = True
        return True

    def _is_on_top(self, at: OpenTransaction | None) -> bool:
        """Return whether no transaction is open inside of the one that a call made now belongs to."""
        top = self.transactions[-1]
        # The first answer nearly always suffices, without a search.
        is_there = top is at or top is current_block.get()
        return (is_there and top.owner.child_tasks == "share") or self.current_transaction(at) is top

    async def acquire(self, timeout: float, at: OpenTransaction | None = None) -> None:
        """Take the lock, waiting at most ``timeout`` seconds; the call belongs to ``at``, if not to one further inside.

        Raises ConnectionBusy, naming what it waited for; at once if that is a block of the very task.
        """
        deadline = monotonic() + timeout
        while not self.acquire_nowait(at):
            transaction = self.current_transaction(at)
            self._check_not_in_its_own_way(transaction)
            queue = self._queues.setdefault(transaction, WaitQueue())
            self._waiting += 1
            try:
                granted = await queue.wait(deadline - monotonic(), self._undo)
            except TimeoutError:
                raise self._timed_out(timeout) from None
            finally:
                self._waiting -= 1
            if granted:
                return
            if transaction is not None and not transaction.is_active:
                raise TransactionError(
                    f"{transaction.label} was ended by another task while a statement of it waited for its turn"
                ) from transaction.cause

    async def acquire_for_cleanup(self, timeout: float) -> None:
        """Take the lock before all other calls, whatever transactions are open.

        Where the lease has ended there is nothing to wait for.  Raises TimeoutError when a call runs for longer than
        ``timeout`` seconds.
        """
        self._waiting += 1
        try:
            if self.locked and not self.is_invalidated:
                await self._urgent.wait(timeout, self._undo)
        finally:
            self._waiting -= 1
        self.locked = True

    def release(self) -> None:
        """Free the lock, or hand it to the next call in line that may run."""
        if not self._waiting:
            self.locked = False
            return
        if self._urgent.wake_next(value=True):
            return
        if self._queues and self._wake_eligible():
            return
        self.locked = False

    def begin(self, transaction: OpenTransaction) -> None:
        """Note that a transaction has begun, inside of those that are open."""
        self.transactions.append(transaction)

    def end(self, transaction: OpenTransaction) -> list[OpenTransaction]:
        """Take a transaction that has ended off the stack, and return it with those inside of it, innermost first."""
        position = self.transactions.index(transaction)
        ended = self.transactions[: position - 1 if position else None : -1]
        del self.transactions[position:]
        for each in ended:
            # The calls that wait inside of it look again which transaction they belong to.
            queue = self._queues.pop(each, None)
            if queue is not None:
                queue.wake_all(value=False)
        return ended

    def end_all(self, reason: str, *, uncertain: bool = False, cause: Exception | None = None) -> None:
        """Mark every transaction that is open as ended from outside, and serve the calls that waited for its end.

        ``uncertain`` means that something of it may have been committed, as it may where COMMIT is under way.
        """
        if not self.transactions:
            return
        uncertain = uncertain or self.transactions[0].is_committing
        for transaction in self.end(self.transactions[0]):
            transaction.fail(reason, uncertain=uncertain, cause=cause)
        if self._waiting and not self.locked:
            self.locked = True
            self.release()

    def forget_after_fork(self, reason: str) -> None:
        """Mark every transaction as ended, in a forked process: the tasks that wait are the parent's."""
        self._queues.clear()
        self._waiting, self.locked = 0, True
        for transaction in self.transactions:
            transaction.forget_lock()
        self.end_all(reason, uncertain=True)

    def invalidate(self) -> None:
        """Have every call that waits look again: the lease has ended, and another one gets the connection."""
        self.is_invalidated = True
        queues, self._queues = self._queues, {}
        for queue in (*queues.values(), self._urgent):
            queue.wake_all(value=False)

    def _wake_eligible(self) -> bool:
        stack = self.transactions
        depth = len(stack)
        while True:
            queue = self._queues.get(stack[depth - 1] if depth else None)
            if queue is not None and queue.wake_next(value=True):
                return True
            # A call just outside of a transaction without a block may run as well.
            if not depth or stack[depth - 1].has_block:
                return False
            depth -= 1

    def _undo(self, granted: bool) -> None:  # noqa: FBT001 - a callback
        if granted:
            self.release()

    def _check_not_in_its_own_way(self, transaction: OpenTransaction | None) -> None:
        stack = self.transactions
        for each in stack[stack.index(transaction) + 1 if transaction is not None else 0 :]:
            if each.is_held_by_this_task:
                raise _blocked(each, "would wait for ever")

    def _timed_out(self, timeout: float) -> ConnectionBusy:
        if not self.transactions:
            return ConnectionBusy(f"waited {timeout:g} s for another task's statement on this connection")
        return _blocked(self.transactions[-1], f"waited {timeout:g} s")


def _blocked(transaction: OpenTransaction, waited: str) -> ConnectionBusy:
    error = ConnectionBusy(
        f"{waited} for {transaction.description} to end: "
        "while it is open, only calls made inside its block run on this connection"
    )
    transaction.add_place(error)
    return error


class WriterLock(FifoLock):
    """The lock of a database that has one writer at a time, which SQLite has."""

    __slots__ = ("_transaction",)

    def __init__(self) -> None:
        super().__init__()
        self._transaction: OpenTransaction | None = None  # that holds the lock, if a transaction does

    async def acquire_for(self, transaction: OpenTransaction | None, timeout: float) -> None:
        """Wait in line for at most ``timeout`` seconds, for a transaction or a single statement.

        Raises LockTimeout, at once if the lock is held by a block of the very task.
        """
        if self.locked and self._transaction is not None and self._transaction.is_held_by_this_task:
            raise self._refusal("would wait for ever")
        try:
            await self.acquire(timeout)
        except TimeoutError:
            raise self._refusal(f"waited {timeout:g} s") from None
        self._transaction = transaction

    def _refusal(self, waited: str) -> LockTimeout:
        writer = self._transaction
        holder = writer.description if writer is not None else "other writers"
        error = LockTimeout(f"{waited} for {holder} to end: SQLite has one writer at a time")
        if writer is not None:
            writer.add_place(error)
        return error
