"""How thousands of users fare with pools of some size, with replicas, with lag, and when a replica freezes.

Nothing is measured here: users, pools, servers and replication are simulated, event by event.  Seconds of theirs take
fractions of a second, and chance is seeded, so the same options always give the same figures.  `--try` runs one setup
of your own: `--try clients=5000 processes=8 pool=5 replicas=2`; its names and defaults are in `simulated_setup.py`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from machine import about, installed
from simulated_clients import simulate
from simulated_experiments import rounded, run_all
from simulated_setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "rate": ("per second", "{:,.0f}".format),
    "ceiling": ("at most", "{:,.0f}".format),
    "pool wait": ("wait in line, ms", "{:.2f}".format),
    "p50": ("p50 ms", "{:.1f}".format),
    "p99": ("p99 ms", "{:.1f}".format),
    "stale": ("stale reads", "{:.2%}".format),
    "waited": ("reads that wait", "{:.2%}".format),
    "position wait": ("for, ms", "{:.0f}".format),
    "to primary": ("reads on primary", "{:.2%}".format),
    "failed": ("failed", "{:.0f}".format),
    "busy primary": ("primary busy", "{:.0%}".format),
    "busy replica-1": ("replica busy", "{:.0%}".format),
}
SHOWN = {
    "connections": ("rate", "pool wait", "p50", "p99", "busy primary"),
    "replicas": ("rate", "ceiling", "busy primary", "busy replica-1"),
    "lag": ("p50", "p99", "stale", "waited", "position wait", "to primary"),
    "failure": ("rate", "p50", "p99", "failed", "to primary"),
}
OF = {"connections": "connections", "replicas": "replicas", "lag": "lag"}


def tables(report: dict[str, Any]) -> Iterable[Table]:
    """Show what was found."""
    theory = _table("simulation and theory", ["users", "for one of 8", "wait in theory, ms", "simulated", "off by"])
    for row in report["theory"]:
        off = row["simulated wait"] / row["wait"] - 1
        times = (f"{row['wait']:.3f}", f"{row['simulated wait']:.3f}", f"{off:+.1%}")
        theory.add_row(f"{row['users']:,}", f"{row['for']}s", *times)
    yield theory
    for part, of in OF.items():
        table = _table(part, [HEADS[part], of, *(COLUMNS[name][0] for name in SHOWN[part])])
        for name, rows in report[part].items():
            for row in rows:
                table.add_row(name, f"{row[of]:g}", *_cells(row, SHOWN[part]))
            table.add_section()
        yield table
    table = _table("a replica freezes", ["reads are sent", *(COLUMNS[name][0] for name in SHOWN["failure"])])
    for name, row in report["failure"].items():
        table.add_row(name, *_cells(row, SHOWN["failure"]))
    yield table


HEADS = {"connections": "processes", "replicas": "share of reads", "lag": "reads ask for"}


def _table(title: str, heads: list[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    return table


def _cells(row: Mapping[str, float], names: Iterable[str]) -> list[str]:
    return [COLUMNS[name][1](row[name]) if name in row else "-" for name in names]


def run() -> None:
    """Read the command line, simulate and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that it works")
    parser.add_argument("--seed", type=int, default=1, help="another one gives other chances")
    parser.add_argument("--try", dest="own", nargs="+", metavar="NAME=VALUE", help="simulate one setup of your own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="draw a chart into this folder")
    options = parser.parse_args()
    console = Console()
    if options.own:
        summary = simulate(Setup.told([f"seed={options.seed}", *options.own])).summary()
        table = _table(" ".join(options.own), ["", "figure"])
        for name, (head, form) in COLUMNS.items():
            if name in summary:
                table.add_row(head, form(summary[name]))
        console.print(table)
        return
    found = run_all(console.log, quick=options.quick, seed=options.seed)
    versions = {"simpy": installed("simpy") or "?"}
    report = rounded({"about": about(quick=options.quick, versions=versions, seed=options.seed), **found})
    for table in tables(report):
        console.print(table)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.output:
        from simulated_chart import draw_scaling  # noqa: PLC0415 - who draws nothing needs no matplotlib

        draw_scaling(report, options.output)


if __name__ == "__main__":
    run()
