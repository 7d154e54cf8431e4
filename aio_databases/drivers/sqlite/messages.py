"""What SQLite's messages say of a constraint that was violated, whatever library passes them on."""

from __future__ import annotations

import re
from typing import Any

__all__ = ("details", "failed_constraint")

# https://www.sqlite.org/src/file/src/insert.c: the columns each with the table, or the index of an expression
_INDEX = re.compile(r"index '(.*)'")
_FAILED = re.compile(r"(UNIQUE|NOT NULL|CHECK|FOREIGN KEY) constraint failed(?:: (.+))?")
_STRICT = re.compile(r"cannot store \w+ value in \w+ column (.+)")


def details(kind: str, what: str) -> dict[str, Any]:
    """Return the fields of a `Diagnosis` for ``"<kind> constraint failed: <what>"``."""
    if kind == "CHECK":
        return {"constraint": what}
    if kind not in {"UNIQUE", "NOT NULL", "DATATYPE"}:
        return {}
    if index := _INDEX.fullmatch(what):
        return {"constraint": index[1]}
    tables, columns = zip(*(name.partition(".")[::2] for name in what.split(", ")), strict=True)
    if not all(columns) or len(set(tables)) > 1:  # a name that has a point or a comma of its own
        return {}
    return {"table": tables[0], "columns": columns}


def failed_constraint(message: str) -> tuple[str, str]:
    """Return the kind of the constraint that a message is about, and what it says of it, or two empty texts."""
    if strict := _STRICT.match(message):
        return "DATATYPE", strict[1]
    match = _FAILED.match(message)
    return (match[1], match[2] or "") if match else ("", "")
