"""A connection as its user sees it: the lease of a physical one, with verbs that take turns."""

from __future__ import annotations

from logging import DEBUG
from typing import TYPE_CHECKING, Any, TypeVar

from aio_databases import errors
from aio_databases.concurrency.queues import FifoLock
from aio_databases.drivers.base import TransactionOptions
from aio_databases.physical_connection.lock import ConnectionReleased, add_place, describe
from aio_databases.physical_connection.losses import Losses
from aio_databases.physical_connection.recovery import clear_up, note_transaction, recover, translated
from aio_databases.sql.bad_parameters import name_parameter, name_placeholder
from aio_databases.sql.query_objects import rows_of, text_and_params
from aio_databases.streams import RecordStream
from aio_databases.transaction import Transaction
from aio_databases.transactions.write_tracker import note_use
from aio_databases.verbs import Verbs

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Coroutine

    from aio_databases.drivers.base import DriverConnection
    from aio_databases.physical_connection.connection import Physical
    from aio_databases.physical_connection.lock import Turns
    from aio_databases.pool.pool import Pool
    from aio_databases.sql.translator import Plan, Values
    from aio_databases.transactions.scope import Level

    Args = tuple[Any, ...]
    Lend = Callable[[], Awaitable[tuple[Pool, Physical]]]

__all__ = ("Connection",)

T = TypeVar("T")


