"""A database behind ODBC whose kind is not known, and databases of other packages' drivers, read in the same way."""

from __future__ import annotations

from dataclasses import replace

from aio_databases.dialects.base import Dialect
from aio_databases.dialects.lexer import tokens

ODBC = Dialect(
    name="odbc",
    tokens=tokens(
        r"""'[^']*'?|"[^"]*"?|`[^`]*`?|(?<![\w\])])\[[^\]]*(?:\]\][^\]]*)*\]?""",
        prefix="[@#]{0,2}",
    ),
    of_database=(" DROP DATABASE ", " DROP SCHEMA "),
    copies=True,  # its texts may be PostgreSQL's
    empty_list="(SELECT NULL WHERE 1 = 0)",  # some databases do not ask a condition whether it is NULL
    may_have_roles=True,
)

OTHER = replace(ODBC, name="other", may_have_roles=False, of_database=(), copies=False, empty_list="(NULL) IS {}NULL")
