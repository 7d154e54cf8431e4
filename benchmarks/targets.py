"""What is aimed at, and whether a run has met it."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from harness import ratios_of
from systems import AGAIN, OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

NOISE = 0.03
"""How far the control may be from the reference in a run that is worth quoting."""


class Target(NamedTuple):
    """A limit for this library.

    Args:
        measure: ``ratio`` of the times and ``p99``, ratio of the 99th percentiles, are at most the limit;
            ``throughput``, ratio of the rates, is at least the limit.
    """

    database: str
    workload: str
    against: str
    limit: float
    measure: str = "ratio"

    def is_met(self, measured: float) -> bool:
        """Tell whether a figure is within the limit."""
        return measured >= self.limit if self.measure == "throughput" else measured <= self.limit

    def measured(self, systems: dict[str, Any]) -> float:
        """Compare this library with the other system of a workload."""
        ours, other = systems[OURS], systems[self.against]
        if self.measure == "p99":
            return float(ours["extra"]["p99"] / other["extra"]["p99"])
        ratio = median(ratios_of(ours["rounds"], other["rounds"]))
        return 1 / ratio if self.measure == "throughput" else ratio


TARGETS = (
    Target("postgresql", "w2", "asyncpg", 1.03),
    Target("mysql", "w2", "asyncmy", 1.03),
    Target("sqlite", "w2", "aiosqlite", 0.95),
    Target("postgresql", "w3", "asyncpg", 0.50),
    Target("mysql", "w3", "asyncmy", 1.00),
    Target("sqlite", "w3", "aiosqlite naive", 0.20),
    Target("postgresql", "w4", "asyncpg", 1.03),
    Target("mysql", "w4", "asyncmy", 1.15),
    Target("sqlite", "w4", "aiosqlite", 0.88),
    Target("postgresql", "w5", "asyncpg", 1.05),
    Target("mysql", "w5", "asyncmy", 1.05),
    Target("sqlite", "w5", "aiosqlite", 1.05),
    Target("postgresql", "w6", "asyncpg", 1.03),
    Target("mysql", "w6", "asyncmy", 1.03),
    Target("sqlite", "w6", "aiosqlite", 1.03),
    Target("postgresql", "w7", "asyncpg", 0.40),
    Target("mysql", "w7", "asyncmy", 1.10),
    Target("sqlite", "w7", "aiosqlite naive", 0.35),
    Target("postgresql", "w8", "asyncpg", 2.5, "throughput"),
    Target("postgresql", "w8", "asyncpg", 0.25, "p99"),
    Target("mysql", "w8", "asyncmy", 1.0, "throughput"),
    Target("sqlite", "w8", "aiosqlite naive", 4.0, "throughput"),
    Target("postgresql", "w9", "asyncpg", 1.03),
    Target("mysql", "w9", "asyncmy", 1.03),
    Target("sqlite", "w9", "aiosqlite naive", 0.75),
    Target("postgresql", "w10", "asyncpg", 1.05),
    Target("sqlite", "w10", "aiosqlite", 1.20),
)


def evaluate(databases: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Compare the databases of a report with the targets, as far as they were measured."""
    for target in TARGETS:
        systems = databases.get(target.database, {}).get("workloads", {}).get(target.workload, {}).get("systems", {})
        if OURS in systems and target.against in systems:
            measured = target.measured(systems)
            yield {**target._asdict(), "measured": measured, "met": target.is_met(measured)}


def controls(databases: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Tell how far the control of each workload is from the reference: how much noise there was."""
    for database, part in databases.items():
        for workload, found in part["workloads"].items():
            again = found["systems"].get(f"{part['reference']}{AGAIN}")
            if again:
                ratio = again["ratio"]
                yield {"database": database, "workload": workload, "measured": ratio, "met": abs(ratio - 1) <= NOISE}
