"""Who may use a connection now: blocks tell where a call stands, turns decide when it runs.

Every ``async with`` block is a `Block` in a linked stack that the context variable carries, so child tasks inherit the
blocks they were started in.  A call stands in the innermost transaction of its connection that its context is inside
of, whatever object it is made on.  It runs when nobody else uses the connection and no transaction is open inside of
the one it stands in; until then it waits, first come, first served.
"""

from __future__ import annotations

from contextvars import ContextVar
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from aio_databases.concurrency.forks import call_after_fork
from aio_databases.concurrency.loops import TaskReference, current_task, is_foreign, task_name
from aio_databases.concurrency.queues import WaitQueue
from aio_databases.concurrency.stack_traces import as_text, stack_here
from aio_databases.errors import InterfaceError, TransactionError, TurnTimeout

if TYPE_CHECKING:
    from traceback import StackSummary

    from aio_databases.connection import Connection
    from aio_databases.pool.pool import Pool
    from aio_databases.transactions.scope import Level

__all__ = (
    "Block",
    "ConnectionReleased",
    "Turns",
    "add_place",
    "connections_here",
    "current_block",
    "describe",
    "live_connection",
    "turns_held_here",
)


class Block:
    """One ``connection()``, ``transaction()`` or ``replica()`` block of a `Database`."""

    __slots__ = ("connection", "ended", "opened_at", "outer", "owner", "task")

    has_block: bool = True
    """Whether it ends with an ``async with``; else whenever, in whatever task."""
    is_transaction = False

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.outer: Block | None = None
        self.connection: Connection | None = None
        self.ended = True
        self.task: TaskReference | None = None
        self.opened_at: StackSummary | None = stack_here() if owner.debug else None

    def raise_failure(self) -> None:
        """Raise TransactionError if this is a transaction's block, and the transaction was ended from outside."""

    def check_unused(self) -> None:
        """Raise InterfaceError if the block is open."""
        if not self.ended:
            raise InterfaceError("this block is open already; make a new one for each 'async with'")

    def enter(self, task: TaskReference | None = None) -> None:
        """Become the innermost block of the running context; ``task`` is the one that runs, if it is at hand."""
        self.check_unused()
        self.outer = _nearest_open(current_block.get())
        if self.outer is not None:
            self.outer.outer = _nearest_open(self.outer.outer)  # so that what has ended is not kept for ever
        self.ended = False
        self.task = task or TaskReference()
        current_block.set(self)

    def leave(self) -> None:
        """Be the innermost block no more; a context that inherited this block skips it from now on."""
        self.ended = True
        if current_block.get() is self:
            current_block.set(self.outer)
        # Otherwise this runs in another context than `enter` did, or blocks were left out of order: looking for a
        # block skips the ended ones.


def describe(transaction: Level) -> str:
    """Return what messages call a transaction that somebody else has opened."""
    task = transaction.task
    who = "the very task that waits" if task is not None and task.is_current else f"{task}"
    return f"{transaction.label}, opened by {who},"


def add_place(error: Exception, transaction: Level) -> None:
    """Add to an error where a transaction was opened, if that is known."""
    if transaction.opened_at is not None:
        error.add_note(f"{transaction.label} was opened at:\n{as_text(transaction.opened_at)}")


def _nearest_open(block: Block | None) -> Block | None:
    while block is not None and block.ended:
        block = block.outer
    return block


current_block: ContextVar[Block | None] = ContextVar("aio_databases_block", default=None)
call_after_fork(lambda: current_block.set(None))  # the connections of the blocks are the parent's


def live_connection(owner: Any) -> Connection | None:
    """Return the connection of the innermost block of ``owner`` that still has one, as seen from here.

    Raises TransactionError in a block whose transaction was ended from outside: a statement would run without it.
    """
    block = current_block.get()
    while block is not None:
        if block.owner is owner and not block.ended and (owner.child_tasks == "share" or _is_visible(block)):
            if block.is_transaction:
                block.raise_failure()
            connection = block.connection
            if (
                connection is not None
                and connection.is_usable
                # the first of these spares every query a call
                and (connection.pool.thread == get_ident() or _is_at_home(connection.pool))
            ):
                return connection
        block = block.outer
    return None


