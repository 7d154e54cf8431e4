"""A circuit breaker: a server that has failed is left alone for a while, then one user tries whether it is back."""

from __future__ import annotations

import random
from time import monotonic

__all__ = ("CircuitBreaker",)

_LONGEST_REST = 60.0  # seconds


class CircuitBreaker:
    """Closed while a server works, open while it rests, half open when it has rested until it has been tried.

    https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker
    """

    __slots__ = ("_cool_down", "_is_tried", "_until", "failures")

    def __init__(self, cool_down: float) -> None:
        """Let a server rest for about ``cool_down`` seconds, and twice as long each time it fails again."""
        self._cool_down = cool_down
        self._is_tried = False
        self._until = 0.0
        self.failures = 0
        """How many times it failed since it worked."""

    @property
    def admits(self) -> bool:
        """Whether the server may be used: it works, or has rested and is not being tried by somebody else."""
        return not (self._is_tried or self.rests)

    @property
    def rests(self) -> bool:
        """Whether the server is left alone."""
        return bool(self.failures) and monotonic() < self._until

    def begin(self) -> bool:
        """Begin to use the server, and return whether that is the trial after a rest."""
        is_trial = bool(self.failures)
        self._is_tried |= is_trial
        return is_trial

    def end_trial(self, *, works: bool) -> None:
        """End a trial: the server works again, or that is not known."""
        self._is_tried = False
        if works:
            self.failures = 0

    def fail(self) -> float:
        """Let the server rest, unless it does already, and return for how many seconds, or 0."""
        if self.rests:
            return 0.0  # others have found out the same
        rest = max(self._cool_down, min(self._cool_down * 2.0 ** min(self.failures, 9), _LONGEST_REST))
        # Those who left it at the same time shall not all come back at the same time.
        rest *= random.uniform(0.8, 1.2)  # noqa: S311 - there is nothing to gain from guessing it
        self.failures += 1
        self._is_tried = False
        self._until = monotonic() + rest
        return rest
