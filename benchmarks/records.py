"""What rows cost that are already there: to make 1000 of 5 columns, and to read them.

Rows of asyncpg come from a query, because it makes them while it reads the answer: making them has no figure.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sqlite3
from collections import namedtuple
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import places
from aio_databases import Database
from aio_databases.rows.record import records
from machine import about

if TYPE_CHECKING:
    from collections.abc import Callable

    asyncpg: Any  # it brings no types
else:
    import asyncpg

NAMES = ("id", "name", "email", "amount", "visits")
SQL = (
    "select i as id, 'name ' || i as name, 'user' || i || '@example.com' as email, i / 7.0::float8 as amount, "
    "i % 100 as visits from generate_series(1, {}) as i"
)
OURS, OURS_ASYNCPG = "Record, of tuples", "Record, of asyncpg"
Rows = list[Any]


def by_name(rows: Rows) -> Rows:
    return [(row["id"], row["name"], row["email"], row["amount"], row["visits"]) for row in rows]


def by_index(rows: Rows) -> Rows:
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


def by_attribute(rows: Rows) -> Rows:
    return [(row.id, row.name, row.email, row.amount, row.visits) for row in rows]


def iterate(rows: Rows) -> Rows:
    return [tuple(row) for row in rows]


def as_dict(rows: Rows) -> Rows:
    return [dict(row) for row in rows]


READS: dict[str, Callable[[Rows], Rows]] = {
    "by name": by_name,
    "by index": by_index,
    "by attribute": by_attribute,
    "iterate": iterate,
    "dict(row)": as_dict,
}
CANNOT = {
    "tuple": ("by name", "by attribute", "dict(row)"),
    "sqlite3.Row": ("by attribute",),
    "asyncpg.Record": ("by attribute",),
    "dict": ("by index", "by attribute", "iterate"),
    "namedtuple": ("by name", "dict(row)"),
}


async def fetched(url: str, count: int) -> dict[str, Rows]:
    """Return the rows of a query as asyncpg's own, and as ours."""
    connection = await asyncpg.connect(url)
    try:
        theirs = await connection.fetch(SQL.format(count))
    finally:
        await connection.close()
    async with Database(url.replace("postgresql", "asyncpg", 1)) as db:
        return {"asyncpg.Record": theirs, OURS_ASYNCPG: await db.fetchall(SQL.format(count))}


def makers() -> dict[str, Callable[[Rows], Rows]]:
    """Return what makes rows of each kind from tuples."""
    cursor = sqlite3.connect(":memory:").execute(f"select {', '.join(f'1 as {name}' for name in NAMES)}")
    named = namedtuple("named", NAMES)  # noqa: PYI024 - what a NamedTuple is, made from names
    return {
        "tuple": list,
        OURS: lambda rows: list(records(NAMES, rows)),
        "sqlite3.Row": lambda rows: [sqlite3.Row(cursor, row) for row in rows],
        "dict": lambda rows: [dict(zip(NAMES, row, strict=True)) for row in rows],
        "namedtuple": lambda rows: list(map(named._make, rows)),
    }


def operations(theirs: dict[str, Rows]) -> dict[tuple[str, str], Callable[[], Rows]]:
    """Return each operation on each kind of row, all checked once."""
    tuples = [tuple(row) for row in theirs["asyncpg.Record"]]
    dicts = [dict(zip(NAMES, row, strict=True)) for row in tuples]
    made = makers()
    found: dict[tuple[str, str], Callable[[], Rows]] = {
        (kind, "make"): lambda make=make: make(tuples) for kind, make in made.items()
    }
    for kind, rows in {**{kind: make(tuples) for kind, make in made.items()}, **theirs}.items():
        for what, read in READS.items():
            if what not in CANNOT.get(kind, ()):
                found[kind, what] = lambda read=read, rows=rows: read(rows)
                assert read(rows) == (dicts if read is as_dict else tuples), f"{kind} {what}"
    return found


def measure(theirs: dict[str, Rows], rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """Return the median microseconds of each operation; the first round warms up and does not count."""
    todo = operations(theirs)
    taken: dict[tuple[str, str], list[float]] = {name: [] for name in todo}
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds + 1):
            for name in list(todo)[:: -1 if number % 2 else 1]:
                operation = todo[name]
                began = perf_counter()
                for _ in range(calls):
                    operation()
                if number:
                    taken[name].append((perf_counter() - began) / calls * 1e6)
    finally:
        gc.enable()
    found: dict[str, dict[str, float]] = {}
    for (kind, what), micros in taken.items():
        found.setdefault(kind, {})[what] = median(micros)
    return found


def show(kinds: dict[str, dict[str, float]], count: int) -> None:
    """Print a table."""
    columns = ("make", *READS)
    print(f"{f'us per {count} rows':<20}{''.join(f'{name:>14}' for name in columns)}")
    for kind, found in kinds.items():
        cells = (f"{found[name]:.1f}" if name in found else "-" for name in columns)
        print(f"{kind:<20}{''.join(f'{cell:>14}' for cell in cells)}")


def run() -> None:
    """Read the command line, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that it works")
    parser.add_argument("--rounds", type=int, default=30, help="how often each operation is measured")
    parser.add_argument("--url", help="a PostgreSQL to get rows of asyncpg from; a private server by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    options = parser.parse_args()
    rounds, calls, count = (2, 2, 100) if options.quick else (options.rounds, 20, 1000)
    with places.open_place("postgresql", 1, url=options.url, transport="tcp") as place:
        theirs = asyncio.run(fetched(place.address("asyncpg").url("postgresql"), count))
        versions = {place.product: place.version}
    kinds = measure(theirs, rounds, calls)
    show(kinds, count)
    if options.json:
        described = about(quick=options.quick, rounds=rounds, versions=versions)
        report = {"about": described, "rows": count, "columns": len(NAMES), "kinds": kinds}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run()
