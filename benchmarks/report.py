"""What a run has found, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import figure
from workloads import UNITS, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness import Figure, Rounds, Runner


def part_of_report(rounds: Rounds, systems: Mapping[str, Runner]) -> dict[str, Any]:
    """Return what was found on one database."""
    reference = next(iter(systems))
    workloads: dict[str, Any] = {}
    for name, taken in rounds.items():
        workload = WORKLOADS[name]
        workloads[name] = {
            "what": workload.what,
            "unit": workload.unit,
            "systems": {
                system: _entry(figure(batches, taken[reference]), UNITS[workload.unit])
                for system, batches in taken.items()
            },
            "absent": {system: runner.absent[name] for system, runner in systems.items() if name in runner.absent},
        }
    return {"reference": reference, "systems": list(systems), "workloads": workloads}


def _entry(found: Figure, scale: float) -> dict[str, Any]:
    entry = {
        "median": found.median * scale,
        "minimum": found.minimum * scale,
        "ratio": found.ratio,
        "low": found.low,
        "high": found.high,
        "rounds": [seconds * scale for seconds in found.rounds],
    }
    return entry | ({"extra": found.extra} if found.extra else {})
