"""A cursor of pyodbc's, in the thread of its connection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from aio_databases.drivers.odbc.connection import OdbcConnection

__all__ = ("OdbcCursor",)


class OdbcCursor:
    """A cursor of pyodbc's that can be stopped, whose rows are tuples, and whose rows are those of the first result.

    A procedure, or several statements in one text, give several results, some of them without rows.  An error in one of
    them is told when that result comes, so all of them have to be read.
    """

    def __init__(self, connection: OdbcConnection, cursor: Any) -> None:
        """Use a cursor of pyodbc's."""
        self._connection = connection
        self._cursor = cursor
        self._ways = connection.driver.ways
        self._is_only = False  # the result, which there is no need to look behind
        self.rowcount = -1

    def run(self, sql: str, params: Any) -> None:
        """Run a statement, and go on to its first rows."""
        sql = _NOTHING if _SAYS_NOTHING.match(sql) else sql
        adapted = self._ways.adapted(params, self._connection.driver.json.dumps)
        several = self._ways.has_several
        self._is_only = several is not None and several.match(sql) is None
        self._connection.stop.watch(self._cursor.execute, sql, adapted)
        is_counted = self._ways.counts is None or self._ways.counts.match(sql)
        self.rowcount = cast("int", self._cursor.rowcount) if is_counted else -1
        while self._cursor.description is None and self._has_more():
            pass

    def _has_more(self) -> bool:
        return not self._is_only and bool(self._connection.stop.watch(self._cursor.nextset))

    def finish(self) -> None:
        """Leave what was not read, to the end of the last result."""
        while self._has_more():
            pass

    @property
    def description(self) -> list[tuple[str]] | None:
        """The columns, each as a tuple that begins with its name; None without rows."""
        columns = self._cursor.description
        return columns and [(self._ways.column(column[0]),) for column in columns]

    @property
    def lastrowid(self) -> Any:
        """The id of the row that the statement has inserted, where it is told."""
        return self._connection.inserted_id() if self.rowcount > 0 else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows, when no error can come any more."""
        rows: list[tuple[Any, ...]] = list(map(tuple, self._connection.stop.watch(self._cursor.fetchall)))
        self.finish()
        return rows

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        """Return at most ``size`` rows; the last of them when no error can come any more."""
        rows: list[tuple[Any, ...]] = list(map(tuple, self._connection.stop.watch(self._cursor.fetchmany, size)))
        if len(rows) < size:
            self.finish()
        return rows

    def close(self) -> None:
        """Close the cursor of pyodbc."""
        self._cursor.close()


_NOTHING = "/* nothing */"  # unixODBC refuses an empty text, MariaDB's driver others without a word
_SAYS_NOTHING = re.compile(r"(?s)(?:[\s;]|--(?=\s|\Z)[^\n]*(?:\n|\Z)|/\*(?!M?!).*?\*/)*+\Z")
