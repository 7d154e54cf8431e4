"""How long `import aio_databases` takes, and which modules come along.

Each import runs in a fresh process; the processes take turns.  anyio, the one dependency, is imported alone for
comparison, twice, so that the difference of the two tells the noise, and with the event loop that most programs have.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from machine import about

REFERENCE = "anyio"
VARIANTS = {
    REFERENCE: "anyio",
    "anyio, again": "anyio",
    "anyio and asyncio": "anyio, asyncio",  # the first does not import the second before it is run
    "aio_databases": "aio_databases",
}
TARGET = 1.5  # times the import of anyio
IMPORT = """
import sys
from time import perf_counter

before = set(sys.modules)
began = perf_counter()
import {}
seconds = perf_counter() - began

import json
print(json.dumps([seconds, sorted(set(sys.modules) - before)]))
"""
UNWANTED = (
    *("aiomysql", "aioodbc", "aiopg", "aiosqlite", "asyncmy", "asyncpg", "psycopg", "psycopg2", "pymysql", "pyodbc"),
    *("attrs", "msgspec", "peewee", "pydantic", "pypika", "sqlalchemy", "sqlite3", "trio", "trio_mysql"),
)
"""What nobody should have to wait for who does not use it."""


def once(module: str) -> tuple[float, list[str]]:
    """Import a module in a fresh process; return the seconds, and the modules that have come along."""
    # -I: neither the folder nor the environment of this process changes what is imported.
    command = [sys.executable, "-I", "-c", IMPORT.format(module)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - a program of our own
    seconds, modules = json.loads(answer.stdout)
    return seconds, modules


def measure(rounds: int) -> dict[str, Any]:
    """Import each of the variants in turn; the first round fills the caches of the disk and does not count."""
    taken: dict[str, list[float]] = {name: [] for name in VARIANTS}
    modules: dict[str, list[str]] = {}
    for number in range(rounds + 1):
        for name in list(VARIANTS)[:: -1 if number % 2 else 1]:
            seconds, modules[name] = once(VARIANTS[name])
            if number:
                taken[name].append(seconds)
    ours = {module.partition(".")[0] for module in modules["aio_databases"]}
    assert "aio_databases" in ours
    assert not ours.intersection(UNWANTED), f"imported without need: {sorted(ours.intersection(UNWANTED))}"
    return {name: figures(taken, name) | {"modules": len(modules[name])} for name in VARIANTS}


def figures(taken: dict[str, list[float]], name: str) -> dict[str, Any]:
    """Work out milliseconds, and the ratio to the reference in the same round."""
    ratios = [one / reference for one, reference in zip(taken[name], taken[REFERENCE], strict=True)]
    low, _, high = quantiles(ratios, n=4)
    milliseconds = [seconds * 1000 for seconds in taken[name]]
    spread = {"low": low, "high": high}
    return {"median": median(milliseconds), "minimum": min(milliseconds), "ratio": median(ratios), **spread}


def run() -> None:
    """Read the command line, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that it works")
    parser.add_argument("--rounds", type=int, default=40, help="how often each is imported")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    report = {"about": about(quick=options.quick, rounds=rounds), "target": TARGET, "imports": measure(rounds)}
    print(f"{'import':<20}{'median':>10}{'minimum':>10}{'ratio':>8}{'modules':>9}")
    for name, found in report["imports"].items():
        times = f"{found['median']:>7.1f} ms{found['minimum']:>7.1f} ms"
        print(f"{name:<20}{times}{found['ratio']:>8.2f}{found['modules']:>9}")
    print(f"target: at most {TARGET} times the import of {REFERENCE}; no driver and no SQLAlchemy comes along")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run()
