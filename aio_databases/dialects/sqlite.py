"""SQLite, and the driver that does nothing, whose texts are read like SQLite's."""

from __future__ import annotations

from dataclasses import replace

from aio_databases.dialects.base import Dialect
from aio_databases.dialects.lexer import OPERATORS, tokens

SQLITE = Dialect(
    name="sqlite",
    tokens=tokens(
        r"""'[^']*'?|"[^"]*"?|`[^`]*`?|\[[^\]]*\]?""",
        others=rf"{OPERATORS}|(?P<foreign_name>@\w+|\$[^\W\d]\w*)",
        prefix="[@#]{0,2}",
    ),
    sqlalchemy=("sqlalchemy.dialects.sqlite.base", "SQLiteDialect"),
    is_one_place=True,
)

DUMMY = replace(SQLITE, name="dummy", is_one_place=False)
