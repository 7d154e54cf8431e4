"""The places of a pool: how many connections there are, which of them are idle, and who waits for one.

A place is a connection, or the right of one task to open one.  Whoever takes a place hands it on with its connection
(`Places._put`) or without (`Places._free_place`).  Idle connections are a stack, the most recently used on top, so that
surplus ones grow old; waiting tasks are a queue, and a connection that comes back goes to the first of them.
"""

from __future__ import annotations

from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Final

import anyio

from aio_databases import errors
from aio_databases.concurrency.queues import FifoLock, WaitQueue
from aio_databases.dialects.error_codes import is_full
from aio_databases.physical_connection.connection import Physical
from aio_databases.pool.breaker import CircuitBreaker
from aio_databases.pool.connector import Hosts

if TYPE_CHECKING:
    import logging

    from aio_databases.config.options import PoolOptions
    from aio_databases.drivers.base import Driver
    from aio_databases.pool.leases import Leases

__all__ = ("NO_PLACE", "Places")


class SentAway(Enum):
    """What a task in line is handed when it is to wait no more."""

    NO_PLACE = "no place"


NO_PLACE: Final = SentAway.NO_PLACE


class Places:
    """Connections that are idle, and tasks that wait for one."""

    driver: Driver
    hosts: Hosts
    is_closed: bool
    options: PoolOptions
    read_only: bool
    role: str
    _lent: Leases
    _logger: logging.Logger

    def __init__(self) -> None:
        self._opened: int = 0
        self._closed: int = 0
        self._shuts: int = 0  # how often `Pool.shut` was called
        self._connect_seconds = float("inf")  # that the quickest connection took
        self._begin_empty()

    def _begin_empty(self) -> None:
        self._size: int = 0
        self._idle: list[Physical] = []
        self._retired: dict[Physical, None] = {}  # to be closed, lent or not: `Pool.shut` has found them
        self._waiting: WaitQueue[Physical | SentAway | None] = WaitQueue()

    def _serve_by(self, driver: Driver) -> None:
        self.driver = driver
        self.asking = FifoLock()  # for the position of the server
        self.breaker = CircuitBreaker(self.options.cool_down)  # heeded by those who have another server to turn to
        self.unsettled = 0  # cancelled statements that the server has not said yet to have stopped
        self.hosts = Hosts(driver, self.options.target, self._logger, role=self.role, read_only=self.read_only)

    @property
    def has_room(self) -> bool:
        """Whether a connection can be had without waiting for somebody to return one."""
        return bool(self._idle) or self._size < self.options.max_size

    @property
    def used_at(self) -> float:
        """The last moment at which a connection was opened or came back, of those that are open, or 0."""
        return max((physical.used for physical in (*self._idle, *self._lent)), default=0.0)

    @property
    def load(self) -> int:
        """How many connections are in use, being opened, or waited for."""
        return self._size - len(self._idle) + len(self._waiting)

    @property
    def patience(self) -> float:
        """For how many seconds a connection is worth waiting for while another server can stand in for this one.

        A server that may just have become slow is given more time after some failures, when it is seldom tried.
        """
        failures = min(self.breaker.failures, 12)
        known = (
            max(_PATIENCE, 4 * self._connect_seconds) * 2.0 ** max(0, failures - 3) if self._opened else 2.0**failures
        )
        return min(known, self.options.connect_timeout)

    def suspect(self) -> None:
        """Have every idle connection checked before it is lent again: another one was just found dead."""
        for physical in self._idle:
            physical.distrust()

    def suspect_roles(self) -> None:
        """Have the role of every server checked before a connection to it is lent again."""
        now = monotonic()
        for physical in (*self._idle, *self._lent):
            physical.distrust_role(now)

    def leave_alone(self, reason: object) -> None:
        """Have the server left alone for a while by those who have another one, and what is idle checked then."""
        self.suspect()
        rest = self.breaker.fail()
        if self.role == "replica":
            if rest:
                self._logger.warning("a replica is left alone for %.1f s: %s", rest, reason)
            self._waiting.wake_all(NO_PLACE)

    # Taking a place

    async def _is_fit(self, physical: Physical, within: float) -> bool:
        """Return whether an idle connection may be lent; one that may not is closed, and its place stays.

        Its server has ``within`` seconds to answer.
        """
        now = monotonic()
        if not physical.needs_check(now):
            return True
        fit = False
        try:
            if now < physical.expires and not physical.driver.is_closed:
                fit = await physical.is_alive(within)
        except BaseException:
            self._drop(physical)
            raise
        if not fit:
            if monotonic() - now >= within:
                # Nobody is to wait as long for the others, which are older, nor for good-byes.
                self.drop_idle()
                physical.driver.terminate()
            left = min(within, self.options.cleanup_timeout) - (monotonic() - now)
            try:
                await self._close_physical(physical, max(0.0, left))
            except BaseException:
                self._free_place()
                raise
        return fit

    def prefer_other_hosts(self, hosts: set[int]) -> bool:
        """Have a connection to none of these hosts lent next, and return whether one is idle."""
        idle = self._idle
        for index in range(len(idle) - 1, -1, -1):
            if idle[index].host not in hosts:
                idle.append(idle.pop(index))
                return True
        return False

    def drop_idle(self) -> None:
        """Cut all connections that nobody uses."""
        while self._idle:
            self._drop(self._idle.pop())

    async def _fit(self, physical: Physical | None, within: float) -> Physical | None:
        """Return an idle connection that may be lent, ``physical`` or the next, or None with a place to open one."""
        while physical is not None and not await self._is_fit(physical, within):
            physical = self._exchange_place()
        return physical

    def _exchange_place(self) -> Physical | None:
        """Give up a place for an idle connection, if there is one."""
        if not self._idle:
            return None
        self._size -= 1
        return self._idle.pop()

    async def _open_physical(self, within: float, until: float | None) -> Physical:
        """Open a connection in a place that the caller holds, and free the place if that fails.

        While a failover gives the roles to other servers it is tried again, up to the moment ``until``; without one
        there is another server to turn to.
        """
        try:
            physical = await self._open_in_role(within, until)
        except BaseException as exc:
            if isinstance(exc, errors.ConnectError) and is_full(exc) and self._lent:
                self._size -= 1  # the next in line would find no room either: it waits for a connection
            else:
                self._free_place()
            raise
        self._opened += 1
        return physical

    async def _open_in_role(self, within: float, until: float | None) -> Physical:
        if until is None and (within <= 0 or self.breaker.rests):
            raise self._leads_nowhere()
        pause = _FIRST_PAUSE
        while True:
            began = monotonic()
            try:
                physical = await Physical.open(self.hosts, self.options, within)
            except errors.TargetNotFound:
                if until is None or self.is_closed or monotonic() + pause > until:
                    raise
            else:
                self._connect_seconds = min(self._connect_seconds, monotonic() - began)
                return physical
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    # Handing a place on

    def _put(self, physical: Physical) -> None:
        if self.is_closed:
            self._drop(physical)
        elif not self._waiting.waiters or not self._waiting.wake_next(physical):
            self._idle.append(physical)

    def _put_back(self, physical: Physical | SentAway | None) -> None:
        if physical is None:
            self._free_place()
        elif physical is not NO_PLACE:
            self._put(physical)

    def _check_open(self, physical: Physical | SentAway | None, shuts: int) -> None:
        if self._shuts != shuts:
            self._put_back(physical)
            raise errors.PoolClosed(self._say("was disconnected while a task waited for a connection"))

    def _drop(self, physical: Physical) -> None:
        physical.driver.terminate()
        self._retired.pop(physical, None)
        self._closed += 1
        self._free_place()

    def _free_place(self) -> None:
        if not self._waiting.wake_next(None):
            self._size -= 1

    def _has_surplus(self, now: float) -> bool:
        """Return whether the connection that is idle for longest has been so for too long."""
        idle = self._idle
        return bool(idle) and now - idle[0].used > self.options.max_idle and self._size > self.options.min_size

    async def _discard(self, physical: Physical, within: float = float("inf")) -> None:
        try:
            await self._close_physical(physical, within)
        finally:
            self._free_place()

    async def _close_physical(self, physical: Physical, within: float = float("inf")) -> None:
        self._closed += 1
        self._retired.pop(physical, None)
        await physical.close(within)

    def _leads_nowhere(self) -> errors.ConnectError:
        return errors.ConnectError(self._say("does not lead to a server that answers"))

    def _say(self, what: str) -> str:
        return f"the pool of {self.driver.address} {what}"


_PATIENCE = 0.5  # seconds; between continents four times as long as the quickest connection took
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 0.5  # seconds between attempts to find a server in the role that is wanted
