"""The pool: opens connections, lends them, checks them, and decides what becomes of them when they come back.

It has no background tasks.  Connections are opened, checked and closed by the task that needs them, so that asyncio and
trio behave alike and nothing outlives `Pool.close`.  Idle connections are a stack, the most recently used on top, so
that surplus ones grow old; waiting tasks are a queue, and a connection that comes back goes to the first of them.

``_size`` counts places: a place is a connection, or the right of one task to open it.
"""

from __future__ import annotations

import random
import warnings
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from aio_databases import errors
from aio_databases.concurrency import FifoLock, WaitQueue, running_loop, runs_on_trio, shielded
from aio_databases.physical import Physical

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from aio_databases.drivers.base import Driver, DriverConnection

__all__ = ("Pool", "PoolOptions", "PoolStats", "SharedPool", "make_pool")


class PoolOptions(NamedTuple):
    """How a pool behaves; durations are seconds."""

    min_size: int = 0
    max_size: int = 10
    timeout: float = 30.0
    max_idle: float = 600.0
    max_lifetime: float = 3600.0
    max_waiting: int = 0
    check_after: float = 30.0
    connect_timeout: float = 10.0
    cleanup_timeout: float = 5.0
    reset: str | Callable[[Any], Any] = "auto"
    init: Callable[[Any], Any] | None = None


class PoolStats(NamedTuple):
    """A snapshot of one pool: connections, waiting tasks, and counts since it was made."""

    size: int
    idle: int
    waiting: int
    opened: int
    closed: int
    timeouts: int


