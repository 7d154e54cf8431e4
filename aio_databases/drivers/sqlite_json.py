"""Columns of JSON in the results of SQLite.

To SQLite they are text.  What tells them is the type that they were declared with, and sqlite3 does not tell it with a
result; but SQLite does of the columns of a view.  So the query of a new text is made a view for a moment, in the schema
that the connection has for itself, once per text.  Where no table has such columns, this is never done.
"""

from __future__ import annotations

from sqlite3 import SQLITE_INTERRUPT, Error
from time import monotonic
from typing import TYPE_CHECKING, Any

from aio_databases.record import record_type
from aio_databases.statements import lexer_of, scan

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from aio_databases.json_values import JsonValues
    from aio_databases.record import Record
    from aio_databases.statements import Token

__all__ = ("JsonColumns", "query_of")

Row = tuple[Any, ...]


class JsonColumns:
    """Knows which columns of a connection's results are JSON, and reads them.

    The schema may change elsewhere; that is seen within a second.
    """

    def __init__(self, json: JsonValues) -> None:
        """Know nothing yet."""
        self._json = json
        self._places: dict[str, tuple[int, ...]] = {}
        self._versions: dict[str, int] = {}  # of the schemas
        self._has_json = False
        self._check_at = 0.0

    def look_again(self) -> None:
        """Ask with the next rows whether the schema is another one."""
        self._check_at = 0.0

    def records(self, db: sqlite3.Connection, sql: str, description: Sequence[Any], rows: list[Row]) -> list[Record]:
        """Return rows of a statement as records, with the JSON in them read; part of a call.

        Raises DataError where the function of the option ``json_loads`` fails.
        """
        record = record_type(tuple([column[0] for column in description]))
        if not (rows and self._json.reads and (places := self._places_in(db, sql, len(description)))):
            return list(map(record, rows))
        names = [(place, description[place][0]) for place in places]
        return [record(self._read(row, names)) for row in rows]

    def _read(self, row: Row, names: list[tuple[int, str]]) -> Row:
        values = list(row)
        for place, name in names:
            if isinstance(text := values[place], str):
                values[place] = self._json.read_unchecked(text, name)
        return tuple(values)

    def _places_in(self, db: sqlite3.Connection, sql: str, count: int) -> tuple[int, ...]:
        now = monotonic()
        if now >= self._check_at:
            self._check(db)
            self._check_at = now + _FOR
        places = self._places.get(sql)
        return self._learn(db, sql, count) if places is None else places

    def _check(self, db: sqlite3.Connection) -> None:
        try:
            names = [row[1] for row in _rows(db, "PRAGMA database_list")]
            versions = {name: _version(db, name) for name in names}
            if versions == self._versions:
                return
            texts = " UNION ALL ".join(f"SELECT sql FROM {_quoted(name)}.sqlite_master" for name in names)
            self._has_json = bool(_rows(db, f"SELECT 1 FROM ({texts}) WHERE sql LIKE '%json%' LIMIT 1"))
        except Error as exc:
            _raise_if_stopped(exc)
            return  # another process has locked the file, say; the next rows ask again
        self._versions = versions
        self._places.clear()

    def _learn(self, db: sqlite3.Connection, sql: str, count: int) -> tuple[int, ...]:
        places: tuple[int, ...] = ()
        if self._has_json and (query := query_of(sql)) is not None:
            types = _types(db, query)
            self._versions["temp"] = _version(db, "temp")  # the view has changed it
            if len(types) == count:  # else it was another statement that was described
                places = tuple(place for place, kind in enumerate(types) if kind in _JSON)
        if len(sql) <= _LONGEST:
            if len(self._places) >= _MOST:
                self._places.clear()
            self._places[sql] = places
        return places


def _types(db: sqlite3.Connection, query: str) -> list[str]:
    """Return the types that the columns of a query were declared with; of what has none, an empty text."""
    is_fenced = _rows(db, "PRAGMA query_only") != [(0,)]
    try:
        if is_fenced:
            db.execute("PRAGMA query_only = OFF")
        try:
            db.execute(f"DROP VIEW IF EXISTS temp.{_VIEW}")
            db.execute(f"CREATE TEMP VIEW {_VIEW} AS {query}")
            return [str(kind).upper() for _, _, kind, *_ in _rows(db, f"PRAGMA temp.table_xinfo({_VIEW})")]
        finally:
            db.execute(f"DROP VIEW IF EXISTS temp.{_VIEW}")
    except Error as exc:
        _raise_if_stopped(exc)
        return []  # it is no query, or one that cannot be a view
    finally:
        if is_fenced:
            db.execute("PRAGMA query_only = ON")


def _rows(db: sqlite3.Connection, sql: str) -> list[Any]:
    cursor = db.cursor()
    cursor.row_factory = None
    return cursor.execute(sql).fetchall()


def _version(db: sqlite3.Connection, schema: str) -> int:
    return _rows(db, f"PRAGMA {_quoted(schema)}.schema_version")[0][0]  # type: ignore[no-any-return]  # sqlite3's rows


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _raise_if_stopped(exc: Error) -> None:
    if getattr(exc, "sqlite_errorcode", None) == SQLITE_INTERRUPT:
        raise exc


def query_of(sql: str) -> str | None:
    """Return a query without parameters that has the columns of a statement's rows, or None if there is none."""
    tokens = scan(sql, _LEXER)
    depth = 0
    verb = ""
    names: list[Token] = []  # of the table that a statement writes to
    returning: Token | None = None
    outer: list[Token] = []
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0:
            outer.append(token)
    for number, token in enumerate(outer):
        word = token.text.upper()
        if not verb and word in _VERBS:
            verb = word
        if verb in _TABLE_BEHIND and not names and word in _TABLE_BEHIND[verb]:
            names = _table(outer, number + 1)
        if word == "RETURNING":
            returning = token
    if verb in _QUERIES:
        return _without_parameters(sql, tokens, 0)
    if not names or returning is None:
        return None
    end = outer[-1].start if outer[-1].text == ";" else len(sql)
    columns = _without_parameters(sql[:end], tokens, returning.end)
    return f"SELECT {columns}\nFROM {sql[names[0].start : names[-1].end]}"


def _table(tokens: list[Token], number: int) -> list[Token]:
    """Return the tokens of a table's name, with those of its schema before it and of its alias behind it."""
    if tokens[number].text.upper() == "OR":  # UPDATE OR IGNORE
        number += 2
    end = number + 1
    while end + 1 < len(tokens) and tokens[end].text.upper() in {".", "AS"}:
        end += 2
    return tokens[number:end]


def _without_parameters(sql: str, tokens: list[Token], start: int) -> str:
    parts: list[str] = []
    for token in tokens:
        if token.start >= start and token.kind in _PLACEHOLDERS:
            parts += (sql[start : token.start], "NULL")
            start = token.end
    return "".join((*parts, sql[start:]))


_JSON = frozenset({"JSON", "JSONB"})
_VIEW = "aiodb_described"
_LEXER = lexer_of("sqlite")
_PLACEHOLDERS = frozenset({"qmark", "named", "numeric_dollar", "foreign_number", "foreign_name"})
_QUERIES = frozenset({"SELECT", "VALUES"})
_TABLE_BEHIND = {"INSERT": {"INTO"}, "REPLACE": {"INTO"}, "UPDATE": {"UPDATE"}, "DELETE": {"FROM"}}
_VERBS = _QUERIES | set(_TABLE_BEHIND)
_FOR = 1.0  # seconds
_MOST = 2048  # texts
_LONGEST = 10_000  # characters
