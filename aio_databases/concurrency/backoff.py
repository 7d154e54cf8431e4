"""Pauses between attempts, each twice as long as the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def pauses(first: float, longest: float) -> Iterator[float]:
    """Yield durations in seconds without end: ``first``, then twice as long each time, up to ``longest``."""
    pause = first
    while True:
        yield pause
        pause = min(2 * pause, longest)
