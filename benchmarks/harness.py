"""Runs systems in turns, and works out how they compare.  It knows nothing of databases."""

from __future__ import annotations

import random
from math import ceil
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from systems.base import Sample

LONGEST = 1.5  # seconds that a batch of a slow system may take, if it can be cut


class Runner(Protocol):
    """A system that can run."""

    absent: Mapping[str, str]

    async def run(self, workload: str, count: int) -> Sample:
        """Run a batch of operations."""
        ...


class Batch(NamedTuple):
    """How many operations make a batch: ``count``, or 0 for as many as take the wished time; and a divisor of it."""

    count: int
    step: int


class Taken(NamedTuple):
    """What a batch of a system took, per operation."""

    seconds: float
    extra: dict[str, float]


class Figure(NamedTuple):
    """What an operation of a system takes: seconds, and their ratio to the reference in the same round."""

    median: float
    minimum: float
    ratio: float
    low: float
    high: float
    rounds: list[float]
    extra: dict[str, float]


Rounds = dict[str, dict[str, list[Taken]]]
"""What each round took, by workload and system."""


class Harness:
    """Measures systems against each other.

    Args:
        systems: them all, by name; the first one is the reference.
        workloads: the names of the workloads, and how many operations make a batch.
        check: says whether the answer of a batch is right: ``check(workload, count, answer)``.
        seconds: how long a batch of the reference should take.
        prepare: called before each batch.
        tick: called after each batch.
    """

    def __init__(
        self,
        systems: Mapping[str, Runner],
        workloads: Mapping[str, Batch],
        *,
        check: Callable[[str, int, Any], bool],
        seconds: float,
        prepare: Callable[[str], None],
        tick: Callable[[str, str], None],
    ) -> None:
        self.systems = systems
        self.workloads = workloads
        self.check = check
        self.seconds = seconds
        self.prepare = prepare
        self.tick = tick
        self.counts: dict[tuple[str, str], int] = {}
        self._choose = random.Random(1)  # noqa: S311 - so that a run can be repeated

    async def run(self, rounds: int) -> Rounds:
        """Warm up, which also tells how long batches have to be, and measure."""
        found: Rounds = {workload: {name: [] for name in self.able(workload)} for workload in self.workloads}
        for workload in self.workloads:
            for name in self.able(workload):
                await self._warm_up(workload, name)
                self.tick(workload, name)
        order: list[str] = []
        for number in range(rounds):
            order = order[::-1] if number % 2 else self._choose.sample(list(self.systems), len(self.systems))
            for workload in self.workloads:
                for name in order:
                    if name in found[workload]:
                        found[workload][name].append(await self._batch(workload, name, self.counts[workload, name]))
                        self.tick(workload, name)
        return found

    def able(self, workload: str) -> list[str]:
        """Return the systems that can do a workload."""
        return [name for name, system in self.systems.items() if workload not in system.absent]

    async def _warm_up(self, workload: str, name: str) -> None:
        batch, reference = self.workloads[workload], self.able(workload)[0]
        if name == reference:
            self.counts[workload, name] = batch.count or await self._calibrate(workload, name)
        count = self.counts[workload, reference]
        # A tenth first, to find out whether the whole would take for ever.
        trial = await self._batch(workload, name, shortened(count, 0.1, batch.step))
        longest = max(LONGEST, 2 * self.seconds)
        self.counts[workload, name] = shortened(count, min(1.0, longest / (trial.seconds * count)), batch.step)

    async def _calibrate(self, workload: str, name: str) -> int:
        count = step = self.workloads[workload].step
        while (took := (await self._batch(workload, name, count)).seconds * count) < self.seconds / 4:
            count *= 2
        return max(step, ceil(count * self.seconds / took / step) * step)

    async def _batch(self, workload: str, name: str, count: int) -> Taken:
        self.prepare(workload)
        seconds, extra, answer = await self.systems[name].run(workload, count)
        if not self.check(workload, count, answer):
            raise AssertionError(f"{name} gave a wrong answer in {workload}: {answer!r:.300}")
        return Taken(seconds / count, extra)


def shortened(count: int, part: float, step: int) -> int:
    """Return a part of a number of operations, a multiple of ``step`` and not 0."""
    return max(1, int(count * part / step)) * step


def figure(taken: Sequence[Taken], reference: Sequence[Taken]) -> Figure:
    """Compare a system with the reference, round by round."""
    seconds = [batch.seconds for batch in taken]
    ratios = ratios_of(seconds, [batch.seconds for batch in reference])
    low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    extra = {name: median(batch.extra[name] for batch in taken) for name in taken[0].extra}
    return Figure(median(seconds), min(seconds), median(ratios), low, high, seconds, extra)


def ratios_of(taken: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Return how much longer a system took than another in each round."""
    return [one / other for one, other in zip(taken, reference, strict=True)]
