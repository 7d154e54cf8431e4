"""The tables of the benchmarks beside the main one, each of which has a script and a file of its own."""

from __future__ import annotations

from typing import Any

from figures_text import KIBIBYTE, MEBIBYTE, PRODUCTS, named, three
from pages import table


def overhead(report: dict[str, Any]) -> str:
    """Return what the layers above a driver cost."""
    rows = (
        [
            figure["variant"],
            three(figure["median"]),
            f"{figure['over_control']:+.2f}",
            "" if figure["target"] is None else f"{figure['target']:+.2f}",
        ]
        for figure in report["figures"]
    )
    return table(["", "us per query", "over the control", "at most"], rows, numbers=True)


def growth(report: dict[str, Any]) -> str:
    """Return what the smallest and the largest size of each dimension cost."""
    rows = []
    for name, database in report["databases"].items():
        for dimension in database["dimensions"].values():
            sizes = dimension["sizes"]
            cells = (f"{three(values[0])}, {three(values[-1])}" for values in dimension["systems"].values())
            what = f"{dimension['what']}, {sizes[0]:,} and {sizes[-1]:,}"
            rows.append([f"{PRODUCTS[name]} ({database['reference']})", what, dimension["unit"], *cells])
    return table(["database", "", "unit", "by hand", "aio_databases"], rows)


def memory(report: dict[str, Any]) -> str:
    """Return the peaks while iterating, and what else takes memory."""
    peaks, kept, absent = [], [], []
    for name, database in report["databases"].items():
        product = PRODUCTS[name]
        peaks += [
            [product, named(system), f"{found['peak'] / MEBIBYTE:.2f}"] for system, found in database["systems"].items()
        ]
        absent += [f"* {product}, {system}: {reason}" for system, reason in database["absent"].items()]
        for what, sizes in database["kept"].items():
            cells = (f"{sizes[kind] / KIBIBYTE:.1f}" if kind in sizes else "-" for kind in ("python", "resident"))
            kept.append([product, what, *cells])
    parts = [table(["database", f"iterating over {report['rows']:,} rows", "MiB at the peak, over the start"], peaks)]
    if absent:
        parts.append("\n".join(["Left out:", "", *absent]))
    return "\n\n".join([*parts, table(["database", "one", "KiB in Python", "KiB resident"], kept)])


def waiting(report: dict[str, Any]) -> str:
    """Return what lines of waiting tasks cost."""
    rows = [
        [f"{name}, {int(length):,} waiting", *(three(figure[column]) for column in ("wall", "cpu", "memory", "parked"))]
        for name, figures in report["lines"].items()
        for length, figure in figures.items()
    ]
    heads = [
        "",
        "us per query",
        "CPU us per query",
        "bytes per waiting task",
        "bytes of one that waits for an event",
    ]
    return table(heads, rows, numbers=True)


def records(report: dict[str, Any]) -> str:
    """Return what rows cost."""
    columns = list(dict.fromkeys(column for found in report["kinds"].values() for column in found))
    rows = (
        [kind, *(three(found[column]) if column in found else "-" for column in columns)]
        for kind, found in report["kinds"].items()
    )
    return table([f"us per {report['rows']:,} rows x {report['columns']}", *columns], rows, numbers=True)


def startup(report: dict[str, Any]) -> str:
    """Return what imports cost."""
    rows = (
        [name, three(found["median"]), three(found["ratio"]), str(found["modules"])]
        for name, found in report["imports"].items()
    )
    return table(["import", "ms", "ratio", "modules"], rows, numbers=True)
