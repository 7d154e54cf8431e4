"""One run of the suite: places, systems, harness, report."""

from __future__ import annotations

import asyncio
import gc
import sys
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from environments import RELEASE, environment
from harness import Batch, Harness
from machine import about, installed
from places import open_place
from report import part_of_report
from systems import PREDECESSOR, SYSTEMS
from tables import table_of_targets, tables
from targets import controls, evaluate
from workloads import QUICK_LOOKUPS, WORKLOADS, expected

if TYPE_CHECKING:
    import argparse

    from rich.progress import TaskID

    from places import Place
    from systems import Entry

ROWS, QUICK_ROWS = 100_000, 1000  # of the table that w7 iterates over
PLAIN_WIDTH = 220  # characters of a line that goes to a file
LIBRARIES = ("databases", "SQLAlchemy", "sqlspec", "tortoise-orm")


class Tick(NamedTuple):
    """Moves a progress bar between two batches; a thread that draws would take time from what is measured."""

    progress: Progress
    task: TaskID
    database: str

    def __call__(self, workload: str, system: str) -> None:
        """Move on."""
        self.progress.update(self.task, advance=1, description=f"{self.database} {workload} {system}")
        self.progress.refresh()


def entries(database: str, options: argparse.Namespace) -> list[Entry]:
    """Return the systems that are asked for; the reference and its control are always among them."""
    reference, control, *others = SYSTEMS[database]
    wanted = [other for other in others if not (other.peer and options.without_peers)]
    if options.systems:
        wanted = [other for other in wanted if other.name in options.systems]
    return [reference, control, *wanted]


def batches(options: argparse.Namespace) -> dict[str, Batch]:
    """Return how many operations make a batch of each workload."""
    found = {}
    for name in options.workloads:
        workload = WORKLOADS[name]
        count = QUICK_LOOKUPS if options.quick and name == "w8" else workload.count
        found[name] = Batch(count, workload.step)
    return found


async def measure(options: argparse.Namespace, database: str, place: Place, progress: Progress) -> dict[str, Any]:
    """Run all systems of a database."""
    async with AsyncExitStack() as stack:
        systems: dict[str, Any] = {}
        for entry in entries(database, options):
            systems[entry.name] = system = entry.make(place.address(entry.name), options.event_loop)
            await system.open()
            stack.push_async_callback(system.close)
        work = batches(options)
        total = sum(name not in system.absent for name in work for system in systems.values())
        task = progress.add_task(database, total=total * (options.rounds + 1))
        harness = Harness(
            systems,
            work,
            check=lambda workload, count, answer: answer == expected(workload, count, place.rows),
            seconds=options.seconds,
            prepare=lambda workload: place.empty() if WORKLOADS[workload].writes else None,
            tick=Tick(progress, task, database),
        )
        gc.collect()
        # What is there to stay is not looked through before each batch.
        gc.freeze()
        try:
            return part_of_report(await harness.run(options.rounds), systems)
        finally:
            gc.unfreeze()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure on every database, and return the report."""
    databases: dict[str, Any] = {}
    rows = QUICK_ROWS if options.quick else ROWS
    versions = {name: found for name in LIBRARIES if (found := installed(name)) and not options.without_peers}
    if any(entry.name == PREDECESSOR for database in options.databases for entry in entries(database, options)):
        environment()  # now, because it may take its time, or fail
        versions[PREDECESSOR] = RELEASE
    new_event_loop = import_module(options.event_loop).new_event_loop
    with Progress(auto_refresh=False, console=Console(stderr=True)) as progress:
        for database in options.databases:
            url = getattr(options, f"{database}_url", None)
            with (
                open_place(database, rows, url=url, transport=options.transport) as place,
                asyncio.Runner(loop_factory=new_event_loop) as runner,
            ):
                versions[place.product] = place.version
                databases[database] = runner.run(measure(options, database, place, progress))
    settings = {name: getattr(options, name) for name in ("event_loop", "transport", "rounds")}
    return {
        "about": about(quick=options.quick, versions=versions, rows=rows, **settings),
        "databases": databases,
        "targets": list(evaluate(databases)),
        "controls": list(controls(databases)),
    }


def show(report: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    for database, part in report["databases"].items():
        for table in tables(database, part):
            console.print(table)
    if report["targets"]:
        console.print(table_of_targets(report["targets"], report["controls"]))
