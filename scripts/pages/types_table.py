"""Write what the tests of types have found into docs/types.md: `python scripts/pages/types_table.py`."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from pages import renew, table

if TYPE_CHECKING:
    from pages import Pages

PAGE = Path(__file__).parents[2] / "docs" / "types.md"
OUTCOMES = Path(__file__).parents[2] / "tests" / "conformance" / "rows" / "types_table.json"


def shown(outcome: str) -> str:
    """Return an outcome: what is no words is code."""
    if outcome == "the same":
        return outcome
    text = re.sub(r"\bdatetime\.(?=\w+\(|timezone)", "", outcome).replace("|", "\\|")
    return f"`{text}`"


def cell(outcomes: dict[str, str]) -> str:
    """Return what the drivers saw: one text, or one for each group of them that agrees."""
    drivers = defaultdict(list)
    for driver, outcome in outcomes.items():
        drivers[outcome].append(driver)
    if len(drivers) == 1:
        return shown(next(iter(drivers)))
    return "; ".join(f"{shown(outcome)} ({', '.join(names)})" for outcome, names in drivers.items())


def pages() -> Pages:
    """Return the tables, one for each kind of database."""
    parts: dict[str, str] = {}
    for name, outcomes in json.loads(OUTCOMES.read_text(encoding="utf-8")).items():
        written = [[*row.split(" / "), cell(seen)] for row, seen in outcomes.items() if row[0] != "/"]
        read = [[f"`{row[2:]}`", cell(seen)] for row, seen in outcomes.items() if row[0] == "/"]
        part = table(["Python", "column", "comes back"], ([one, f"`{two}`", three] for one, two, three in written))
        parts[name] = f"{part}\n\n{table(['read', 'comes back'], read)}"
    return {PAGE: parts}


if __name__ == "__main__":
    renew(pages())
