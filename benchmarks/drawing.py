"""How the charts look: paper, colours, marks, and files that are the same whenever the figures are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from matplotlib.axes import Axes

INK, FAINT, GRID, PAPER, EDGE = "#1f2328", "#59636e", "#dde3e9", "#ffffff", "#d1d9e0"
OURS = "aio_databases"
AGAIN = ", again"
NAMES = {"postgresql": "PostgreSQL", "mysql": "MariaDB", "sqlite": "SQLite"}
STYLE = {
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: small files, and readers can search it
    "svg.hashsalt": OURS,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}
DOTS_PER_INCH = 120


class Mark(NamedTuple):
    """How a system is drawn: nobody should need to tell colours apart."""

    colour: str
    shape: str
    filled: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """The arguments for a line's markers."""
        face = self.colour if self.filled else PAPER
        return {"color": self.colour, "marker": self.shape, "markerfacecolor": face, "markeredgecolor": self.colour}


# The colours of Okabe and Ito, which people who confuse red and green can tell apart.
MARKS = {
    OURS: Mark("#d55e00", "o"),
    f"{OURS} psycopg": Mark("#d55e00", "o", filled=False),
    f"{OURS} aiomysql": Mark("#d55e00", "o", filled=False),
    "databases": Mark("#0072b2", "s"),
    "SQLAlchemy": Mark("#009e73", "^"),
    "sqlspec": Mark("#cc79a7", "v"),
    "tortoise": Mark("#56b4e9", "D"),
    "aio-databases 2": Mark("#8c6d1f", "P"),
    "aiosqlite": Mark("#59636e", "X"),
}


def marks(systems: Iterable[str], reference: str) -> dict[str, Mark]:
    """Return how each of the systems is drawn, but for the control; a new system has to be given a mark here."""
    by_hand = {reference: Mark(INK, "|")}
    return {name: {**MARKS, **by_hand}[name] for name in systems if not name.endswith(AGAIN)}


@contextmanager
def figure(width: float, height: float, title: str, subtitle: str, files: list[Path]) -> Iterator[Figure]:
    """Give an empty figure, in inches, and write it to the files at the end of the block."""
    with mpl.rc_context(STYLE):
        paper = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        margin, head = 0.2, 0.7  # inches
        inside = (margin / width, margin / height, 1 - 2 * margin / width, 1 - (margin + head) / height)
        paper.get_layout_engine().set(rect=inside, wspace=0.05, hspace=0.08)
        top = 1 - 0.3 / height
        paper.text(0.25 / width, top, title, fontsize=13, fontweight="bold", va="center")
        paper.text(0.25 / width, top - 0.24 / height, subtitle, fontsize=9, color=FAINT, va="center")
        _lay_paper(paper)
        yield paper
        _fix_layout(paper)
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            # Neither the date nor the version of matplotlib: the same figures give the same file.
            nothing = {"Date": None, "Creator": None} if file.suffix == ".svg" else {"Software": None}
            paper.savefig(file, dpi=DOTS_PER_INCH, metadata=nothing)
            if file.suffix == ".svg":
                _use_fonts_of_readers(file)


def _fix_layout(paper: Figure) -> None:
    """Round where the panels are: their layout is solved anew each time, and differs in the last digits."""
    paper.draw_without_rendering()
    paper.set_layout_engine("none")
    for axes in paper.axes:
        axes.set_position([round(part, 4) for part in axes.get_position().bounds])


def _lay_paper(paper: Figure) -> None:
    """Put everything on a white card, which can be read on any page, a dark one included."""
    width, height = paper.get_size_inches()
    edge = 0.02
    paper.add_artist(
        FancyBboxPatch(
            (edge / width, edge / height),
            1 - 2 * edge / width,
            1 - 2 * edge / height,
            boxstyle=f"round,pad=0,rounding_size={0.12 / width}",
            mutation_aspect=width / height,
            transform=paper.transFigure,
            facecolor=PAPER,
            edgecolor=EDGE,
            linewidth=0.8,
            zorder=-1,
        )
    )


def _use_fonts_of_readers(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    lines = (line.rstrip() for line in text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif").splitlines())
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def files(folder: Path, name: str) -> list[Path]:
    """Return the files of a chart."""
    return [folder / f"{name}.svg", folder / f"{name}.png"]


def logarithmic(axes: Axes, axis: str, ticks: Iterable[float], *, suffix: str = "") -> None:
    """Make an axis logarithmic, with these ticks as far as they are in sight."""
    getattr(axes, f"set_{axis}scale")("log")
    first, last = sorted(getattr(axes, f"get_{axis}lim")())
    chosen = [tick for tick in ticks if first <= tick <= last]
    which = getattr(axes, f"{axis}axis")
    which.set_ticks(chosen, [f"{short(tick)}{suffix}" for tick in chosen])
    which.set_minor_locator(mpl.ticker.NullLocator())


def short(number: float) -> str:
    """Return a number of three digits at most, or with a letter for thousands and millions."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.2g}" if number < 1 else f"{number:.3g}"
