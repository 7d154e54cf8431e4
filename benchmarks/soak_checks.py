"""What the soak judges by: the ledger of writes against the rows, memory against time, times as a histogram.

Nothing here knows aio_databases, so that a fault of the library cannot hide itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from enum import Enum
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from types import TracebackType


class Outcome(Enum):
    """What the program knows of a write when its call has ended."""

    ACKNOWLEDGED = "+"
    FAILED = "-"
    UNCERTAIN = "?"


class Entry(NamedTuple):
    """The ids that one call has written, all or none, and what it was told."""

    outcome: Outcome
    kind: str
    ids: tuple[int, ...]


class Ledger:
    """A file with the outcome of each write: kept in memory, it would look like a leak."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self.counts = Counter[Outcome]()

    def note(self, entry: Entry) -> None:
        """Append an entry."""
        self.counts[entry.outcome] += 1
        print(entry.outcome.value, entry.kind, *entry.ids, file=self._file)

    def close(self) -> None:
        """Write everything to the file."""
        self._file.close()


def read_ledger(path: Path) -> Iterable[Entry]:
    """Read the entries back."""
    with path.open() as file:
        for line in file:
            outcome, kind, *ids = line.split()
            yield Entry(Outcome(outcome), kind, tuple(map(int, ids)))


class Attempt:
    """One write: a block around its call, at whose end the outcome is noted.

    An error leaves the outcome open only when ``leaves_open`` says so.  A cancellation does when it arrives while
    `at_risk`: a statement outside of a transaction always is, a transaction is from the moment its COMMIT is due.
    """

    def __init__(
        self, ledger: Ledger, kind: str, ids: tuple[int, ...], leaves_open: Callable[[Exception], bool]
    ) -> None:
        self._ledger = ledger
        self._kind = kind
        self._leaves_open = leaves_open
        self.ids = ids
        self.at_risk = False
        self.outcome: Outcome | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            self.outcome = Outcome.ACKNOWLEDGED
        elif self.at_risk and (not isinstance(exc, Exception) or self._leaves_open(exc)):
            self.outcome = Outcome.UNCERTAIN
        else:
            self.outcome = Outcome.FAILED
        self._ledger.note(Entry(self.outcome, self._kind, self.ids))


class Findings(NamedTuple):
    """What is wrong with the rows; every list has to be empty."""

    lost: list[str]
    """Acknowledged, and not there."""
    doubled: list[str]
    """There more than once."""
    undead: list[str]
    """There, though the call has failed for certain."""
    torn: list[str]
    """A part of what one call wrote."""
    strange: list[str]
    """There, and never written, or noted twice."""

    def __bool__(self) -> bool:
        return any(self)


def compare(entries: Iterable[Entry], rows: Iterable[int]) -> Findings:
    """Compare what was told about each write with the ids that are in the table."""
    there = Counter(rows)
    findings = Findings([], [], [], [], [])
    known: set[int] = set()
    for entry in entries:
        present = [number for number in entry.ids if number in there]
        if known.intersection(entry.ids):
            findings.strange.append(f"{entry} was noted twice")
        known.update(entry.ids)
        if entry.outcome is Outcome.ACKNOWLEDGED and len(present) < len(entry.ids):
            findings.lost.append(f"{entry}: only {present} are there")
        elif entry.outcome is Outcome.FAILED and present:
            findings.undead.append(f"{entry}: {present} are there")
        elif entry.outcome is Outcome.UNCERTAIN and 0 < len(present) < len(entry.ids):
            findings.torn.append(f"{entry}: only {present} are there")
    findings.doubled.extend(f"{number} is there {count} times" for number, count in there.items() if count > 1)
    findings.strange.extend(f"{number} was never written" for number in there.keys() - known)
    return findings


def balances_are_wrong(before: int, balances: dict[int, int], transfers: Iterable[tuple[int, int, int]]) -> str | None:
    """Tell what is wrong with accounts that all had ``before`` and between which the transfers were made."""
    expected = dict.fromkeys(balances, before)
    for source, target, amount in transfers:
        expected[source] -= amount
        expected[target] += amount
    return None if expected == balances else f"the accounts have {balances}, the transfers make {expected}"


# Memory


class Trend(NamedTuple):
    """How a quantity has moved."""

    start: float
    """The median of the first fifth of what was judged."""
    end: float
    """The median of the last fifth."""
    per_minute: float
    """The median of the slopes between all pairs of samples, which a few peaks do not move."""


WARM_UP = 1 / 3
"""The part of a run that is not judged: caches and pools fill, every kind of fault is met for the first time."""
SHORTEST = 300.0
"""Seconds after the warm-up below which a slope is noise."""
GROWTH = {"memory": 0.05, "blocks": 0.02}
"""How much more the last fifth may need than the first fifth after the warm-up.

What the allocator keeps for later counts as memory, but not as blocks that Python has allocated."""


def trend(samples: Sequence[tuple[float, float]], most: int = 300) -> Trend | None:
    """Judge samples of (seconds, quantity) after the warm-up; None if the run was too short for that."""
    if not samples:
        return None
    begin = samples[0][0] + (samples[-1][0] - samples[0][0]) * WARM_UP
    kept = [sample for sample in samples if sample[0] >= begin]
    if kept[-1][0] - kept[0][0] < SHORTEST:
        return None
    fifth = max(1, len(kept) // 5)
    thinned = kept[:: -(-len(kept) // most)]
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(thinned, 2) if x2 > x1]
    start, end = (median(y for _, y in part) for part in (kept[:fifth], kept[-fifth:]))
    return Trend(start, end, median(slopes) * 60)


def is_flat(what: str, moved: Trend | None) -> bool:
    """Tell whether `memory` or `blocks` have stayed as they were, as far as that can be told."""
    return moved is None or moved.end <= moved.start * (1 + GROWTH[what])


# Times


class Histogram:
    """Times in buckets that grow by a twentieth, from 10 us on: of fixed size, unlike a list."""

    BOUNDS = tuple(1e-5 * 1.05**exponent for exponent in range(320))

    def __init__(self, counts: Iterable[int] = ()) -> None:
        self.counts = list(counts) or [0] * (len(self.BOUNDS) + 1)

    def add(self, seconds: float) -> None:
        """Count one time."""
        self.counts[bisect_left(self.BOUNDS, seconds)] += 1

    def quantile(self, part: float) -> float:
        """Return the time, in seconds, below which so large a part of all times is; 0 if there are none."""
        left = sum(self.counts) * part
        for bound, count in zip(self.BOUNDS, self.counts, strict=False):
            left -= count
            if count and left <= 0:
                return bound
        return self.BOUNDS[-1] if any(self.counts) else 0.0