class Pool:
    """The connections of one driver: all read-only, or none."""

    def __init__(self, driver: Driver, options: PoolOptions, logger: logging.Logger, *, read_only: bool) -> None:
        self.driver = driver
        self.options = options
        self.read_only = read_only
        self.is_open = False
        self.is_closed = False
        single_writer = driver.capabilities.single_writer and not driver.shared and not read_only
        self.writer_lock = FifoLock() if single_writer else None
        self._always_resets = callable(options.reset) or options.reset == "always"
        self._logger = logger
        self._loop: Any = None
        self._size = 0
        self._idle: list[Physical] = []
        self._lent: set[Physical] = set()
        self._waiting: WaitQueue[Physical | None] = WaitQueue()
        self._drained: WaitQueue[None] = WaitQueue()
        self._suspect = 0.0
        self._opened = self._discarded = self._timeouts = 0

    def __repr__(self) -> str:
        role = "replica" if self.read_only else "primary"
        return f"<Pool {role} {self.driver.address} {self.stats}>"

    @property
    def stats(self) -> PoolStats:
        """A snapshot of the pool."""
        counts = (self._opened, self._discarded, self._timeouts)
        return PoolStats(self._size, len(self._idle), len(self._waiting), *counts)

    @property
    def lent(self) -> int:
        """The number of connections in use."""
        return len(self._lent)

    @property
    def has_room(self) -> bool:
        """Whether a connection can be had without waiting for somebody to return one."""
        return bool(self._idle) or self._size < self.options.max_size

    # Opening and closing

    def open_lazily(self) -> None:
        """Keep connections from now on, without opening one yet."""
        self._check_loop()
        self.is_open, self.is_closed = True, False

    async def open(self) -> None:
        """Open ``min_size`` connections, but at least one, so that a wrong URL or password shows now.

        Raises ConnectError or AuthenticationError.
        """
        self.open_lazily()
        try:
            while self._size < max(1, self.options.min_size):
                self._size += 1
                self._put(await self._connect(self.options.connect_timeout))
        except BaseException:
            await shielded(lambda: self.close(0), self.options.cleanup_timeout)
            self.is_closed = False
            raise

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - how long to wait for others
        """Close all connections; those in use are waited for, for at most ``timeout`` seconds, and then cut."""
        self.is_open, self.is_closed = False, True
        self._waiting.wake_all(None)
        here = running_loop() is self._loop
        try:
            if here and self._lent and timeout:
                await self._wait_for_leases(timeout)
            while here and self._idle:
                await self._discard(self._idle.pop())
        finally:
            self.terminate()

    async def _wait_for_leases(self, timeout: float) -> None:  # noqa: ASYNC109 - see close
        try:
            await self._drained.wait(timeout, lambda _: None)
        except TimeoutError:
            self._logger.warning("%d connections of %r were in use for too long and are cut", self.lent, self)

    def terminate(self) -> None:
        """Cut all connections without waiting for anybody."""
        for physical in (*self._idle, *self._lent):
            physical.driver.terminate()
        self._size -= len(self._idle)
        self._idle.clear()

    def __del__(self) -> None:
        if self.is_open and self._idle:
            message = f"{self!r} was never disconnected: call 'await db.disconnect()' or use 'async with db'"
            warnings.warn(message, ResourceWarning, stacklevel=1, source=self)
        self.terminate()

    # Lending

    def acquire_nowait(self) -> Physical | None:
        """Lend the connection that was used last, or return None where that takes more than a look: see `acquire`."""
        if not self._idle or running_loop() is not self._loop:
            return None
        physical = self._idle[-1]
        now = monotonic()
        if now >= physical.expires or self._needs_check(physical, now) or not physical.is_clean:
            return None
        self._idle.pop()
        self._lent.add(physical)
        return physical

    async def acquire(self) -> Physical:
        """Lend a connection: an idle one, else a new one, else the next that comes back.

        Raises PoolTimeout after the pool's ``timeout``, PoolClosed after `close`, and ConnectError.
        """
        self._check_usable()
        deadline = monotonic() + self.options.timeout
        physical = await self._find(deadline)
        while physical is not None and not await self._is_fit(physical, deadline):
            physical = self._idle.pop() if self._exchange_place() else None
        if physical is None:
            physical = await self._connect(min(self.options.connect_timeout, max(deadline - monotonic(), 0.001)))
        self._lent.add(physical)
        return physical

    async def _find(self, deadline: float) -> Physical | None:
        """Return an idle connection, or None with a place to open one."""
        if self._idle:
            return self._idle.pop()
        options = self.options
        if self._size < options.max_size:
            self._size += 1
            return None
        if options.max_waiting and len(self._waiting) >= options.max_waiting:
            raise errors.PoolTimeout(self._say(f"already has {options.max_waiting} tasks waiting (max_waiting)"))
        try:
            physical = await self._waiting.wait(deadline - monotonic(), self._put_back)
        except TimeoutError:
            self._timeouts += 1
            message = f"had no free connection for {options.timeout:g} s, all {self._size} are in use; raise max_size or "
            raise errors.PoolTimeout(self._say(message + "timeout, or hold connections for a shorter time")) from None
        if self.is_closed:
            self._put_back(physical)
            raise errors.PoolClosed(self._say("was disconnected while a task waited for a connection"))
        return physical

    def _needs_check(self, physical: Physical, now: float) -> bool:
        return physical.used <= self._suspect or now - physical.used >= self.options.check_after

    async def _is_fit(self, physical: Physical, deadline: float) -> bool:
        """Return whether an idle connection may be lent; one that may not is closed, and its place stays."""
        now = monotonic()
        fit = False
        try:
            if now < physical.expires and not physical.driver.is_closed:
                unchecked = self._needs_check(physical, now) or not physical.is_clean
                fit = not unchecked or await self._answers(physical, deadline - now)
            if not fit:
                await self._close_driver(physical)
        except BaseException:
            physical.driver.terminate()
            self._free_place()
            raise
        return fit

    async def _answers(self, physical: Physical, left: float) -> bool:
        try:
            with anyio.fail_after(min(self.options.connect_timeout, max(left, 0.001))):
                if not physical.is_clean and not await self._clean(physical):
                    return False
                await physical.driver.ping()
                physical.renew()
        except Exception as exc:  # noqa: BLE001 - whatever it is, this connection is of no use
            self._logger.info("an idle connection of %r did not answer: %r", self, exc)
            return False
        return True

    def _exchange_place(self) -> bool:
        """Give up a place for an idle connection, if there is one."""
        if not self._idle:
            return False
        self._size -= 1
        return True

    async def _connect(self, timeout: float) -> Physical:  # noqa: ASYNC109 - bounds any library
        """Open a connection in a place that the caller holds, and free the place if that fails."""
        driver = self.driver
        connection: DriverConnection | None = None
        try:
            if runs_on_trio() and not driver.capabilities.trio:
                raise errors.NotSupportedError(f"the driver {driver.name} runs on asyncio only, not on trio")
            with anyio.fail_after(timeout):
                connection = await driver.connect(read_only=self.read_only)
                if self.options.init is not None:
                    await connection.initialise(self.options.init)
        except BaseException as exc:
            if connection is not None:
                connection.terminate()
            self._free_place()
            if isinstance(exc, Exception) and connection is None:
                raise self._connect_error(exc, timeout) from exc.__cause__
            raise
        self._opened += 1
        lifetime = self.options.max_lifetime * random.uniform(0.9, 1.0)  # noqa: S311 - against mass reconnection
        return Physical(connection, monotonic() + (lifetime or float("inf")))

    def _connect_error(self, exc: Exception, timeout: float) -> Exception:  # noqa: ASYNC109 - for the message
        if isinstance(exc, errors.Error):
            return exc
        if isinstance(exc, TimeoutError):
            reason, kind = f"no answer within {timeout:g} s", errors.ConnectError
        else:
            diagnosis = self.driver.diagnose(exc)
            if diagnosis is None:
                return exc
            reason, kind = str(exc), diagnosis.kind
        if not issubclass(kind, errors.ConnectError):
            kind = errors.ConnectError
        hint = "check user and password" if kind is errors.AuthenticationError else self.driver.connect_hint
        message = f"cannot connect to {self.driver.address}: {reason}; {hint}"
        return errors.translate(exc, errors.Diagnosis(kind, getattr(exc, "sqlstate", None)), message)

    # Taking back: release is a list of decisions

    def release_nowait(self, physical: Physical) -> bool:
        """Take back a connection that needs nothing and return True, else False: see `release`."""
        if not self.is_open or self._always_resets or not physical.is_clean:
            return False
        now = monotonic()
        if now >= physical.expires or self._surplus(now):
            return False
        physical.used = now
        self._lent.discard(physical)
        self._put(physical)
        return True

    async def release(self, physical: Physical) -> None:
        """Take back a connection: clean it up and keep it, or close it.

        Survives the cancellation of the releasing task, is bounded by ``cleanup_timeout``, and never raises an error:
        a connection that cannot be cleaned is cut.
        """
        if self.release_nowait(physical):
            return
        keep = False

        async def take_back() -> None:
            nonlocal keep
            keep = await self._clean(physical) and self._may_keep(physical)
            if not keep:
                await physical.driver.close()
            while self._surplus(monotonic()):
                await self._discard(self._idle.pop(0))

        try:
            await shielded(take_back, self.options.cleanup_timeout)
        except Exception as exc:  # noqa: BLE001 - the connection goes, the user's own exception stays
            keep = False
            self._logger.warning("a connection of %r could not be cleaned up and is cut: %r", self, exc)
        finally:
            self._lent.discard(physical)
            if keep:
                physical.renew()
                self._put(physical)
            else:
                physical.driver.terminate()
                self._discarded += 1
                self._free_place()
            if not self._lent:
                self._drained.wake_all(None)

    async def _clean(self, physical: Physical) -> bool:
        """Bring a connection into the state in which it was lent, and return whether that worked."""
        driver, turns = physical.driver, physical.turns
        if not driver.is_closed:
            await turns.take_urgently(self.options.cleanup_timeout)
        turns.dismiss()
        physical.abandoned.extend(physical.cursors)
        if driver.is_closed or not await physical.settle():
            return False
        if driver.in_transaction:
            await driver.rollback()
        reset = self.options.reset
        if callable(reset):
            answer = reset(driver.raw)
            if hasattr(answer, "__await__"):
                await answer
        elif reset == "always" or (reset == "auto" and physical.session_changed):
            return await driver.reset()
        return True

    def _may_keep(self, physical: Physical) -> bool:
        physical.used = monotonic()
        return self.is_open and physical.used < physical.expires and not physical.driver.is_closed

    def abandon(self, physical: Physical) -> None:
        """Take back, without waiting, a connection whose user is gone; whoever gets it next cleans it up."""
        self._lent.discard(physical)
        if self.is_open and not physical.driver.is_closed:
            self._put(physical)
        else:
            physical.driver.terminate()
            self._discarded += 1
            self._free_place()

    def suspect(self) -> None:
        """Have every idle connection checked before it is lent again: another one was just found dead."""
        self._suspect = monotonic()

    def _put(self, physical: Physical) -> None:
        if not self._waiting.wake_next(physical):
            self._idle.append(physical)

    def _put_back(self, physical: Physical | None) -> None:
        if physical is None:
            self._free_place()
        else:
            self._put(physical)

    def _free_place(self) -> None:
        if not self._waiting.wake_next(None):
            self._size -= 1

    def _surplus(self, now: float) -> bool:
        """Return whether the connection that is idle for longest has been so for too long."""
        idle = self._idle
        return bool(idle) and now - idle[0].used > self.options.max_idle and self._size > self.options.min_size

    async def _discard(self, physical: Physical) -> None:
        try:
            await self._close_driver(physical)
        finally:
            self._free_place()

    async def _close_driver(self, physical: Physical) -> None:
        self._discarded += 1
        try:
            await shielded(physical.driver.close, self.options.cleanup_timeout)
        except Exception as exc:  # noqa: BLE001 - it goes in any case
            self._logger.info("a connection of %r could not be closed in good order: %r", self, exc)
        finally:
            physical.driver.terminate()

    def _check_usable(self) -> None:
        if self.is_closed:
            raise errors.PoolClosed(self._say("was disconnected; call connect() before using it again"))
        self._check_loop()

    def _check_loop(self) -> None:
        loop = running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and (self.is_open or self._lent):
            message = "belongs to another event loop, the one it was connected on; make a Database for each event loop, "
            raise errors.InterfaceError(self._say(message + "or disconnect() before that loop ends"))
        self._loop = loop

    def _say(self, what: str) -> str:
        return f"the pool of {self.driver.address} {what}"


