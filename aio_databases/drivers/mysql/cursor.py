"""Cursors on connections to MySQL and MariaDB, whatever their library."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from aio_databases.drivers.base import Cursor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aio_databases.drivers.mysql.connection import MySQLConnection
    from aio_databases.rows.record import Record

__all__ = ("CHUNK", "MySQLCursor")


class MySQLCursor(Cursor):
    """Reads rows while the server still sends them."""

    def __init__(self, connection: MySQLConnection, sql: str, params: Any) -> None:
        """Keep what to run; nothing is sent before the first `fetch`."""
        self._connection = connection
        self._statement = (sql, params)
        self._result: Any = None
        self._loaded: Iterator[tuple[Any, ...]] | None = None
        self._failure: Exception | None = None

    async def fetch(self, size: int) -> list[Record]:
        """Return the next ``size`` rows; fewer mean that there are no more."""
        rows = await self.fetch_rows(size)
        driver = self._connection.driver
        if unknown := driver.json_columns.unknown(self._result):
            await driver.learn_aside(unknown)
        return driver.json_columns.records(self._result, rows)

    async def fetch_rows(self, size: int) -> list[tuple[Any, ...]]:
        """Return the next ``size`` rows as the library makes them."""
        if self._result is None:
            sql = self._connection.encoded(*self._statement)
            self._result = await self._connection.run(sql, cursor=self)
        if self._loaded is not None:
            rows = list(islice(self._loaded, size))
            if len(rows) < size and self._failure is not None:
                raise self._failure
        else:
            rows = await self._read(size)
        return rows

    async def load(self) -> None:
        """Read the rest into memory; if that fails, the next fetch tells."""
        try:
            rows = await self._read(None)
        except Exception as exc:  # noqa: BLE001 - it is raised by the fetch that it belongs to
            rows, self._failure = [], exc
        self._loaded = iter(rows)

    async def skip(self, limit: int | None) -> bool:
        """Read and forget at most ``limit`` rows, and return whether there are no more."""
        while self._is_read and (limit is None or limit > 0):
            size = len(await self._read(CHUNK))
            limit = None if limit is None else limit - size
        return not self._is_read

    async def close(self) -> None:
        """Read off what is left, if that is little, else stop the statement.

        Outside of a transaction the connection is given up for that: then nothing has to be read off.
        """
        connection = self._connection
        try:
            if connection.is_closed:
                return
            if await self.skip(_SMALL_REST):
                return
            if connection.in_transaction:
                await connection.driver.kill(f"QUERY {connection.raw.thread_id()}", connection.server)
                await self.skip(None)
            else:
                await connection.give_up()
        except connection.driver.library_error:
            if connection.is_closed:
                raise  # else the statement was stopped, or would have failed, which does not matter now
        finally:
            self._loaded, self._failure = iter(()), None

    @property
    def _is_read(self) -> bool:
        return self._connection.stream is self

    async def _read(self, size: int | None) -> list[tuple[Any, ...]]:
        if not self._is_read:
            return []
        try:
            return await self._connection.talk(self._read_rows, size) or []
        except Exception as exc:
            self._connection.stream = None
            self._loaded, self._failure = iter(()), exc  # to read on would not be the end of the rows
            raise

    async def _read_rows(self, size: int | None) -> list[tuple[Any, ...]]:
        connection = self._connection
        rows = await connection.read_rows(self._result, size)
        if not self._result.unbuffered_active:
            connection.stream = None
            await connection.skip_results(self._result)
        return rows


CHUNK = 1000  # rows that are read, and forgotten, at a time
_SMALL_REST = 2000  # rows that are read faster than another connection is opened to stop them
