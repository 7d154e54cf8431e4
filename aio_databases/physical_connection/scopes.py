"""Blocks: which ``async with`` blocks a call is made in, and which connection it uses therefore.

Every ``async with`` block is a `Block` in a linked stack that the context variable carries, so child tasks inherit the
blocks they were started in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import ContextVar
from enum import Enum
from threading import get_ident
from typing import TYPE_CHECKING, Any

from aio_databases.concurrency.forks import call_after_fork
from aio_databases.concurrency.loops import TaskReference, current_task, task_name
from aio_databases.concurrency.stack_traces import as_text, stack_here
from aio_databases.errors import InterfaceError, TransactionError

if TYPE_CHECKING:
    from traceback import StackSummary


class Block:
    """One ``connection()``, ``transaction()`` or ``replica()`` block of a `Database`."""

    has_block: bool = True
    """Whether it ends with an ``async with``; otherwise it may end at any time, in any task."""
    is_transaction = False
    connection: Any
    """The connection that statements in the block use, a `Lease`, or None."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.outer: Block | None = None
        self.connection = None
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
            self.outer.skip_ended()
        self.ended = False
        self.task = task or TaskReference()
        current_block.set(self)

    def skip_ended(self) -> None:
        """Refer to the nearest open block outside, so that ended ones are not kept in memory."""
        self.outer = _nearest_open(self.outer)

    def leave(self) -> None:
        """Be the innermost block no more; a context that inherited this block skips it from now on."""
        self.ended = True
        if current_block.get() is self:
            current_block.set(self.outer)
        # Otherwise this runs in another context than `enter` did, or blocks were left out of order: looking for a
        # block skips the ended ones.


class TransactionState(Enum):
    """What has become of a transaction."""

    NEW = "not started"
    ACTIVE = "open"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"


class OpenTransaction(Block, ABC):
    """What a connection asks of a transaction on it, and reports to it."""

    is_transaction = True
    cause: Exception | None
    """The error that has ended the transaction, if one did."""
    is_committing: bool
    """Whether COMMIT was sent, so that only its answer says what becomes of the transaction."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What messages call the transaction."""

    @property
    def description(self) -> str:
        """What messages to another task, or another call, call the transaction."""
        task = self.task
        opener = "the very task that waits" if task is not None and task.is_current else f"{task}"
        return f"{self.label}, opened by {opener},"

    @property
    @abstractmethod
    def is_active(self) -> bool:
        """Whether statements can be run in it."""

    @property
    @abstractmethod
    def is_read_only(self) -> bool:
        """Whether it was begun ``readonly``."""

    @property
    def is_held_by_this_task(self) -> bool:
        """Whether it is open, and the end of its block is up to the running task."""
        return self.has_block and self.is_active and self.task is not None and self.task.is_current

    @property
    def is_entered_here(self) -> bool:
        """Whether the running code is inside this transaction's block, and so ends it knowingly."""
        block = current_block.get()
        while block is not None and block is not self:
            block = block.outer
        return block is self

    @abstractmethod
    def is_on(self, lease: Any) -> bool:
        """Return whether it was begun on a lease."""

    @abstractmethod
    async def roll_back(self, reason: str | None = None) -> None:
        """Roll back if the transaction is open; later uses of it raise an error with the ``reason``, if there is one.

        Never raises an error: a connection on which ROLLBACK fails is cut, which rolls back as well.
        """

    @abstractmethod
    def mark_ended(self, state: TransactionState) -> None:
        """Note that the transaction has ended."""

    @abstractmethod
    def fail(self, reason: str, *, uncertain: bool = False, cause: Exception | None = None) -> None:
        """Note that the transaction was ended from outside; its next use raises an error with the ``reason``.

        ``uncertain`` means that something of it may have been committed.
        """

    @abstractmethod
    def note_error(self, error: Exception) -> None:
        """Keep the error of a statement, to name it as the cause of those that follow from it."""

    @abstractmethod
    def note_guest(self) -> None:
        """Note which task's statement is about to run in it, where a generator holds it.

        Raises TransactionTimeout if the generator has held it for too long.
        """

    @abstractmethod
    def forget_lock(self) -> None:
        """Leave the writers' lock to the parent process, in a process that was forked from it."""

    def add_place(self, error: Exception) -> None:
        """Add to an error where the transaction was opened, if that is known."""
        if self.opened_at is not None:
            error.add_note(f"{self.label} was opened at:\n{as_text(self.opened_at)}")


def _nearest_open(block: Block | None) -> Block | None:
    while block is not None and block.ended:
        block = block.outer
    return block


current_block: ContextVar[Block | None] = ContextVar("aio_databases_block", default=None)
call_after_fork(lambda: current_block.set(None))  # the connections of the blocks are the parent's


def live_connection(owner: Any) -> Any:
    """Return the connection of the innermost block of ``owner`` that still has one, as seen from here, or None.

    Raises TransactionError in a block whose transaction was ended from outside: a statement would run without it.
    """
    block = current_block.get()
    while block is not None:
        if block.owner is owner and not block.ended and (owner.child_tasks == "share" or is_visible(block)):
            if block.is_transaction:
                block.raise_failure()
            connection = block.connection
            if (
                connection is not None
                and connection.is_usable
                # the first of these spares every query a call
                and (connection.home.thread == get_ident() or connection.home.is_here)
            ):
                return connection
        block = block.outer
    return None


def connections_here(owner: Any, *, hidden: bool = True) -> list[Any]:
    """Return the connections of all blocks of ``owner`` that are open here, innermost first.

    With ``hidden``, also those that ``child_tasks`` keeps from the running task.
    """
    found: list[Any] = []
    block = current_block.get()
    while block is not None:
        connection = block.connection
        is_seen = block.owner is owner and (hidden or owner.child_tasks == "share" or is_visible(block))
        if is_seen and not block.ended and connection is not None and connection.home.is_here:
            found.append(connection)
        block = block.outer
    return found


def locks_held_here() -> list[Any]:
    """Return the locks of the connections of those open blocks that the running task has entered."""
    found: list[Any] = []
    block = current_block.get()
    while block is not None:
        connection, task = block.connection, block.task
        if not block.ended and block.has_block and connection is not None and task is not None and task.is_current:
            found += [connection.lock] if connection.lock is not None else []
        block = block.outer
    return found


def is_visible(block: Block) -> bool:
    """Return whether the running task sees a block.  Raises TransactionError where it is forbidden to use it."""
    if block.task is not None and block.task.is_current:
        return True
    policy = block.owner.child_tasks
    if policy == "forbid" and isinstance(block, OpenTransaction):
        raise TransactionError(
            f"task {task_name(current_task())!r} uses a transaction that {block.task} opened, which "
            "child_tasks='forbid' does not allow; open a connection() in the child task"
        )
    return bool(policy == "forbid")
