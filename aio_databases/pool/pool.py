"""The pool: lends connections, and decides what becomes of them when they come back.

It has no background tasks.  Connections are opened, checked and closed by the task that needs them, so that asyncio and
trio behave alike and nothing outlives `Pool.close`.
"""

from __future__ import annotations

import warnings
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

from aio_databases import errors
from aio_databases.concurrency.forks import keep_for_ever, watch_forks
from aio_databases.concurrency.loop_callbacks import LoopCallbacks
from aio_databases.concurrency.loops import running_loop
from aio_databases.concurrency.ownership import Ownership
from aio_databases.concurrency.queues import FifoLock, WaitQueue
from aio_databases.concurrency.shields import shielded
from aio_databases.dialects.error_codes import is_full
from aio_databases.physical_connection.connection import PhysicalConnection
from aio_databases.physical_connection.lock import WriterLock
from aio_databases.physical_connection.scopes import locks_held_here
from aio_databases.pool.connector import Connector
from aio_databases.pool.holders import Holder, Holders
from aio_databases.pool.session_warnings import SessionWarnings
from aio_databases.pool.slots import NO_SLOT, Slots
from aio_databases.pool.stats import PoolStats

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable

    from aio_databases.config.options import PoolOptions
    from aio_databases.drivers.base import Driver
    from aio_databases.pool.slots import Handed


class Verdict(Enum):
    """What may be done with a connection."""

    USE = "lend it, or keep it"
    CHECK = "lend it if it answers"
    CLEAN_UP = "keep it once it is cleaned up"
    CLOSE = "close it"


_USE = Verdict.USE  # which is looked up for each statement


