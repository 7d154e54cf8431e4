"""Libraries whose connections and cursors are those of :pep:`249`, with methods that are awaited."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from aio_databases.drivers.base import DriverConnection, one_by_one
from aio_databases.rows.record import Result, records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aio_databases.rows.record import Record


class CursorConnection(DriverConnection):
    """The verbs, each with a cursor of its own."""

    @abstractmethod
    def new_cursor(self) -> Any:
        """Return a cursor of the library that has not run anything yet."""

    async def open_cursor(self, sql: str, params: Any) -> Any:
        """Run a statement and return its cursor.

        Without parameters the library gets none, so that it leaves percent signs alone.
        """
        cursor = self.new_cursor()
        await (cursor.execute(sql, params) if params else cursor.execute(sql))
        return cursor

    async def execute(self, sql: str, params: Any, /) -> Result:
        cursor = await self.open_cursor(sql, params)
        result = Result(cursor.rowcount, self.lastrowid(cursor))
        await cursor.close()
        return result

    def with_rows(self, cursor: Any) -> Any:
        """Return a cursor at the first of its results that has rows, if the library keeps several."""
        return cursor

    def lastrowid(self, cursor: Any) -> Any:
        """Return the id of the row that a statement has inserted, where the library knows it."""
        return cursor.lastrowid

    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        if not rows:
            return Result(0)
        cursor = self.new_cursor()
        with one_by_one(rows, ahead=self.sends_ahead) as given:
            await cursor.executemany(sql, given)
        result = Result(cursor.rowcount)
        await cursor.close()
        return result

    async def fetch(self, sql: str, params: Any, limit: int | None, /) -> list[Record]:
        cursor = await self.open_cursor(sql, params)
        rows = await read(self.with_rows(cursor), limit)
        await cursor.close()
        return rows


async def read(cursor: Any, limit: int | None) -> list[Record]:
    """Return at most ``limit`` rows of a cursor as records."""
    description = cursor.description
    if description is None:
        return []
    if limit == 0:
        return []  # to some libraries 0 means what their arraysize says
    rows = await cursor.fetchall() if limit is None else await cursor.fetchmany(limit)
    return records([column[0] for column in description], rows)
