"""The statistics of a pool."""

from __future__ import annotations

from typing import NamedTuple


class PoolStats(NamedTuple):
    """A snapshot of one pool."""

    size: int
    """Connections, including those that are being opened."""
    idle: int
    """Connections that are not in use."""
    waiting: int
    """Tasks in line for a connection."""
    opened: int
    """Connections opened since the pool was made, as all that follows."""
    closed: int
    timeouts: int
    """Tasks that waited without success."""
    waits: int
    """Tasks that had to wait, with success or not."""
    wait_seconds: float
    """Seconds that tasks waited, all of them together."""
    use_seconds: float
    """Seconds that connections were lent, all of them together, without those that still are."""
