"""Write what the tests of faults have found into docs/reliability.md: `python scripts/pages/reliability.py`."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from pages import renew, table

if TYPE_CHECKING:
    from pages import Pages

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
OUTCOMES = Path(__file__).parents[2] / "tests" / "faults" / "outcomes.json"
COLUMNS = {
    "PostgreSQL": ("asyncpg", "psycopg", "aiopg"),
    "MySQL, MariaDB": ("asyncmy", "aiomysql", "pymysql", "trio-mysql"),
    "SQLite": ("sqlite", "aiosqlite"),
    "ODBC": ("aioodbc", "pyodbc"),
}


def shown(outcome: str) -> str:
    """Return an outcome with the names in it as code."""
    return re.sub(r"\w+Error|[A-Z][a-z]+[A-Z]\w+|\w+=\w+", r"`\g<0>`", outcome)


def cell(outcomes: dict[str, str], schemes: tuple[str, ...]) -> str:
    """Return what the drivers of a column saw: one text, or one for each group of them that agrees."""
    clients = defaultdict(list)
    for client, outcome in outcomes.items():
        if client.startswith(schemes):
            clients[outcome].append(client)
    if len(clients) <= 1:
        return "".join(map(shown, clients)) or "-"
    return "; ".join(f"{shown(outcome)} ({', '.join(names)})" for outcome, names in clients.items())


def pages() -> Pages:
    """Return the table."""
    rows = (
        [fault, *(cell(outcomes, schemes) for schemes in COLUMNS.values())]
        for fault, outcomes in json.loads(OUTCOMES.read_text(encoding="utf-8")).items()
    )
    return {PAGE: {"outcomes": table(["fault", *COLUMNS], rows)}}


if __name__ == "__main__":
    renew(pages())
