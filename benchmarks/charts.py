"""Draw what the benchmarks have found: `python benchmarks/charts.py` does so for docs/benchmarks/*.json."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D

from drawing import AGAIN, FAINT, GRID, INK, MARKS, NAMES, OURS, PAPER, Mark, figure, files, logarithmic, marks
from simulated_chart import draw_scaling

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent.parent / "docs" / "benchmarks"
WORK = {
    "w1": "one value",
    "w2": "one row, held connection",
    "w3": "one row, lease per query",
    "w4": "fetchall, 1000 x 5",
    "w5": "insert in a transaction",
    "w6": "executemany, 1000 rows",
    "w7": "iterate over a table",
    "w8": "50 tasks, pool of 10",
    "w9": "begin, insert, commit",
    "w10": "1000 x 5, read by name",
}
RATIOS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
NOISE = {"color": "#c3ccd5", "linewidth": 6, "solid_capstyle": "butt"}
DECADES = (0.01, 0.1, 1, 10, 100, 1000)
SIZES = tuple(10**exponent for exponent in range(-3, 8))


def draw(report: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the charts of the suite's report; return their files."""
    drawn = draw_overview(report, folder)
    for name, database in report["databases"].items():
        drawn += draw_ratios(name, database, folder)
    return drawn + draw_load(report, folder)


def in_order(report: dict[str, Any]) -> dict[str, Any]:
    """Return the databases of a report, always in the same order."""
    return {name: report["databases"][name] for name in NAMES if name in report["databases"]}


# Ratios to the driver by hand


def draw_overview(report: dict[str, Any], folder: Path) -> list[Path]:
    """Draw all databases side by side."""
    written = files(folder, "overview")
    databases = in_order(report)
    subtitle = "Time per operation as a multiple of the database's own driver, used by hand (log scale, left is faster)"
    with figure(3.2 + 2.75 * len(databases), 5.2, "aio_databases and its peers", subtitle, written) as paper:
        panels = paper.subplots(1, len(databases), sharey=True, squeeze=False)[0]
        legend: dict[str, Mark] = {}
        for axes, (name, database) in zip(panels, databases.items(), strict=True):
            # One of ours per database is enough here; each database has a chart of its own with all of them.
            shown = [system for system in database["systems"] if not system.startswith(f"{OURS} ")]
            found = marks(shown, database["reference"])
            _ratios(axes, database, found, DECADES)
            axes.set_title(f"{NAMES[name]}  (1x: {database['reference']})")
            legend |= {system: mark for system, mark in found.items() if system != database["reference"]}
        _legend(paper, legend, "the driver by hand")
    return written


def draw_ratios(name: str, database: dict[str, Any], folder: Path) -> list[Path]:
    """Draw one database, with all of its systems."""
    written = files(folder, f"ratios-{name}")
    reference = database["reference"]
    subtitle = f"Time per operation as a multiple of {reference} by hand (log scale, left is faster)"
    with figure(9.6, 1.85 + 0.4 * len(database["workloads"]), NAMES[name], subtitle, written) as paper:
        found = marks(database["systems"], reference)
        _ratios(paper.subplots(), database, found, RATIOS)
        _legend(paper, {system: mark for system, mark in found.items() if system != reference}, reference)
    return written


def _ratios(axes: Axes, database: dict[str, Any], found: dict[str, Mark], ticks: tuple[float, ...]) -> None:
    """Draw a row of marks per workload, and our ratio beside it."""
    workloads = database["workloads"]
    for row, workload in enumerate(workloads.values()):
        systems = workload["systems"]
        for name, system in systems.items():
            if name.endswith(AGAIN):
                axes.plot([system["low"], system["high"]], [row, row], **NOISE)
            elif name in found and name != database["reference"]:
                size, order = (9.5, 5) if name == OURS else (6, 4)
                axes.plot(system["ratio"], row, markersize=size, linestyle="none", zorder=order, **found[name].options)
        if OURS in systems:
            ratio, look = systems[OURS]["ratio"], found[OURS].colour
            axes.plot([1, ratio], [row, row], color=look, linewidth=2.2, alpha=0.45, solid_capstyle="butt", zorder=3)
            beside = {"transform": axes.get_yaxis_transform(), "va": "center", "color": look, "fontweight": "bold"}
            axes.text(1.02, row, f"{ratio:.2f}", **beside)
    axes.axvline(1, color=INK, linewidth=1.1, zorder=2)
    axes.set_yticks(range(len(workloads)), [WORK.get(name, name) for name in workloads])
    axes.set_ylim(len(workloads) - 0.5, -0.5)
    axes.set_xlim(*_reach(workloads, found))
    logarithmic(axes, "x", ticks, suffix="x")
    axes.grid(axis="both")
    axes.set_axisbelow(True)


