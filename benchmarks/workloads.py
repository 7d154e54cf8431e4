"""What is measured: the tables, the statements, and the answers that they have to give."""

from __future__ import annotations

import re
from itertools import count, cycle, islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 1000
"""Rows that are looked up, fetched at once and inserted at once."""
TASKS = 50
QUICK_LOOKUPS = 4 * TASKS
POOL = 10
COLUMNS = ("id", "name", "score", "visits", "note")

ITEMS = (
    "create table items (id integer not null primary key, name varchar(40) not null, score {double} not null, "
    "visits integer not null, note varchar(80) not null)"
)
WRITTEN = "create table written (id {serial}, name varchar(40) not null, visits integer not null)"
"""Each dialect spells ``{double}`` and ``{serial}``, an id that counts by itself, in its own way."""

ANSWER = 42
VALUE = f"select {ANSWER}"
ONE = "select id, name, score, visits, note from items where id = ?"
ALL = f"select id, name, score, visits, note from items where id <= {ROWS} order by id"
STREAM = "select id, name from items order by id"
INSERT = "insert into written (name, visits) values (?, ?)"
COUNT = "select count(*) from written"
WHO = ("somebody", 1)
MANY = [(f"visitor {number}", number) for number in range(ROWS)]


class Workload(NamedTuple):
    """One kind of work.

    Args:
        what: what one operation is.
        unit: what one operation is told in: ``us``, ``ms`` or ``s``.
        count: operations of a batch; 0 for as many as take the wished time.
        step: the count is a multiple of this.
        writes: whether it counts on an empty table.
    """

    what: str
    unit: str
    count: int = 0
    step: int = 1
    writes: bool = False


WORKLOADS = {
    "w1": Workload("fetch one value, held connection", "us"),
    "w2": Workload("fetch one row by primary key, held connection", "us"),
    "w3": Workload("fetch one row by primary key, connection leased per query", "us"),
    "w4": Workload(f"fetch all of {ROWS} rows x {len(COLUMNS)} columns, held connection", "us"),
    "w5": Workload("insert one row inside of a transaction", "us", writes=True),
    "w6": Workload(f"executemany of {ROWS} rows inside of a transaction", "ms", writes=True),
    "w7": Workload("iterate over the rows of a table", "s", count=1),
    "w8": Workload(
        f"{TASKS} tasks look up one row each, again and again, over {POOL} connections",
        "us",
        count=TASKS * 200,
        step=TASKS,
    ),
    "w9": Workload("begin, insert one row, commit", "us", writes=True),
    "w10": Workload(f"fetch all of {ROWS} rows x {len(COLUMNS)} columns and read every value by its name", "us"),
}
UNITS = {"us": 1e6, "ms": 1e3, "s": 1.0}
"""How many there are in a second."""


def item(number: int) -> list[Any]:
    """Return the row of the table ``items`` with this id."""
    return [number, f"item {number}", number * 0.5, number % 100, f"what there is to say about item {number}"]


def expected(workload: str, count: int, rows: int) -> Any:
    """Return the answer of the last operation of a batch, with ``rows`` rows in the table ``items``."""
    if workload == "w1":
        return ANSWER
    if workload in {"w2", "w3"}:
        return item((count - 1) % ROWS + 1)
    if workload in {"w4", "w10"}:
        return [ROWS, item(ROWS)]
    if workload == "w7":
        return item(rows)[:2]
    if workload == "w8":
        return item((count // TASKS - 1) % ROWS + 1)
    return count * ROWS if workload == "w6" else count


def keys(count: int) -> Iterator[int]:
    """Return the ids to look up."""
    return islice(cycle(range(1, ROWS + 1)), count)


def styled(sql: str, style: str) -> str:
    """Return a statement with the placeholders of a library: ``?``, ``$1``, ``%s`` or ``:p1``."""
    if style == "?":
        return sql
    number = count(1)
    return re.sub(r"\?", lambda _: style.replace("1", str(next(number))), sql)
