"""Lists as parameters for the libraries on libpq, which know no types: an array, JSON, or neither.

asyncpg asks the server for the types of a statement's parameters anyway.  These libraries would send each list as an
array: what is stored of an empty one in a column of JSON is ``{}``, and in one of text it is ``{a,b}``.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from itertools import chain, count
from json import loads
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aio_databases.dialects.postgresql import POSTGRESQL
from aio_databases.drivers.postgresql.family import PostgreSQLConnection, array_text
from aio_databases.errors import DataError
from aio_databases.sql.statements import scan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aio_databases.rows.json_values import JsonValues
    from aio_databases.rows.record import Record, Result

T = TypeVar("T")


class Kind(NamedTuple):
    """The type of a parameter; of a domain, what it is made of."""

    number: int
    name: str
    category: str  # as pg_type has it


Kinds = tuple[Kind | None, ...]
Types = dict[tuple[str, tuple[bool, ...]], Kinds]
"""The types of a statement's parameters, by its text and which of them are lists; nothing where it cannot be asked."""


def is_list(value: object) -> bool:
    """Return whether a parameter is a list or a tuple."""
    return isinstance(value, list | tuple)


def has_list(params: Any) -> bool:
    """Return whether there is a list among the parameters of a statement."""
    kinds = set(map(type, params))
    return not kinds <= _PLAIN and any(issubclass(kind, list | tuple) for kind in kinds)


