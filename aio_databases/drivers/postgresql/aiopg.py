"""PostgreSQL through aiopg, which is psycopg 2 on asyncio."""

# The types of psycopg 2 and aiopg have gaps.
# pyright: basic

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg2
import psycopg2.extensions as pg
import psycopg2.extras

from aio_databases.drivers.base import diagnose_builtin
from aio_databases.drivers.postgresql.aiopg_connection import AiopgConnection, PatientConnection
from aio_databases.drivers.postgresql.family import POSTGRESQL
from aio_databases.drivers.postgresql.libpq import LibpqDriver
from aio_databases.errors import DataError, Diagnosis, NotSupportedError

if TYPE_CHECKING:
    import aiopg

    from aio_databases.drivers.base import Capabilities, DriverConnection

__all__ = ("AiopgDriver",)


class AiopgDriver(LibpqDriver):
    """Opens connections to PostgreSQL with aiopg."""

    name: ClassVar[str] = "aiopg"
    paramstyle: ClassVar[str] = "format"
    loop_hint: ClassVar[str] = "; the scheme psycopg:// runs on both"
    capabilities: ClassVar[Capabilities] = replace(POSTGRESQL, trio=False)

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the server refuses writes on it."""
        raw = await self._open(await self.keywords(read_only=read_only))
        psycopg2.extras.register_default_json(raw.raw, loads=self.json.read)
        psycopg2.extras.register_default_jsonb(raw.raw, loads=self.json.read)
        psycopg2.extras.register_ipaddress(raw.raw)
        for own in (_BYTEA, _BYTEA_ARRAY, _TIME, _TIME_ARRAY):
            pg.register_type(own, raw.raw)
        pg.register_type(_INTERVAL, raw.raw)
        pg.register_type(_INTERVAL_ARRAY, raw.raw)
        connection = AiopgConnection(raw, self)
        await self.style(connection)
        return self.fenced(connection, connection.writes_by_default, read_only=read_only)

    async def _open(self, keywords: dict[str, Any]) -> aiopg.Connection:
        # Left to itself libpq connects again without encryption when a password was wrong, by a new socket that aiopg
        # does not look at: it would wait for ever.
        modes = {"prefer": ("require", "disable"), "allow": ("disable", "require")}
        mode = keywords.pop("sslmode", None) or os.environ.get("PGSSLMODE", "prefer")
        *first, last = modes.get(mode, (mode,))
        for tried in first:
            try:
                return await PatientConnection(None, NO_TIMEOUT, enable_hstore=False, sslmode=tried, **keywords)
            except psycopg2.OperationalError as exc:
                if not _is_about_encryption(exc):
                    raise
        return await PatientConnection(None, NO_TIMEOUT, enable_hstore=False, sslmode=last, **keywords)

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of psycopg 2 means, by its SQLSTATE where it has one."""
        if isinstance(exc, ValueError) and "NUL" in str(exc):
            return Diagnosis(DataError)  # text with a zero byte
        return self.diagnosed(exc, exc.pgcode, exc.diag) if isinstance(exc, psycopg2.Error) else diagnose_builtin(exc)


NO_TIMEOUT = 0.0  # the pool has timeouts of its own


def _is_about_encryption(exc: Exception) -> bool:
    return "does not support SSL" in str(exc) or "no encryption" in str(exc)


def _bytes(text: Any, cursor: Any) -> bytes | None:
    return None if text is None else bytes(psycopg2.BINARY(text, cursor))


def _interval(text: Any, cursor: Any) -> Any:
    if text is not None and cursor.connection.get_parameter_status("IntervalStyle") not in {None, "postgres"}:
        message = "psycopg 2 reads intervals wrongly while IntervalStyle is another one than postgres: set it back"
        raise NotSupportedError(message)
    return pg.PYINTERVAL(text, cursor)


def _time(text: Any, cursor: Any) -> Any:
    if text is not None and text.startswith("24"):
        raise psycopg2.DataError("hour must be in 0..23")  # psycopg 2 reads it as the beginning of the day
    return pg.PYTIME(text, cursor)


_BYTEA = pg.new_type((17,), "BYTEA", _bytes)  # the numbers are PostgreSQL's for these types
_INTERVAL = pg.new_type((1186,), "INTERVAL", _interval)
_INTERVAL_ARRAY = pg.new_array_type((1187,), "INTERVALARRAY", _INTERVAL)
_BYTEA_ARRAY = pg.new_array_type((1001,), "BYTEAARRAY", _BYTEA)
_TIME = pg.new_type((1083, 1266), "TIME", _time)
_TIME_ARRAY = pg.new_array_type((1183, 1270), "TIMEARRAY", _TIME)
