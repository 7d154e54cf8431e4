"""Columns of JSON in the results of MySQL and MariaDB.

MySQL has a type for them.  To MariaDB a column of JSON is a LONGTEXT in binary order with a CHECK constraint, and its
clients only see the former; so the constraint is looked up, once for each column.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from aio_databases.dialects.error_codes import errno_of, kind_of_mysql_errno
from aio_databases.drivers.mysql.literals import literal
from aio_databases.errors import AuthenticationError, ProgrammingError
from aio_databases.rows.record import record_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aio_databases.drivers.base import DriverConnection
    from aio_databases.rows.json_values import JsonValues
    from aio_databases.rows.record import Record

Column = tuple[str, str, str]  # the names of its database, its table and itself

_CHECKED_COLUMNS = """
SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME FROM information_schema.CHECK_CONSTRAINTS
WHERE LEVEL = 'Column'
AND REPLACE(CHECK_CLAUSE, '"', '`') = CONCAT('json_valid(`', REPLACE(CONSTRAINT_NAME, '"', '`'), '`)')
AND (CONSTRAINT_SCHEMA, TABLE_NAME) IN ({})
"""


class JsonColumns:
    """Knows which columns are JSON, and reads them."""

    def __init__(self, json: JsonValues, library_error: type[Exception]) -> None:
        """Know nothing yet."""
        self._json = json
        self._library_error = library_error
        self._can_ask = True
        self._known: dict[Column, tuple[bool, float]] = {}

    def forget(self) -> None:
        """Forget the columns, as a statement may have changed them."""
        self._known.clear()

    def plain(self, result: Any) -> type[Record] | None:
        """Return the class of the records of a result, or None where there may be JSON in it; asked of every result."""
        names: list[str] = []
        for column in result.description:
            if column[1] in _CANDIDATES and (column[1] == _JSON or column[3] in _LONGEST_TOLD) and self._json.reads:
                return None
            names.append(column[0])
        return record_type(tuple(names))

    def records(self, result: Any, rows: Iterable[tuple[Any, ...]]) -> list[Record]:
        """Return the rows of a library's result as records, with JSON read where it is known to be.

        Raises DataError where the function of the option ``json_loads`` fails.
        """
        if not result.description:
            return []
        if (record := self.plain(result)) is not None:
            return list(map(record, rows))
        record = record_type(tuple([column[0] for column in result.description]))
        if places := self._places(result):
            return [record(self._read(row, places)) for row in rows]
        return list(map(record, rows))

    def unknown(self, result: Any) -> set[Column]:
        """Return the columns of a result that have to be looked up."""
        if not (self._json.reads and self._can_ask and result.description and _has_long(result)):
            return set()
        now = monotonic()
        columns = filter(None, map(_column, result.fields))
        return {column for column in columns if now - self._known.get(column, (False, -_FOR))[1] >= _FOR}

    async def learn(self, columns: set[Column], connection: DriverConnection) -> None:
        """Look up which of the columns are JSON, by ``connection``."""
        tables = {f"({literal(database, False)}, {literal(table, False)})" for database, table, _ in columns}  # noqa: FBT003
        found: set[Any] = set()
        try:
            rows = await connection.fetch(_CHECKED_COLUMNS.format(", ".join(sorted(tables))), (), None)
            found.update(map(tuple, rows))
        except self._library_error as exc:
            if not issubclass(kind_of_mysql_errno(errno_of(exc) or 0), ProgrammingError | AuthenticationError):
                raise  # as a time limit or KILL QUERY has hit it, which says nothing of the next time
            self._can_ask = False  # it is no MariaDB, or an old one
        now = monotonic()
        if len(self._known) > _MOST:
            self._known.clear()
        self._known.update({column: (column in found, now) for column in columns})

    def _places(self, result: Any) -> list[tuple[int, Any]]:
        """Return where the columns of JSON are, each with its field."""
        return [
            (place, field)
            for place, field in enumerate(result.fields)
            if field.type_code == _JSON or self._known.get(_column(field) or _NONE, _UNKNOWN)[0]
        ]

    def _read(self, row: tuple[Any, ...], places: list[tuple[int, Any]]) -> tuple[Any, ...]:
        values = list(row)
        for place, field in places:
            if isinstance(text := values[place], str):
                values[place] = self._json.read_unchecked(text, field.name)
        return tuple(values)


def _has_long(result: Any) -> bool:
    """Return whether a column of a result is as long as MariaDB's for JSON; asked of every result."""
    for column in result.description:  # noqa: SIM110 - which takes twice as long
        if column[1] == _BLOB and column[3] in _LONGEST_TOLD:
            return True
    return False


def _column(field: Any) -> Column | None:
    """Return the column that a field of a result comes from, if it may be one of MariaDB's for JSON."""
    is_candidate = field.type_code == _BLOB and field.length == _LONGEST and field.flags & _BINARY and field.org_table
    if not is_candidate or field.charsetnr == _NO_TEXT:
        return None
    data: bytes = field.get_all_data()  # not every library has the name of the database
    start = data[0] + 1
    return data[start + 1 : start + 1 + data[start]].decode(), field.org_table, field.org_name


_JSON = 245  # numbers of types
_BLOB = 252
_CANDIDATES = frozenset({_JSON, _BLOB})
_LONGEST = (1 << 32) - 1  # bytes
_LONGEST_TOLD = frozenset({_LONGEST, -1})  # as asyncmy's description of a column has 32 bits with a sign for it
_BINARY = 1 << 7  # a flag: compared byte by byte
_NO_TEXT = 63  # the character set of bytes
_FOR = 60.0  # seconds, as another process may change the table
_MOST = 10_000  # columns
_NONE = ("", "", "")
_UNKNOWN = (False, 0.0)
