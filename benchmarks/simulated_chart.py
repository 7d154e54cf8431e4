"""Draw what the simulation has found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drawing import FAINT, GRID, INK, Mark, figure, files, logarithmic
from simulated_experiments import CROWD, FAILING, FLOOD, FREEZE, FROZEN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

MARKS = (Mark("#0072b2", "s"), Mark("#d55e00", "o"), Mark("#009e73", "^"))
TICKS = tuple(step * 10**exponent for exponent in range(-3, 5) for step in (1, 2, 5))
DECADES = tuple(10**exponent for exponent in range(-3, 5))


def draw_scaling(report: dict[str, Any], folder: Path) -> list[Path]:
    """Draw connections, replicas, lag and a freeze; return the files."""
    written = files(folder, "scaling")
    subtitle = "Simulated: 2 ms of a core per statement, 0.5 ms on the network, 1 ms in the application"
    with figure(8.6, 6.3, "What connections, replicas and positions bring", subtitle, written) as paper:
        (first, second), (third, fourth) = paper.subplots(2, 2)
        _connections(first, report["connections"])
        _replicas(second, report["replicas"])
        _lag(third, report["lag"])
        _failure(fourth, report["failure"])
    return written


def _connections(axes: Axes, found: dict[str, list[dict[str, float]]]) -> None:
    for (processes, rows), mark in zip(found.items(), MARKS, strict=True):
        label = f"{processes} process{'' if processes == '1' else 'es'}"
        _line(axes, [row["connections"] for row in rows], [row["p99"] for row in rows], mark, label)
    logarithmic(axes, "x", TICKS)
    logarithmic(axes, "y", TICKS)
    rate = CROWD.clients * (1 / (CROWD.think + 0.0045))
    _finish(axes, f"{rate:,.0f} requests per second, {CROWD.cores} cores", "p99 in ms", "connections, all processes")


def _replicas(axes: Axes, found: dict[str, list[dict[str, float]]]) -> None:
    for (share, rows), mark in zip(found.items(), MARKS, strict=True):
        counts = [row["replicas"] for row in rows]
        axes.plot(counts, [row["ceiling"] for row in rows], color=mark.colour, linewidth=1, linestyle=(0, (4, 3)))
        _line(axes, counts, [row["rate"] for row in rows], mark, f"{float(share):.0%} reads")
    axes.set_ylim(bottom=0)
    _finish(axes, f"Servers of {FLOOD.cores} cores (dashed: arithmetic)", "requests per second", "replicas")


def _lag(axes: Axes, found: dict[str, list[dict[str, float]]]) -> None:
    (_, stale), *asked = found.items()
    lags = [row["lag"] * 1000 for row in stale]
    _line(axes, lags, [row["stale"] * 100 for row in stale], MARKS[0], "stale, without position")
    for (name, rows), mark in zip(asked, MARKS[1:], strict=True):
        _line(axes, lags, [row["to primary"] * 100 for row in rows], mark, f"on the primary, {name.split(', ')[1]}")
    logarithmic(axes, "x", DECADES)
    axes.set_ylim(bottom=0)
    _finish(axes, "Reads of what was just written", "% of all reads", "mean lag in ms")


def _failure(axes: Axes, found: dict[str, dict[str, Any]]) -> None:
    axes.axvspan(FREEZE, FREEZE + FROZEN, color=GRID, alpha=0.5, linewidth=0)
    for (name, ways), mark in zip(found.items(), MARKS, strict=True):
        values = [second["p99"] for second in ways["timeline"]]
        axes.plot(range(len(values)), values, color=mark.colour, linewidth=1.8, label=name)
    logarithmic(axes, "y", DECADES)
    axes.set_xlim(right=FAILING.duration + 8)  # room for the legend
    _finish(axes, "One of two replicas is frozen (grey)", "p99 of reads in ms", "second", legend="center right")


def _line(axes: Axes, sizes: Sequence[float], values: Sequence[float], mark: Mark, label: str) -> None:
    axes.plot(sizes, values, linewidth=1.6, markersize=5, label=label, **mark.options)


def _finish(axes: Axes, title: str, unit: str, of: str, legend: str = "best") -> None:
    axes.set_title(title, color=INK)
    axes.set_ylabel(unit)
    axes.set_xlabel(of)
    axes.grid(axis="both", color=GRID)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, labelcolor=FAINT, loc=legend)
