"""Compare this library with the drivers below it and with its peers, in one run.

Every system does the same work, in rounds that take turns, on private servers that are thrown away at the end.
`benchmarks/README.md` tells more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from aio_databases import __version__
from machine import installed
from systems import SYSTEMS
from workloads import WORKLOADS

NEEDED = ("aiomysql", "aiosqlite", "asyncmy", "asyncpg", "matplotlib", "psycopg", "PyMySQL", "rich", "trustme")
PEERS = ("databases", "greenlet", "SQLAlchemy", "sqlspec", "tortoise-orm")
QUICK_SECONDS = 0.002


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted({entry.name for found in SYSTEMS.values() for entry in found})
    parser.add_argument("--databases", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="DATABASE")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument(
        "--systems",
        nargs="+",
        choices=names,
        metavar="SYSTEM",
        help=f"beside the driver that all are compared with, some of: {', '.join(names)}",
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.15, help="how long a batch of the reference takes")
    parser.add_argument("--event-loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--transport", choices=("tcp", "unix"), default="tcp")
    parser.add_argument("--postgresql-url", metavar="URL", help="a server whose user may create databases")
    parser.add_argument("--mysql-url", metavar="URL", help="the same")
    parser.add_argument("--without-peers", action="store_true", help="only drivers and this library")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where results.json and the charts are written")
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that it works")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, QUICK_SECONDS
    return options


def main() -> None:
    """Measure, print and write."""
    options = parse()
    wanted = [*NEEDED, *([] if options.without_peers else PEERS)]
    wanted += ["uvloop"] if options.event_loop == "uvloop" else []
    if missing := [name for name in wanted if installed(name) is None]:
        sys.exit(f"{', '.join(missing)}: not installed; pip install --group bench -e . installs all that is compared")
    os.environ.setdefault("PGSSLMODE", "disable")  # else some would encrypt, and some not

    # They need what may be missing.
    from environments import EnvironmentMissing  # noqa: PLC0415
    from places import ServerMissing  # noqa: PLC0415
    from suite import run, show  # noqa: PLC0415

    print(f"aio_databases {__version__} on {', '.join(options.databases)}: {options.rounds} rounds")
    try:
        report = run(options)
    except EnvironmentMissing as error:
        sys.exit(f"{error}; --without-peers leaves all peers out")
    except ServerMissing as error:
        sys.exit(f"{error}; --databases says what is measured, and --postgresql-url and --mysql-url where")
    show(report)
    if options.output:
        from charts import draw  # noqa: PLC0415 - it takes its time

        options.output.mkdir(parents=True, exist_ok=True)
        results = options.output / "results.json"
        results.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print("written:", results, *draw(report, options.output))


if __name__ == "__main__":
    main()
