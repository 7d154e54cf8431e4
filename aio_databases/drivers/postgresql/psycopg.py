"""PostgreSQL through psycopg 3: natively on asyncio, in a worker thread on trio."""

from __future__ import annotations

import re
from functools import cached_property
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg

from aio_databases.concurrency.loops import runs_on_trio
from aio_databases.dialects.error_codes import without_value
from aio_databases.drivers.base import diagnose_builtin
from aio_databases.drivers.postgresql.libpq import LibpqDriver
from aio_databases.drivers.postgresql.psycopg_connection import (
    CancellableConnection,
    NativeConnection,
    ThreadedConnection,
    for_json,
)
from aio_databases.errors import DataError, Diagnosis

if TYPE_CHECKING:
    from aio_databases.drivers.base import DriverConnection

__all__ = ("PsycopgDriver",)


class PsycopgDriver(LibpqDriver):
    """Opens connections to PostgreSQL with psycopg 3."""

    name: ClassVar[str] = "psycopg"

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the server refuses writes on it."""
        # Once prepared, a statement would fail on each connection for good when its table was changed from elsewhere.
        defaults = {"autocommit": True, "prepare_threshold": None}
        arguments: dict[str, Any] = defaults | await self.keywords(read_only=read_only)
        connection: NativeConnection | ThreadedConnection
        if runs_on_trio():
            connection = ThreadedConnection()
            cursor_factory = psycopg.RawCursor
            await connection.open(lambda: psycopg.connect(**arguments, cursor_factory=cursor_factory))
        else:
            connection = NativeConnection(await self._connect(arguments))
        connection.take_lists(self.json, self.list_types)
        connection.set_up(*self._json_classes)
        await self.style(connection)
        return self.fenced(connection, connection.writes_by_default, read_only=read_only)

    @cached_property
    def _json_classes(self) -> Any:
        return for_json(self.json)

    async def _connect(self, arguments: dict[str, Any]) -> CancellableConnection:
        try:
            return await CancellableConnection.connect(**arguments)
        except BaseException as exc:
            clear_frames(exc.__traceback__)  # their variables would keep the socket open
            raise

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of psycopg means, by its SQLSTATE where it has one."""
        if isinstance(exc, psycopg.DataError) and exc.sqlstate is None:
            return Diagnosis(DataError, text=without_value(_VALUE.sub("", str(exc))))
        return self.diagnosed(exc, exc.sqlstate, exc.diag) if isinstance(exc, psycopg.Error) else diagnose_builtin(exc)


# What was read, which no message shall show: "can't parse time '24:00:00': ..." or "date too large (...): 'infinity'".
_VALUE = re.compile(r"(?<=\w) '.*'(?=: )|: '.*'$", re.DOTALL)
