"""The tasks that hold the connections of a pool, and since when: for error messages and warnings."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

from aio_databases.concurrency.loops import TaskReference, current_task, task_name
from aio_databases.concurrency.stack_traces import as_text, stack_here
from aio_databases.physical_connection.connection import PhysicalConnection

if TYPE_CHECKING:
    import logging
    from traceback import StackSummary

    from aio_databases.errors import PoolTimeout

_NAMED = 5  # tasks that a message names


class Holder:
    """The task that took a connection and, if that is to be remembered, where."""

    __slots__ = ("_is_reported", "stack", "task")

    def __init__(self, *, with_stack: bool = False) -> None:
        self.task = TaskReference()
        self.stack: StackSummary | None = stack_here() if with_stack else None
        self._is_reported = False

    def report(self) -> bool:
        """Return whether this is the first time that the lease is reported."""
        is_first, self._is_reported = not self._is_reported, True
        return is_first


class Holders(dict[PhysicalConnection, Holder | None]):
    """The connections in use, each with its holder, or None for a single statement."""

    def __str__(self) -> str:
        """Say how many connections each task has."""
        holders = [holder for holder in self.values() if holder is not None]
        others = Counter(str(holder.task) for holder in holders if not holder.task.is_current)
        mine, single = len(holders) - others.total(), len(self) - len(holders)
        parts = [f"{mine} by the very task that waits ({task_name(current_task())!r})"] if mine else []
        parts += [f"{count} by {name}" for name, count in others.most_common(_NAMED)]
        rest = len(self) - mine - single - sum(count for _, count in others.most_common(_NAMED))
        parts += [f"{rest} by other tasks"] if rest else []
        parts += [f"{single} by single statements"] if single else []
        return ", ".join(parts)

    def add_places(self, error: PoolTimeout) -> PoolTimeout:
        """Add to an error where each connection was taken, as far as that is remembered, and return it."""
        now = monotonic()
        for physical, holder in self.items():
            if holder is not None and holder.stack is not None:
                held = f"in use by {holder.task} for {now - physical.leased_at:.1f} s"
                error.add_note(f"{held}, taken at:\n{as_text(holder.stack)}")
        return error

    def warn_of_long_ones(self, limit: float, logger: logging.Logger, place: object) -> None:
        """Warn, once each, of leases that have lasted for more than ``limit`` seconds."""
        now = monotonic()
        for physical, holder in self.items():
            if holder is not None and now - physical.leased_at > limit and holder.report():
                taken = as_text(holder.stack) if holder.stack else "an unknown place"
                message = "a connection to %s has been in use by %s for %.1f s (leak_warning=%g); it was taken at:\n%s"
                logger.warning(message, place, holder.task, now - physical.leased_at, limit, taken)
