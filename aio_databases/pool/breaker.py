"""A circuit breaker: a server that has failed is left alone for a while, then one caller tries whether it is back."""

from __future__ import annotations

import random
from time import monotonic

_LONGEST_REST = 60.0  # seconds
_A_MOMENT = 0.1  # seconds


class CircuitBreaker:
    """Closed while a server works, open while it rests, half open when it has rested until it has been tried.

    https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker
    """

    __slots__ = ("_cool_down", "_is_tried", "_silence", "_silent_until", "_until", "_worked_at", "failures")

    def __init__(self, cool_down: float) -> None:
        """Let a server rest for about ``cool_down`` seconds, and twice as long each time it fails again."""
        self._cool_down = cool_down
        self._is_tried = False
        self._silence = 0.0  # seconds for which callers who gave up have waited, since it worked
        self._silent_until = 0.0
        self._until = 0.0
        self._worked_at = 0.0
        self.failures = 0
        """How many times it failed since it worked."""

    @property
    def allows_request(self) -> bool:
        """Whether the server may be used: it works, or has rested and is not being tried by another caller."""
        return not (self._is_tried or self.is_open)

    @property
    def is_open(self) -> bool:
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
            self.record_success()

    def record_success(self) -> None:
        """Note that the server works."""
        self.failures = 0
        self._silence = 0.0

    def is_silent(self, since: float, patience: float, worked_at: float = 0.0) -> bool:
        """Note that a caller who waited for the server from ``since`` on gave up, and return whether that is a failure.

        It is one when all who gave up since the server worked, which was at ``worked_at`` as far as the caller knows,
        have waited for ``patience`` seconds, those at the same time counted once; of a server that has failed before a
        moment of silence is enough.
        """
        now = monotonic()
        if worked_at > self._worked_at:
            self._silence, self._worked_at = 0.0, worked_at
        self._silence += max(0.0, now - max(since, self._silent_until, self._worked_at))
        self._silent_until = now
        return self._silence >= (min(patience, _A_MOMENT) if self.failures else patience)

    def record_failure(self) -> float:
        """Let the server rest, unless it does already, and return for how many seconds, or 0."""
        if self.is_open:
            return 0.0  # others have found out the same
        rest = max(self._cool_down, min(self._cool_down * 2.0 ** min(self.failures, 9), _LONGEST_REST))
        # Pools that have left it at the same time must not all come back at the same time.
        rest *= random.uniform(0.8, 1.2)  # noqa: S311 - there is nothing to gain from guessing it
        self.failures += 1
        self._is_tried = False
        self._silence = 0.0
        self._until = monotonic() + rest
        return rest
