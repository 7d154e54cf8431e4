"""A lease: a physical connection in use by one caller, from `Lease.acquire` to `Lease.release`."""

from __future__ import annotations

from logging import DEBUG
from typing import TYPE_CHECKING, Any, TypeVar

from aio_databases import errors
from aio_databases.concurrency.queues import FifoLock
from aio_databases.physical_connection.error_translation import translate_error
from aio_databases.physical_connection.lock import ConnectionReleased
from aio_databases.physical_connection.losses import Losses
from aio_databases.physical_connection.write_tracker import record_use
from aio_databases.sql.query_objects import rows_of, text_and_params

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Self

    from aio_databases.drivers.base import DriverConnection
    from aio_databases.physical_connection.connection import PhysicalConnection
    from aio_databases.physical_connection.lock import ConnectionLock
    from aio_databases.pool.pool import Pool
    from aio_databases.sql.translator import CompiledQuery, Values

    Args = tuple[Any, ...]
    Run = Callable[..., Coroutine[Any, Any, Any]]
    Lend = Callable[[], Awaitable[tuple[Pool, PhysicalConnection]]]

T = TypeVar("T")


class Lease:
    """Runs statements on a connection that a pool has lent, and gives it back."""

    __slots__ = (
        "__weakref__",
        "_acquiring",
        "_driver",
        "_lend",
        "_physical",
        "_reconnects",
        "_releases",
        "_translator",
        "home",
        "is_for_one_statement",
        "is_usable",
        "lock",
        "logger",
        "losses",
        "number",
        "owner",
        "pool",
        "read_only",
    )

    is_usable: bool
    """Whether a statement can be run: a connection is acquired, or is acquired anew when it is needed."""
    lock: ConnectionLock | None
    """The lock of the physical connection, while there is one."""
    losses: Losses | None
    """What calls have to look at before they run, if there is something."""
    number: int
    """How often a connection was acquired."""

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
        self.is_for_one_statement = False
        self.losses = None
        self.number = self._releases = 0
        self._lend = lend
        self._reconnects = reconnect
        self._acquiring = FifoLock()
        self._physical: PhysicalConnection | None = None
        self._driver: DriverConnection | None = None
        self.lock = None
        self.is_usable = False
        self._use_pool(pool)

    @classmethod
    def for_one_statement(cls, owner: Any, pool: Pool, logger: logging.Logger, physical: PhysicalConnection) -> Self:
        """Return a lease for single statements on a connection that the pool has lent; it is not given back."""
        lease = cls(owner, pool, logger)
        lease.is_for_one_statement = True
        lease._attach(physical)
        return lease

    def _use_pool(self, pool: Pool) -> None:
        self.pool = pool
        self.home = pool.home
        self._translator = pool.driver.translator

    def sibling(self) -> Self:
        """Return another lease of the same kind, not yet acquired."""
        return type(self)(self.owner, self.pool, self.logger, read_only=self.read_only, lend=self._lend)

    # The connection

    @property
    def is_ready(self) -> bool:
        """Whether the connection is acquired and not known to be lost."""
        return self._driver is not None and not self._driver.is_closed

    @property
    def is_lost(self) -> bool:
        """Whether the connection was lost and not replaced yet; another one is acquired when it is needed."""
        return self._physical is None and self.is_usable

    @property
    def raw(self) -> Any:
        """The connection object of the driver's library.

        What is done with it is not seen here, so the session is reset when the connection is released.  On SQLite a
        transaction that has not sent its BEGIN yet does so now, and may raise LockTimeout.
        """
        if self.losses is not None:
            self.losses.check()
        self.physical.note_session_change()
        if not self.read_only:
            record_use(self.owner, self.physical)
        try:
            return self.driver.raw
        except Exception as exc:
            error = translate_error(self.pool.driver, exc, closed=self.driver.is_closed)
            if error is exc:
                raise
            raise error from exc

    @property
    def physical(self) -> PhysicalConnection:
        """The physical connection.  Raises InterfaceError after the release, ConnectionLost until it is replaced."""
        if self.is_lost:
            raise errors.ConnectionLost(
                "the connection was lost and is not replaced yet: run a statement, or await connection.acquire()"
            )
        if self._physical is None:
            raise ConnectionReleased.of(self)
        return self._physical

    @property
    def driver(self) -> DriverConnection:
        """The driver's connection.  Raises InterfaceError after the release."""
        if self._driver is None:
            raise ConnectionReleased.of(self)
        return self._driver

    def watch_losses(self) -> Losses:
        """Have all calls look at lost transactions from now on, and return what they look at."""
        if self.losses is None:
            self.losses = Losses(self)
        return self.losses

    # Acquiring

    async def acquire(self) -> Self:
        """Take a connection from the pool, unless there is one already, and return this object.

        Raises PoolTimeout, PoolClosed or ConnectError, and InterfaceError where it is released meanwhile.
        """
        if self._physical is None:
            await self._take_another(self._releases)
        return self

    async def _take_another(self, releases: int) -> None:
        """Take a connection from the pool for a task that began to wait after so many releases."""
        await self._acquiring.acquire(float("inf"))
        try:
            if self._physical is None and self._releases == releases:
                physical = await self._borrow()
                if self._releases == releases:
                    self.pool.note_block(physical)
                    self._attach(physical)
                else:
                    await self.pool.release(physical)
        finally:
            self._acquiring.release()
        if self._releases != releases:
            raise ConnectionReleased.of(self)

    async def _borrow(self) -> PhysicalConnection:
        """Return a physical connection that has what the block wants: the first one, and each that replaces it."""
        if self._lend is None:
            return self.pool.acquire_nowait() or await self.pool.acquire()
        pool, physical = await self._lend()
        self._use_pool(pool)
        return physical

    def _attach(self, physical: PhysicalConnection) -> None:
        shared_read_only = self.read_only and not self.pool.read_only
        self._driver = physical.driver.read_only_view() if shared_read_only else physical.driver
        self._physical = physical
        self.lock = physical.lock
        self.number += 1
        self.is_usable = True

    def _detach(self, *, lost: bool = False) -> PhysicalConnection | None:
        physical = self._physical
        self._physical = self._driver = self.lock = None
        self.is_usable = lost
        return physical

    async def make_ready(self) -> None:
        """Acquire a connection that was lost anew, before it is used.

        Raises what `acquire` does, and TransactionError for a call in a transaction that was lost with it.
        """
        if self.losses is not None:
            self.losses.check()
        if self.is_lost:
            await self.acquire()

    # Giving back

    def release_nowait(self) -> bool:
        """Give the connection back to the pool if there is nothing to clean up, and return whether that was so."""
        physical = self._physical
        if physical is None:
            self.abandon()
            return True
        if any(transaction.is_on(self) for transaction in physical.lock.transactions):
            return False
        physical.forget_caller(self)
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

    async def _give_back(self, physical: PhysicalConnection, *, lost: bool = False) -> None:
        try:
            await self._roll_back(physical)
        finally:
            if self._physical is physical:
                self._detach(lost=lost)
                await self.pool.release(physical)

    async def _roll_back(self, physical: PhysicalConnection) -> None:
        """Roll back what is open on this lease, what begins meanwhile included; then a cancellation goes on.

        The connection is kept until then, so that their statements wait and fail, instead of running elsewhere.
        """
        interruption: BaseException | None = None
        try:
            while mine := next((each for each in physical.lock.transactions if each.is_on(self)), None):
                try:
                    await mine.roll_back("its connection was released")
                except BaseException as exc:  # noqa: BLE001 - raised below
                    interruption = interruption or exc
            if interruption is not None:
                raise interruption
        finally:
            del interruption  # whose traceback holds this frame

    async def end_lease(self, exc: BaseException | None) -> None:
        """Give the connection back when ``exc``, or nothing, leaves what it was leased for."""
        if isinstance(exc, GeneratorExit):
            self.abandon()  # a coroutine that is being closed cannot wait, and may be so in another thread
        elif not self.release_nowait():
            await self.release()

    def abandon(self, _: object = None) -> None:
        """Give the connection back without waiting, when its caller is gone."""
        physical = self._detach()
        if physical is not None and any(transaction.is_on(self) for transaction in physical.lock.transactions):
            physical.abandon_transactions("the coroutine that used its connection was closed")
        self._end()
        if physical is not None:
            self.pool.abandon(physical)

    def _end(self) -> None:
        """Leave nothing to the next lease, and have tasks that wait for another connection give it back."""
        self._releases += 1
        if self.losses is not None:
            self.losses.end()

    # Replacing

    async def reconnect(self) -> None:
        """Give the connection back and take another one; open transactions are lost and say so when they are used."""
        releases = self._releases
        if self._physical is not None:
            await self._give_back(self._physical, lost=self._reconnects)
        await self._take_another(releases)

    async def replace_lost(self) -> None:
        """Take another connection in place of one that was lost, if the lease is to ``reconnect``."""
        if not self._reconnects or self._physical is None or not self._physical.driver.is_closed:
            return
        try:
            await self.reconnect()
        except ConnectionReleased:
            pass  # and no task needs another one any more
        except errors.Error as failure:
            self.logger.warning("a lost connection could not be replaced yet: %s", failure)

    # Statements

    def run(
        self, verb: str, query: Any, params: Args, limit: int | None = None, elsewhere: Run | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that runs ``verb`` of the driver's connection when the lock allows it.

        If the lease ends before that, it awaits ``elsewhere`` with the same arguments, or else raises InterfaceError.
        """
        physical, driver = self._physical, self._driver
        if physical is None or driver is None:
            return self._run_anew(verb, query, params, limit, elsewhere)
        if type(query) is not str:  # once: it may have an iterator among its parameters, or defaults that count
            query, params = text_and_params(query, params, self.pool.driver.dialect)
        again = None if elsewhere is None else (elsewhere, verb, query, params, limit)
        if verb == "executemany":
            compiled, rows = self._translator.bind_many(query, rows_of(params))
            self._inspect(verb, compiled)
            return physical.run_call(self, compiled, rows, driver.executemany(compiled.sql, rows), again)
        compiled, values = self._translator.bind(query, params)
        if compiled.writes or self.read_only or self.logger.isEnabledFor(DEBUG):
            self._inspect(verb, compiled)
        if verb == "fetch":
            return physical.run_call(self, compiled, values, driver.fetch(compiled.sql, values, limit), again)
        return physical.run_call(self, compiled, values, driver.execute(compiled.sql, values), again)

    async def _run_anew(self, verb: str, query: Any, params: Args, limit: int | None, elsewhere: Run | None) -> Any:
        if type(query) is not str:
            query, params = text_and_params(query, params, self.pool.driver.dialect)
        try:
            if not self.is_usable:
                raise ConnectionReleased.of(self)
            await self.make_ready()
        except ConnectionReleased:
            if elsewhere is None:
                raise
            return await elsewhere(verb, query, params, limit)
        return await self.run(verb, query, params, limit, elsewhere)

    def run_call(self, compiled: CompiledQuery, values: Any, call: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Return a coroutine that awaits ``call``, of the driver's connection, when the lock allows it."""
        return self.physical.run_call(self, compiled, values, call)

    def prepare(self, query: Any, params: Args) -> tuple[CompiledQuery, Values]:
        """Return what to send to read the rows of a query, and the values to send with it."""
        if type(query) is not str:
            query, params = text_and_params(query, params, self.pool.driver.dialect)
        compiled, values = self._translator.bind(query, params)
        self._inspect("fetch", compiled)
        return compiled, values

    def _inspect(self, verb: str, compiled: CompiledQuery) -> None:
        """Log a statement, if it may be run here.  Raises ReadOnlyError if it may not."""
        if compiled.writes or self.read_only:
            self._check_may_write(verb, compiled)
        if self.logger.isEnabledFor(DEBUG):
            self.logger.debug("%s", compiled.sql)

    def _check_may_write(self, verb: str, compiled: CompiledQuery) -> None:
        if self.read_only and (compiled.writes or verb != "fetch"):
            raise errors.ReadOnlyError(
                "a replica only reads: execute(), executemany() and statements that write are refused; "
                "use db.connection() inside of the replica block to reach the primary"
            )
        stack = self.lock.transactions if self.lock is not None else None
        if compiled.writes and stack and stack[0].is_read_only and self.pool.driver.capabilities.ddl_commits:
            # The server would refuse to change rows, but end the transaction for a statement that defines things.
            raise errors.ReadOnlyError(
                "the transaction is readonly=True: a statement that writes is refused before it is sent; "
                "run it in a transaction that may write"
            )
        if compiled.writes:
            record_use(self.owner, self.physical)
