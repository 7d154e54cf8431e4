"""What the soak says: a line per driver while it runs, a table at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from soak_checks import Histogram, Trend, is_flat

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

MEGABYTE = 1 << 20


def progress(name: str, report: dict[str, Any], faults: Counter[str]) -> str:
    """Return a line about a driver."""
    if not report:
        return f"{name}: nothing yet"
    times = Histogram(report["times"])
    bad = {**report["wrong"], **report["unexpected"]}
    parts = (
        f"{name:<24}{sum(report['operations'].values()):>7} operations",
        f"{sum(report['cancelled'].values()):>6} cancelled",
        f"{faults.total():>5} faults",
        f"{sum(report['errors'].values()):>5} errors",
        f"p50 {times.quantile(0.5) * 1000:.1f} ms, p99 {times.quantile(0.99) * 1000:.0f} ms",
        f"{report['bytes'] / MEGABYTE:.0f} MB",
        *(f"{count} x {what}" for what, count in bad.items()),
    )
    return ", ".join(parts)


@dataclass
class Verdict:
    """What a run has shown about a driver."""

    name: str
    report: dict[str, Any]
    left: dict[str, int]
    """What the process had more of after it had disconnected than before it had connected."""
    faults: Counter[str]
    found: Counter[str]
    """What is wrong with the rows, and what was left on the server."""
    details: list[str]

    @property
    def defects(self) -> dict[str, int]:
        """What has to be 0 and is not."""
        report = self.report
        counted = {
            **{f"wrong answer to {what}": count for what, count in report.get("wrong", {}).items()},
            **{f"unexpected {what}": count for what, count in report.get("unexpected", {}).items()},
            **self.found,
            **{f"{what} left": count for what, count in self.left.items() if what != "bytes"},
            "hung": report.get("hung", 0),
            "leaked leases": report.get("leaked", 0),
            "unusable leases": report.get("unusable", 0),
            "memory grows": int(not is_flat("memory", self.trend("memory"))),
            "objects grow": int(not is_flat("blocks", self.trend("blocks"))),
        }
        return {what: count for what, count in counted.items() if count}

    @property
    def is_bad(self) -> bool:
        """Whether there is a defect."""
        return bool(self.defects)

    def trend(self, name: str) -> Trend | None:
        """Return how memory has moved."""
        moved = self.report.get(name)
        return moved and Trend(*moved)

    def explain(self) -> None:
        """Print what there is to say beside the table."""
        print(f"{self.name}: errors {self.report.get('errors')}, writes {self.report.get('writes')}")
        print(f"  faults {dict(self.faults)}, overdue {self.report.get('overdue')}, peaks {self.report.get('peaks')}")
        print(f"  resident memory {self.trend('memory')}, blocks {self.trend('blocks')}")
        if self.is_bad:
            print(f"  DEFECTS: {self.defects}", *self.details, sep="\n    ")
            for kind, traceback in self.report.get("tracebacks", {}).items():
                print(f"  {kind}:\n{traceback}")


def table(verdicts: Iterable[Verdict]) -> str:
    """Return a table in Markdown."""
    heads = ("driver", "operations", "cancelled", "faults", "errors", "p50 / p99 of a read", "memory", "defects")
    rows = [heads, ("---", *["---:"] * (len(heads) - 2), "---"), *map(_row, verdicts)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(verdict: Verdict) -> tuple[str, ...]:
    report, memory = verdict.report, verdict.trend("memory")
    times = Histogram(report.get("times", ()))
    size = f"{report.get('bytes', 0) / MEGABYTE:.0f} MB"
    return (
        verdict.name,
        *(f"{sum(report.get(name, {}).values()):,}" for name in ("operations", "cancelled")),
        f"{verdict.faults.total():,}",
        f"{sum(report.get('errors', {}).values()):,}",
        f"{times.quantile(0.5) * 1000:.1f} / {times.quantile(0.99) * 1000:.0f} ms",
        f"{size}, {memory.per_minute / MEGABYTE:+.2f} per minute" if memory else size,
        ", ".join(f"{count} x {what}" for what, count in verdict.defects.items()) or "none",
    )