def _is_at_home(pool: Pool) -> bool:
    """Return whether a pool can be used here: a thread inherits its blocks, and may run an event loop of its own."""
    # The thread is asked first because it is told faster; an event loop may go on in another one.
    return pool.thread == get_ident() or not is_foreign(pool.loop)


def connections_here(owner: Any, *, hidden: bool = True) -> list[Connection]:
    """Return the connections of all blocks of ``owner`` that are open here, innermost first.

    With ``hidden``, also those that ``child_tasks`` keeps from the running task.
    """
    found: list[Connection] = []
    block = current_block.get()
    while block is not None:
        connection = block.connection
        is_seen = block.owner is owner and (hidden or owner.child_tasks == "share" or _is_visible(block))
        if is_seen and not block.ended and connection is not None and _is_at_home(connection.pool):
            found.append(connection)
        block = block.outer
    return found


def turns_held_here() -> list[Turns]:
    """Return the lines in front of the connections of those open blocks that the running task has entered."""
    found: list[Turns] = []
    block = current_block.get()
    while block is not None:
        connection, task = block.connection, block.task
        if not block.ended and block.has_block and connection is not None and task is not None and task.is_current:
            found += [connection.turns] if connection.turns is not None else []
        block = block.outer
    return found


def _is_visible(block: Block) -> bool:
    """Return whether the running task sees a block.  Raises TransactionError where it is forbidden to use it."""
    if block.task is not None and block.task.is_current:
        return True
    policy = block.owner.child_tasks
    if policy == "forbid" and block.is_transaction:
        message = f"task {task_name(current_task())!r} uses a transaction that {block.task} opened; "
        raise TransactionError(message + "child_tasks='forbid' does not allow that: open a connection() in the child")
    return bool(policy == "forbid")


class ConnectionReleased(InterfaceError, RuntimeError):
    """A connection was used after its release, or released while a call waited for its turn."""

    @classmethod
    def of(cls, connection: Connection) -> ConnectionReleased:
        """Return the error for a connection."""
        return cls(f"{connection!r} was used after its release; use it inside its block, or acquire() it again")


