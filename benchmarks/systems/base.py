"""What every system does: one method per workload, which encloses what is measured in ``with clock:``."""

from __future__ import annotations

import asyncio
import gc
from abc import ABC, abstractmethod
from contextvars import Context
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from workloads import TASKS, keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from types import TracebackType

    from systems.address import Address


class Sample(NamedTuple):
    """A batch: how long it took, what else was measured, and the answer of its last operation."""

    seconds: float
    extra: dict[str, float]
    answer: Any


class Clock:
    """Measures how long its block takes, and the single operations that it is told of."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.latencies: list[float] = []
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds = perf_counter() - self._began

    @property
    def extra(self) -> dict[str, float]:
        """The median and the 99th percentile of the single operations, in milliseconds, and their rate."""
        if not self.latencies:
            return {}
        times, last = sorted(self.latencies), len(self.latencies) - 1
        p50, p99 = (times[round(last * part)] * 1e3 for part in (0.5, 0.99))
        return {"p50": p50, "p99": p99, "rate": len(times) / self.seconds}


class System(ABC):
    """A library at work.  A workload that it has no method for is left out, for the reason in `absent`."""

    absent: ClassVar[Mapping[str, str]] = {}

    def __init__(self, address: Address) -> None:
        self.address = address

    @abstractmethod
    async def open(self) -> None:
        """Open all connections."""

    @abstractmethod
    async def close(self) -> None:
        """Close them."""

    @abstractmethod
    def lookup(self, key: int) -> Awaitable[Any]:
        """Fetch one row by its primary key, on a connection that is leased for it."""

    async def w3(self, clock: Clock, count: int) -> Any:
        lookup = self.lookup
        with clock:
            for key in keys(count):
                row = await lookup(key)
        return self.plain(row)

    async def w8(self, clock: Clock, count: int) -> Any:
        lookup, took = self.lookup, clock.latencies.append

        async def look_up() -> Any:
            for key in keys(count // TASKS):
                began = perf_counter()
                row = await lookup(key)
                took(perf_counter() - began)
            return row

        with clock:
            rows = await asyncio.gather(*(look_up() for _ in range(TASKS)))
        return self.plain(rows[-1])

    def plain(self, row: Any) -> list[Any]:
        """Return the values of a row."""
        return plain(row)

    def context(self) -> Context:
        """Return what the tasks of a batch inherit: nothing, such as a current connection."""
        return Context()

    async def run(self, workload: str, count: int) -> Sample:
        """Run a batch, in a task of its own."""
        clock = Clock()
        work = getattr(self, workload)
        gc.collect()
        gc.disable()
        try:
            answer = await asyncio.get_running_loop().create_task(work(clock, count), context=self.context())
        finally:
            gc.enable()
        return Sample(clock.seconds, clock.extra, answer)


def plain(row: Any) -> list[Any]:
    """Return the values of a row."""
    return list(row.values() if isinstance(row, dict) else row)
