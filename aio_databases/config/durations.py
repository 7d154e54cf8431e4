"""Durations that callers pass as arguments."""

from __future__ import annotations

from typing import Any

from aio_databases.errors import ConfigurationError


def duration(name: str, value: Any) -> float:
    """Return a duration in seconds.  Raises ConfigurationError, with the ``name`` of the argument, if it is not one."""
    is_number = isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool))
    if not is_number or not value >= 0 or (isinstance(value, int) and value > _LONGEST):
        raise ConfigurationError(f"{name} must be a number of seconds, 0 or more, not {value!r}")
    return float(value)


_LONGEST = 10**300  # seconds that an integer can say: a float has no more
