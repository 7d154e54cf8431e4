"""Columns of JSON in the results of SQLite.

To SQLite they are text.  What shows them is the type that they were declared with, and sqlite3 does not give it with a
result; but SQLite does of the columns of a view.  So the query of a new text is made a view, once per text, in an empty
database in memory that has the tables which the text may name.  In the database itself a view, even a temporary one,
would stop what is half read.  Where no table has such columns, this is never done.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from aio_databases.dialects.sqlite import SQLITE
from aio_databases.rows.record import record_type
from aio_databases.sql.statements import scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aio_databases.rows.json_values import JsonValues
    from aio_databases.rows.record import Record
    from aio_databases.sql.statements import Token

Row = tuple[Any, ...]


class _Table(NamedTuple):
    """A table or a view, and the statement that has made it."""

    schema: str
    name: str
    sql: str
    sign: str
    """What stands in each text that names it."""


class _Column(NamedTuple):
    """A column as it was declared."""

    name: str
    type: str
    hidden: int


class JsonColumns:
    """Knows which columns of a connection's results are JSON, and reads them.

    What others change in the schema is seen with the next new text, and within a second with a known one.
    """

    def __init__(self, json: JsonValues) -> None:
        """Know nothing yet."""
        self._json = json
        self._versions: dict[str, list[Row]] = {}  # of the schemas
        self._tables: list[_Table] = []  # none where none has JSON
        self._columns: dict[_Table, list[_Column]] = {}
        # Keys have the hash of the text in place of the text, which may be long.
        self._places: dict[tuple[int, int, type[Record]], tuple[int, ...]] = {}
        self._check_at = 0.0
        self._may_be_undone = False

    def notice(self, db: sqlite3.Connection, sql: str) -> None:
        """Take note of a statement that was run and may have changed the schema; part of a call."""
        if (found := _CHANGES_SCHEMA.match(sql)) is None:
            return
        is_undone = found[1][0] in "Rr"
        if not is_undone or self._may_be_undone:
            self._versions = {}  # versions that are undone are given again
            self._places.clear()
        self._may_be_undone = db.in_transaction and (self._may_be_undone or not is_undone)

    def records(self, db: sqlite3.Connection, sql: str, description: Sequence[Any], rows: list[Row]) -> list[Record]:
        """Return rows of a statement as records, with the JSON in them read; part of a call.

        Raises DataError where the function of the option ``json_loads`` fails.
        """
        record = record_type(tuple([column[0] for column in description]))
        if not (rows and self._json.reads and (places := self._places_in(db, sql, record, len(description)))):
            return list(map(record, rows))
        names = [(place, description[place][0]) for place in places]
        return [record(self._read(row, names)) for row in rows]

    def _read(self, row: Row, names: list[tuple[int, str]]) -> Row:
        values = list(row)
        for place, name in names:
            if isinstance(text := values[place], str):
                values[place] = self._json.read_unchecked(text, name)
        return tuple(values)

    def _places_in(self, db: sqlite3.Connection, sql: str, record: type[Record], count: int) -> tuple[int, ...]:
        key = (hash(sql), len(sql), record)
        places = self._places.get(key)
        if places is not None and monotonic() < self._check_at:
            return places
        if not _NAMES_TABLES.search(sql):
            return ()
        try:
            self._check(db)
            places = self._places.get(key)
            if places is None:
                places = self._learn(db, sql, count)
                if len(self._places) >= _MOST:
                    self._places.clear()
                self._places[key] = places
        except sqlite3.Error as exc:
            if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise
            return places or ()  # another process has locked the file, say; the next rows ask again
        return places

    def _check(self, db: sqlite3.Connection) -> None:
        now = monotonic()
        schemas = [row[1] for row in _rows(db, "PRAGMA database_list")]
        versions = {schema: _rows(db, f"PRAGMA {_quoted(schema)}.schema_version") for schema in schemas}
        if versions != self._versions:
            self._places.clear()
            self._columns.clear()
            self._tables = _tables(db, schemas)
            self._versions = versions
        self._check_at = now + _FOR

    def _learn(self, db: sqlite3.Connection, sql: str, count: int) -> tuple[int, ...]:
        text = sql.lower()
        tables = {table: self._columns_of(db, table) for table in self._tables if table.sign in text}
        signs = {_sign(column.name) for columns in tables.values() for column in columns if column.type in _JSON}
        if not any("*" in text or sign in text for sign in signs):
            return ()
        if (query := query_of(sql)) is None or len(types := _types(query, tables)) != count:
            return ()  # it is no query, or one that cannot be a view
        return tuple(place for place, kind in enumerate(types) if kind in _JSON)

    def _columns_of(self, db: sqlite3.Connection, table: _Table) -> list[_Column]:
        if (columns := self._columns.get(table)) is None:
            try:
                columns = _columns(db, table.schema, table.name)
            except sqlite3.Error:  # a view of what is no more
                columns = []
            self._columns[table] = columns
        return columns


def _rows(db: sqlite3.Connection, sql: str) -> list[Any]:
    cursor = db.cursor()
    cursor.row_factory = None
    factory, db.text_factory = db.text_factory, str
    try:
        return cursor.execute(sql).fetchall()
    finally:
        db.text_factory = factory


def _tables(db: sqlite3.Connection, schemas: list[str]) -> list[_Table]:
    """Return the tables and views of all schemas, or none if no statement that has made one speaks of JSON."""
    masters = [(schema, f"{_quoted(schema)}.sqlite_master") for schema in schemas]
    if not any(_rows(db, f"SELECT 1 FROM {master} WHERE sql LIKE '%json%' LIMIT 1") for _, master in masters):
        return []
    return [
        _Table(schema, name, sql, _sign(name))
        for schema, master in masters
        for name, sql in _rows(db, f"SELECT name, sql FROM {master} WHERE type IN ('table', 'view')")
    ]


def _columns(db: sqlite3.Connection, schema: str, name: str) -> list[_Column]:
    found = _rows(db, f"PRAGMA {_quoted(schema)}.table_xinfo({_quoted(name)})")
    return [_Column(name, kind.upper(), hidden) for _, name, kind, _, _, _, hidden in found]


def _types(query: str, tables: dict[_Table, list[_Column]]) -> list[str]:
    """Return the types that the columns of a query were declared with, none of a query that cannot be a view."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")  # or names such as sqlite_sequence would be refused
        for schema in dict.fromkeys(table.schema for table in tables):
            if schema not in {"main", "temp"}:
                db.execute(f"ATTACH ':memory:' AS {_quoted(schema)}")
        for table, columns in tables.items():
            _make(db, table, columns)
        with suppress(sqlite3.Error):
            db.execute(f"CREATE TEMP VIEW {_VIEW} AS {query}")
            for _ in range(_MOST_UNKNOWN):
                try:
                    return [column.type for column in _columns(db, "temp", _VIEW)]
                except sqlite3.OperationalError as exc:
                    _make_unknown(db, exc)
        return []


