"""What a run has found, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from systems import AGAIN, OURS
from targets import NOISE
from workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def tables(database: str, part: dict[str, Any]) -> Iterator[Table]:
    """Show the medians, the ratios and what the many tasks of w8 have met."""
    yield _table(f"{database}: median of one operation", part, lambda entry: f"{entry['median']:.4g}", units=True)
    yield _table(f"{database}: ratio to {part['reference']} (quartiles)", part, _ratio, units=False)
    crowd = part["workloads"].get("w8", {}).get("systems", {})
    if crowd:
        table = Table(title=f"{database}: {WORKLOADS['w8'].what}", title_justify="left")
        for column in ("", "per second", "p50 ms", "p99 ms"):
            table.add_column(column, justify="right" if column else "left")
        for system, entry in crowd.items():
            extra = entry["extra"]
            figures = (f"{extra['rate']:,.0f}", f"{extra['p50']:.2f}", f"{extra['p99']:.2f}")
            table.add_row(system, *figures, style=_style(system))
        yield table


def _table(title: str, part: dict[str, Any], cell: Callable[[dict[str, Any]], str], *, units: bool) -> Table:
    workloads = part["workloads"]
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name, workload in workloads.items():
        table.add_column(f"{name}, {workload['unit']}" if units else name, justify="right")
    for system in part["systems"]:
        entries = [workload["systems"].get(system) for workload in workloads.values()]
        table.add_row(system, *(cell(entry) if entry else "-" for entry in entries), style=_style(system))
    return table


def _ratio(entry: dict[str, Any]) -> str:
    return f"{entry['ratio']:.2f} ({entry['low']:.2f}-{entry['high']:.2f})"


def _style(system: str) -> str:
    return "bold" if system == OURS else "dim" if system.endswith(AGAIN) else ""


def table_of_targets(targets: list[dict[str, Any]], noise: list[dict[str, Any]]) -> Table:
    """Show what was aimed at, and what the controls say about it."""
    loud = {(control["database"], control["workload"]): control["measured"] for control in noise}
    table = Table(title=f"targets of {OURS}", title_justify="left")
    for column in ("database", "workload", "against", "measure", "limit", "measured", "", "control"):
        table.add_column(column, justify="right" if column in {"limit", "measured", "control"} else "left")
    for target in targets:
        control = loud[target["database"], target["workload"]]
        comparison = "at least" if target["measure"] == "throughput" else "at most"
        table.add_row(
            *(target[name] for name in ("database", "workload", "against", "measure")),
            f"{comparison} {target['limit']:.2f}",
            f"{target['measured']:.3f}",
            "[green]met[/]" if target["met"] else "[red]missed[/]",
            f"{control:.3f}" if abs(control - 1) <= NOISE else f"[red]{control:.3f}[/]",
        )
    return table
