"""The query verbs, the same on a `Database` and on a `Connection`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aio_databases.errors import InterfaceError
from aio_databases.rows.mapping import mapper
from aio_databases.sql.query_objects import rows_of
from aio_databases.streams import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import UnionType

    from aio_databases.rows.record import Record, Result
    from aio_databases.streams import RecordStream

    Args = tuple[Any, ...]

T = TypeVar("T")


class Verbs(ABC):
    """Run SQL.

    ``query`` is a str, or an object that stands for a statement: a template string, a statement of SQLAlchemy Core, or
    anything whose ``str()`` is SQL.  ``params`` are positional values, or one mapping for ``:name`` placeholders.
    ``into`` is a type or function that makes something of each row: a dataclass, a ``NamedTuple``, a ``TypedDict``, a
    class of attrs, pydantic or msgspec, or a scalar type for the only column.

    Every verb raises an `Error`: ProgrammingError when SQL and parameters do not match, ReadOnlyError for a write on a
    replica, ConnectionLost, PoolTimeout or ConnectionBusy when no connection is available, and what the database says.
    """

    __slots__ = ()

    @abstractmethod
    def _run(self, verb: str, query: Any, params: Args, limit: int | None = None) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that runs ``verb`` of a driver's connection; ``limit`` is that of "fetch"."""

    async def execute(self, query: Any, *params: Any) -> Result:
        """Run a statement and return how many rows it changed and the id of the row it inserted."""
        result: Result = await self._run("execute", query, params)
        return result

    async def executemany(self, query: Any, *rows: Any) -> Result:
        """Run a statement once per row of parameters, all or nothing, and return how many rows it changed.

        The rows are given one by one (``executemany(sql, (1, "a"), (2, "b"))``) or as one list or iterator of them,
        which is read to its end first.
        """
        result: Result = await self._run("executemany", query, (rows_of(rows),) if rows else ())
        return result

    @overload
    async def fetchall(self, query: Any, *params: Any) -> list[Record]: ...
    @overload
    async def fetchall(self, query: Any, *params: Any, into: type[dict[str, Any]]) -> list[dict[str, Any]]: ...
    @overload
    async def fetchall(self, query: Any, *params: Any, into: Callable[..., T]) -> list[T]: ...
    @overload
    async def fetchall(self, query: Any, *params: Any, into: UnionType) -> list[Any]: ...
    async def fetchall(self, query: Any, *params: Any, into: Any = None) -> Any:
        """Run a query and return all its rows, as a list, which may be empty.

        They are all in memory at once; `iterate` reads a big result piece by piece.
        """
        rows = await self._run("fetch", query, params)
        return rows if into is None else _mapped(rows, into)

    @overload
    async def fetchmany(self, size: int, query: Any, *params: Any) -> list[Record]: ...
    @overload
    async def fetchmany(
        self, size: int, query: Any, *params: Any, into: type[dict[str, Any]]
    ) -> list[dict[str, Any]]: ...
    @overload
    async def fetchmany(self, size: int, query: Any, *params: Any, into: Callable[..., T]) -> list[T]: ...
    @overload
    async def fetchmany(self, size: int, query: Any, *params: Any, into: UnionType) -> list[Any]: ...
    async def fetchmany(self, size: int, query: Any, *params: Any, into: Any = None) -> Any:
        """Run a query and return its first ``size`` rows; the others are not fetched.

        Raises InterfaceError for a negative size.
        """
        if size < 0:
            raise InterfaceError(f"fetchmany() cannot fetch {size} rows; pass a size of 0 or more")
        rows = await self._run("fetch", query, params, size)
        return rows if into is None else _mapped(rows, into)

    @overload
    async def fetchone(self, query: Any, *params: Any) -> Record | None: ...
    @overload
    async def fetchone(self, query: Any, *params: Any, into: type[dict[str, Any]]) -> dict[str, Any] | None: ...
    @overload
    async def fetchone(self, query: Any, *params: Any, into: Callable[..., T]) -> T | None: ...
    @overload
    async def fetchone(self, query: Any, *params: Any, into: UnionType) -> Any | None: ...
    async def fetchone(self, query: Any, *params: Any, into: Any = None) -> Any:
        """Run a query and return its first row, or None if it has none."""
        rows = await self._run("fetch", query, params, 1)
        if into is not None:
            rows = _mapped(rows, into)
        return rows[0] if rows else None

    async def fetchval(self, query: Any, *params: Any, column: int | str = 0) -> Any:
        """Run a query and return the value of one column, by position or name, of its first row.

        None means that there is no row, that the row has no columns, or that the value is NULL.
        """
        rows = await self._run("fetch", query, params, 1)
        try:
            return rows[0][column] if rows else None
        except IndexError:
            if len(rows[0]):
                raise
            return None

    @overload
    def iterate(self, query: Any, *params: Any, chunk_size: int = CHUNK) -> RecordStream[Record]: ...
    @overload
    def iterate(
        self, query: Any, *params: Any, into: type[dict[str, Any]], chunk_size: int = CHUNK
    ) -> RecordStream[dict[str, Any]]: ...
    @overload
    def iterate(self, query: Any, *params: Any, into: Callable[..., T], chunk_size: int = CHUNK) -> RecordStream[T]: ...
    @overload
    def iterate(self, query: Any, *params: Any, into: UnionType, chunk_size: int = CHUNK) -> RecordStream[Any]: ...
    def iterate(self, query: Any, *params: Any, into: Any = None, chunk_size: int = CHUNK) -> Any:
        """Return a stream of the rows of a query, for ``async for``; it reads ``chunk_size`` rows at a time.

        The query runs when the first row is asked for.  A loop that may be left early stands in
        ``async with`` of the stream, which frees the connection at once.
        """
        return self._stream(query, params, into, chunk_size)

    @abstractmethod
    def _stream(self, query: Any, params: Args, into: Any, chunk_size: int) -> RecordStream[Any]:
        """Return a stream over the rows of a query."""


def _mapped(rows: list[Record], into: Callable[..., T]) -> list[T]:
    return list(map(mapper(into, tuple(rows[0].keys())), rows)) if rows else []
