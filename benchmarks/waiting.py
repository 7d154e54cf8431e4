"""What a long line of tasks that wait for the pool costs, in time, in CPU and in memory per waiting task.

Behind ten connections 10 to 10,000 tasks wait; each that gets one asks one query, hands the connection on and waits
again.  Neither a query nor a waiting task should cost more when more of them wait.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import tracemalloc
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import anyio

from aio_databases import Database
from machine import about

CONNECTIONS = 10
LINES = (10, 100, 1_000, 10_000)
QUERY = "select 1"


class Figure(NamedTuple):
    """What a line of some length costs; times in microseconds, memory in bytes."""

    wall: float  # per query and handover
    cpu: float  # the same, of all threads
    memory: float  # per task that waits for the pool
    parked: float  # per task that waits for an event: what a task takes by itself


async def queries(db: Database, length: int, handovers: int) -> tuple[float, float]:
    """Have so many tasks wait while connections are handed on; return the seconds and the CPU seconds it takes."""
    left = handovers
    ended = ended_cpu = 0.0

    async def task() -> None:
        nonlocal left, ended, ended_cpu
        while left > 0:
            async with db.connection() as connection:
                answer = await connection.fetchval(QUERY)
                assert answer == 1
                left -= 1
                if left == 0:
                    ended, ended_cpu = perf_counter(), process_time()

    async with anyio.create_task_group() as tasks, AsyncExitStack() as held:
        await hold_all(db, held)
        waited = db.stats()["primary"].waits
        for _ in range(length + CONNECTIONS):
            tasks.start_soon(task)
        await wait_for_line(db, length + CONNECTIONS)
        began, began_cpu = perf_counter(), process_time()
    # Whoever did not wait was not handed a connection.
    assert db.stats()["primary"].waits - waited >= handovers
    return ended - began, ended_cpu - began_cpu


async def hold_all(db: Database, held: AsyncExitStack) -> None:
    """Lease all connections of the pool until the end of a block."""
    for _ in range(CONNECTIONS):
        await held.enter_async_context(db.connection())


async def wait_for_line(db: Database, length: int) -> None:
    """Wait until so many tasks wait for the pool."""
    while db.stats()["primary"].waiting < length:
        await anyio.lowlevel.checkpoint()


async def memory(db: Database, length: int) -> tuple[float, float]:
    """Return the bytes that a task takes that waits for the pool, and one that waits for an event."""
    gone = anyio.Event()
    parked = 0

    async def wait_for_pool() -> None:
        async with db.connection():
            pass

    async def wait_for_event() -> None:
        nonlocal parked
        parked += 1
        await gone.wait()

    async with anyio.create_task_group() as tasks, AsyncExitStack() as held:
        await hold_all(db, held)
        before = traced()
        for _ in range(length):
            tasks.start_soon(wait_for_pool)
        await wait_for_line(db, length)
        by_pool = traced() - before
    async with anyio.create_task_group() as tasks:
        before = traced()
        for _ in range(length):
            tasks.start_soon(wait_for_event)
        while parked < length:
            await anyio.lowlevel.checkpoint()
        by_event = traced() - before
        gone.set()
    return by_pool / length, by_event / length


def traced() -> int:
    """Return the bytes of all Python objects that were made since the tracing began."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def measure(url: str, lines: tuple[int, ...], rounds: int, handovers: int) -> dict[int, Figure]:
    """Measure lines of each length in turn; the first round warms up and does not count."""
    times: dict[int, list[tuple[float, float]]] = {length: [] for length in lines}
    async with Database(url, max_size=CONNECTIONS, timeout=600) as db:
        for number in range(rounds + 1):
            for length in lines[:: -1 if number % 2 else 1]:
                count = max(handovers, 2 * length)
                wall, cpu = await queries(db, length, count)
                if number:
                    times[length].append((wall / count * 1e6, cpu / count * 1e6))
        tracemalloc.start()
        try:
            await memory(db, lines[0])  # what is made once
            sizes = {length: await memory(db, length) for length in lines}
        finally:
            tracemalloc.stop()
    medians = {length: [median(column) for column in zip(*taken, strict=True)] for length, taken in times.items()}
    return {length: Figure(*medians[length], *sizes[length]) for length in lines}


def show(found: dict[str, Any]) -> None:
    """Print a table."""
    heads = ("waiting", "us per query", "CPU us", "bytes per waiting task", "by itself")
    for name, figures in found.items():
        print(name, f"{heads[0]:>10}{heads[1]:>14}{heads[2]:>10}{heads[3]:>24}{heads[4]:>11}", sep="\n")
        for length, figure in figures.items():
            times = f"{length:>10,}{figure['wall']:>14.1f}{figure['cpu']:>10.1f}"
            print(f"{times}{figure['memory']:>24,.0f}{figure['parked']:>11,.0f}")


def run() -> None:
    """Read the command line, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that it works")
    parser.add_argument("--rounds", type=int, default=5, help="how often each line is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="draw a chart into this folder")
    options = parser.parse_args()
    rounds, handovers, lines = (1, 200, LINES[:2]) if options.quick else (options.rounds, 20_000, LINES)
    found: dict[str, dict[int, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for database, url in {"dummy": "dummy://", "sqlite": f"sqlite:///{folder}/waiting.db"}.items():
            for loop in ("asyncio", "trio"):
                figures = anyio.run(measure, url, lines, rounds, handovers, backend=loop)
                found[f"{database}, {loop}"] = {length: figure._asdict() for length, figure in figures.items()}
    show(found)
    report = {"about": about(quick=options.quick, rounds=rounds), "connections": CONNECTIONS, "lines": found}
    report = json.loads(json.dumps(report))  # with the keys that a reader of the file sees
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.output:
        from charts import draw_waiting  # noqa: PLC0415 - who draws nothing needs no matplotlib

        draw_waiting(report, options.output)


if __name__ == "__main__":
    run()