def _reach(workloads: dict[str, Any], found: dict[str, Mark]) -> tuple[float, float]:
    shown = [
        system["ratio"]
        for workload in workloads.values()
        for name, system in workload["systems"].items()
        if name in found
    ]
    return min(*shown, 0.8) / 1.4, max(*shown, 1.25) * 1.4


def _legend(paper: Figure, found: dict[str, Mark], by_hand: str) -> None:
    handles: list[Artist] = [
        Line2D([], [], linestyle="none", markersize=9 if name == OURS else 6, label=name, **mark.options)
        for name, mark in sorted(found.items(), key=lambda pair: pair[0] != OURS)
    ]
    handles.append(Line2D([], [], color=INK, marker="|", markersize=11, linestyle="none", label=by_hand))
    handles.append(Line2D([], [], **NOISE, label="its noise: the same again"))
    paper.legend(handles=handles, loc="outside lower left", ncols=5, handletextpad=0.5, borderaxespad=1.6)


# Many tasks


def draw_load(report: dict[str, Any], folder: Path) -> list[Path]:
    """Draw throughput and the slowest percent of the lookups of many tasks."""
    written = files(folder, "load")
    found = {name: _loaded(database) for name, database in in_order(report).items()}
    found = {name: systems for name, systems in found.items() if systems}
    if not found:
        return []
    heights = [len(systems) + 1.2 for systems in found.values()]
    with figure(9.6, 1.0 + 0.27 * sum(heights), "50 tasks over a pool of 10", _UNDER_LOAD, written) as paper:
        panels = paper.subplots(len(found), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
        for (left, right), (name, systems) in zip(panels, found.items(), strict=True):
            reference = report["databases"][name]["reference"]
            _bars(
                left,
                {system: extra["rate"] for system, extra in systems.items()},
                reference,
                lambda rate: f"{rate:,.0f}",
            )
            _bars(
                right, {system: extra["p99"] for system, extra in systems.items()}, reference, lambda p99: f"{p99:.1f}"
            )
            left.set_title(f"{NAMES[name]}: queries per second")
            right.set_title("p99 in ms")
            right.set_yticklabels([])
    return written


_UNDER_LOAD = (
    "Lookups by primary key: how many (more is better), and how long the slowest percent takes (less is better)"
)


def _loaded(database: dict[str, Any]) -> dict[str, dict[str, float]]:
    systems = database["workloads"].get("w8", {}).get("systems", {})
    return {name: system["extra"] for name, system in systems.items() if not name.endswith(AGAIN)}


def _bars(axes: Axes, values: dict[str, float], reference: str, label: Callable[[float], str]) -> None:
    colours = {reference: FAINT, OURS: MARKS[OURS].colour}
    bars = axes.barh(
        list(values),
        list(values.values()),
        height=0.68,
        color=[colours.get(name, "#a9bccd") for name in values],
    )
    for text in axes.bar_label(bars, [label(value) for value in values.values()], padding=3, fontsize=8.5):
        text.set_bbox({"facecolor": PAPER, "edgecolor": "none", "pad": 0.6})
    axes.set_xlim(0, max(values.values()) * 1.16)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.invert_yaxis()
    for text, name in zip(axes.get_yticklabels(), values, strict=True):
        text.set_fontweight("bold" if name == OURS else "normal")


# Side benchmarks


def draw_growth(report: dict[str, Any], folder: Path) -> list[Path]:
    """Draw how cost grows with the size of what is asked, a file per database."""
    drawn: list[Path] = []
    for name, database in report["databases"].items():
        written = files(folder, f"growth-{name}")
        dimensions = database["dimensions"]
        title = f"{NAMES[name]}: how cost grows"
        subtitle = "What each of them costs, which should not grow with their number (logarithmic but for memory)"
        with figure(9.6, 6.2, title, subtitle, written) as paper:
            panels = paper.subplots(2, -(-len(dimensions) // 2), squeeze=False).flat
            found = marks(database["systems"], database["reference"])
            for axes, dimension in zip(panels, dimensions.values(), strict=False):
                for system, values in dimension["systems"].items():
                    _line(axes, dimension["sizes"], values, found[system], is_ours=system == OURS)
                _finish(axes, dimension["what"], dimension["unit"], is_linear=dimension["unit"].startswith("MiB"))
            for axes in list(panels):
                axes.set_axis_off()
            _lines_legend(paper, found)
        drawn += written
    return drawn


def draw_waiting(report: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what a line of waiting tasks costs."""
    written = files(folder, "waiting")
    looks = (Mark("#d55e00", "o"), Mark("#0072b2", "s"), Mark("#009e73", "^"), Mark("#cc79a7", "v"))
    found = dict(zip(report["lines"], looks, strict=True))
    subtitle = f"Tasks in line behind {report['connections']} connections; flat is what one hopes for"
    with figure(9.6, 3.9, "What a line of waiting tasks costs", subtitle, written) as paper:
        panels = paper.subplots(1, 2)
        columns = {"cpu": ("CPU per query and handover", "us"), "memory": ("memory per waiting task", "bytes")}
        for axes, (column, (what, unit)) in zip(panels, columns.items(), strict=True):
            for name, figures in report["lines"].items():
                values = [figure[column] for figure in figures.values()]
                _line(axes, [int(length) for length in figures], values, found[name], is_ours=False)
            _finish(axes, what, unit, "tasks that wait")
        _lines_legend(paper, found)
    return written


def draw_memory(report: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what iterating over many rows takes."""
    written = files(folder, "memory")
    databases = in_order(report)
    heights = [len(database["systems"]) + 1.2 for database in databases.values()]
    subtitle = f"Peak above the memory before, while iterating over {report['rows']:,} rows; less is better"
    with figure(9.6, 1.0 + 0.27 * sum(heights), "Memory of a long result", subtitle, written) as paper:
        panels = paper.subplots(len(databases), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for axes, (name, database) in zip(panels, databases.items(), strict=True):
            peaks = {system: max(found["peak"], 0) / 2**20 for system, found in database["systems"].items()}
            _bars(axes, peaks, database["reference"], lambda peak: f"{peak:.1f} MiB")
            axes.set_xlim(0, max(*peaks.values(), report["target"] / 2**20) * 1.16)
            axes.axvline(report["target"] / 2**20, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
            axes.set_title(f"{NAMES[name]}  (dashed: the target, {report['target'] >> 20} MiB)")
    return written


def _line(axes: Axes, sizes: list[int], values: list[float], mark: Mark, *, is_ours: bool) -> None:
    look = {**mark.options, "linewidth": 2.4 if is_ours else 1.5, "markersize": 6.5 if is_ours else 5}
    axes.plot(sizes[: len(values)], values, **look, zorder=3 if is_ours else 2)


def _finish(axes: Axes, what: str, unit: str, of: str = "", *, is_linear: bool = False) -> None:
    axes.set_title(what)
    axes.set_ylabel(unit)
    axes.set_xlabel(of)
    values = [value for line in axes.lines for value in line.get_ydata()]
    logarithmic(axes, "x", SIZES)
    if is_linear:
        axes.set_ylim(0, max(*values, 1) * 1.15)
    else:
        # Two decades at least, or else noise looks like growth.
        spread = max(1.6, 10 / (max(values) / min(values)) ** 0.5)
        axes.set_ylim(min(values) / spread, max(values) * spread)
        logarithmic(axes, "y", _steps(SIZES) if max(values) / min(values) < 50 else SIZES)  # noqa: PLR2004 - as many labels as fit
    axes.grid(axis="both", color=GRID)
    axes.set_axisbelow(True)


def _steps(decades: tuple[float, ...]) -> list[float]:
    return [decade * step for decade in decades for step in (1, 2, 5)]


def _lines_legend(paper: Figure, found: dict[str, Mark]) -> None:
    handles = [Line2D([], [], linewidth=2, label=name, **mark.options) for name, mark in found.items()]
    paper.legend(handles=handles, loc="outside lower left", ncols=6, borderaxespad=1.6)


DRAWERS = {
    "results": draw,
    "growth": draw_growth,
    "waiting": draw_waiting,
    "memory": draw_memory,
    "scaling": draw_scaling,
}
"""What draws which file of docs/benchmarks."""


def run() -> None:
    """Read the command line, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, metavar="FOLDER", default=FOLDER, help="where the figures are")
    parser.add_argument("--output", type=Path, metavar="FOLDER", default=FOLDER, help="where the charts go")
    options = parser.parse_args()
    for name, drawer in DRAWERS.items():
        report = json.loads((options.input / f"{name}.json").read_text(encoding="utf-8"))
        print(*drawer(report, options.output), sep="\n")


if __name__ == "__main__":
    run()
