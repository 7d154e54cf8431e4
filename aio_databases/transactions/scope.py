"""One level of a connection's stack of transactions, BEGIN or a savepoint: how it begins, and how it ends."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from aio_databases import errors
from aio_databases.concurrency.loops import TaskReference
from aio_databases.concurrency.shields import shielded
from aio_databases.concurrency.stack_traces import runs_within
from aio_databases.physical_connection.lock import Block, ConnectionReleased, current_block
from aio_databases.physical_connection.recovery import heed_role, translated
from aio_databases.sql.translator import Plan
from aio_databases.transactions.hooks import Hooks
from aio_databases.transactions.write_tracker import note_write

if TYPE_CHECKING:
    from types import FrameType

    from aio_databases.concurrency.queues import FifoLock
    from aio_databases.connection import Connection
    from aio_databases.drivers.base import DriverConnection, TransactionOptions
    from aio_databases.physical_connection.connection import Physical
    from aio_databases.physical_connection.lock import Turns
    from aio_databases.pool.pool import Pool
    from aio_databases.transactions.deadline import Deadline

__all__ = ("Level", "TransactionState", "is_refusal")


class TransactionState(Enum):
    """What has become of a transaction."""

    NEW = "not started"
    ACTIVE = "open"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"


class Level(Block):
    """A transaction as the others on its connection see it; `Transaction` adds what its user sees."""

    __slots__ = (
        "_around",
        "_connection",
        "_driver",
        "_is_uncertain",
        "_lease_number",
        "_options",
        "_outermost",
        "_physical",
        "_pool",
        "_savepoint",
        "_turns",
        "_writer_lock",
        "cause",
        "deadline",
        "failure",
        "generator",
        "had_guests",
        "has_block",
        "hooks",
        "is_committing",
        "last_error",
        "state",
    )

    is_transaction = True

    _connection: Connection
    _driver: DriverConnection
    _lease_number: int
    _physical: Physical
    _pool: Pool
    _turns: Turns

    def __init__(self, owner: Any, options: TransactionOptions, *, outermost: bool = False) -> None:
        """Prepare a transaction; ``outermost`` ones refuse to be nested."""
        super().__init__(owner)
        self.state = TransactionState.NEW
        self.failure: str | None = None
        self.cause: Exception | None = None  # of the failure
        self.last_error: Exception | None = None  # of a statement, which may have been caught
        self.generator: FrameType | None = None  # that holds the block, and may be left early
        self.had_guests = False  # statements of the generator's consumer
        self.has_block = False
        self.is_committing = False  # so that only the answer to COMMIT says what becomes of it
        self.hooks: Hooks | None = None
        self.deadline: Deadline | None = None
        self._around: Level | None = None
        self._is_uncertain = False
        self._options = options
        self._outermost = outermost
        self._savepoint: str | None = None
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
    def is_nested(self) -> bool:
        """Whether it is a savepoint."""
        return self._around is not None

    def is_on(self, connection: Connection) -> bool:
        """Return whether it was begun on a lease."""
        return getattr(self, "_connection", None) is connection

    @property
    def is_active(self) -> bool:
        """Whether statements can be run in it."""
        return self.state is TransactionState.ACTIVE

    @property
    def is_held_by_this_task(self) -> bool:
        """Whether it is open, and the end of its block is up to the task that runs now."""
        return self.has_block and self.is_active and self.task is not None and self.task.is_current

    @property
    def is_read_only(self) -> bool:
        """Whether it was begun ``readonly``."""
        return bool(self._options.readonly)

    @property
    def may_be_committed(self) -> bool:
        """Whether it is, or for all that is known may be, in the database."""
        return self.state is TransactionState.COMMITTED or self._is_uncertain

    @property
    def is_entered_here(self) -> bool:
        """Whether whoever runs now is inside this transaction's block, and so ends it knowingly."""
        block = current_block.get()
        while block is not None and block is not self:
            block = block.outer
        return block is self

    # Beginning

    async def begin(self, connection: Connection) -> None:
        """Begin on a connection that is leased: a transaction, or inside of another one a savepoint."""
        self._physical = physical = connection.physical
        self._connection, self._driver, self._pool = connection, connection.driver, connection.pool
        self._turns, self._lease_number = physical.turns, connection.lease
        self.task = TaskReference()
        lock = self._pool.writer_lock
        if lock is not None and self._writes and physical.turns.standing() is None:
            await connection.lock_writers(lock, self)
            self._writer_lock = lock
        try:
            await connection.perform(physical, _NO_PLAN, (), self._send_begin())
        except BaseException:
            self._unlock()
            raise

    @property
    def _writes(self) -> bool:
        options = self._options
        return not options.readonly and (options.mode or "").lower() != "deferred"

    async def _send_begin(self) -> None:
        stack, driver = self._turns.stack, self._driver
        around = stack[-1] if stack else None
        name = f"aiodb_{len(stack)}" if stack else None
        if self._was_released:  # while it waited for the writers' lock
            raise ConnectionReleased.of(self._connection)
        if name is not None:
            self._unlock()
            self._check_nesting()
            await driver.savepoint(name)
        else:
            if driver.in_transaction:
                message = "a transaction that was begun with SQL is open on this connection; end that first"
                raise errors.TransactionError(message)
            await driver.begin(self._options)
        if around is not None:
            around.raise_failure()  # what is left of it is rolled back as a whole, by the next user of the connection
        if self._was_released:
            # It is taken back at once: nobody ends it, and the connection goes to others, or lies idle with its locks.
            await (driver.rollback_to_savepoint(name) if name is not None else driver.rollback())
            what = "a nested transaction" if name is not None else "a transaction"
            message = f"{what} cannot be used any more: its connection was released, and nothing of it was committed"
            raise errors.TransactionError(message)
        self._around, self._savepoint = around, name
        stack.append(self)
        self.state = TransactionState.ACTIVE
        if self._around is None and not (self.is_read_only or self._connection.read_only):
            note_write(self.owner, self)

    @property
    def _was_released(self) -> bool:
        """Whether the lease has ended that it is begun on, although another one may be on the same connection."""
        return self._connection.turns is not self._turns or self._connection.lease != self._lease_number

    def _check_nesting(self) -> None:
        if self._outermost:
            message = "run_transaction() begins and ends a transaction of its own: call it outside of the one open here"
            raise errors.TransactionError(message)
        known = self._options._replace(readonly=None) if self._connection.read_only else self._options
        if any(option is not None for option in known):
            message = "isolation, readonly, deferrable and mode belong to the outermost transaction"
            raise errors.NotSupportedError(message)

    # Ending

    async def commit_or_abort(self, *, at_exit: bool = False) -> None:
        """Commit when nothing runs in the transaction any more; roll back if that fails, or comes too late."""
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
                raise self._too_late("commit")  # noqa: TRY301 - as above
            if self.deadline is not None and not self.deadline.stop():
                turns.give_back()
                raise self.deadline.error()  # noqa: TRY301 - as above
            await shielded(self._send_commit, timeout, in_place=self._driver.cancels_no_task)
        except GeneratorExit:
            if self.is_active:  # the coroutine is being closed: nobody will hear the answer
                self._physical.driver.terminate()
                turns.end_all("the coroutine that it was open in was closed", uncertain=not self._savepoint)
            raise
        except BaseException as exc:
            await self.abort()
            if isinstance(exc, TimeoutError) and not isinstance(exc, errors.Error):
                raise self._no_answer(f"for {timeout:g} s") from None
            raise

    async def _send_commit(self) -> None:
        turns, driver, savepoint = self._turns, self._driver, self._savepoint
        sent = False
        try:
            if driver.has_hung_up():
                raise errors.ConnectionLost("the connection was lost before COMMIT was sent")  # noqa: TRY301 - told as any loss here
            sent = self.is_committing = not savepoint
            await (driver.release_savepoint(savepoint) if savepoint else driver.commit())
            if self in turns.stack:
                for transaction in turns.end(self):
                    if transaction is self or transaction.ended or transaction.is_entered_here:
                        transaction.finish(TransactionState.COMMITTED)
                    else:
                        transaction.fail("it was committed with the transaction around it", uncertain=True)
            elif not savepoint:
                self.state = TransactionState.COMMITTED  # the answer came when it was given up
            else:
                self.raise_failure()  # and the transaction around it with it
        except Exception as exc:
            error = self._told(exc, sent=sent)
            self.is_committing = False
            self._note_failed_commit(error)
            if error is exc:
                raise
            raise error from exc
        except BaseException:
            self._physical.driver.terminate()  # time is over: nobody will know the answer
            turns.end_all("its COMMIT had no answer", uncertain=not savepoint)
            raise
        finally:
            self.is_committing = False
            turns.give_back()

    def _note_failed_commit(self, error: Exception) -> None:
        turns, driver = self._turns, self._physical.driver
        heed_role(self._pool, self._physical, error)
        if isinstance(error, errors.TransactionError) or is_refusal(error):
            error.__cause__ = self.last_error or error.__cause__
        if isinstance(error, errors.ConnectionLost):
            driver.terminate()
            uncertain = isinstance(error, errors.CommitUncertainError)
            turns.end_all("its connection was lost", uncertain=uncertain, cause=error)
        elif driver.is_closed:
            turns.end_all("its connection was lost", cause=error)
        elif not self._driver.in_transaction and turns.stack:  # PostgreSQL ends a transaction that it cannot commit
            for transaction in turns.end(turns.stack[0]):
                transaction.finish(TransactionState.ROLLED_BACK)

    def _told(self, exc: Exception, *, sent: bool) -> Exception:
        """Return what the error of a commit means; ``sent`` says whether a COMMIT was."""
        if isinstance(exc, TimeoutError) and not isinstance(exc, errors.Error):
            return self._no_answer("within the time limit that the driver's library was given")
        return translated(self._pool.driver, exc, closed=self._physical.driver.is_closed, committing=sent)

    def _no_answer(self, time: str) -> errors.Error:
        if self._savepoint:
            return errors.ConnectionLost(f"the commit of a nested transaction had no answer {time}")
        message = f"COMMIT had no answer {time}: the transaction may or may not be committed, "
        return errors.CommitUncertainError(message + "look for its rows before you run it again")

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
            await shielded(
                lambda: self._send_rollback(reason),
                self._pool.options.cleanup_timeout,
                in_place=self._driver.cancels_no_task,
            )
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
            for transaction in turns.end(self) if self in turns.stack else ():  # or it was given up meanwhile
                if reason is None and (transaction is self or transaction.is_entered_here):
                    transaction.finish(TransactionState.ROLLED_BACK)
                else:
                    transaction.fail(reason or "the transaction around it was rolled back")
        finally:
            turns.give_back()

    # What has become of it

    def finish(self, state: TransactionState) -> None:
        """Note that the transaction has ended."""
        self.state = state
        self._unlock()
        around = self._around
        if self.hooks is not None and around is not None:
            around.hooks = around.hooks or Hooks()
            around.hooks.take_over(self.hooks, undone=not self.may_be_committed)
            self.hooks = None

    def fail(self, reason: str, *, uncertain: bool = False, cause: Exception | None = None) -> None:
        """Note that the transaction was ended from outside: whoever uses it from now on is told why.

        ``uncertain`` means that something of it may have been committed.
        """
        self.failure, self.cause = reason, cause
        self._is_uncertain = uncertain
        self.finish(TransactionState.FAILED)
        self._connection.losses.note(self)

    @property
    def was_left_early(self) -> bool:
        """Whether the generator that held it was, after its consumer had run statements in it."""
        return self.had_guests and self.generator is None

    def note_guest(self) -> None:
        """Note whose statement is about to run in it, where a generator holds it.

        Raises TransactionTimeout if that takes too long, as nothing is cancelled there.
        """
        if self.generator is None or self.task is None or not self.task.is_current:
            return
        if self.deadline is not None and self.deadline.is_over:
            raise self.deadline.error()
        self.had_guests = self.had_guests or not runs_within(self.generator)

    def note_error(self, error: Exception) -> None:
        """Keep the error of a statement, to name it as the cause of those that follow from it."""
        if is_refusal(error):
            error.__cause__ = self.last_error or error.__cause__
        else:
            self.last_error = error

    def raise_failure(self) -> None:
        """Raise TransactionError if the transaction was ended from outside."""
        if self.state is TransactionState.FAILED:
            lost = "" if self._is_uncertain else ", and nothing of it was committed"
            error = errors.TransactionError(f"{self.label} cannot be used any more: {self.failure}{lost}")
            if self.was_left_early:
                self.ended = True  # once is enough
            if self.cause is not None:
                error.__cause__ = self.cause
            try:
                raise error
            finally:
                del error  # whose traceback holds this frame

    def _too_late(self, verb: str) -> errors.TransactionError:
        return errors.TransactionError(f"cannot {verb} a transaction that is {self.state.value}")

    def forget_lock(self) -> None:
        """Leave the writers' lock to others who have it as well."""
        self._writer_lock = None

    def _unlock(self) -> None:
        lock, self._writer_lock = self._writer_lock, None
        if lock is not None:
            lock.release()


def is_refusal(error: BaseException) -> bool:
    """Return whether this is how PostgreSQL refuses all further statements of a transaction in which one has failed."""
    return isinstance(error, errors.Error) and error.sqlstate == _IN_FAILED_TRANSACTION


_IN_FAILED_TRANSACTION = "25P02"
_NO_PLAN = Plan("", writes=False, session=False)
