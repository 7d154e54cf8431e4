"""What the core asks of a database, as data: one file for each kind of database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aio_databases.dialects.mysql import MYSQL
from aio_databases.dialects.odbc import ODBC, OTHER
from aio_databases.dialects.postgresql import POSTGRESQL
from aio_databases.dialects.sqlite import DUMMY, SQLITE

if TYPE_CHECKING:
    from aio_databases.dialects.base import Dialect

_DIALECTS = {dialect.name: dialect for dialect in (POSTGRESQL, MYSQL, SQLITE, ODBC, DUMMY)}


def dialect_named(name: str) -> Dialect:
    """Return the dialect with a name; that of a database which is not known reads a text as ODBC's does."""
    return _DIALECTS.get(name, OTHER)
