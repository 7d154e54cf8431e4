"""What the simulation has found, as parts of docs/scaling.md."""

from __future__ import annotations

from textwrap import fill
from typing import Any

from figures_text import three
from pages import table


def scaling(found: dict[str, Any]) -> dict[str, str]:
    """Return the parts of the page."""
    parts = {
        "model": model(found),
        "connections": connections(found["connections"]),
        "replicas": replicas(found["replicas"]),
        "lag": lag(found["lag"]),
        "failure": failure(found["failure"]),
        "theory": theory(found["theory"]),
    }
    if found["about"]["quick"]:
        parts["model"] += "\n\n**Not to be quoted: from a tiny run, which only shows that the script works.**"
    return parts


def model(found: dict[str, Any]) -> str:
    """Tell what is simulated."""
    base = found["base"]
    text = (
        f"A user thinks for {base['think']:g} s on average, then any process serves him. A statement takes "
        f"{_ms(base['read_time'])} of a core on average, exponentially distributed, {_ms(base['round_trip'])} on the "
        f"network, and {_ms(base['held'])} in the application before the connection goes back. Replicas repeat a write "
        f"in {_ms(base['replay_time'])}. Their lag is drawn anew every second. The routing, the waiting for positions "
        "and the breaker are those of this library. What is left out: disks, locks, memory, and what more connections "
        "cost a server, so that too many of them do no harm here."
    )
    return fill(text, 120)


def connections(found: dict[str, list[dict[str, float]]]) -> str:
    """Return how users fare with pools of some sizes."""
    rows = [
        [
            f"{processes} x {row['pool']:g}",
            f"{row['connections']:g}",
            f"{row['rate']:,.0f}",
            three(row["pool wait"]),
            three(row["p50"]),
            three(row["p99"]),
        ]
        for processes, sizes in found.items()
        for row in sizes
    ]
    heads = ["processes x `max_size`", "connections", "requests per second", "wait in line, ms", "p50 ms", "p99 ms"]
    return table(heads, rows, numbers=True)


def replicas(found: dict[str, list[dict[str, float]]]) -> str:
    """Return the requests per second by the number of replicas, and what arithmetic says."""
    (first, *_) = found.values()
    heads = [
        "requests per second (by arithmetic)",
        *(f"{row['replicas']:g} replica{'s' * (row['replicas'] != 1)}" for row in first),
    ]
    rows = [
        [f"{float(share):.0%} reads", *(f"{row['rate']:,.0f} ({row['ceiling']:,.0f})" for row in sizes)]
        for share, sizes in found.items()
    ]
    return table(heads, rows, numbers=True)


def lag(found: dict[str, list[dict[str, float]]]) -> str:
    """Return what becomes of reads that follow a write of the same user at once."""
    (stale, *asked) = found.values()
    heads = ["mean lag", "stale reads without a position"]
    for name in list(found)[1:]:
        heads += [f"`{name.replace('=position', '=…')}`: on the primary", "p99 ms"]
    rows = []
    for number, row in enumerate(stale):
        cells = [f"{row['lag'] * 1000:g} ms", f"{row['stale']:.1%}"]
        for sizes in asked:
            cells += [f"{sizes[number]['to primary']:.1%}", three(sizes[number]["p99"])]
        rows.append(cells)
    return table(heads, rows, numbers=True)


def failure(found: dict[str, dict[str, Any]]) -> str:
    """Return how many reads fail, and for how long others are slow."""
    rows = []
    for name, row in found.items():
        usual = row["timeline"][0]["p99"]
        slow = sum(second["p99"] > SLOW * usual for second in row["timeline"])
        rows.append(
            [name, f"{row['failed']:,.0f}", f"{slow}", f"{max(second['p99'] for second in row['timeline']):,.0f}"]
        )
    heads = ["reads are sent", "reads that failed", f"seconds with a p99 above {SLOW} times the usual", "worst p99, ms"]
    return table(heads, rows, numbers=True)


SLOW = 3


def theory(found: list[dict[str, Any]]) -> str:
    """Compare the simulation with the queue of which everything is known."""
    rows = [
        [f"{row['users']:,}", f"8 {row['for']}s", three(row["wait"] * 1000), three(row["simulated wait"] * 1000)]
        for row in found
    ]
    text = (
        "Where theory has an answer (M/M/c with a finite number of users, and Erlang C for endlessly many), the "
        "simulation has to agree with it; the tests see to that."
    )
    heads = ["users", "who share", "wait by theory, us", "simulated, us"]
    return f"{fill(text, 120)}\n\n{table(heads, rows, numbers=True)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:g} ms"
