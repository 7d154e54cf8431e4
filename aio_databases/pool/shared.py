"""The pool of a database that lives in one connection: SQLite in memory."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from aio_databases.concurrency.loops import running_loop
from aio_databases.pool.pool import Pool

if TYPE_CHECKING:
    import logging

    from aio_databases.config.options import PoolOptions
    from aio_databases.drivers.base import Driver
    from aio_databases.physical_connection.connection import Physical

__all__ = ("SharedPool", "make_pool")


def make_pool(
    driver: Driver, options: PoolOptions, logger: logging.Logger, *, read_only: bool = False, role: str = "primary"
) -> Pool:
    """Return the kind of pool that a driver needs."""
    if driver.shared:
        return SharedPool(driver, options._replace(min_size=1, max_size=1), logger, read_only=read_only, role=role)
    return Pool(driver, options, logger, read_only=read_only, role=role)


class SharedPool(Pool):
    """Lends the same connection to everybody, to be used by turns; it stays open until the pool is closed.

    The connection is always in ``_idle``, and in ``_lent`` too while there are leases.
    """

    def acquire_nowait(self) -> Physical | None:
        """Lend the connection, if it is open."""
        if not self._idle or running_loop() is not self.loop or self._idle[0].driver.is_closed:
            return None
        physical = self._idle[0]
        if not physical.leases:
            physical.lent = monotonic()
            self._lent[physical] = None
        physical.leases += 1
        return physical

    def note_block(self, physical: Physical) -> None:
        """Do nothing: everybody has the connection at the same time, and nobody waits for it."""

    async def acquire(self, within: float | None = None) -> Physical:
        """Lend the connection; the first to ask opens it.

        Raises PoolClosed after `close`, and ConnectError.
        """
        self._check_usable()
        while (physical := self.acquire_nowait()) is None:
            while self._idle:
                await self._discard(self._idle.pop())
            # The others wait in line meanwhile, and get it all at once.
            self._put(await super().acquire(within))
        return physical

    async def _is_fit(self, physical: Physical, within: float) -> bool:
        del within
        return (
            not physical.driver.is_closed
        )  # others use it: it does not age, and nothing is checked behind their backs

    def release_nowait(self, physical: Physical) -> bool:
        """Take back a lease; what it leaves to clear up is left to the next statement, whose turn it is then."""
        if physical.has_stray_transaction:
            physical.in_doubt, physical.begun_by_hand = True, False  # the user who sent a BEGIN as SQL is gone
        self._take_abandoned(physical)
        return True

    async def release(self, physical: Physical) -> None:
        """Take back a lease."""
        self.release_nowait(physical)

    def _take_abandoned(self, physical: Physical) -> None:
        physical.leases -= 1
        if not physical.leases:
            self._end_lease(physical, monotonic())
            if physical in self._retired and physical.driver.is_closed:
                self._drop(physical)
            self._drained.wake_all(None)

    def _put(self, physical: Physical) -> None:
        if self.is_closed:
            self._drop(physical)
            return
        if physical not in self._idle:
            self._idle.append(physical)
        self._waiting.wake_all(physical)
