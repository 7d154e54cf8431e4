"""The pool: lends connections, and decides what becomes of them when they come back.

It has no background tasks.  Connections are opened, checked and closed by the task that needs them, so that asyncio and
trio behave alike and nothing outlives `Pool.close`.  Idle connections are a stack, the most recently used on top, so
that surplus ones grow old; waiting tasks are a queue, and a connection that comes back goes to the first of them.

``_size`` counts places: a place is a connection, or the right of one task to open one.  Whoever takes a place hands it
on with its connection (`Pool._put`) or without (`Pool._free_place`).
"""

from __future__ import annotations

import os
import warnings
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from aio_databases import errors
from aio_databases.concurrency import FifoLock, WaitQueue, running_loop, shielded
from aio_databases.physical import Physical

if TYPE_CHECKING:
    import logging

    from aio_databases.drivers.base import Driver
    from aio_databases.options import PoolOptions

__all__ = ("Pool", "PoolStats")


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
        self.driver = driver  # from the first use on an event loop the one that serves this loop
        self.options = options._replace(reset="never") if driver.sessionless else options
        self.read_only = read_only
        self.is_open = False
        self.is_closed = False
        single_writer = driver.capabilities.single_writer and not driver.shared and not read_only
        self.writer_lock = FifoLock() if single_writer else None
        self._always_resets = callable(self.options.reset) or self.options.reset == "always"
        self._logger = logger
        self._given_driver = driver
        self._loop: Any = None
        self._process = os.getpid()
        self._size = 0
        self._idle: list[Physical] = []
        self._lent: set[Physical] = set()
        self._waiting: WaitQueue[Physical | None] = WaitQueue()
        self._drained: WaitQueue[None] = WaitQueue()
        self._opened = self._closed = self._timeouts = 0

    def __repr__(self) -> str:
        role = "replica" if self.read_only else "primary"
        return f"<Pool {role} {self.driver.address} {self.stats}>"

    @property
    def stats(self) -> PoolStats:
        """A snapshot of the pool."""
        counts = (self._opened, self._closed, self._timeouts)
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
                self._put(await self._open_physical(self.options.connect_timeout))
        except BaseException:
            self.is_open = False
            while self._idle:
                await self._discard(self._idle.pop())
            raise

    def shut(self) -> None:
        """Lend no more connections, and send those away who wait for one."""
        self.is_open, self.is_closed = False, True
        while self._waiting.wake_next(None):
            self._size += 1  # the place that the woken task gives back

    async def close(self, timeout: float) -> None:
        """Close all connections; those in use are waited for, for at most ``timeout`` seconds, and then cut."""
        self.shut()
        here = running_loop() is self._loop
        try:
            if here and self._lent and timeout:
                await self._wait_for_leases(timeout)
            while here and self._idle:
                await self._discard(self._idle.pop())
        finally:
            self.terminate()
            if not here:  # its leases ended with their event loop
                self._size -= len(self._lent)
                self._lent.clear()

    async def _wait_for_leases(self, timeout: float) -> None:
        try:
            await self._drained.wait(timeout, lambda _: None)
        except TimeoutError:
            self._logger.warning("%d connections of %r were in use for too long and are cut", self.lent, self)

    def terminate(self) -> None:
        """Cut all connections without waiting for anybody; those that a parent process has opened live on."""
        if os.getpid() != self._process:
            return
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
        if physical.needs_check(monotonic()):
            return None
        self._idle.pop()
        self._lent.add(physical)
        return physical

    async def acquire(self) -> Physical:
        """Lend a connection: an idle one, else a new one, else the next that comes back.

        Raises PoolTimeout after ``timeout`` seconds in line, PoolClosed after `close`, and ConnectError.
        """
        self._check_usable()
        physical = await self._find()
        while physical is not None and not await self._is_fit(physical):
            physical = self._exchange_place()
        if physical is None:
            physical = await self._open_physical(self.options.connect_timeout)
        if self.is_closed:
            self._put(physical)
            raise errors.PoolClosed(self._say("was disconnected while a task waited for a connection"))
        self._lent.add(physical)
        return physical

    async def _find(self) -> Physical | None:
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
            physical = await self._waiting.wait(options.timeout, self._put_back)
        except TimeoutError:
            self._timeouts += 1
            message = f"had no free connection for {options.timeout:g} s: all {self._size} are in use; hold them "
            raise errors.PoolTimeout(self._say(message + "for a shorter time, or raise max_size or timeout")) from None
        if self.is_closed:
            self._put_back(physical)
            raise errors.PoolClosed(self._say("was disconnected while a task waited for a connection"))
        return physical

    async def _is_fit(self, physical: Physical) -> bool:
        """Return whether an idle connection may be lent; one that may not is closed, and its place stays."""
        now = monotonic()
        if not physical.needs_check(now):
            return True
        fit = False
        try:
            if now < physical.expires and not physical.driver.is_closed:
                fit = await physical.is_alive(self.options.connect_timeout)
            if not fit:
                await self._close_physical(physical)
        except BaseException:
            self._drop(physical)
            raise
        return fit

    def _exchange_place(self) -> Physical | None:
        """Give up a place for an idle connection, if there is one."""
        if not self._idle:
            return None
        self._size -= 1
        return self._idle.pop()

    async def _open_physical(self, within: float) -> Physical:
        """Open a connection in a place that the caller holds, and free the place if that fails."""
        try:
            physical = await Physical.open(self.driver, self.options, read_only=self.read_only, within=within)
        except BaseException:
            self._free_place()
            raise
        self._opened += 1
        return physical

    # Taking back

    def release_nowait(self, physical: Physical) -> bool:
        """Take back a connection that needs nothing and return True, else False: see `release`."""
        if not self.is_open or self._always_resets or not physical.is_clean:
            return False
        physical.used = now = monotonic()
        if now >= physical.expires or self._has_surplus(now):
            return False
        self._lent.discard(physical)
        self._put(physical)
        return True

    async def release(self, physical: Physical) -> None:
        """Take back a connection: clean it up and keep it, or close it.

        Survives the cancellation of the releasing task, is bounded by ``cleanup_timeout``, and never raises an error:
        a connection that cannot be cleaned up is cut.
        """
        if self.release_nowait(physical):
            return
        keep = False

        async def take_back() -> None:
            nonlocal keep
            keep = await physical.restore() and self._may_keep(physical)
            if not keep:
                await physical.close()
            while self._has_surplus(monotonic()):
                await self._discard(self._idle.pop(0))

        try:
            await shielded(take_back, self.options.cleanup_timeout)
        except Exception as exc:  # noqa: BLE001 - the connection goes; the user's own exception stays
            keep = False
            self._logger.warning("a connection of %r could not be cleaned up and is cut: %r", self, exc)
        finally:
            self._lent.discard(physical)
            if keep:
                physical.renew()
                self._put(physical)
            else:
                self._drop(physical)
            if not self._lent:
                self._drained.wake_all(None)

    def abandon(self, physical: Physical) -> None:
        """Take back, without waiting, a connection whose user is gone; whoever gets it next cleans it up."""
        self._lent.discard(physical)
        physical.used = _LONG_AGO
        if self.is_open and not physical.driver.is_closed:
            self._put(physical)
        else:
            self._drop(physical)
        if not self._lent:
            self._drained.wake_all(None)

    def suspect(self) -> None:
        """Have every idle connection checked before it is lent again: another one was just found dead."""
        for physical in self._idle:
            physical.used = _LONG_AGO

    def _may_keep(self, physical: Physical) -> bool:
        physical.used = monotonic()
        return self.is_open and physical.used < physical.expires and not physical.driver.is_closed

    def _put(self, physical: Physical) -> None:
        if self.is_closed:
            self._drop(physical)
        elif not self._waiting.waiters or not self._waiting.wake_next(physical):
            self._idle.append(physical)

    def _put_back(self, physical: Physical | None) -> None:
        if physical is None:
            self._free_place()
        else:
            self._put(physical)

    def _drop(self, physical: Physical) -> None:
        physical.driver.terminate()
        self._closed += 1
        self._free_place()

    def _free_place(self) -> None:
        if not self._waiting.wake_next(None):
            self._size -= 1

    def _has_surplus(self, now: float) -> bool:
        """Return whether the connection that is idle for longest has been so for too long."""
        idle = self._idle
        return bool(idle) and now - idle[0].used > self.options.max_idle and self._size > self.options.min_size

    async def _discard(self, physical: Physical) -> None:
        try:
            await self._close_physical(physical)
        finally:
            self._free_place()

    async def _close_physical(self, physical: Physical) -> None:
        self._closed += 1
        await physical.close()

    # Bad use

    def _check_usable(self) -> None:
        if self.is_closed:
            raise errors.PoolClosed(self._say("was disconnected; call connect() before using it again"))
        self._check_loop()

    def _check_loop(self) -> None:
        loop = running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and (self.is_open or self._lent):
            message = "belongs to another event loop, the one it was connected on; disconnect() before that loop ends, "
            raise errors.InterfaceError(self._say(message + "or make a Database for each event loop"))
        self.driver = self._given_driver.for_running_loop()
        self._loop = loop
        self._process = os.getpid()

    def _say(self, what: str) -> str:
        return f"the pool of {self.driver.address} {what}"


_LONG_AGO = float("-inf")
