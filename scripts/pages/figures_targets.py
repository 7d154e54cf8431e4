"""The table of targets: what was aimed at, and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from figures_text import MEBIBYTE, OURS, PRODUCTS, three
from pages import table

if TYPE_CHECKING:
    from collections.abc import Iterator

FLAT = 2.0
"""What the longest line of waiting tasks may cost per task, as a multiple of the shortest."""
MEASURES = {
    "ratio": "time, at most {} times {}",
    "throughput": "queries per second, at least {} times {}",
    "p99": "99th percentile, at most {} times {}",
}
Row = tuple[str, str, str, str, bool]


def targets(found: dict[str, Any]) -> str:
    """Return the table, and how many were met."""
    rows = [*_of_results(found["results"]), *_of_memory(found["memory"]), *_beside(found)]
    met = sum(row[-1] for row in rows)
    shown = ([*texts, "yes" if is_met else "**no**"] for *texts, is_met in rows)
    return f"{table(['', 'work', 'target', 'measured', 'met'], shown)}\n\n{met} of {len(rows)} are met."


def _of_results(report: dict[str, Any]) -> Iterator[Row]:
    for target in report["targets"]:
        workload = report["databases"][target["database"]]["workloads"][target["workload"]]
        goal = MEASURES[target["measure"]].format(f"{target['limit']:.2f}", target["against"])
        what = f"{target['workload']}: {workload['what']}"
        yield PRODUCTS[target["database"]], what, goal, f"{target['measured']:.3f}", target["met"]


def _of_memory(report: dict[str, Any]) -> Iterator[Row]:
    limit = report["target"]
    for name, database in report["databases"].items():
        peak = database["systems"][OURS]["peak"]
        what = f"w7: iterate over {report['rows']:,} rows"
        goal = f"peak memory, at most {limit / MEBIBYTE:.0f} MiB over the start"
        yield PRODUCTS[name], what, goal, f"{peak / MEBIBYTE:.2f} MiB", peak <= limit


def _beside(found: dict[str, Any]) -> Iterator[Row]:
    for figure in found["overhead"]["figures"]:
        limit, measured = figure["target"], figure["over_control"]
        if limit is not None:
            goal = f"at most {limit:.1f} us over a bare await"
            yield "no database", f"one query, {figure['variant']}", goal, f"{measured:.2f} us", measured <= limit
    for name, figures in found["waiting"]["lines"].items():
        *_, longest = lengths = list(figures)
        for column, what in (("cpu", "CPU of a handover"), ("memory", "memory of a waiting task")):
            grown = figures[longest][column] / figures[lengths[0]][column]
            span = f"{int(longest):,} waiting tasks, against {int(lengths[0]):,}"
            yield name, f"{what}, {span}", f"flat: at most {FLAT:.1f} times", three(grown), grown <= FLAT
    limit, ratio = found["startup"]["target"], found["startup"]["imports"][OURS]["ratio"]
    yield "no database", "import aio_databases", f"at most {limit} times `import anyio`", three(ratio), ratio <= limit
