"""One connection to a server: run calls on it one at a time, know its state, and clean up after them."""

from __future__ import annotations

import random
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio

from aio_databases import errors
from aio_databases.concurrency.shields import shielded
from aio_databases.dialects.error_codes import is_not_ready, is_of_replica
from aio_databases.physical_connection.error_translation import translate_error
from aio_databases.physical_connection.lock import ConnectionLock, ConnectionReleased
from aio_databases.physical_connection.write_tracker import record_use
from aio_databases.sql.bad_parameters import add_parameter_hint, add_placeholder_hint

if TYPE_CHECKING:
    import logging
    from collections.abc import Coroutine

    from aio_databases.config.options import PoolOptions
    from aio_databases.dialects.positions import Position
    from aio_databases.drivers.base import Cursor, DriverConnection
    from aio_databases.physical_connection.contracts import Caller, Connector, Server
    from aio_databases.physical_connection.lock import WriterLock
    from aio_databases.sql.translator import CompiledQuery

T = TypeVar("T")


class PhysicalConnection:
    """One connection to a server and its state, which only this class changes."""

    __slots__ = (
        "_check_after",
        "_check_due_at",
        "_connector",
        "_cursors",
        "_lost_manual_transaction",
        "_manual_caller",
        "_needs_cleanup",
        "_opened_at",
        "_options",
        "_orphaned_cursors",
        "_role_is_uncertain",
        "driver",
        "expires_at",
        "host",
        "in_manual_transaction",
        "last_used_at",
        "lease_for_one_statement",
        "leased_at",
        "lock",
        "replay_position",
        "session_changed",
    )

    def __init__(self, driver: DriverConnection, connector: Connector, options: PoolOptions) -> None:
        """Take over a connection that ``connector`` has just opened."""
        now = monotonic()
        self.driver = driver
        self.host = connector.last_host
        self.last_used_at = self.leased_at = self._opened_at = now
        lifetime = options.max_lifetime * random.uniform(0.9, 1.0)  # noqa: S311 - against mass reconnection
        self.expires_at = now + (lifetime or float("inf"))
        self.replay_position: Position | None = None  # how far its server is at least, if it was asked
        self._check_after = options.check_after
        self._connector = connector
        self._options = options
        self._trust_role(now)
        self.renew()

    def renew(self) -> None:
        """Start with a clean slate, for the next lease."""
        self.lock = ConnectionLock()
        self.lease_for_one_statement: Any = None  # kept because making one takes time
        self.session_changed = False
        self.in_manual_transaction = False  # that was begun by SQL of the caller's own
        self._manual_caller: Caller | None = None  # the lease that has begun it, unless that was for one statement
        self._lost_manual_transaction = False  # the database rolled it back, and the caller does not know yet
        self._needs_cleanup = False
        self._cursors: set[Cursor] = set()
        self._orphaned_cursors: list[Cursor] = []

    # Leases

    def begin_lease(self, now: float) -> None:
        """Note that the connection is lent."""
        self.leased_at = now

    def end_lease(self, now: float) -> None:
        """Note that the connection came back in order, so that its server works."""
        self.last_used_at = now

    def keep_lease(self, lease: Any) -> None:
        """Keep a lease for one statement, for the next one."""
        self.lease_for_one_statement = lease

    def forget_caller(self, caller: Caller) -> None:
        """Note that a lease has ended: a transaction that it has begun by SQL has no caller any more."""
        if self._manual_caller is caller:
            self._manual_caller = None

    def leave_to_parent(self, reason: str) -> None:
        """Forget the lease, in a process that was forked from the one that has it."""
        self.lock.forget_after_fork(reason)
        self.renew()

    # What is known of it

    @property
    def is_clean(self) -> bool:
        """Whether the next lease may get the connection as it is."""
        lock = self.lock
        return self.driver.is_at_rest and not (
            self.session_changed or self._needs_cleanup or self._cursors or lock.locked or lock.transactions
        )

    @property
    def has_open_work(self) -> bool:
        """Whether a transaction, cursor or statement of the last lease is still open at the database."""
        return bool(self._needs_cleanup or self._cursors or self.lock.transactions or self.driver.in_transaction)

    def needs_check(self, now: float) -> bool:
        """Return whether the connection has to answer before it may be lent, or may not be lent at all."""
        return now - self.last_used_at >= self._check_after or now >= self._check_due_at or self.driver.is_closed

    def require_check(self) -> None:
        """Have the connection checked before it is lent again."""
        self._check_due_at = float("-inf")

    def require_role_check(self, now: float) -> None:
        """Have the role of the server checked before the connection is lent again.

        Where any server would do, that is left out for one that was found a moment ago: another would be the same.
        """
        if self._connector.asks_at_once or now - self._opened_at >= _A_MOMENT:
            self._role_is_uncertain = True
            self._check_due_at = float("-inf")

    def _trust_role(self, now: float) -> None:
        self._role_is_uncertain = False
        due = now + self._check_after if self._connector.watches_roles else float("inf")
        self._check_due_at = min(due, self.expires_at)

    def retire(self) -> None:
        """Have the connection closed when it comes back, and not lent again."""
        self.expires_at = self._check_due_at = float("-inf")

    def note_replay_position(self, position: Position | None) -> None:
        """Note how far the server is at least; None if that is not known any more."""
        self.replay_position = position

    def note_session_change(self) -> None:
        """Have the session reset before the next lease."""
        self.session_changed = True

    # Cursors

    def add_cursor(self, cursor: Cursor) -> None:
        """Have a cursor closed at the end of the lease at the latest."""
        self._cursors.add(cursor)

    def has_cursor(self, cursor: Cursor) -> bool:
        """Return whether a cursor is still open."""
        return cursor in self._cursors

    def orphan_cursor(self, cursor: Cursor) -> None:
        """Have a cursor closed before the next call; may be called in any thread."""
        if cursor in self._cursors:
            self._orphaned_cursors.append(cursor)

    async def close_cursor(self, cursor: Cursor) -> None:
        """Close a cursor."""
        self._cursors.discard(cursor)
        await cursor.close()

    # Running a call

    async def run_call(
        self,
        caller: Caller,
        query: CompiledQuery,
        values: Any,
        call: Coroutine[Any, Any, T],
        elsewhere: tuple[Any, ...] | None = None,
    ) -> T:
        """Await ``call``, which is one of the driver's connection, when the lock allows it, and translate its errors.

        ``query`` and ``values`` are what it sends.  A failure is dealt with before its error is raised: afterwards the
        connection is usable or closed, and each of its transactions is open or marked as ended.

        If the lease ends before it is the call's turn, it does what ``elsewhere`` says, a coroutine function and its
        arguments, or else raises ConnectionReleased.
        """
        lock = self.lock
        writer_lock = caller.pool.writer_lock if query.writes else None
        is_first = writer_lock is None and caller.losses is None and caller.lock is lock
        if not (is_first and lock.acquire_nowait()):
            try:
                writer_lock = await self._wait_for_turn(caller, lock, writer_lock, call)
            except ConnectionReleased:
                if elsewhere is None:
                    raise
                return cast("T", await elsewhere[0](*elsewhere[1:]))
        if query.session:
            self._note_session_statement(caller, query)
        try:
            if self._orphaned_cursors or self._needs_cleanup or self._lost_manual_transaction:
                await self._clean_up_before_call()
            result = await call
            if query.session or (query.writes and lock.transactions):
                # MySQL commits by itself before and after CREATE TABLE and the like.
                self._sync_transaction_state(caller, query)
                if self.in_manual_transaction:
                    await self._note_manual_transaction(caller)
        except BaseException as exc:
            call.close()
            await self._raise_translated(caller, query, values, exc)
            raise
        finally:
            lock.release()
            if writer_lock is not None:
                writer_lock.release()
        return result

    async def _wait_for_turn(
        self, caller: Caller, lock: ConnectionLock, writer_lock: WriterLock | None, call: Coroutine[Any, Any, Any]
    ) -> WriterLock | None:
        """Take the lock, and the writers' lock unless a transaction has it already; return the latter if it was taken.

        If that fails the call is closed.  Raises ConnectionReleased if the lease ends meanwhile.
        """
        taken: WriterLock | None = None
        try:
            if caller.losses is not None:
                caller.losses.check()
            if caller.lock is lock and (writer_lock is None or lock.transactions) and lock.acquire_nowait():
                return None
            timeout = self._options.timeout
            if writer_lock is not None and lock.current_transaction() is None:
                await writer_lock.acquire_for(None, timeout)
                taken = writer_lock
            await lock.acquire(timeout)
            if caller.lock is not lock:
                lock.release()
                raise ConnectionReleased.of(caller)  # noqa: TRY301 - as any other failure
        except BaseException:
            call.close()
            if taken is not None:
                taken.release()
            raise
        return taken

    def _note_session_statement(self, caller: Caller, query: CompiledQuery) -> None:
        self.session_changed = True
        if caller.is_for_one_statement:
            caller.pool.warn_of_session(query.sql)

    async def _clean_up_before_call(self) -> None:
        """Clean up what earlier calls have left.

        Raises ConnectionLost, or TransactionError if the caller has to learn that a transaction begun by SQL is gone.
        """
        if not await self._settle():
            raise errors.ConnectionLost("the connection was lost when an earlier statement on it was cancelled")
        if self._lost_manual_transaction:
            self._lost_manual_transaction = False
            raise errors.TransactionError(f"the transaction that was begun with SQL is gone: {_ROLLED_BACK}")

    def _sync_transaction_state(self, caller: Caller, query: CompiledQuery) -> None:
        """Note whether a statement has begun or ended a transaction."""
        open_now = self.driver.in_transaction
        if not self.lock.transactions:
            if open_now and not self.in_manual_transaction:
                self._manual_caller = None if caller.is_for_one_statement else caller
            self.in_manual_transaction = open_now
        elif self.driver.is_closed:
            self.lock.end_all(_LOST)
        elif not open_now or query.ends:  # or has begun another one at once
            self.lock.end_all(
                "it was ended by a statement, not by its own commit() or rollback(), and what ran before is committed, "
                "unless it was a ROLLBACK",
                uncertain=True,
            )

    async def _note_manual_transaction(self, caller: Caller) -> None:
        record_use(caller.owner, self)
        if self._manual_caller is caller and self.lock is not caller.lock:  # released meanwhile: no caller will end it
            self.in_manual_transaction = False
            await self.driver.rollback()

    # Failures

    async def _raise_translated(self, caller: Caller, query: CompiledQuery, values: Any, exc: BaseException) -> None:
        """Recover from a failure and raise its error as one of ours; return if it is to be raised as it is."""
        error = await self._recover(caller.pool, exc, caller.logger)
        if self.driver.is_closed and isinstance(exc, Exception):
            await caller.replace_lost()
        if isinstance(error, errors.Error):
            errors.note_statement(error, query.sql)
        if isinstance(error, errors.DataError):
            add_parameter_hint(error, query, values)
        elif isinstance(error, errors.ProgrammingError):
            add_placeholder_hint(error, query)
        try:
            if error is not exc:
                raise error from exc
        finally:
            del error, exc  # whose tracebacks hold this frame

    async def _recover(self, server: Server, exc: BaseException, logger: logging.Logger) -> BaseException:
        """Find out what a failed call has done to the connection, repair or cut it, and return the error to raise.

        The caller has the lock.  A cancelled call is waited for; the bookkeeping is done even if another cancellation
        arrives.
        """
        driver = self.driver
        error = translate_error(server.driver, exc, closed=driver.is_closed) if isinstance(exc, Exception) else exc
        try:
            if isinstance(exc, GeneratorExit):
                self._needs_cleanup = True  # a coroutine that is being closed cannot wait: the next call cleans up
            elif (isinstance(exc, TimeoutError) or not isinstance(exc, Exception)) and not isinstance(
                error, errors.ConnectionLost
            ):
                await self._cancel(server, logger)
        finally:
            cause = error if isinstance(error, Exception) else None
            if cause is not None and self.lock.transactions:
                self.lock.transactions[-1].note_error(cause)
            self.note_failure(error, server)
            if not (driver.is_closed or driver.in_transaction):
                self.lock.end_all(_ROLLED_BACK, cause=cause)
                if self.in_manual_transaction:
                    self.in_manual_transaction, self._lost_manual_transaction = False, True
        return error

    def note_failure(self, error: BaseException, server: Server) -> None:
        """Cut the connection if it is lost, with its transactions, and report to the pool what the error says."""
        if isinstance(error, errors.ReadOnlyError):
            stack = self.lock.transactions
            may_write = not (server.read_only or (stack and stack[0].is_read_only))
            if may_write and is_of_replica(error):
                server.suspect_roles()
        elif isinstance(error, errors.OperationalError) and is_not_ready(error):
            server.suspect_roles()
        if isinstance(error, errors.ConnectionLost):
            self.driver.terminate()
            server.suspect()
        if self.driver.is_closed:
            cause = error if isinstance(error, Exception) else None
            self.lock.end_all(_LOST, uncertain=isinstance(error, errors.CommitUncertainError), cause=cause)

    async def _cancel(self, server: Server, logger: logging.Logger) -> None:
        """Wait, in spite of further cancellations, until a cancelled call has stopped; cut the connection if not."""
        self._needs_cleanup = True
        settled = False

        async def settle() -> None:
            nonlocal settled
            settled = await self._settle()

        within, began = server.cleanup_timeout, monotonic()
        self._connector.begin_cancellation()
        try:
            await shielded(settle, within)
        except Exception as failure:  # noqa: BLE001 - the error or cancellation under way is the one to raise
            logger.info("a cancelled statement could not be cleaned up: %r", failure)
        finally:
            self._connector.end_cancellation()
            if not settled:
                self.driver.terminate()
                if monotonic() - began >= within:
                    place = server.driver.address
                    server.leave_alone(f"{place} did not confirm within {within:g} s that a statement has stopped")

    # Cleaning up

    async def _settle(self) -> bool:
        """Clean up what a cancelled call and orphaned cursors left, and return whether the connection is usable."""
        if self._needs_cleanup:
            if not await self.driver.settle():
                return False
            if self.driver.in_transaction and not self.lock.transactions and not self.in_manual_transaction:
                await self.driver.rollback()  # its BEGIN was cancelled, too late
            self._needs_cleanup = False
        while self._orphaned_cursors:
            await self.close_cursor(self._orphaned_cursors.pop())
        return not self.driver.is_closed

    def abandon_transactions(self, reason: str) -> None:
        """End all transactions without waiting; the next call, or lease, rolls them back at the database."""
        self._needs_cleanup = True
        self.lock.end_all(reason)

    def abandon_stray_transaction(self) -> None:
        """Have the next call roll back a transaction that was begun by SQL, if its caller is gone."""
        lock, caller = self.lock, self._manual_caller
        if lock.transactions or not self.driver.in_transaction:
            return
        is_manual = self.in_manual_transaction
        # A call that has the lock may have a transaction of its own.
        if (caller is None or caller.lock is not lock) if is_manual else not lock.locked:
            self._needs_cleanup, self.in_manual_transaction = True, False

    async def restore(self) -> bool:
        """Bring the connection into the state in which it was lent, and return whether that worked."""
        driver, lock, reset = self.driver, self.lock, self._options.reset
        if not driver.is_closed:
            await lock.acquire_for_cleanup(self._options.cleanup_timeout)
        lock.end_all("its connection was released")  # its BEGIN was under way
        lock.invalidate()
        self._orphaned_cursors.extend(self._cursors)
        if driver.is_closed or not await self._settle():
            return False
        if driver.in_transaction:
            await driver.rollback()
        if callable(reset):
            await driver.initialise(reset)
        elif reset == "always" or (reset == "auto" and self.session_changed):
            if not await driver.reset():
                return False
            if self._options.init is not None:
                await driver.initialise(self._options.init)
        return True

    async def is_alive(self, within: float) -> bool:
        """Make the connection fit for a new lease, and return whether its server answers in ``within`` seconds.

        A server whose role is not the one that is wanted does not count.
        """
        with anyio.move_on_after(within):
            try:
                if not self.is_clean and not await self.restore():
                    return False
                if self._connector.watches_roles or self._role_is_uncertain:
                    if not await self._connector.fits(self.driver):
                        return False
                else:
                    await self.driver.ping()
            except Exception:  # noqa: BLE001 - whatever it is, this connection is of no use any more
                return False
            self._trust_role(monotonic())
            self.renew()
            return True
        return False

    async def close(self, within: float = float("inf")) -> None:
        """Close the connection, in good order if that takes no longer than ``cleanup_timeout``.

        What still runs on it, of a lease that has ended, has ``within`` seconds of those to end.
        """
        try:
            await shielded(lambda: self._say_good_bye(within), self._options.cleanup_timeout)
        except Exception:  # noqa: BLE001, S110 - a server that is gone hears no good-bye
            pass
        finally:
            self.driver.terminate()
            self.lock.end_all(_CLOSED)

    async def _say_good_bye(self, within: float) -> None:
        lock = self.lock
        if not self.driver.is_closed:
            await lock.acquire_for_cleanup(min(within, self._options.cleanup_timeout))
        lock.end_all(_CLOSED)
        lock.invalidate()
        await self.driver.close()


_A_MOMENT = 1.0  # seconds
_CLOSED = "its connection was closed"
_LOST = "its connection was lost"
_ROLLED_BACK = "the database rolled it back when a statement failed or was cancelled"