class Turns:
    """The line in front of one connection, and the stack of transactions that are open on it."""

    __slots__ = ("_queues", "_urgent", "busy", "dismissed", "stack", "waiting")

    def __init__(self) -> None:
        self.busy = False
        self.dismissed = False
        self.stack: list[Level] = []
        self.waiting = 0  # tasks in line; while there are any, `give_back` has to choose one
        self._queues: dict[Level | None, WaitQueue[bool]] = {}
        self._urgent: WaitQueue[bool] = WaitQueue()

    def standing(self, at: Level | None = None) -> Level | None:
        """Return the open transaction that a call made now stands in, at least ``at``.

        A transaction that was started without a block belongs to everybody who stands where it was started.
        """
        stack = self.stack
        block = current_block.get()
        found: Level | None = None
        while block is not None:
            if block.is_transaction:
                transaction = cast("Level", block)
                if transaction in stack:
                    if block.owner.child_tasks == "forbid":
                        _is_visible(block)
                    found = transaction
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

    def take_nowait(self, at: Level | None = None) -> bool:
        """Take the turn and return True if the call may run now, or if the lease has ended and nobody is in its way."""
        if self.dismissed:
            return True
        if self.busy or (self.stack and not self._is_on_top(at)):
            return False
        self.busy = True
        return True

    def _is_on_top(self, at: Level | None) -> bool:
        """Return whether nothing is open inside of the transaction that a call made now stands in."""
        top = self.stack[-1]
        # It is nearly always told without a search.
        is_there = top is at or top is current_block.get()
        return (is_there and top.owner.child_tasks == "share") or self.standing(at) is top

    async def take(self, timeout: float, at: Level | None = None) -> None:
        """Take the turn, waiting for it for at most ``timeout`` seconds; the call stands in ``at``, if not deeper.

        Raises TurnTimeout, naming what it waited for; at once if that is a block of the very task.
        """
        deadline = monotonic() + timeout
        while not self.take_nowait(at):
            standing = self.standing(at)
            self._check_not_in_its_own_way(standing)
            queue = self._queues.setdefault(standing, WaitQueue())
            self.waiting += 1
            try:
                granted = await queue.wait(deadline - monotonic(), self._undo)
            except TimeoutError:
                raise self._waited_in_vain(timeout) from None
            finally:
                self.waiting -= 1
            if granted:
                return
            if standing is not None and not standing.is_active:
                message = f"{standing.label} was ended by another task while a statement of it waited for its turn"
                raise TransactionError(message) from standing.cause

    async def take_urgently(self, timeout: float) -> None:
        """Take the turn before everybody else, whatever transactions are open: to clear up.

        Where the lease has ended there is nothing to wait for.  Raises TimeoutError when a call runs for longer than
        ``timeout`` seconds.
        """
        self.waiting += 1
        try:
            if self.busy and not self.dismissed:
                await self._urgent.wait(timeout, self._undo)
        finally:
            self.waiting -= 1
        self.busy = True

    def give_back(self) -> None:
        """End the turn and hand it to the next in line who may run."""
        if not self.waiting:
            self.busy = False
            return
        if self._urgent.wake_next(value=True):
            return
        if self._queues and self._wake_eligible():
            return
        self.busy = False

    def end(self, transaction: Level) -> list[Level]:
        """Take a transaction that has ended off the stack, and return it with those inside of it, innermost first."""
        position = self.stack.index(transaction)
        ended = self.stack[: position - 1 if position else None : -1]
        del self.stack[position:]
        for each in ended:
            self._forget(each)
        return ended

    def end_all(self, reason: str, *, uncertain: bool = False, cause: Exception | None = None) -> None:
        """Mark every transaction that is open as ended from outside, and serve those who waited for its end.

        ``uncertain`` means that something of it may have been committed, as it may where COMMIT is under way.
        """
        if not self.stack:
            return
        uncertain = uncertain or self.stack[0].is_committing
        for transaction in self.end(self.stack[0]):
            transaction.fail(reason, uncertain=uncertain, cause=cause)
        if self.waiting and not self.busy:
            self.busy = True
            self.give_back()

    def forsake(self, reason: str) -> None:
        """Mark every transaction as ended, in a forked process: those who wait for that are the parent's."""
        self._queues.clear()
        self.waiting, self.busy = 0, True
        for transaction in self.stack:
            transaction.forget_lock()
        self.end_all(reason, uncertain=True)

    def _forget(self, transaction: Level) -> None:
        # Those who wait inside it look anew where they stand.
        queue = self._queues.pop(transaction, None)
        if queue is not None:
            queue.wake_all(value=False)

    def dismiss(self) -> None:
        """Have everybody who waits look anew: the connection goes to other hands."""
        self.dismissed = True
        queues, self._queues = self._queues, {}
        for queue in (*queues.values(), self._urgent):
            queue.wake_all(value=False)

    def _wake_eligible(self) -> bool:
        stack = self.stack
        depth = len(stack)
        while True:
            queue = self._queues.get(stack[depth - 1] if depth else None)
            if queue is not None and queue.wake_next(value=True):
                return True
            # Whoever stands just below a transaction without a block may run as well.
            if not depth or stack[depth - 1].has_block:
                return False
            depth -= 1

    def _undo(self, granted: bool) -> None:  # noqa: FBT001 - a callback
        if granted:
            self.give_back()

    def _check_not_in_its_own_way(self, standing: Level | None) -> None:
        for transaction in self.stack[self.stack.index(standing) + 1 if standing is not None else 0 :]:
            if transaction.is_held_by_this_task:
                raise _blocked(transaction, "would wait for ever")

    def _waited_in_vain(self, timeout: float) -> TurnTimeout:
        if not self.stack:
            return TurnTimeout(f"waited {timeout:g} s for another task's statement on this connection")
        return _blocked(self.stack[-1], f"waited {timeout:g} s")


def _blocked(transaction: Level, waited: str) -> TurnTimeout:
    error = TurnTimeout(
        f"{waited} for {describe(transaction)} to end: "
        "while it is open, only calls made inside its block run on this connection"
    )
    add_place(error, transaction)
    return error