def _make(db: sqlite3.Connection, table: _Table, columns: list[_Column]) -> None:
    """Make a table that has the columns of another one; of a virtual one, with all that is particular to it."""
    name = f"{_quoted(table.schema)}.{_quoted(table.name)}"
    if virtual := _VIRTUAL.match(table.sql):
        with suppress(sqlite3.Error):  # it is of an extension
            db.execute(f"CREATE VIRTUAL TABLE {name} {table.sql[virtual.end() :]}")
            return
    # The type is quoted where it is any text.
    declared = ", ".join(
        f"{_quoted(column.name)} {column.type if column.type in _JSON else _quoted(column.type)}"
        for column in columns
        if column.hidden != _HIDDEN
    )
    with suppress(sqlite3.Error):  # it came with a virtual one
        db.execute(f"CREATE TABLE {name} ({declared})")


def _make_unknown(db: sqlite3.Connection, exc: sqlite3.Error) -> None:
    """Make the function or collation for want of which a query has failed, or raise what it has failed with."""
    if (unknown := _UNKNOWN.search(str(exc))) is None:
        raise exc
    if name := unknown["function"]:
        db.create_function(name, -1, _nothing)
    elif name := unknown["collation"]:
        db.create_collation(name, _nothing)
    else:  # it was made as an ordinary function
        db.create_window_function(unknown["window"] or unknown["aggregate"], -1, _Nothing)


