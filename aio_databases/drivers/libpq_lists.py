"""Lists as parameters for the libraries on libpq, which know no types: an array, JSON, or neither.

asyncpg asks the server for the types of a statement's parameters anyway.  These libraries would send each list as an
array: what is stored of an empty one in a column of JSON is ``{}``, and in one of text it is ``{a,b}``.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from itertools import chain, count
from typing import TYPE_CHECKING, Any, TypeVar

from aio_databases.drivers.postgresql import PostgreSQLConnection
from aio_databases.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aio_databases.json_values import JsonValues
    from aio_databases.record import Record, Result

__all__ = ("ListConnection", "Types", "has_list")

T = TypeVar("T")
_LISTS = frozenset({list, tuple})
Types = dict[tuple[str, tuple[bool, ...]], tuple[int, ...]]
"""The numbers of the types of a statement's parameters, by its text and which of them are lists."""


def has_list(params: Any) -> bool:
    """Return whether there is a list among the parameters of a statement."""
    return not _LISTS.isdisjoint(map(type, params))


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

    async def execute(self, sql: str, params: Any, /) -> Result:
        """Run a statement and leave its rows, if any."""
        run = super().execute  # type: ignore[safe-super]  # of what stands beside this class
        if params and has_list(params):
            return await self._with_lists(run, sql, params)
        if self._types and not params and _DEFINES.match(sql):
            self._types.clear()
        return await run(sql, params)

    async def fetch(self, sql: str, params: Any, limit: int | None, /) -> list[Record]:
        """Run a statement and return its rows, at most ``limit`` of them."""
        run = super().fetch  # type: ignore[safe-super]
        if params and has_list(params):
            return await self._with_lists(run, sql, params, limit)
        return await run(sql, params, limit)

    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        """Run a statement once per row of parameters, all or nothing."""
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
        except Exception:
            self._types.clear()  # as the type of a column may have changed
            raise

    async def fitted(self, sql: str, rows: Sequence[Any]) -> Sequence[Any]:
        """Return rows of parameters with each list as what the statement takes in its place."""
        columns = zip(*rows, strict=True)
        first = [next((value for value in column if type(value) in _LISTS), column[0]) for column in columns]
        types = await self._types_of(sql, first)
        if not types:
            return rows
        return [[self._fitted(value, kind) for value, kind in zip(row, types, strict=True)] for row in rows]

    async def _types_of(self, sql: str, params: Any) -> tuple[int, ...]:
        """Return the numbers of the types of a statement's parameters, or nothing if the server does not say."""
        sql = _undeclared(sql)
        key = (sql, tuple([type(value) in _LISTS for value in params]))
        found = self._types.get(key)
        if found is None:
            found = () if ";" in sql.rstrip("; \t\r\n") else await self._ask(sql, params)
            if len(self._types) >= _MOST:
                self._types.clear()
            found = found if len(found) == len(params) else ()
            self._types[key] = found
        return found

    async def _ask(self, sql: str, params: Any) -> tuple[int, ...]:
        name = f"aiodb_lists_{next(_numbers)}"
        question = _QUESTION.format(name=name, prepare=self.declared(sql.rstrip("; \t\r\n"), params, name))
        within = self.in_transaction
        if within:
            if self.has_failed:
                return ()
            await self.execute(f"SAVEPOINT {name}", ())
        try:
            answer = str((await self.fetch(question, (), 1))[0][0])  # both results with rows say it
        except Exception:
            if self.is_closed:
                raise
            answer = ""  # the statement's own error is the one to see, if the statement has one
        if within:
            await self.execute(f"ROLLBACK TO SAVEPOINT {name}", ())
            await self.execute(f"RELEASE SAVEPOINT {name}", ())
        return self.laid_out(tuple(map(int, answer.split(","))) if answer else (), params)

    def laid_out(self, types: tuple[int, ...], params: Any) -> tuple[int, ...]:
        """Return the type of each parameter, where ``types`` are those that were left open."""
        del params
        return types

    def _fitted(self, value: Any, kind: int) -> Any:
        if type(value) not in _LISTS:
            return value
        if kind in _JSON:
            return self.json.dumps(value)
        if kind in _SINGLE:
            message = f"a {type(value).__name__} does not go where one value is to go; its values are given one by one"
            raise DataError(message)
        return list(value) if kind in _ARRAYS else value


def _undeclared(sql: str) -> str:
    """Return the query that a cursor is declared for, or the statement as it is."""
    return sql.partition(" CURSOR FOR ")[2] if sql.startswith("DECLARE aiodb_") else sql


_QUESTION = """{prepare}
;SELECT pg_catalog.set_config('aiodb.lists', (
    SELECT pg_catalog.array_to_string(parameter_types::pg_catalog.oid[], ',')
    FROM pg_catalog.pg_prepared_statements WHERE name = '{name}'
), true);
DEALLOCATE {name};
SELECT pg_catalog.current_setting('aiodb.lists')"""

_MOST = 500
_DEFINES = re.compile(r"(?i)\s*(?:CREATE|ALTER|DROP)\b")
_numbers = count(1)

# The numbers are PostgreSQL's own for these types, of all versions.
_JSON = frozenset({114, 3802})
_SINGLE = frozenset(
    {16, 17, 18, 19, 20, 21, 23, 25, 26, 700, 701, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1700, 2950}
)
_ARRAYS = frozenset(
    {199, 1000, 1001, 1005, 1007, 1009, 1015, 1016, 1021, 1022, 1115, 1182, 1183, 1185, 1231, 2951, 3807}
)
