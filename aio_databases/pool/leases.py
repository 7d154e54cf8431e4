"""Who has the connections of a pool, and for how long: for those who wait for one in vain, warnings and statistics."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from aio_databases.concurrency.loops import TaskReference, current_task, task_name
from aio_databases.concurrency.stack_traces import as_text, stack_here
from aio_databases.physical_connection.connection import Physical

if TYPE_CHECKING:
    import logging
    from traceback import StackSummary

    from aio_databases.errors import PoolTimeout

__all__ = ("Lease", "Leases", "PoolStats")

_NAMED = 5  # tasks that a message names


class PoolStats(NamedTuple):
    """A snapshot of one pool."""

    size: int
    """Connections, those that are being opened included."""
    idle: int
    """Connections that nobody uses."""
    waiting: int
    """Tasks in line for a connection."""
    opened: int
    """Connections opened since the pool was made, as all that follows."""
    closed: int
    timeouts: int
    """Tasks that waited in vain."""
    waits: int
    """Tasks that had to wait, in vain or not."""
    wait_seconds: float
    """Seconds that tasks waited, all of them together."""
    use_seconds: float
    """Seconds that connections were lent, all of them together, those that still are not included."""


class Lease:
    """Who took a connection and, if that is to be remembered, where."""

    __slots__ = ("is_reported", "stack", "task")

    def __init__(self, *, with_stack: bool = False) -> None:
        self.task = TaskReference()
        self.stack: StackSummary | None = stack_here() if with_stack else None
        self.is_reported = False


class Leases(dict[Physical, Lease | None]):
    """The connections in use, each with its lease; None stands for the lease of a single statement."""

    def __str__(self) -> str:
        """Say who has how many."""
        mine = sum(lease is not None and lease.task.is_current for lease in self.values())
        others = Counter(str(lease.task) for lease in self.values() if lease is not None and not lease.task.is_current)
        single = sum(lease is None for lease in self.values())
        parts = [f"{mine} by the very task that waits ({task_name(current_task())!r})"] if mine else []
        parts += [f"{count} by {holder}" for holder, count in others.most_common(_NAMED)]
        rest = len(self) - mine - single - sum(count for _, count in others.most_common(_NAMED))
        parts += [f"{rest} by other tasks"] if rest else []
        parts += [f"{single} by single statements"] if single else []
        return ", ".join(parts)

    def add_places(self, error: PoolTimeout) -> PoolTimeout:
        """Add to an error where each connection was taken, as far as that is remembered, and return it."""
        now = monotonic()
        for physical, lease in self.items():
            if lease is not None and lease.stack is not None:
                held = f"in use by {lease.task} for {now - physical.lent:.1f} s"
                error.add_note(f"{held}, taken at:\n{as_text(lease.stack)}")
        return error

    def warn_of_long_ones(self, limit: float, logger: logging.Logger, place: object) -> None:
        """Warn, once each, of leases that have lasted for more than ``limit`` seconds."""
        now = monotonic()
        for physical, lease in self.items():
            if lease is not None and not lease.is_reported and now - physical.lent > limit:
                lease.is_reported = True
                taken = as_text(lease.stack) if lease.stack else "an unknown place"
                message = "a connection to %s has been in use by %s for %.1f s (leak_warning=%g); it was taken at:\n%s"
                logger.warning(message, place, lease.task, now - physical.lent, limit, taken)