def _nothing(*_: object) -> Any:
    """Stand for a function: the query is not run."""


class _Nothing:
    step = inverse = value = finalize = _nothing


def _sign(name: str) -> str:
    """Return what stands in each text that has a name, in lower case."""
    return "" if _DOUBLED.search(name) else name.lower()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def query_of(sql: str) -> str | None:
    """Return a query without parameters that has the columns of a statement's rows, or None if it has no such query."""
    tokens = scan(sql, SQLITE.lexer)
    while tokens and tokens[0].text == ";":
        del tokens[0]
    depth = start = 0
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
            verb, start = word, token.start
        if verb in _TABLE_BEHIND and not names and word in _TABLE_BEHIND[verb]:
            names = _table(outer, number + 1)
        if word == "RETURNING":
            returning = token
    if verb in _QUERIES:
        return _without_parameters(sql, tokens, tokens[0].start, len(sql))
    if not names or returning is None:
        return None
    end = outer[-1].start if outer[-1].text == ";" else len(sql)
    columns = _without_parameters(sql, tokens, returning.end, end)
    shared = _without_parameters(sql, tokens, tokens[0].start, start) if tokens[0].text.upper() == "WITH" else ""
    return f"{shared}SELECT {columns}\nFROM {sql[names[0].start : names[-1].end]}"


def _table(tokens: list[Token], number: int) -> list[Token]:
    """Return the tokens of a table's name, with those of its schema before it and of its alias behind it."""
    if tokens[number].text.upper() == "OR":  # UPDATE OR IGNORE
        number += 2
    end = number + 1
    while end < len(tokens) and (
        _JOINS.intersection((tokens[end - 1].text.upper(), tokens[end].text.upper()))
        or (tokens[end - 1].kind == tokens[end].kind == "quoted" and tokens[end - 1].end == tokens[end].start)
    ):
        end += 1
    return tokens[number:end]


def _without_parameters(sql: str, tokens: list[Token], start: int, end: int) -> str:
    parts: list[str] = []
    for token in tokens:
        if start <= token.start < end and token.kind in _PLACEHOLDERS:
            parts += (sql[start : token.start], "NULL")
            start = token.end
    return "".join((*parts, sql[start:end]))


_JSON = frozenset({"JSON", "JSONB"})
_VIEW = "aiodb_described"
_PLACEHOLDERS = frozenset({"qmark", "named", "numeric_dollar", "foreign_number", "foreign_name"})
_QUERIES = frozenset({"SELECT", "VALUES"})
_TABLE_BEHIND = {"INSERT": {"INTO"}, "REPLACE": {"INTO"}, "UPDATE": {"UPDATE"}, "DELETE": {"FROM"}}
_VERBS = _QUERIES | set(_TABLE_BEHIND)
_NAMES_TABLES = re.compile(r"\b(?:FROM|RETURNING)\b", re.IGNORECASE)
_CHANGES_SCHEMA = re.compile(
    r"(?:[\s;]|--[^\n]*\n|/\*.*?\*/)*+(CREATE|DROP|ALTER|ATTACH|DETACH|ROLLBACK)\b", re.IGNORECASE | re.DOTALL
)
_VIRTUAL = re.compile(r"CREATE VIRTUAL TABLE\b.*?(?=\bUSING\b)", re.IGNORECASE | re.DOTALL)
_UNKNOWN = re.compile(
    r"no such function: (?P<function>.+)|no such collation sequence: (?P<collation>.+)"
    r"|(?P<window>\S+)\(\) may not be used as a window function"
    r"|FILTER may not be used with non-aggregate (?P<aggregate>.+)\(\)"
)
_DOUBLED = re.compile(r"[\"'`]")  # in a quoted name
_JOINS = frozenset({".", "AS"})
_HIDDEN = 1  # as table_xinfo has it for a column that * leaves out
_FOR = 1.0  # seconds
_MOST = 2048  # texts
_MOST_UNKNOWN = 64  # functions and collations