class SharedPool(Pool):
    """The pool of a database that lives in one connection: everybody is lent that one, and uses it by turns."""

    def acquire_nowait(self) -> Physical | None:
        """Lend the connection, if it is open."""
        if not self._idle or running_loop() is not self._loop or self._idle[0].driver.is_closed:
            return None
        physical = self._idle[0]
        physical.leases += 1
        self._lent.add(physical)
        return physical

    async def acquire(self) -> Physical:
        """Lend the connection; the first to ask opens it.

        Raises PoolClosed after `close`, and ConnectError.
        """
        self._check_usable()
        while (physical := self.acquire_nowait()) is None:
            while self._idle:
                await self._discard(self._idle.pop())
            opened = await super().acquire()  # the others wait in line meanwhile, and get it all at once
            if not self._idle:
                self._idle.append(opened)
            self._waiting.wake_all(opened)
        return physical

    def release_nowait(self, physical: Physical) -> bool:
        """Take back a lease that needs no clearing up; the connection stays open for the others."""
        stray = physical.driver.in_transaction and not physical.turns.stack
        if physical.in_doubt or physical.abandoned or stray:
            return False
        self._end_lease(physical)
        return True

    async def release(self, physical: Physical) -> None:
        """Take back a lease; what other leases do on the connection is left alone."""

        async def clear_up() -> None:
            await physical.turns.take_urgently(self.options.cleanup_timeout)
            try:
                physical.in_doubt = True
                await physical.settle()
            finally:
                physical.turns.give_back()

        if self.release_nowait(physical):
            return
        try:
            await shielded(clear_up, self.options.cleanup_timeout)
        except Exception as exc:  # noqa: BLE001 - the user's own exception stays
            self._logger.warning("the connection of %r could not be cleaned up and is cut: %r", self, exc)
            physical.driver.terminate()
        finally:
            self._end_lease(physical)

    def abandon(self, physical: Physical) -> None:
        """End a lease whose user is gone."""
        self._end_lease(physical)

    def _end_lease(self, physical: Physical) -> None:
        physical.leases -= 1
        if not physical.leases:
            self._lent.discard(physical)
            self._drained.wake_all(None)


def make_pool(driver: Driver, options: PoolOptions, logger: logging.Logger, *, read_only: bool = False) -> Pool:
    """Return the kind of pool that a driver needs."""
    if driver.shared:
        return SharedPool(driver, options._replace(min_size=1, max_size=1), logger, read_only=read_only)
    return Pool(driver, options, logger, read_only=read_only)
