"""How evenly a pool serves many tasks.

Two hundred tasks share ten connections, each holding one for a moment, again and again.  Whoever came first is served
first, so nobody should wait much longer than anybody else.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.lowlevel

from aio_databases import Database, __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

TASKS, CONNECTIONS = 200, 10
HELD = 0.002  # seconds
TARGET = 3.0  # times the median that the 99th percentile may be


class Waits(NamedTuple):
    """What tasks have waited for a connection."""

    median: float
    p99: float
    longest: float

    @classmethod
    def of(cls, waits: Sequence[float]) -> Waits:
        """Sum up."""
        return cls(median(waits), quantiles(waits, n=100)[98], max(waits))


async def serve(db: Database, use: Callable[[], Awaitable[object]], rounds: int) -> tuple[Waits, Waits]:
    """Let the tasks wait in line, each `rounds` times after a first time that is not counted.

    Returns the seconds that they have waited, and how many others were served meanwhile, which does not depend on what
    else the machine has to do.
    """
    waits: list[float] = []
    others: list[int] = []
    served = 0

    async def task() -> None:
        nonlocal served
        for number in range(rounds + 1):
            came, before = perf_counter(), served
            async with db.connection():
                if number:  # at first the line is still short
                    waits.append(perf_counter() - came)
                    others.append(served - before)
                served += 1
                await use()

    async with anyio.create_task_group() as tasks:
        for _ in range(TASKS):
            tasks.start_soon(task)
    assert len(waits) == TASKS * rounds
    return Waits.of(waits), Waits.of(others)


async def main(url: str, *, quick: bool) -> None:
    """Measure and print."""
    rounds = 2 if quick else 40
    async with Database("dummy://", max_size=CONNECTIONS) as db:
        show("dummy, held for 2 ms", await serve(db, lambda: anyio.sleep(HELD), rounds))
    async with Database(url, max_size=CONNECTIONS) as db:
        query = "select count(*) from (select 1 union all select 2) as t"
        show(f"{db.backend.name}, held for a query", await serve(db, lambda: db.fetchval(query), rounds))


def show(what: str, waits: tuple[Waits, Waits]) -> None:
    """Print two lines."""
    seconds, others = waits
    times = f"median {seconds.median * 1000:.1f} ms, p99 {seconds.p99 * 1000:.1f} ms"
    print(f"  {what:<28} {times}: {seconds.p99 / seconds.median:.2f} times the median (target: under {TARGET:.0f})")
    print(
        f"  {'':<28} others served meanwhile: median {others.median:.0f}, p99 {others.p99:.0f}, most {others.longest}"
    )


def run() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that it works")
    parser.add_argument("--url", help="the database of the second line; a new file of SQLite by default")
    parser.add_argument("--loops", nargs="+", default=["asyncio", "trio"], choices=["asyncio", "trio"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{Path(folder) / 'fairness.db'}"
        for loop in options.loops:
            print(f"aio_databases {__version__}, Python {platform.python_version()}, {loop}: ", end="")
            print(f"{TASKS} tasks on {CONNECTIONS} connections")
            anyio.run(lambda: main(url, quick=options.quick), backend=loop)


if __name__ == "__main__":
    run()
