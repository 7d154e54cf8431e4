"""Which pool the reads of a ``replica()`` block go to."""

from __future__ import annotations

import random
from time import monotonic
from typing import TYPE_CHECKING

from aio_databases import errors

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence

    from aio_databases.physical import Physical
    from aio_databases.pool import Pool

__all__ = ("Replicas",)

_COOL_DOWN = 5.0  # seconds for which a replica that failed is left alone


class Replicas:
    """The read-only pools of a `Database`, and the one on the primary that stands in for them."""

    def __init__(self, pools: Sequence[Pool], fallback: Pool, logger: logging.Logger) -> None:
        """Choose among ``pools``; ``fallback`` is the primary, read-only."""
        self.own = tuple(pools)
        self.fallback = fallback
        self._logger = logger
        self._resting: dict[Pool, float] = {}

    @property
    def pools(self) -> tuple[Pool, ...]:
        """All read-only pools."""
        return (*self.own, self.fallback)

    async def acquire(self, *, fallback: bool = True) -> tuple[Pool, Physical]:
        """Lend a connection of the replica with the fewest in use; return it with its pool.

        A replica that no connection can be had from is left alone for some seconds.  When none is left it is a
        read-only connection of the primary, unless ``fallback`` is false: then the last error is raised, a ConnectError
        or PoolTimeout.
        """
        failure: Exception | None = None
        for pool in self._by_load():
            try:
                return pool, pool.acquire_nowait() or await pool.acquire()
            except (errors.OperationalError, errors.PoolClosed) as exc:
                if pool.is_closed:
                    raise
                failure = exc
                if isinstance(exc, errors.PoolTimeout):
                    continue  # it is busy, not broken
                self._resting[pool] = monotonic() + _COOL_DOWN
                self._logger.warning("a replica is left alone for %g s: %s", _COOL_DOWN, exc)
        if fallback:
            return self.fallback, self.fallback.acquire_nowait() or await self.fallback.acquire()
        if failure is None:
            message = "no replica is to be had: none is configured, or all failed a moment ago; allow the fallback"
            raise errors.ConnectError(message)
        raise failure

    def _by_load(self) -> list[Pool]:
        now = monotonic()
        rested = [pool for pool in self.own if self._resting.get(pool, 0.0) <= now]
        return sorted(random.sample(rested, len(rested)), key=lambda pool: pool.lent)
