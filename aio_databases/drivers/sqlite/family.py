"""What SQLite can do, and what leads to it, whatever speaks to it.

It stands beside the drivers, since importing sqlite3 is not for ODBC to do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aio_databases.drivers.base import Capabilities
from aio_databases.errors import ConfigurationError

if TYPE_CHECKING:
    from aio_databases.config.url import Address

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


CONNECT_HINT = "check that its folder exists and that the file and the folder are writable"
CAPABILITIES = Capabilities(
    lastrowid=True,
    isolation_levels=frozenset({"serializable"}),
    modes=frozenset({"deferred", "immediate", "exclusive"}),
    single_writer=True,
    reusable_after_cancel=True,
)


def refuse_uri(address: Address, remedy: str) -> None:
    """Raise ConfigurationError if a path looks like an SQLite URI where it would be the name of a file."""
    if address.url.path.removeprefix("/").startswith("file:"):
        message = f"the path of {address.redacted!r} begins with 'file:', as an SQLite URI does: {remedy}"
        raise ConfigurationError(f"{message}; a file whose name begins so is written 'file%3A'")
