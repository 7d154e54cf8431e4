"""What the layers above a driver cost: verbs of a `Database` over a driver that does nothing.

Each variant runs `fetchone` many times in a row, in rounds that take turns, in one process and one event loop.  The
control awaits the driver's coroutine by hand and is measured twice: the difference of the two is the noise.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
from contextvars import Context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from aio_databases import Database, __version__
from machine import about

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

QUERY = "select value from nowhere where id = ?"
CONTROL = "driver by hand"
TARGETS = {"held connection": 0.6, "lease per query": 1.2}  # us over the control


class Figure(NamedTuple):
    """One variant, in microseconds per query."""

    variant: str
    median: float
    minimum: float
    over_control: float  # difference of the medians of each round
    over_control_minimum: float  # difference of the minima
    target: float | None


async def main(rounds: int, calls: int) -> list[Figure]:
    """Measure all variants in turn, `rounds` times."""
    async with Database("dummy://") as db, db.connection() as connection:
        driver = connection.driver
        row = await driver.fetch(QUERY, (1,), 1)
        assert row[0] == await connection.fetchone(QUERY, 1) == await db.fetchone(QUERY, 1)

        async def by_hand() -> float:
            fetch = driver.fetch
            started = perf_counter()
            for _ in range(calls):
                await fetch(QUERY, (1,), 1)
            return perf_counter() - started

        async def fetchone(one: Callable[..., Awaitable[object]]) -> float:
            started = perf_counter()
            for _ in range(calls):
                await one(QUERY, 1)
            return perf_counter() - started

        async def in_transaction() -> float:
            async with db.transaction():
                return await fetchone(db.fetchone)

        async def leased() -> float:
            # In an empty context, where no connection is current.
            return await asyncio.get_running_loop().create_task(fetchone(other.fetchone), context=Context())

        async with Database("dummy://") as other:
            variants: dict[str, Callable[[], Awaitable[float]]] = {
                CONTROL: by_hand,
                "driver by hand, again": by_hand,
                "verb of a connection": lambda: fetchone(connection.fetchone),
                "held connection": lambda: fetchone(db.fetchone),
                "inside a transaction": in_transaction,
                "lease per query": leased,
            }
            return figures(await measure(variants, rounds), calls)


async def measure(variants: dict[str, Callable[[], Awaitable[float]]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each variant took in each round; the first round warms up and does not count."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds + 1):
            # Every other round runs backwards, so that no variant always follows the same one.
            for name in list(variants)[:: -1 if number % 2 else 1]:
                seconds = await variants[name]()
                if number:
                    taken[name].append(seconds)
            gc.collect()
    finally:
        gc.enable()
    return taken


def figures(taken: dict[str, list[float]], calls: int) -> list[Figure]:
    """Work out what one query costs in each variant."""
    micro = {name: [seconds / calls * 1e6 for seconds in rounds] for name, rounds in taken.items()}
    control = micro[CONTROL]
    return [
        Figure(
            name,
            median(rounds),
            min(rounds),
            median(one - bare for one, bare in zip(rounds, control, strict=True)),
            min(rounds) - min(control),
            TARGETS.get(name),
        )
        for name, rounds in micro.items()
    ]


def show(found: list[Figure], rounds: int, calls: int) -> None:
    """Print a table."""
    print(f"aio_databases {__version__}, Python {platform.python_version()}, {rounds} rounds of {calls} queries")
    print(f"{'us per query':<24}{'median':>9}{'minimum':>9}{'over it':>9}{'(minima)':>10}{'target':>9}")
    for figure in found:
        target = "" if figure.target is None else f"<= {figure.target:.1f}"
        columns = f"{figure.median:>9.2f}{figure.minimum:>9.2f}{figure.over_control:>+9.2f}"
        print(f"{figure.variant:<24}{columns}{figure.over_control_minimum:>+10.2f}{target:>9}")


def run() -> None:
    """Read the command line, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that it works")
    parser.add_argument("--rounds", type=int, default=40, help="how often each variant is measured")
    parser.add_argument("--calls", type=int, default=10_000, help="queries per measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    options = parser.parse_args()
    rounds, calls = (3, 200) if options.quick else (options.rounds, options.calls)
    found = asyncio.run(main(rounds, calls))
    show(found, rounds, calls)
    if options.json:
        report = {
            "about": about(quick=options.quick, rounds=rounds),
            "rounds": rounds,
            "calls": calls,
            "figures": [figure._asdict() for figure in found],
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run()