class Pool:
    """The connections of one driver: all read-only, or none."""

    def __init__(
        self, driver: Driver, options: PoolOptions, logger: logging.Logger, *, read_only: bool, role: str
    ) -> None:
        self.options = options._replace(reset="never") if driver.sessionless else options
        self.read_only = read_only
        self.role = role  # of the server: "primary" or "replica"
        self.is_open = False
        self.is_closed = False
        self.home = Ownership()
        self._always_resets = callable(self.options.reset) or self.options.reset == "always"
        self._logger = logger
        self._given_driver = driver
        self._remembers_places = options.debug or bool(options.leak_warning)
        self._session_warnings = SessionWarnings(logger)
        self._opened = self._closed = self._timeouts = self._waits = 0
        self._shuts = 0  # how often `shut` was called
        self._wait_seconds = self._use_seconds = 0.0
        self._begin_empty(driver)
        self._serve_by(driver)
        watch_forks(self)

    def _serve_by(self, driver: Driver) -> None:
        self.connector = Connector(driver, self.options, self._logger, role=self.role, read_only=self.read_only)
        self.position_lock = FifoLock()  # for the question about the position of the server

    def _begin_empty(self, driver: Driver) -> None:
        single_writer = driver.capabilities.single_writer and not driver.shared and not self.read_only
        self.writer_lock = WriterLock() if single_writer else None
        self.opening = FifoLock()
        self._slots = self._new_slots()
        self._lent = Holders()
        self._drained: WaitQueue[None] = WaitQueue()

    def _new_slots(self) -> Slots:
        return Slots(self.options.max_size)

    def __repr__(self) -> str:
        return f"<Pool {self.role}{' read-only' if self.read_only else ''} {self.driver.address} {self.stats}>"

    # What is known of it

    @property
    def driver(self) -> Driver:
        """The driver: from the first use on an event loop the one that serves this loop."""
        return self.connector.driver

    @property
    def stats(self) -> PoolStats:
        """A snapshot of the pool."""
        slots = self._slots
        now = (slots.size, len(slots.idle), len(slots.waiting))
        counts = (self._opened, self._closed, self._timeouts, self._waits)
        return PoolStats(*now, *counts, self._wait_seconds, self._use_seconds)

    @property
    def lent(self) -> int:
        """The number of connections in use."""
        return len(self._lent)

    @property
    def has_room(self) -> bool:
        """Whether a caller gets a connection without waiting for another one to give it back."""
        return self._slots.has_room

    @property
    def load(self) -> int:
        """How many connections are in use, being opened, or waited for."""
        return self._slots.load

    @property
    def used_at(self) -> float:
        """The last moment at which a connection was opened or came back, of those that are open, or 0."""
        return max((physical.last_used_at for physical in (*self._slots.idle, *self._lent)), default=0.0)

    @property
    def cleanup_timeout(self) -> float:
        """For how many seconds the server may take to stop a statement."""
        within = self.options.cleanup_timeout
        return min(within, self.connector.patience) if self.role == "replica" else within

    # What others report of the server

    def suspect(self) -> None:
        """Have every idle connection checked before it is lent again: another one was just found dead."""
        for physical in self._slots.idle:
            physical.require_check()

    def suspect_roles(self) -> None:
        """Have the role of every server checked before a connection to it is lent again."""
        now = monotonic()
        for physical in (*self._slots.idle, *self._lent):
            physical.require_role_check(now)

    def leave_alone(self, reason: object) -> None:
        """Have callers that have another server use that for a while, and check what is idle then."""
        self.suspect()
        rest = self.connector.breaker.record_failure()
        if self.role == "replica":
            if rest:
                self._logger.warning("a replica is left alone for %.1f s: %s", rest, reason)
            self._slots.send_away()

    def prefer_other_hosts(self, hosts: set[int]) -> bool:
        """Have a connection to none of these hosts lent next, and return whether one is idle."""
        return self._slots.prefer_other_hosts(hosts)

    def drop_idle(self) -> None:
        """Cut all connections that are not in use."""
        while self._slots.idle:
            self._drop(self._slots.take_idle())

    def warn_of_session(self, sql: str) -> None:
        """Warn, once for each text, of a statement for its session outside of a block: the next gets another one."""
        if self.options.reset != "never" and not self.driver.shared:
            self._session_warnings.warn_of(sql)

    # Opening and closing

    def open_lazily(self) -> None:
        """Keep connections from now on, without opening one yet."""
        self.home.connect_anew()
        self.check_loop()
        self.is_open, self.is_closed = True, False

    async def open(self) -> None:
        """Open ``min_size`` connections, but at least one, so that a wrong URL or password shows now.

        Raises ConnectError, AuthenticationError, or PoolClosed when `shut` overtakes it.
        """
        self.open_lazily()
        slots = self._slots
        try:
            wanted, limit = max(1, self.options.min_size), slots.max_size
            while slots.size - len(slots.retired) < wanted and slots.size < limit:
                slots.take_new()
                self._put(await self._open_physical(self.options.connect_timeout, monotonic() + self.options.timeout))
                self.check_opening()
        except BaseException:
            self.is_open = False
            while slots.idle:
                await self._discard(slots.take_idle())
            raise

    def check_opening(self) -> None:
        """Raise PoolClosed if `shut` has overtaken `open`."""
        if self.is_closed:
            raise errors.PoolClosed(self._say("was disconnected while it was being connected; call connect() again"))

    def shut(self) -> list[PhysicalConnection]:
        """Lend no more connections, send the waiting tasks away, and return what is left to be closed."""
        self.is_open, self.is_closed = False, True
        self._shuts += 1
        retired = self._slots.retire(list(self._lent))
        self._slots.send_away()
        return retired

    async def close(self, leaving: list[PhysicalConnection], timeout: float) -> None:
        """Close what `shut` has returned; what is in use is waited for, for at most ``timeout`` seconds, and then cut.

        What is lent after another `open` meanwhile is left alone.
        """
        here, until = running_loop() is self.home.loop, monotonic() + timeout
        slots = self._slots
        try:
            if here and timeout and self._lent:
                await self._wait_for_leases(leaving, until)
            slow = False  # to say good-bye: then the others are not waited for as long
            for physical in reversed(leaving):
                if here and not slow and physical in slots.retired and physical not in self._lent:
                    began = monotonic()
                    await self._discard(physical, max(0.0, until - began))
                    slow = monotonic() - began >= self.options.cleanup_timeout
        finally:
            self.terminate(leaving)
            if not here:  # its leases ended with their event loop
                slots.give_up(len(self._lent))
                slots.forget_retired()
                self._lent.clear()

    async def _wait_for_leases(self, leaving: list[PhysicalConnection], until: float) -> None:
        while lent := [physical for physical in leaving if physical in self._lent]:
            try:
                await self._drained.wait(until - monotonic(), lambda _: None)
            except TimeoutError:
                self._logger.warning("%d connections of %r were in use for too long and are cut", len(lent), self)
                return

    def terminate(self, leaving: Iterable[PhysicalConnection] | None = None) -> None:
        """Cut connections, all by default, without waiting; those that a parent process has opened live on."""
        if not self.home.is_of_this_process:
            return
        if leaving is None:
            leaving = self.shut()
        for physical in leaving:
            if physical in self._lent:
                physical.driver.terminate()
            elif physical in self._slots.retired:
                self._drop(physical)

    def __del__(self) -> None:
        if self.is_open and self._slots.idle:
            message = f"{self!r} was never disconnected: call 'await db.disconnect()' or use 'async with db'"
            warnings.warn(message, ResourceWarning, stacklevel=1, source=self)
        self.terminate()

    # What may be lent, and what is kept: no other place decides that

    def _judge_idle(self, physical: PhysicalConnection, now: float) -> Verdict:
        """Decide whether an idle connection may be lent."""
        if not physical.needs_check(now):
            return _USE
        return Verdict.CLOSE if now >= physical.expires_at or physical.driver.is_closed else Verdict.CHECK

    def _judge_returned(self, physical: PhysicalConnection, now: float) -> Verdict:
        """Decide whether a connection that comes back may be kept."""
        if not self.is_open or now >= physical.expires_at:
            return Verdict.CLOSE
        if physical.is_clean and not self._always_resets:
            return _USE
        return Verdict.CLOSE if physical.driver.is_closed else Verdict.CLEAN_UP

    def _has_surplus(self, now: float) -> bool:
        """Return whether the connection that is idle for longest has been so for too long."""
        slots, options = self._slots, self.options
        idle = slots.idle
        return bool(idle) and now - idle[0].last_used_at > options.max_idle and slots.size > options.min_size

    # Lending

    def acquire_nowait(self) -> PhysicalConnection | None:
        """Lend the connection that was used last, or return None where that takes more than a look: see `acquire`."""
        slots, home = self._slots, self.home
        if not slots.idle or home.running_loop() is not home.loop:
            return None
        now = monotonic()
        if slots.idle[-1].needs_check(now):
            return None
        physical = slots.take_idle()
        physical.begin_lease(now)
        self._lent[physical] = self._holder_to_remember() if self._remembers_places else None
        return physical

    async def acquire(self, within: float | None = None) -> PhysicalConnection:
        """Lend a connection: an idle one, else a new one, else the next that comes back.

        The server has ``within`` seconds to answer; without them, ``connect_timeout``, and a failover may go on for
        ``timeout``.

        Raises PoolTimeout after ``timeout`` seconds in line, PoolClosed after `close`, and ConnectError.
        """
        self._check_usable()
        shuts = self._shuts
        patience = self.options.connect_timeout if within is None else within
        until = monotonic() + self.options.timeout if within is None else None
        physical, began = await self._find(), monotonic()
        while (fit := await self._fit(physical, patience)) is None:
            try:
                fit = await self._open_physical(patience if until else patience - monotonic() + began, until)
                break
            except errors.ConnectError as exc:
                slots = self._slots
                if until is None or not (self._lent or slots.idle) or not is_full(exc):
                    raise
                # It is as good as max_size: one of those that the pool has will come back.
                physical = slots.take_idle() if slots.idle else await self._stand_in_line(until - monotonic(), exc)
        self._check_open(fit, shuts)
        fit.begin_lease(monotonic())
        self._lent[fit] = self._holder_to_remember() if self._remembers_places else None
        return fit

    def note_block(self, physical: PhysicalConnection) -> None:
        """Note that the running task keeps a connection for more than a single statement."""
        if self._lent.get(physical) is None:
            self._lent[physical] = Holder()

    def _holder_to_remember(self) -> Holder:
        self._warn_of_long_leases()
        return Holder(with_stack=True)

    def _warn_of_long_leases(self) -> None:
        if self.options.leak_warning:
            self._lent.warn_of_long_ones(self.options.leak_warning, self._logger, self.driver.address)

    async def _find(self) -> PhysicalConnection | None:
        """Return an idle connection, or None with a slot to open one in."""
        slots = self._slots
        if slots.idle:
            return slots.take_idle()
        if slots.has_room:
            slots.take_new()
            return None
        return await self._stand_in_line(self.options.timeout)

    async def _stand_in_line(
        self, timeout: float, failure: errors.ConnectError | None = None
    ) -> PhysicalConnection | None:
        """Wait for a connection or a slot; ``failure`` is that of a server which has no room for another one."""
        options, slots = self.options, self._slots
        if options.max_waiting and len(slots.waiting) >= options.max_waiting:
            raise errors.PoolTimeout(self._say(f"already has {options.max_waiting} tasks waiting (max_waiting)"))
        self._warn_of_long_leases()
        if self._waits_for_itself():
            if failure is not None:
                raise failure
            self._timeouts += 1
            raise self._timed_out(
                f"has no free connection, and none can come back: all {slots.size} are in use ({self._lent}); "
                "use the connection of the block around this one, or raise max_size"
            )
        shuts, began = self._shuts, monotonic()
        try:
            physical = await slots.waiting.wait(timeout, self._put_back)
        except TimeoutError:
            self._timeouts += 1
            self._warn_of_long_leases()
            raise self._waited_too_long(failure) from failure
        finally:
            self._waits += 1
            self._wait_seconds += monotonic() - began
        self._check_open(physical, shuts)
        if physical is NO_SLOT:
            raise self._leads_nowhere()
        return physical

    async def _fit(self, physical: PhysicalConnection | None, within: float) -> PhysicalConnection | None:
        """Return an idle connection that may be lent, ``physical`` or the next, or None with a slot to open one in."""
        while physical is not None and not await self._is_fit(physical, within):
            physical = self._slots.swap_for_idle()
        return physical

    async def _is_fit(self, physical: PhysicalConnection, within: float) -> bool:
        """Return whether an idle connection may be lent; one that may not is closed, and its slot stays.

        Its server has ``within`` seconds to answer.
        """
        now = monotonic()
        verdict = self._judge_idle(physical, now)
        if verdict is _USE:
            return True
        try:
            fit = verdict is Verdict.CHECK and await physical.is_alive(within)
        except BaseException:
            self._drop(physical)
            raise
        if not fit:
            if monotonic() - now >= within:
                # The others, which are older, and good-byes would take as long.
                self.drop_idle()
                physical.driver.terminate()
            left = min(within, self.options.cleanup_timeout) - (monotonic() - now)
            try:
                await self._close_physical(physical, max(0.0, left))
            except BaseException:
                self._slots.free()
                raise
        return fit

    async def _open_physical(self, within: float, until: float | None) -> PhysicalConnection:
        """Open a connection in a slot that the caller holds, and free the slot if that fails.

        Without ``until``, a moment, there is another server to turn to.
        """
        try:
            if until is None and (within <= 0 or self.connector.breaker.is_open):
                raise self._leads_nowhere()  # noqa: TRY301 - the slot is freed as after every failure
            connection = await self.connector.open(within, until, lambda: not self.is_closed)
        except BaseException as exc:
            if isinstance(exc, errors.ConnectError) and is_full(exc) and self._lent:
                self._slots.give_up()  # the next in line would find no room either: it waits for a connection
            else:
                self._slots.free()
            raise
        self._opened += 1
        return PhysicalConnection(connection, self.connector, self.options)

    # Taking back

    def release_nowait(self, physical: PhysicalConnection) -> bool:
        """Take back a connection that needs nothing and return True, else False: see `release`."""
        now, slots = monotonic(), self._slots
        if self._judge_returned(physical, now) is not _USE or (slots.idle and self._has_surplus(now)):
            return False
        if self._remembers_places:
            self._warn_of_long_leases()
        physical.end_lease(now)
        if self._end_lease(physical, now):
            slots.put(physical)
        return True

    async def release(self, physical: PhysicalConnection) -> None:
        """Take back a connection: clean it up and keep it, or close it.

        Survives the cancellation of the releasing task, is bounded by ``cleanup_timeout``, and never raises an error:
        a connection that cannot be cleaned up is cut.
        """
        if physical not in self._lent or self.release_nowait(physical):
            return  # what is not lent belongs to another process, or was cut when an event loop had ended
        keep = False

        async def take_back() -> None:
            nonlocal keep
            if await physical.restore():
                physical.end_lease(monotonic())
                keep = self._judge_returned(physical, monotonic()) is not Verdict.CLOSE
            if not keep:
                await physical.close()
            while self._has_surplus(monotonic()):
                await self._discard(self._slots.take_oldest())

        try:
            await shielded(take_back, self.options.cleanup_timeout)
        except Exception as exc:  # noqa: BLE001 - the connection goes; the caller's own exception stays
            keep = False
            self._logger.warning("a connection of %r could not be cleaned up and is cut: %r", self, exc)
            if isinstance(exc, TimeoutError):
                self.leave_alone("it did not answer when a connection was cleaned up")
        finally:
            self._warn_of_long_leases()
            if not self._end_lease(physical, monotonic()):
                physical.driver.terminate()  # `close` was called in another event loop, and has counted it out
            elif keep:
                physical.renew()
                self._put(physical)
            else:
                self._drop(physical)
            self._drained.wake_all(None)

    def abandon(self, physical: PhysicalConnection) -> None:
        """Take back, without waiting, a connection whose caller is gone; may be called in any thread.

        The next in line cleans it up.  When no task waits for it, one with an open transaction or cursor is cut,
        because it would keep locks at the database until a task wants it.
        """
        if self.home.runs_here:
            self._take_abandoned(physical)
        else:
            LoopCallbacks.of(self.home.loop).post(self._take_abandoned, physical)

    def _take_abandoned(self, physical: PhysicalConnection) -> None:
        now = monotonic()
        if not self._end_lease(physical, now):
            return
        physical.require_check()
        usable = self._judge_returned(physical, now) is not Verdict.CLOSE
        if usable and (self._slots.waiting.waiters or not physical.has_open_work):
            self._put(physical)
        else:
            self._drop(physical)
        self._drained.wake_all(None)

    def _end_lease(self, physical: PhysicalConnection, now: float) -> bool:
        if self._lent.pop(physical, self) is self:
            return False
        self._use_seconds += now - physical.leased_at
        return True

    # Handing slots on

    def _put(self, physical: PhysicalConnection) -> None:
        if self.is_closed:
            self._drop(physical)
        else:
            self._slots.put(physical)

    def _put_back(self, handed: Handed) -> None:
        """Hand on what a task was handed that does not want it any more."""
        if handed is None:
            self._slots.free()
        elif handed is not NO_SLOT:
            self._put(handed)

    def _check_open(self, handed: Handed, shuts: int) -> None:
        if self._shuts != shuts:
            self._put_back(handed)
            raise errors.PoolClosed(self._say("was disconnected while a task waited for a connection"))

    def _drop(self, physical: PhysicalConnection) -> None:
        physical.driver.terminate()
        self._closed += 1
        self._slots.forget(physical)
        self._slots.free()

    async def _discard(self, physical: PhysicalConnection, within: float = float("inf")) -> None:
        try:
            await self._close_physical(physical, within)
        finally:
            self._slots.free()

    async def _close_physical(self, physical: PhysicalConnection, within: float = float("inf")) -> None:
        self._closed += 1
        self._slots.forget(physical)
        await physical.close(within)

    # Event loops and processes

    def leave_to_parent(self) -> None:
        """Forget the connections, in a process that was just forked from the one that opened them."""
        if self.is_open or self._slots.size:
            lent = list(self._lent)
            keep_for_ever(self._slots, lent, self.home.loop)
            self._begin_empty(self.driver)
            self.home.leave_to_parent()
            self.is_open = False
            for physical in lent:
                physical.leave_to_parent("it belongs to the process that has forked this one")

    def check_loop(self) -> None:
        """Serve the running event loop from now on, unless there are connections of another one.

        Raises InterfaceError if there are.
        """
        home, slots = self.home, self._slots
        if running_loop() is home.loop:
            return
        if home.loop is not None and (self.is_open or self._lent or slots.idle or slots.retired):
            raise errors.InterfaceError(
                self._say(
                    "belongs to another event loop, the one it was connected or used on; disconnect() before that "
                    "loop ends, or make a Database for each event loop"
                )
            )
        driver = self._given_driver.for_running_loop()
        self._serve_by(driver)
        self._begin_empty(driver)  # locks and queues belong to an event loop, and the tasks in them are gone with it
        home.take_over()

    def _check_usable(self) -> None:
        if self.is_closed:
            raise errors.PoolClosed(self._say("was disconnected; call connect() before using it again"))
        if self.home.is_inherited:
            raise errors.InterfaceError(
                self._say(
                    f"was connected by process {self.home.process}, which has forked this one, and connections cannot "
                    "be shared between processes: call connect() in each"
                )
            )
        self.check_loop()

    # Errors

    def _waits_for_itself(self) -> bool:
        """Return whether all connections belong to blocks of the very task that is about to wait for one."""
        if len(self._lent) < self._slots.size:
            return False
        held = locks_held_here()
        return all(
            holder is not None and holder.task.is_current and physical.lock in held
            for physical, holder in self._lent.items()
        )

    def _timed_out(self, message: str) -> errors.PoolTimeout:
        return self._lent.add_places(errors.PoolTimeout(self._say(message)))

    def _waited_too_long(self, failure: errors.ConnectError | None) -> errors.PoolTimeout:
        size, lent = self._slots.size, self._lent
        opening = size - len(lent) - len(self._slots.idle)
        holders = ", ".join(filter(None, (str(lent), f"{opening} being opened" if opening else "")))
        limits = "max_size or timeout" if failure is None else "the limit of the server, which has no room for more"
        return self._timed_out(
            f"had no free connection for {self.options.timeout:g} s: all {size} are in use ({holders}); "
            f"hold them for a shorter time, or raise {limits}"
        )

    def _leads_nowhere(self) -> errors.ConnectError:
        return errors.ConnectError(self._say("does not lead to a server that answers"))

    def _say(self, what: str) -> str:
        return f"the pool of {self.driver.address} {what}"