class ListConnection(PostgreSQLConnection):
    """Asks the server, once for each statement that is given a list, what type its parameters are."""

    json: JsonValues
    _types: Types

    def take_lists(self, json: JsonValues, types: Types) -> None:
        """Use the ``types`` that all connections of the driver know; ``json`` writes the lists that are JSON."""
        self.json = json
        self._types = types

    @abstractmethod
    def declared(self, sql: str, params: Any, name: str) -> str:
        """Return what prepares a statement by the name, with the lists among its parameters left open."""

    @abstractmethod
    def typed(self, text: str, kind: Kind) -> Any:
        """Return a parameter that the library sends as ``text`` of this type, so that no other type takes it."""

    def array(self, value: Sequence[Any], kind: Kind) -> Any:
        """Return a parameter that the library sends as an array."""
        del kind
        return list(value)

    def can_ask(self) -> bool:
        """Return whether the server can be asked something now."""
        return True

    async def execute(self, sql: str, params: Any, /) -> Result:
        run = super().execute  # type: ignore[safe-super]  # of what stands beside this class
        if params and has_list(params):
            return await self._with_lists(run, sql, params)
        if self._types and not params and _DEFINES.match(sql):
            self._types.clear()
        return await run(sql, params)

    async def fetch(self, sql: str, params: Any, limit: int | None, /) -> list[Record]:
        run = super().fetch  # type: ignore[safe-super]
        if params and has_list(params):
            return await self._with_lists(run, sql, params, limit)
        return await run(sql, params, limit)

    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        run = super().executemany  # type: ignore[safe-super]
        if not has_list(chain.from_iterable(rows)):
            return await run(sql, rows)
        return await self._with_lists(run, sql, rows, many=True)

    async def _with_lists(
        self, run: Callable[..., Awaitable[T]], sql: str, params: Any, *args: Any, many: bool = False
    ) -> T:
        rows = await self.fitted(sql, params if many else [params])
        try:
            return await run(sql, rows if many else rows[0], *args)
        except Exception as exc:
            if _code_of(exc)[:2] in _ABOUT_TYPES:
                self._types.clear()  # as the type of a column may have changed
            raise

    async def fitted(self, sql: str, rows: Sequence[Any]) -> Sequence[Any]:
        """Return rows of parameters with each list as what the statement takes in its place."""
        if self.has_failed:
            return rows  # which the server refuses
        columns = zip(*rows, strict=True)
        first = [next(filter(is_list, column), column[0]) for column in columns]
        kinds = await self._kinds_of(sql, first)
        if kinds is None:
            return rows
        return [[self._fitted(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in rows]

    async def _kinds_of(self, sql: str, params: Any) -> Kinds | None:
        """Return the types of a statement's parameters, as far as the server says; None if the statement is wrong."""
        key = (sql, tuple(map(is_list, params)))
        found = self._types.get(key)
        if found is not None:
            return found
        unknown: Kinds = (None,) * len(params)
        if not self.can_ask():
            return unknown
        question = _askable(sql)
        answer = await self._ask(question, params) if question else unknown
        if answer is not None:
            answer = answer if len(answer) == len(params) else unknown
            if len(self._types) >= _MOST:
                self._types.clear()
            self._types[key] = answer
        return answer

    async def _ask(self, sql: str, params: Any) -> Kinds | None:
        name = f"aiodb_lists_{next(_numbers)}"
        question = _QUESTION.format(name=name, prepare=self.declared(sql, params, name))
        within = self.in_transaction
        if within:
            await self.execute(f"SAVEPOINT {name}", ())
        found: Kinds | None
        try:
            answer = str((await self.fetch(question, (), 1))[0][0])  # both results with rows say it
            found = self.laid_out(tuple(Kind(*each) for each in loads(answer)) if answer else (), params)
        except Exception as exc:
            code = _code_of(exc)
            if self.is_closed or code[:2] in _OF_THE_MOMENT:
                raise
            found = () if code == _UNDECIDED else None  # the statement's own error is the one to see
        if within:
            await self.execute(f"ROLLBACK TO SAVEPOINT {name}", ())
            await self.execute(f"RELEASE SAVEPOINT {name}", ())
        return found

    def laid_out(self, kinds: Kinds, params: Any) -> Kinds:
        """Return the type of each parameter, where ``kinds`` are those that were left open."""
        del params
        return kinds

    def _fitted(self, value: Any, kind: Kind | None) -> Any:
        if not is_list(value):
            return value
        if kind is None:
            if not value:
                raise DataError(_EMPTY)
            return value
        if kind.number in _JSON:
            return self.typed(self.json.dumps(value), kind)
        if kind.category == "A":
            if not value or kind.number in _ARRAYS_OF_JSON:
                return self.typed(array_text(value, self.json.text), kind)
            return self.array(value, kind)
        if kind.category in _SINGLE or kind.number in _SINGLE_BY_NUMBER:
            message = f"a {type(value).__name__} does not go where one value is to go; its values are given one by one"
            raise DataError(message)
        return value


def _askable(sql: str) -> str:
    """Return what can be prepared of a statement; nothing if it is of another kind, or several."""
    if sql.startswith("DECLARE aiodb_"):  # as a cursor
        sql = sql.partition(" CURSOR FOR ")[2]
    tokens = scan(sql, POSTGRESQL.lexer)
    while tokens and tokens[-1].text == ";":
        sql = sql[: tokens.pop().start]
    words = ["" if token.kind == "quoted" else token.text.upper() for token in tokens]
    if ";" in words:
        return ""
    start = 0
    if words[:1] == ["EXPLAIN"]:
        start = words.index(")") + 1 if words[1:2] == ["("] and not _PREPARED.issuperset(words[2:3]) else 1
        while words[start : start + 1] in (["ANALYZE"], ["ANALYSE"], ["VERBOSE"]):
            start += 1
    return sql[tokens[start].start :] if _PREPARED.issuperset(words[start : start + 1]) else ""


def _code_of(exc: Exception) -> str:
    return getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None) or ""


_QUESTION = """{prepare}
;WITH RECURSIVE kinds(place, number) AS (
    SELECT place, given::pg_catalog.oid
    FROM pg_catalog.pg_prepared_statements, pg_catalog.unnest(parameter_types) WITH ORDINALITY AS given(given, place)
    WHERE name = '{name}'
    UNION ALL
    SELECT place, typbasetype FROM kinds JOIN pg_catalog.pg_type ON oid = number WHERE typtype = 'd'
) SELECT pg_catalog.set_config('aiodb.lists', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
        number::pg_catalog.int8, pg_catalog.format_type(number, NULL), typcategory
    ) ORDER BY place)::pg_catalog.text
    FROM kinds JOIN pg_catalog.pg_type ON oid = number WHERE typtype <> 'd'
), true);
DEALLOCATE {name};
SELECT pg_catalog.current_setting('aiodb.lists')"""

_MOST = 500
_EMPTY = "it cannot be known whether an empty list is an array or JSON in this statement; pass the text '{}' or '[]'"
_DEFINES = re.compile(r"(?i)\s*(?:CREATE|ALTER|DROP)\b")
_numbers = count(1)
_PREPARED = frozenset({"DELETE", "INSERT", "MERGE", "SELECT", "TABLE", "UPDATE", "VALUES", "WITH", "("})
_PLAIN = frozenset({bool, bytes, float, int, str, type(None)})

# Of SQLSTATEs.
_ABOUT_TYPES = frozenset({"", "22", "42"})
_OF_THE_MOMENT = frozenset({"", "25", "40", "53", "54", "55", "57", "58"})
_UNDECIDED = "42P18"

# The numbers are PostgreSQL's own for these types, of all versions.
_JSON = frozenset({114, 3802})
_ARRAYS_OF_JSON = frozenset({199, 3807})
_SINGLE = frozenset("BDEINSTV")  # bool, dates, enums, networks, numbers, texts, intervals, bits
_SINGLE_BY_NUMBER = frozenset({17, 2950})
