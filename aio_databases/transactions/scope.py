"""One level of a connection's stack of transactions, BEGIN or a savepoint: how it begins, and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aio_databases import errors
from aio_databases.concurrency.loops import TaskReference
from aio_databases.concurrency.shields import shielded
from aio_databases.dialects.error_codes import is_refusal
from aio_databases.physical_connection.error_translation import translate_error
from aio_databases.physical_connection.lock import ConnectionReleased
from aio_databases.physical_connection.scopes import OpenTransaction, TransactionState
from aio_databases.physical_connection.write_tracker import record_write
from aio_databases.sql.translator import NO_STATEMENT

if TYPE_CHECKING:
    from aio_databases.drivers.base import DriverConnection, TransactionOptions
    from aio_databases.physical_connection.connection import PhysicalConnection
    from aio_databases.physical_connection.lock import ConnectionLock, WriterLock
    from aio_databases.pool.lease import Lease
    from aio_databases.pool.pool import Pool


class TransactionScope(OpenTransaction):
    """A transaction as the others on its connection see it; `Transaction` adds what its user sees."""

    _driver: DriverConnection
    _lease: Lease
    _lease_number: int
    _lock: ConnectionLock
    _physical: PhysicalConnection
    _pool: Pool

    def __init__(self, owner: Any, options: TransactionOptions, *, outermost: bool = False) -> None:
        """Prepare a transaction; ``outermost`` ones refuse to be nested."""
        super().__init__(owner)
        self.state = TransactionState.NEW
        self.failure: str | None = None
        self.cause = None  # of the failure
        self.has_block = False
        self.is_committing = False
        self._last_error: Exception | None = None  # of a statement, which may have been caught
        self._parent: OpenTransaction | None = None
        self._is_uncertain = False
        self._options = options
        self._outermost = outermost
        self._savepoint: str | None = None
        self._writer_lock: WriterLock | None = None

    def __repr__(self) -> str:
        return f"<Transaction {self.state.value}{' nested' if self._savepoint else ''}>"

    @property
    def lock(self) -> ConnectionLock | None:
        """The lock of the connection that the transaction is on, once it has begun."""
        return getattr(self, "_lock", None)

    @property
    def label(self) -> str:
        """What messages call it."""
        return "a nested transaction" if self._savepoint else "a transaction"

    def is_on(self, lease: Any) -> bool:
        """Return whether it was begun on a lease."""
        return getattr(self, "_lease", None) is lease

    @property
    def is_active(self) -> bool:
        """Whether statements can be run in it."""
        return self.state is TransactionState.ACTIVE

    @property
    def is_read_only(self) -> bool:
        """Whether it was begun ``readonly``."""
        return bool(self._options.readonly)

    @property
    def may_be_committed(self) -> bool:
        """Whether it is, or for all that is known may be, in the database."""
        return self.state is TransactionState.COMMITTED or self._is_uncertain

    # Beginning

    async def begin(self, lease: Lease) -> None:
        """Begin on a connection that is leased: a transaction, or inside of another one a savepoint."""
        self._physical = physical = lease.physical
        self._lease, self._driver, self._pool = lease, lease.driver, lease.pool
        self._lock, self._lease_number = physical.lock, lease.number
        self.task = TaskReference()
        writer_lock = self._pool.writer_lock
        if writer_lock is not None and self._writes and physical.lock.current_transaction() is None:
            await writer_lock.acquire_for(self, self._pool.options.timeout)
            self._writer_lock = writer_lock
        try:
            await physical.run_call(lease, NO_STATEMENT, (), self._send_begin())
        except BaseException:
            self._unlock()
            raise

    @property
    def _writes(self) -> bool:
        options = self._options
        return not options.readonly and (options.mode or "").lower() != "deferred"

    async def _send_begin(self) -> None:
        lock, driver = self._lock, self._driver
        parent = lock.transactions[-1] if lock.transactions else None
        name = f"aiodb_{len(lock.transactions)}" if parent is not None else None
        if self._was_released:  # while it waited for the writers' lock
            raise ConnectionReleased.of(self._lease)
        if name is not None:
            self._unlock()
            self._check_nesting()
            await driver.savepoint(name)
        else:
            if driver.in_transaction:
                raise errors.TransactionError(
                    "a transaction that was begun with SQL is open on this connection; end that first"
                )
            await driver.begin(self._options)
        if parent is not None:
            parent.raise_failure()  # what is left of it is rolled back as a whole, by the next user of the connection
        if self._was_released:
            # It is taken back at once: no task ends it, and the connection goes to others, or lies idle with its locks.
            await (driver.rollback_to_savepoint(name) if name is not None else driver.rollback())
            what = "a nested transaction" if name is not None else "a transaction"
            raise errors.TransactionError(
                f"{what} cannot be used any more: its connection was released, and nothing of it was committed"
            )
        self._parent, self._savepoint = parent, name
        lock.begin(self)
        self.state = TransactionState.ACTIVE
        if parent is None and not (self.is_read_only or self._lease.read_only):
            record_write(self.owner, self)

    @property
    def _was_released(self) -> bool:
        """Whether the lease has ended that it is begun on, although another one may be on the same connection."""
        return self._lease.lock is not self._lock or self._lease.number != self._lease_number

    def _check_nesting(self) -> None:
        if self._outermost:
            raise errors.TransactionError(
                "run_transaction() begins and ends a transaction of its own: call it outside of the one open here"
            )
        known = self._options._replace(readonly=None) if self._lease.read_only else self._options
        if any(option is not None for option in known):
            raise errors.NotSupportedError(
                "isolation, readonly, deferrable and mode belong to the outermost transaction"
            )

    # Ending

    def _check_time(self) -> None:
        """Raise an error if it is too late to commit."""

    async def _commit(self, *, at_exit: bool = False) -> None:
        """Commit when nothing runs in the transaction any more; roll back if that fails, or comes too late."""
        lock, timeout = self._lock, self._pool.options.commit_timeout
        try:
            try:
                await lock.acquire(self._pool.options.timeout, at=self)
            except errors.TransactionError:
                if at_exit and self.state is not TransactionState.FAILED:
                    return  # another task ended it by hand: the exit has nothing left to do
                raise
            try:
                if not self.is_active:
                    self.raise_failure()
                    raise self._too_late("commit")
                self._check_time()
            except errors.Error:
                lock.release()
                raise
            await shielded(self._send_commit, timeout, in_place=self._driver.cancels_no_task)
        except GeneratorExit:
            if self.is_active:  # the coroutine is being closed: no task will get the answer
                self._physical.driver.terminate()
                lock.end_all("the coroutine that it was open in was closed", uncertain=not self._savepoint)
            raise
        except BaseException as exc:
            await self.roll_back()
            if isinstance(exc, TimeoutError) and not isinstance(exc, errors.Error):
                raise self._no_answer(f"for {timeout:g} s") from None
            raise

    async def _send_commit(self) -> None:
        lock, driver, savepoint = self._lock, self._driver, self._savepoint
        sent = False
        try:
            if driver.has_hung_up():
                raise errors.ConnectionLost("the connection was lost before COMMIT was sent")  # noqa: TRY301 - as any loss here
            sent = self.is_committing = not savepoint
            await (driver.release_savepoint(savepoint) if savepoint else driver.commit())
            if self in lock.transactions:
                for transaction in lock.end(self):
                    if transaction is self or transaction.ended or transaction.is_entered_here:
                        transaction.mark_ended(TransactionState.COMMITTED)
                    else:
                        transaction.fail("it was committed with the transaction around it", uncertain=True)
            elif not savepoint:
                self.state = TransactionState.COMMITTED  # the answer came when it was given up
            else:
                self.raise_failure()  # and the transaction around it with it
        except Exception as exc:
            error = self._translate_failure(exc, sent=sent)
            self.is_committing = False
            self._note_failed_commit(error)
            if error is exc:
                raise
            raise error from exc
        except BaseException:
            self._physical.driver.terminate()  # time is over: no task will get the answer
            lock.end_all("its COMMIT had no answer", uncertain=not savepoint)
            raise
        finally:
            self.is_committing = False
            lock.release()

    def _translate_failure(self, exc: Exception, *, sent: bool) -> Exception:
        """Return what the error of a commit means; ``sent`` says whether a COMMIT was."""
        if isinstance(exc, TimeoutError) and not isinstance(exc, errors.Error):
            return self._no_answer("within the time limit that the driver's library was given")
        return translate_error(self._pool.driver, exc, closed=self._physical.driver.is_closed, committing=sent)

    def _note_failed_commit(self, error: Exception) -> None:
        physical, lock = self._physical, self._lock
        if isinstance(error, errors.TransactionError) or is_refusal(error):
            error.__cause__ = self._last_error or error.__cause__
        physical.note_failure(error, self._pool)
        if not (physical.driver.is_closed or self._driver.in_transaction) and lock.transactions:
            for transaction in lock.end(lock.transactions[0]):  # PostgreSQL ends a transaction that it cannot commit
                transaction.mark_ended(TransactionState.ROLLED_BACK)

    def _no_answer(self, time: str) -> errors.Error:
        if self._savepoint:
            return errors.ConnectionLost(f"the commit of a nested transaction had no answer {time}")
        return errors.CommitUncertainError(
            f"COMMIT had no answer {time}: the transaction may or may not be committed, "
            "look for its rows before you run it again"
        )

    async def roll_back(self, reason: str | None = None) -> None:
        """Roll back if the transaction is open; later uses of it raise an error with the ``reason``, if there is one.

        Never raises an error: a connection on which ROLLBACK fails is cut, which rolls back as well.
        """
        if not self.is_active:
            return
        lock = self._lock
        if self._physical.driver.is_closed:
            lock.end_all(reason or "its connection was lost")
            return
        try:
            await shielded(
                lambda: self._send_rollback(reason),
                self._pool.options.cleanup_timeout,
                in_place=self._driver.cancels_no_task,
            )
        except Exception as exc:  # noqa: BLE001 - what matters is the exception that led here
            self._lease.logger.warning("ROLLBACK failed, the connection is cut: %r", exc)
        finally:
            if self in lock.transactions:
                self._physical.driver.terminate()
                lock.end_all(reason or "its connection was cut")

    async def _send_rollback(self, reason: str | None) -> None:
        lock, driver, savepoint = self._lock, self._driver, self._savepoint
        await lock.acquire_for_cleanup(self._pool.options.cleanup_timeout)
        try:
            if self not in lock.transactions:
                return
            await (driver.rollback_to_savepoint(savepoint) if savepoint else driver.rollback())
            for transaction in lock.end(self) if self in lock.transactions else ():  # or it was given up meanwhile
                if reason is None and (transaction is self or transaction.is_entered_here):
                    transaction.mark_ended(TransactionState.ROLLED_BACK)
                else:
                    transaction.fail(reason or "the transaction around it was rolled back")
        finally:
            lock.release()

    # What has become of it

    def mark_ended(self, state: TransactionState) -> None:
        """Note that the transaction has ended."""
        self.state = state
        self._unlock()

    def fail(self, reason: str, *, uncertain: bool = False, cause: Exception | None = None) -> None:
        """Note that the transaction was ended from outside; its next use raises an error with the ``reason``.

        ``uncertain`` means that something of it may have been committed.
        """
        self.failure, self.cause = reason, cause
        self._is_uncertain = uncertain
        self.mark_ended(TransactionState.FAILED)
        self._lease.watch_losses().note(self, is_nested=self._parent is not None)

    def note_error(self, error: Exception) -> None:
        """Keep the error of a statement, to name it as the cause of those that follow from it."""
        if is_refusal(error):
            error.__cause__ = self._last_error or error.__cause__
        else:
            self._last_error = error

    def raise_failure(self) -> None:
        """Raise TransactionError if the transaction was ended from outside."""
        if self.state is TransactionState.FAILED:
            lost = "" if self._is_uncertain else ", and nothing of it was committed"
            error = errors.TransactionError(f"{self.label} cannot be used any more: {self.failure}{lost}")
            if self.cause is not None:
                error.__cause__ = self.cause
            try:
                raise error
            finally:
                del error  # whose traceback holds this frame

    def _too_late(self, verb: str) -> errors.TransactionError:
        return errors.TransactionError(f"cannot {verb} a transaction that is {self.state.value}")

    def forget_lock(self) -> None:
        """Leave the writers' lock to the parent process, in a process that was forked from it."""
        self._writer_lock = None

    def _unlock(self) -> None:
        lock, self._writer_lock = self._writer_lock, None
        if lock is not None:
            lock.release()