class Connection(Verbs):
    """A connection that is yours until it is released.

    Tasks may share it: their calls run one at a time, and while a nested transaction is open only calls made inside
    its block run.
    """

    __slots__ = (
        "__weakref__",
        "_driver",
        "_lend",
        "_lock",
        "_losses",
        "_physical",
        "_reconnects",
        "_releases",
        "_translator",
        "is_usable",
        "lease",
        "logger",
        "owner",
        "pool",
        "read_only",
        "turns",
    )

    is_usable: bool
    """Whether a statement can be run: the connection is acquired, or acquires itself anew."""
    lease: int
    """How often the connection was acquired."""
    turns: Turns | None
    """The line in front of the physical connection, while it is leased."""

    def __init__(
        self,
        owner: Any,
        pool: Pool,
        logger: logging.Logger,
        *,
        read_only: bool = False,
        reconnect: bool = False,
        lend: Lend | None = None,
    ) -> None:
        """Prepare a lease from ``pool``, or from the pool that ``lend`` chooses each time; `acquire` takes it."""
        self.owner = owner
        self.read_only = read_only or pool.read_only
        self.logger = logger
        self._lend = lend
        self._reconnects = reconnect
        self._use_pool(pool)
        self._lock = FifoLock()
        self._losses: Losses | None = None
        self.lease = self._releases = 0
        self._detach()

    def _use_pool(self, pool: Pool) -> None:
        self.pool = pool
        self._translator = pool.driver.translator

    def __repr__(self) -> str:
        state = "ready" if self.is_ready else "released"
        return f"<Connection {state}{' read-only' if self.read_only else ''} to {self.pool.driver.address}>"

    # The lease

    @property
    def is_ready(self) -> bool:
        """Whether the connection is acquired and not known to be lost."""
        return self._driver is not None and not self._driver.is_closed

    @property
    def is_lost(self) -> bool:
        """Whether the connection was lost and not replaced yet; it acquires itself anew when it is used."""
        return self._physical is None and self.is_usable

    @property
    def role(self) -> str:
        """The role of the server: ``"primary"`` or ``"replica"``."""
        return self.pool.role

    @property
    def raw(self) -> Any:
        """The connection object of the driver's library.

        What is done with it is not seen here, so the session is reset when the connection is released.  On SQLite a
        transaction that has not sent its BEGIN yet does so now, and may raise LockTimeout.
        """
        self._check_standing()
        self.physical.session_changed = True
        if not self.read_only:
            note_use(self)
        try:
            return self.driver.raw
        except Exception as exc:
            error = translated(self.pool.driver, exc, closed=self.driver.is_closed)
            if error is exc:
                raise
            raise error from exc

    @property
    def physical(self) -> Physical:
        """The physical connection.  Raises InterfaceError after the release, ConnectionLost until it is replaced."""
        if self.is_lost:
            message = "the connection was lost and is not replaced yet: run a statement, or await connection.acquire()"
            raise errors.ConnectionLost(message)
        if self._physical is None:
            raise ConnectionReleased.of(self)
        return self._physical

    @property
    def driver(self) -> DriverConnection:
        """The driver's connection.  Raises InterfaceError after the release."""
        if self._driver is None:
            raise ConnectionReleased.of(self)
        return self._driver

    def attach(self, physical: Physical) -> None:
        """Use a physical connection that the pool has lent."""
        shared_read_only = self.read_only and not self.pool.read_only
        self._driver: DriverConnection | None = (
            physical.driver.read_only_view() if shared_read_only else physical.driver
        )
        self._physical: Physical | None = physical
        self.turns = physical.turns
        self.lease += 1
        self.is_usable = True

    def _detach(self, *, lost: bool = False) -> Physical | None:
        physical = getattr(self, "_physical", None)
        self._physical = self._driver = self.turns = None
        self.is_usable = lost
        return physical

    async def acquire(self) -> Connection:
        """Take a connection from the pool, unless there is one already, and return this object.

        Raises PoolTimeout, PoolClosed or ConnectError, and InterfaceError where it is released meanwhile.
        """
        if self._physical is None:
            await self._take_another(self._releases)
        return self

    async def _take_another(self, releases: int) -> None:
        """Take a connection from the pool for a task that began to wait after so many releases."""
        await self._lock.acquire(float("inf"))
        try:
            if self._physical is None and self._releases == releases:
                physical = await self._borrow()
                if self._releases == releases:
                    self.pool.note_block(physical)
                    self.attach(physical)
                elif not self.pool.release_nowait(physical):
                    await self.pool.release(physical)
        finally:
            self._lock.release()
        if self._releases != releases:
            raise ConnectionReleased.of(self)

    async def make_ready(self) -> None:
        """Acquire a connection that was lost anew, before it is used.

        Raises what `acquire` does, and TransactionError where a call stands in a transaction that was lost with it.
        """
        self._check_standing()
        if self.is_lost:
            await self.acquire()

    async def _borrow(self) -> Physical:
        """Return a physical connection that has what the block wants: the first one, and each that replaces it."""
        if self._lend is None:
            return self.pool.acquire_nowait() or await self.pool.acquire()
        pool, physical = await self._lend()
        self._use_pool(pool)
        return physical

    def release_nowait(self) -> bool:
        """Give the connection back to the pool if there is nothing to clear up, and return whether that was so."""
        physical = self._physical
        if physical is None:
            self.abandon()
            return True
        if any(transaction.is_on(self) for transaction in physical.turns.stack):
            return False
        if physical.begun_by is self:
            physical.begun_by = None
        if not self.pool.release_nowait(physical):
            return False
        self._detach()
        self._end()
        return True

    async def release(self, *_: object) -> None:
        """Give the connection back to the pool; its transactions are rolled back.  Does nothing the second time."""
        try:
            while self._physical is not None:  # a reconnect() may replace it meanwhile
                await self._give_back(self._physical)
        finally:
            self.abandon()

    async def _give_back(self, physical: Physical, *, lost: bool = False) -> None:
        try:
            await self._roll_back(physical)
        finally:
            if self._physical is physical:
                self._detach(lost=lost)
                await self.pool.release(physical)

    async def _roll_back(self, physical: Physical) -> None:
        """Roll back what is open on this lease, those that begin meanwhile included; then a cancellation goes on.

        The connection is kept until then, so that their statements wait and hear of it, instead of running elsewhere.
        """
        interruption: BaseException | None = None
        try:
            while mine := next((each for each in physical.turns.stack if each.is_on(self)), None):
                try:
                    await mine.abort("its connection was released")
                except BaseException as exc:  # noqa: BLE001 - raised below
                    interruption = interruption or exc
            if interruption is not None:
                raise interruption
        finally:
            del interruption  # whose traceback holds this frame

    async def reconnect(self) -> None:
        """Give the connection back and take another one; open transactions are lost and say so when they are used."""
        releases = self._releases
        if self._physical is not None:
            await self._give_back(self._physical, lost=self._reconnects)
        await self._take_another(releases)

    async def end_lease(self, exc: BaseException | None) -> None:
        """Give the connection back when ``exc``, or nothing, leaves what it was leased for."""
        if isinstance(exc, GeneratorExit):
            self.abandon()  # a coroutine that is being closed cannot wait, and may be so in another thread
        elif not self.release_nowait():
            await self.release()

    def abandon(self, _: object = None) -> None:
        """Give the connection back without waiting, when its user is gone."""
        physical = self._detach()
        if physical is not None and any(transaction.is_on(self) for transaction in physical.turns.stack):
            physical.in_doubt = True
            physical.turns.end_all("the coroutine that used its connection was closed")
        self._end()
        if physical is not None:
            self.pool.abandon(physical)

    def _end(self) -> None:
        """Leave nothing to the next lease, and have those who wait for another connection give it back."""
        self._releases += 1
        if self._losses is not None:
            self._losses.end()

    # Transactions that calls have to look at

    @property
    def losses(self) -> Losses:
        """What calls have to look at from now on, before they run."""
        if self._losses is None:
            self._losses = Losses(self)
        return self._losses

    def _check_standing(self) -> None:
        if self._losses is not None:
            self._losses.check()

    # Statements

    def transaction(
        self,
        *,
        silent: bool = False,
        isolation: str | None = None,
        readonly: bool | None = None,
        deferrable: bool | None = None,
        mode: str | None = None,
        timeout: float | None = None,
    ) -> Transaction:
        """Return a transaction on this connection, to be used with ``async with``; see `Database.transaction`."""
        options = TransactionOptions(isolation, readonly, deferrable, mode)
        return Transaction(self.owner, options, self.sibling, connection=self, silent=silent, timeout=timeout)

    def _stream(self, query: Any, params: Args, into: Any, chunk_size: int) -> RecordStream[Any]:
        return RecordStream(lambda: self, self.sibling, query, params, into, chunk_size)

    def sibling(self) -> Connection:
        """Return another connection that has what the block wants, not yet acquired."""
        return Connection(self.owner, self.pool, self.logger, read_only=self.read_only, lend=self._lend)

    def run(self, verb: str, query: Any, params: Args, limit: int | None = None) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that runs ``verb`` of the driver's connection, when it is this call's turn."""
        physical, driver = self._physical, self._driver
        if physical is None or driver is None:
            return self._run_anew(verb, query, params, limit)
        if type(query) is not str:
            query, params = text_and_params(query, params, self.pool.driver.dialect)
        if verb == "executemany":
            return self._run_many(physical, query, params)
        plan, values = self._translator.bind(query, params)
        if plan.writes or self.read_only or self.logger.isEnabledFor(DEBUG):
            self._inspect(verb, plan)
        if verb == "fetch":
            return self.perform(physical, plan, values, driver.fetch(plan.sql, values, limit))
        return self.perform(physical, plan, values, driver.execute(plan.sql, values))

    _run = run

    async def _run_anew(self, verb: str, query: Any, params: Args, limit: int | None) -> Any:
        if not self.is_usable:
            raise ConnectionReleased.of(self)
        await self.make_ready()
        return await self.run(verb, query, params, limit)

    def _run_many(self, physical: Physical, query: str, rows: Args) -> Coroutine[Any, Any, Any]:
        plan, values = self._translator.bind_many(query, rows_of(rows))
        self._inspect("executemany", plan)
        return self.perform(physical, plan, values, self.driver.executemany(plan.sql, values))

    def prepare(self, query: Any, params: Args) -> tuple[Plan, Values]:
        """Return what to send to read the rows of a query, and the values to send with it."""
        if type(query) is not str:
            query, params = text_and_params(query, params, self.pool.driver.dialect)
        plan, values = self._translator.bind(query, params)
        self._inspect("fetch", plan)
        return plan, values

    def _inspect(self, verb: str, plan: Plan) -> None:
        """Log a statement, if it may be run here.  Raises ReadOnlyError if it may not."""
        if plan.writes or self.read_only:
            self._check_may_write(verb, plan)
        if self.logger.isEnabledFor(DEBUG):
            self.logger.debug("%s", plan.sql)

    def _check_may_write(self, verb: str, plan: Plan) -> None:
        if self.read_only and (plan.writes or verb != "fetch"):
            message = "a replica only reads: execute(), executemany() and statements that write are refused; "
            raise errors.ReadOnlyError(message + "use db.connection() inside of the replica block to reach the primary")
        stack = self.turns.stack if self.turns is not None else None
        if plan.writes and stack and stack[0].is_read_only and self.pool.driver.capabilities.ddl_commits:
            # The server would refuse to change rows, but end the transaction for a statement that defines things.
            message = "the transaction is readonly=True: a statement that writes is refused before it is sent; "
            raise errors.ReadOnlyError(message + "run it in a transaction that may write")
        if plan.writes:
            note_use(self)

    async def perform(self, physical: Physical, plan: Plan, values: Any, call: Coroutine[Any, Any, T]) -> T:
        """Await ``call``, which is the driver's, when it is this call's turn, and translate its errors."""
        turns = physical.turns
        lock = self.pool.writer_lock if plan.writes else None
        if lock is None and not (turns.busy or turns.stack or self._losses) and turns is self.turns:
            turns.busy = True
        else:
            try:
                self._check_standing()
                at_once = turns is self.turns and (lock is None or turns.stack) and turns.take_nowait()
                lock = None if at_once else await self._take_turn(turns, lock)
            except BaseException:
                call.close()
                raise
        if plan.session:
            self._change_session(physical, plan)
        try:
            if physical.abandoned or physical.in_doubt or physical.hand_begun_is_lost:
                await clear_up(physical)
            result = await call
            if plan.session or (plan.writes and turns.stack):
                note_transaction(
                    physical, plan, self
                )  # MySQL commits by itself before and after CREATE TABLE and the like
                if physical.begun_by_hand:
                    await self._note_begun_by_hand(physical)
        except BaseException as exc:
            call.close()
            await self._raise_translated(physical, plan, values, exc)
            raise
        finally:
            if turns.waiting:
                turns.give_back()
            else:
                turns.busy = False
            if lock is not None:
                lock.release()
        return result

    async def _note_begun_by_hand(self, physical: Physical) -> None:
        note_use(self)
        if physical.begun_by is self and physical.turns is not self.turns:  # released meanwhile: nobody would end it
            physical.begun_by_hand = False
            await physical.driver.rollback()

    def _change_session(self, physical: Physical, plan: Plan) -> None:
        physical.session_changed = True
        if physical.handle is self:  # of a single statement
            self.pool.warn_of_session(plan.sql)

    async def _take_turn(self, turns: Turns, lock: FifoLock | None) -> FifoLock | None:
        """Wait for this call's turn, and for the writers' lock unless a transaction has it already."""
        if lock is not None and turns.standing() is not None:
            lock = None
        if lock is not None:
            await self.lock_writers(lock)
        try:
            await turns.take(self.pool.options.timeout)
            if turns is not self.turns:
                turns.give_back()
                raise ConnectionReleased.of(self)  # noqa: TRY301 - the lock is given back like after every failure
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return lock

    async def lock_writers(self, lock: FifoLock, transaction: Level | None = None) -> None:
        """Wait in line with the other writers, for a transaction or a single statement.

        Raises LockTimeout, at once if the lock is held by a block of the very task.
        """
        if lock.locked and lock.holder is not None and lock.holder.is_held_by_this_task:
            raise _locked_out(lock.holder, "would wait for ever")
        try:
            await lock.acquire(self.pool.options.timeout)
        except TimeoutError:
            raise _locked_out(lock.holder, f"waited {self.pool.options.timeout:g} s") from None
        lock.holder = transaction

    async def _raise_translated(self, physical: Physical, plan: Plan, values: Any, exc: BaseException) -> None:
        """Get over a failure; return if it is to be raised as it is."""
        error = await recover(self.pool, physical, exc, self.logger)
        if self._reconnects and self._physical is physical and physical.driver.is_closed and isinstance(exc, Exception):
            try:
                await self.reconnect()
            except ConnectionReleased:
                pass  # and nobody needs another one any more
            except errors.Error as failure:
                self.logger.warning("a lost connection could not be replaced yet: %s", failure)
        if isinstance(error, errors.Error) and error.statement is None:
            error.statement = plan.sql
        if isinstance(error, errors.DataError):
            name_parameter(error, plan, values)
        elif isinstance(error, errors.ProgrammingError):
            name_placeholder(error, plan)
        try:
            if error is not exc:
                raise error from exc
        finally:
            del error, exc  # whose tracebacks hold this frame


def _locked_out(writer: Level | None, waited: str) -> errors.LockTimeout:
    who = describe(writer) if writer is not None else "other writers"
    error = errors.LockTimeout(f"{waited} for {who} to end: SQLite has one writer at a time")
    if writer is not None:
        add_place(error, writer)
    return error
