"""The pool of a database that lives in one connection: SQLite in memory."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from aio_databases.concurrency.loops import running_loop
from aio_databases.pool.pool import Pool
from aio_databases.pool.slots import SharedSlots

if TYPE_CHECKING:
    import logging

    from aio_databases.config.options import PoolOptions
    from aio_databases.drivers.base import Driver
    from aio_databases.physical_connection.connection import PhysicalConnection


def make_pool(
    driver: Driver, options: PoolOptions, logger: logging.Logger, *, read_only: bool = False, role: str = "primary"
) -> Pool:
    """Return the kind of pool that a driver needs."""
    if driver.shared:
        return SharedPool(driver, options._replace(min_size=1, max_size=1), logger, read_only=read_only, role=role)
    return Pool(driver, options, logger, read_only=read_only, role=role)


class SharedPool(Pool):
    """Lends the same connection to all callers, which use it in turn; it stays open until the pool is closed."""

    def _new_slots(self) -> SharedSlots:
        self._leases: dict[PhysicalConnection, int] = {}
        return SharedSlots(self.options.max_size)

    async def _is_fit(self, physical: PhysicalConnection, within: float) -> bool:
        # It is in use: it does not age, and nothing is checked meanwhile.
        del within
        return not physical.driver.is_closed

    def acquire_nowait(self) -> PhysicalConnection | None:
        """Lend the connection, if it is open."""
        idle = self._slots.idle
        if not idle or running_loop() is not self.home.loop or idle[0].driver.is_closed:
            return None
        physical = idle[0]
        leases = self._leases.get(physical, 0)
        if not leases:
            physical.begin_lease(monotonic())
            self._lent[physical] = None
        self._leases[physical] = leases + 1
        return physical

    def note_block(self, physical: PhysicalConnection) -> None:
        """Do nothing: all callers have the connection at the same time, and no task waits for it."""

    async def acquire(self, within: float | None = None) -> PhysicalConnection:
        """Lend the connection; the first caller opens it.

        Raises PoolClosed after `close`, and ConnectError.
        """
        self._check_usable()
        while (physical := self.acquire_nowait()) is None:
            while self._slots.idle:
                await self._discard(self._slots.take_idle())
            # The others wait in line meanwhile, and get it all at once.
            self._put(await super().acquire(within))
        return physical

    def release_nowait(self, physical: PhysicalConnection) -> bool:
        """Take back a lease; the next call cleans up what it leaves, when it has the lock."""
        physical.abandon_stray_transaction()
        self._take_abandoned(physical)
        return True

    async def release(self, physical: PhysicalConnection) -> None:
        """Take back a lease."""
        self.release_nowait(physical)

    def _take_abandoned(self, physical: PhysicalConnection) -> None:
        leases = self._leases.pop(physical, 0) - 1
        if leases > 0:
            self._leases[physical] = leases
        elif not leases:
            self._end_lease(physical, monotonic())
            if physical in self._slots.retired and physical.driver.is_closed:
                self._drop(physical)
            self._drained.wake_all(None)
