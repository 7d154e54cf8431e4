"""How much memory it takes to iterate over many rows, to keep a `Database`, a connection and a lease.

Each system iterates in a process of its own, whose peak is compared with what it had before, connected and after its
first query.  Memory is read from /proc, so this runs on Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import places
from aio_databases import Database
from machine import MEBIBYTE, about, forget_peak, installed, peak, resident
from systems import AGAIN, OURS, PREDECESSOR, SYSTEMS
from systems.base import Clock
from workloads import expected

if TYPE_CHECKING:
    from collections.abc import Callable

    from places import Place
    from systems import Entry
    from systems.address import Address

ROWS, QUICK_ROWS = 100_000, 5_000
TARGET = 4 * MEBIBYTE
MANY = 20  # Databases, connections, leases: what one takes is told by so many

DISTRIBUTIONS = {"tortoise": "tortoise-orm"}
"""What systems are called in an index, unless it is the same."""


def in_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run a function in a new process that has nothing of this one's memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def iterate(database: str, name: str, address: Address, rows: int) -> dict[str, Any]:
    """Return the memory of this process before and at most while a system iterates over a table."""
    (entry,) = (entry for entry in SYSTEMS[database] if entry.name == name)

    async def work() -> dict[str, Any]:
        system = entry.make(address, "asyncio")
        await system.open()
        try:
            await system.lookup(1)
            gc.collect()
            forget_peak()
            before = resident()
            last = await system.w7(Clock(), 1)
            assert last == expected("w7", 1, rows), f"{name}: the last row is {last}"
            return {"baseline": before, "peak": peak() - before}
        finally:
            await system.close()

    return asyncio.run(work())


def keep(database: str, address: Address) -> dict[str, Any]:
    """Return what a `Database`, a connection and a lease take; ``resident`` is with what Python does not count."""
    scheme = {"sqlite": "sqlite", "postgresql": "asyncpg", "mysql": "asyncmy"}[database]
    url = address.url(scheme)

    async def work() -> dict[str, Any]:
        async with AsyncExitStack() as stack:
            # What is made once, such as modules, is not to count.
            warm = await stack.enter_async_context(Database(url))
            assert await warm.fetchval("select 1") == 1
            tracemalloc.start()
            began = _traced()
            kept = [Database(url) for _ in range(MANY)]
            idle = (_traced() - began) / len(kept)
            kept.clear()

            db = Database(url, min_size=MANY, max_size=MANY)
            began, began_resident = _traced(), resident()
            await stack.enter_async_context(db)
            connection = {"python": (_traced() - began) / MANY, "resident": (resident() - began_resident) / MANY}
            began = _traced()
            for _ in range(MANY):
                await stack.enter_async_context(db.connection())
            lease = (_traced() - began) / MANY
            return {"Database": {"python": idle}, "connection": connection, "lease": {"python": lease}}

    try:
        return asyncio.run(work())
    finally:
        tracemalloc.stop()


def keep_raw(database: str, address: Address) -> dict[str, Any]:
    """Return what a connection of the driver by hand takes."""

    async def work() -> dict[str, Any]:
        async def connect() -> Any:
            connection = await RAW[database](address)
            stack.push_async_callback(getattr(connection, "ensure_closed", connection.close))

        async with AsyncExitStack() as stack:
            await connect()
            tracemalloc.start()
            began, began_resident = _traced(), resident()
            for _ in range(MANY):
                await connect()
            return {"python": (_traced() - began) / MANY, "resident": (resident() - began_resident) / MANY}

    try:
        return asyncio.run(work())
    finally:
        tracemalloc.stop()


async def _asyncpg(address: Address) -> Any:
    import asyncpg  # noqa: PLC0415 - each process imports what it measures, and nothing else

    return await asyncpg.connect(**address.login())


async def _asyncmy(address: Address) -> Any:
    import asyncmy  # noqa: PLC0415

    return await asyncmy.connect(**address.login(database="db", socket="unix_socket"))


async def _aiosqlite(address: Address) -> Any:
    import aiosqlite  # noqa: PLC0415

    return await aiosqlite.connect(address.database)


RAW = {"sqlite": _aiosqlite, "postgresql": _asyncpg, "mysql": _asyncmy}


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def measure(database: str, place: Place) -> dict[str, Any]:
    """Measure all systems of a database that are installed."""
    reference, *_ = SYSTEMS[database]
    found: dict[str, Any] = {"reference": reference.name, "systems": {}, "absent": {}, "kept": {}}
    for entry in SYSTEMS[database]:
        if entry.name.endswith(AGAIN):
            continue
        address = place.address(entry.name)
        if reason := reason_to_leave_out(entry, address):
            found["absent"][entry.name] = reason
        else:
            found["systems"][entry.name] = in_process(iterate, database, entry.name, address, place.rows)
    address = place.address("kept")
    found["kept"] = {
        **in_process(keep, database, address),
        f"connection of {reference.name.split()[0]}": in_process(keep_raw, database, address),
    }
    return found


def reason_to_leave_out(entry: Entry, address: Address) -> str:
    """Return why a system cannot be measured, nothing if it can."""
    if entry.name == PREDECESSOR:
        return "runs in a process and an environment of its own"
    if entry.peer and not installed(DISTRIBUTIONS.get(entry.name, entry.name)):
        return "is not installed: pip install --group bench -e ."
    reason: str = entry.make(address, "asyncio").absent.get("w7", "")
    return reason


def show(found: dict[str, Any]) -> None:
    """Print what was found on a database."""
    for name, memory in found["systems"].items():
        target = f", target: at most {TARGET / MEBIBYTE:.0f}" if name == OURS else ""
        print(f"  {name:<24} {memory['peak'] / MEBIBYTE:>6.2f} MiB over {memory['baseline'] / MEBIBYTE:.0f}{target}")
    for name, reason in found["absent"].items():
        print(f"  {name:<24} LEFT OUT: {reason}")
    for name, memory in found["kept"].items():
        print(f"  one {name:<30}", ", ".join(f"{kind} {size / 1024:.1f} KiB" for kind, size in memory.items()))


def run() -> None:
    """Read the command line, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that it works")
    parser.add_argument("--databases", nargs="+", default=list(SYSTEMS), choices=SYSTEMS, metavar="DATABASE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="draw a chart into this folder")
    options = parser.parse_args()
    rows = QUICK_ROWS if options.quick else ROWS
    databases, versions = {}, {}
    for database in options.databases:
        with places.open_place(database, rows, url=None, transport="tcp") as place:
            versions[place.product] = place.version
            databases[database] = found = measure(database, place)
        print(f"{database}: the peak while iterating over {rows:,} rows")
        show(found)
    described = about(quick=options.quick, versions=versions)
    report = {"about": described, "rows": rows, "target": TARGET, "databases": databases}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.output:
        from charts import draw_memory  # noqa: PLC0415 - who draws nothing needs no matplotlib

        draw_memory(report, options.output)


if __name__ == "__main__":
    run()
