"""How cost grows: with the rows and columns of a result, with the tasks, and with the number of statement texts.

This library and the driver by hand take turns in one process.  What the texts leave behind in memory is measured in a
process per system; that is read from /proc, so this runs on Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
from collections import defaultdict
from contextlib import AsyncExitStack
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import places
from growth_ways import WAYS
from machine import MEBIBYTE, about, resident
from memory import in_process
from systems import OURS, SYSTEMS
from workloads import COLUMNS, ROWS, item, styled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from growth_ways import Way
    from places import Place
    from systems.address import Address

REFERENCES = {"sqlite": "aiosqlite", "postgresql": "asyncpg", "mysql": "asyncmy"}
"""The best that can be done by hand."""
LOOKUPS = 2_000  # at least, of tasks and of texts
QUICK_LOOKUPS = 50
WIDE = 100  # rows of a result whose columns are counted
KEY = 7
TEXT = "select id, name, score, visits, note from items where id = ? and {0} = {0}"


def many_rows(count: int) -> str:
    """Return a query for so many rows: each of a table with each other."""
    return f"select a.id, a.name from items as a cross join items as b limit {count}"


def many_columns(count: int) -> str:
    """Return a query for so many columns."""
    columns = islice(cycle(COLUMNS), count)
    names = ", ".join(f"{column} as c{number}" for number, column in enumerate(columns))
    return f"select {names} from items where id <= {WIDE} order by id"


class Meter:
    """Measures what one more row, value or query costs, in microseconds."""

    def __init__(self, way: Way, lookups: int) -> None:
        self.way = way
        self.lookups = lookups

    async def fetchall(self, count: int) -> float:
        sql, times = many_rows(count), self.times(count)
        began = perf_counter()
        for _ in range(times):
            rows = await self.way.fetchall(sql)
        taken = perf_counter() - began
        assert len(rows) == count
        return taken / times / count

    async def iterate(self, count: int) -> float:
        sql, times = many_rows(count), self.times(count)
        began = perf_counter()
        for _ in range(times):
            rows = await self.way.iterate(sql)
        taken = perf_counter() - began
        assert rows == count
        return taken / times / count

    async def columns(self, count: int) -> float:
        sql, times = many_columns(count), self.times(count)
        began = perf_counter()
        for _ in range(times):
            rows = await self.way.fetchall(sql)
        taken = perf_counter() - began
        assert list(rows[KEY - 1]) == list(islice(cycle(item(KEY)), count))
        return taken / times / WIDE / count

    def times(self, count: int) -> int:
        """Return how often something small is done, so that it takes long enough to be measured."""
        return max(1, self.lookups // 20 // count)

    async def tasks(self, count: int) -> float:
        each = max(1, self.lookups // count)

        async def look_up() -> Any:
            for _ in range(each):
                row = await self.way.lookup(KEY)
            return row

        began = perf_counter()
        rows = await asyncio.gather(*(look_up() for _ in range(count)))
        taken = perf_counter() - began
        assert all(list(row) == item(KEY) for row in rows)
        return taken / each / count

    async def texts(self, count: int) -> float:
        fetchone, wanted = self.way.fetchone, item(KEY)
        texts = [styled(TEXT.format(number), self.way.style) for number in range(count)]
        began = perf_counter()
        for sql in islice(cycle(texts), max(count, self.lookups)):
            row = await fetchone(sql, KEY)
        taken = perf_counter() - began
        assert list(row) == wanted
        return taken / max(count, self.lookups)


class Dimension(NamedTuple):
    """What grows: its sizes, and what it costs of each."""

    what: str
    unit: str
    sizes: tuple[int, ...]
    cost: Callable[[Meter, int], Awaitable[float]]


ROW_COUNTS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
TEXT_COUNTS = (1, 10, 100, 1_000, 10_000, 100_000)
DIMENSIONS = {
    "fetchall": Dimension("rows of fetchall", "us per row", ROW_COUNTS, Meter.fetchall),
    "iterate": Dimension("rows of iterate", "us per row", ROW_COUNTS, Meter.iterate),
    "columns": Dimension(f"columns of {WIDE} rows", "us per value", (1, 2, 5, 10, 20, 50, 100, 200), Meter.columns),
    "tasks": Dimension("tasks over a pool of 10", "us per query", (1, 10, 100, 1_000, 10_000), Meter.tasks),
    "texts": Dimension("different statements", "us per query", TEXT_COUNTS, Meter.texts),
}
QUICK_SIZES = 3


async def time_all(ways: dict[str, Way], rounds: int, *, quick: bool) -> dict[str, Any]:
    """Measure each dimension; the systems take turns, and the first round warms up and does not count."""
    found: dict[str, Any] = {}
    meters = {name: Meter(way, QUICK_LOOKUPS if quick else LOOKUPS) for name, way in ways.items()}
    for key, dimension in DIMENSIONS.items():
        sizes = dimension.sizes[:QUICK_SIZES] if quick else dimension.sizes
        taken: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in ways}
        for size in sizes:
            for number in range(rounds + 1):
                for name in list(ways)[:: -1 if number % 2 else 1]:
                    gc.collect()
                    micros = await dimension.cost(meters[name], size) * 1e6
                    if number:
                        taken[name][size].append(micros)
        systems = {name: [median(rounds) for rounds in by_size.values()] for name, by_size in taken.items()}
        found[key] = {"what": dimension.what, "unit": dimension.unit, "sizes": list(sizes), "systems": systems}
    return found


def memory_of_texts(database: str, name: str, address: Address, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Return the bytes that this process has grown by after so many different texts."""

    async def work() -> dict[str, Any]:
        async with opened(database, name, address) as way:
            done, grown = 0, []
            await way.fetchone(styled(TEXT.format(0), way.style), KEY)
            gc.collect()
            before = resident()
            for size in sizes:
                for number in range(done, size):
                    await way.fetchone(styled(TEXT.format(number), way.style), KEY)
                done = size
                gc.collect()
                grown.append(max(0, resident() - before))
            return {"grown": grown}

    return asyncio.run(work())


