"""The places of a pool: how many connections there are, which of them are idle, and who waits for one.

A place is a connection, or the right of one task to open one.  Whoever takes a place hands it on with its connection
(`Places._put`) or without (`Places._free_place`).  Idle connections are a stack, the most recently used on top, so that
surplus ones grow old; waiting tasks are a queue, and a connection that comes back goes to the first of them.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from aio_databases.physical import Physical
from aio_databases.waiting import WaitQueue

if TYPE_CHECKING:
    from aio_databases.drivers.base import Driver
    from aio_databases.options import PoolOptions

__all__ = ("Places",)


class Places:
    """Connections that are idle, and tasks that wait for one."""

    driver: Driver
    is_closed: bool
    options: PoolOptions
    read_only: bool

    def __init__(self) -> None:
        self._opened: int = 0
        self._closed: int = 0
        self._begin_empty()

    def _begin_empty(self) -> None:
        self._size: int = 0
        self._idle: list[Physical] = []
        self._waiting: WaitQueue[Physical | None] = WaitQueue()

    @property
    def has_room(self) -> bool:
        """Whether a connection can be had without waiting for somebody to return one."""
        return bool(self._idle) or self._size < self.options.max_size

    def suspect(self) -> None:
        """Have every idle connection checked before it is lent again: another one was just found dead."""
        for physical in self._idle:
            physical.distrust()

    # Taking a place

    async def _is_fit(self, physical: Physical) -> bool:
        """Return whether an idle connection may be lent; one that may not is closed, and its place stays."""
        now = monotonic()
        if not physical.needs_check(now):
            return True
        fit = False
        try:
            if now < physical.expires and not physical.driver.is_closed:
                fit = await physical.is_alive(self.options.connect_timeout)
        except BaseException:
            self._drop(physical)
            raise
        if not fit:
            if monotonic() - now >= self.options.connect_timeout:
                self._drop_idle()  # they are older, and nobody is to wait as long for each of them
            try:
                await self._close_physical(physical)
            except BaseException:
                self._free_place()
                raise
        return fit

    def _drop_idle(self) -> None:
        while self._idle:
            self._drop(self._idle.pop())

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

    # Handing a place on

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
