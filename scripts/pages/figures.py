"""Write what the benchmarks have found into their pages and README.md: `python scripts/pages/figures.py`.

The figures are those of docs/benchmarks/*.json; `benchmarks/README.md` tells how they get there.
"""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from figures_beside import growth, memory, overhead, records, startup, waiting
from figures_scaling import scaling
from figures_targets import targets
from figures_text import OURS, PRODUCTS, named, three
from pages import renew, table

if TYPE_CHECKING:
    from pages import Pages

DOCS = Path(__file__).parents[2] / "docs"
PAGE, README, FOLDER = DOCS / "benchmarks.md", DOCS.parent / "README.md", DOCS / "benchmarks"
SCALING = DOCS / "scaling.md"
NAMES = ("results", "growth", "memory", "overhead", "records", "startup", "waiting", "scaling")


def reports(folder: Path = FOLDER) -> dict[str, Any]:
    """Return what the benchmarks have found, by the names of the files; `results-...` are those of other settings."""
    files = [folder / f"{name}.json" for name in NAMES] + sorted(folder.glob("results-*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def machine(found: dict[str, Any]) -> str:
    """Tell where and with what the main figures were measured."""
    about = found["results"]["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"* {about['machine']}; {about['date']}",
        f"* Python {about['python']}, {about['event_loop']}, servers reached over {about['transport']}",
        f"* {versions}",
        f"* rounds: {about['rounds']}; w7 iterates over {about['rows']:,} rows",
    ]
    tiny = [name for name, report in found.items() if report.get("about", {}).get("quick")]
    if tiny:
        lines += [
            "",
            f"**Not to be quoted: from tiny runs, which only show that the scripts work: {', '.join(tiny)}.**",
        ]
    return "\n".join(lines)


def workloads(found: dict[str, Any]) -> str:
    """Tell what each workload is."""
    known = {
        name: workload["what"]
        for database in found["results"]["databases"].values()
        for name, workload in database["workloads"].items()
    }
    return table(["", "one operation"], known.items())


def ratios(database: dict[str, Any]) -> str:
    """Return the table of a database, and why some cells are empty."""
    work, reference = database["workloads"], database["reference"]
    cells = {system: [_ratio(workload, system) for workload in work.values()] for system in database["systems"]}
    times = [f"{three(workload['systems'][reference]['median'])} {workload['unit']}" for workload in work.values()]
    rows = [[f"{reference}, median", *times], *([named(system), *found] for system, found in cells.items())]
    return "\n\n".join([table(["", *work], rows, numbers=True), *_absent(work)])


def _ratio(workload: dict[str, Any], system: str) -> str:
    if system not in workload["systems"]:
        return "-"
    ratio = three(workload["systems"][system]["ratio"])
    return f"**{ratio}**" if system == OURS else ratio


def _absent(work: dict[str, Any]) -> list[str]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, workload in work.items():
        for system, reason in workload.get("absent", {}).items():
            reasons.setdefault((system, reason), []).append(name)
    lines = [f"* {system}, {', '.join(names)}: {reason}" for (system, reason), names in reasons.items()]
    return ["\n".join(["Left out:", "", *lines])] if lines else []


def load(found: dict[str, Any]) -> str:
    """Return what the many tasks have met."""
    rows = []
    for name, database in found["results"]["databases"].items():
        systems = database["workloads"].get("w8", {"systems": {}})["systems"]
        for system, measured in systems.items():
            extra = measured["extra"]
            rows.append(
                [PRODUCTS[name], named(system), f"{extra['rate']:,.0f}", three(extra["p50"]), three(extra["p99"])]
            )
    return table(["database", "", "queries per second", "p50 in ms", "p99 in ms"], rows)


def settings(found: dict[str, Any]) -> str:
    """Return our ratios under other settings: event loops, transports, versions of Python."""
    rows = []
    for name, report in found.items():
        if name.startswith("results"):
            about = report["about"]
            setting = f"Python {about['python']}, {about['event_loop']}, {about['transport']}"
            for key, database in report["databases"].items():
                cells = [_ratio(workload, OURS).strip("*") for workload in database["workloads"].values()]
                rows.append([PRODUCTS[key], setting, *cells])
    work = max((list(database["workloads"]) for database in found["results"]["databases"].values()), key=len)
    return table(["database", "setting", *work], sorted(rows, key=lambda row: list(PRODUCTS.values()).index(row[0])))


def summary(found: dict[str, Any]) -> str:
    """Return the chart and the two sentences of the README."""
    databases = found["results"]["databases"]
    chart = f"![{ALTERNATIVE}](docs/benchmarks/overview.svg)"
    held, crowd = (databases["postgresql"]["workloads"][name]["systems"][OURS]["ratio"] for name in ("w2", "w8"))
    leased = databases["sqlite"]["workloads"]["w3"]["systems"]
    naive, skilled = (leased[OURS]["ratio"] / leased[name]["ratio"] for name in ("aiosqlite naive", "aiosqlite"))
    text = (
        f"On PostgreSQL a query takes {three(held)} times as long as with asyncpg by hand, and 50 tasks on ten "
        f"connections get {three(1 / crowd)} times as many answers as through asyncpg's own pool; on SQLite a query "
        f"takes {three(naive)} times as long as with aiosqlite, awaited step by step as in its examples, and "
        f"{three(skilled)} times as long as in one call to its thread. [Benchmarks](docs/benchmarks.md) has the "
        "method, the machine, every figure, and the targets that were missed."
    )
    return f"{chart}\n\n{fill(text, 120)}"


ALTERNATIVE = (
    "Chart: the time of ten kinds of work through aio_databases and its peers, as a multiple of the driver used by "
    "hand, on PostgreSQL, MariaDB and SQLite"
)


def pages(folder: Path = FOLDER) -> Pages:
    """Return what stands in the pages."""
    found = reports(folder)
    databases = found["results"]["databases"]
    parts = {
        "machine": machine(found),
        "targets": targets(found),
        "workloads": workloads(found),
        **{f"ratios of {name}": ratios(databases[name]) for name in PRODUCTS},
        "load": load(found),
        "settings": settings(found),
        "overhead": overhead(found["overhead"]),
        "growth": growth(found["growth"]),
        "memory": memory(found["memory"]),
        "waiting": waiting(found["waiting"]),
        "records": records(found["records"]),
        "startup": startup(found["startup"]),
    }
    return {PAGE: parts, README: {"summary": summary(found)}, SCALING: scaling(found["scaling"])}


if __name__ == "__main__":
    renew(pages())