class opened(AsyncExitStack):  # noqa: N801 - it is used like a function
    """Open a system of a database, and close it at the end of a block that gets what it can do."""

    def __init__(self, database: str, name: str, address: Address) -> None:
        super().__init__()
        (entry,) = (entry for entry in SYSTEMS[database] if entry.name == name)
        self._system = entry.make(address, "asyncio")
        self._way = WAYS[OURS if name == OURS else database](self._system)

    async def __aenter__(self) -> Any:
        await self._system.open()
        self.push_async_callback(self._system.close)
        return self._way


def measure(database: str, place: Place, rounds: int, *, quick: bool) -> dict[str, Any]:
    """Measure this library and the driver by hand."""
    names = (REFERENCES[database], OURS)

    async def work() -> dict[str, Any]:
        async with AsyncExitStack() as stack:
            systems = [opened(database, name, place.address(name)) for name in names]
            ways = [await stack.enter_async_context(system) for system in systems]
            return await time_all(dict(zip(names, ways, strict=True)), rounds, quick=quick)

    dimensions = asyncio.run(work())
    sizes = TEXT_COUNTS[:QUICK_SIZES] if quick else TEXT_COUNTS
    grown = {
        name: in_process(memory_of_texts, database, name, place.address(f"{name}, texts"), sizes)["grown"]
        for name in names
    }
    systems = {name: [size / MEBIBYTE for size in values] for name, values in grown.items()}
    dimensions["memory"] = {
        "what": "memory they leave",
        "unit": "MiB more",
        "sizes": list(sizes),
        "systems": systems,
    }
    return {"reference": names[0], "systems": list(names), "dimensions": dimensions}


def show(found: dict[str, Any]) -> None:
    """Print what was found on a database."""
    for dimension in found["dimensions"].values():
        print(f"  {dimension['what']}, {dimension['unit']}")
        print(f"    {'':<16}{''.join(f'{size:>11,}' for size in dimension['sizes'])}")
        for name, values in dimension["systems"].items():
            print(f"    {name:<16}{''.join(f'{value:>11.2f}' for value in values)}")


def run() -> None:
    """Read the command line, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that it works")
    parser.add_argument("--rounds", type=int, default=3, help="how often each size is measured")
    parser.add_argument("--databases", nargs="+", default=list(REFERENCES), choices=REFERENCES, metavar="DATABASE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="draw charts into this folder")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    databases, versions = {}, {}
    for database in options.databases:
        with places.open_place(database, ROWS, url=None, transport="tcp") as place:
            versions[place.product] = place.version
            databases[database] = measure(database, place, rounds, quick=options.quick)
        print(database)
        show(databases[database])
    report = {"about": about(quick=options.quick, versions=versions, rounds=rounds), "databases": databases}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.output:
        from charts import draw_growth  # noqa: PLC0415 - who draws nothing needs no matplotlib

        draw_growth(report, options.output)


if __name__ == "__main__":
    run()
