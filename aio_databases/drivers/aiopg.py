"""PostgreSQL through aiopg, which is psycopg 2 on asyncio."""

# The types of psycopg 2 and aiopg have gaps.
# pyright: basic

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, cast

import aiopg
import anyio
import psycopg2
import psycopg2.extensions as pg
import psycopg2.extras

from aio_databases.drivers.base import diagnose_network
from aio_databases.drivers.cursor import CursorConnection
from aio_databases.drivers.libpq import LibpqDriver
from aio_databases.drivers.postgresql import POSTGRESQL, PostgreSQLConnection
from aio_databases.record import Result
from aio_databases.url import anything

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Sequence

    from aio_databases.drivers.base import Capabilities, DriverConnection
    from aio_databases.errors import Diagnosis

__all__ = ("AiopgDriver",)

_BATCH = 1000  # rows


class _Connection(aiopg.Connection):
    """aiopg's connection, without its deadline and with errors left as they are."""

    async def _poll(self, waiter: Future[None], timeout: float) -> None:  # noqa: ARG002 - see above
        # aiopg's own reports a statement that the server has cancelled as the cancellation of the task.
        try:
            self._ready(self._weakref)
            await waiter
        finally:
            self._waiter = None

    async def drain(self) -> None:
        """Wait for the end of a statement whose caller was cancelled, and drop its outcome."""
        if self.isexecuting():
            with suppress(psycopg2.Error):
                await self._poll(self._create_waiter("drain"), self.timeout)


class _Cursor(aiopg.Cursor):
    async def close(self) -> None:  # type: ignore[override]  # awaited, as in other libraries
        super().close()


class AiopgConnection(PostgreSQLConnection, CursorConnection):
    """A connection of aiopg, which is always in autocommit mode."""

    def __init__(self, raw: aiopg.Connection) -> None:
        """Take an open connection."""
        self.raw = raw

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed."""
        return bool(self.raw.closed)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, as the server said with its last answer."""
        return not self.raw.closed and self.raw.raw.get_transaction_status() != pg.TRANSACTION_STATUS_IDLE

    @property
    def has_failed(self) -> bool:
        """Whether the open transaction has failed."""
        return bool(self.raw.raw.get_transaction_status() == pg.TRANSACTION_STATUS_INERROR)

    def new_cursor(self) -> Any:
        """Return a cursor."""
        return _Cursor(self.raw, self.raw.raw.cursor(), self.raw.timeout, echo=False)

    async def open_cursor(self, sql: str, params: Any) -> Any:
        """Run a statement and return its cursor."""
        return await super().open_cursor(sql, _adapted(params))

    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        """Run a statement once per row of parameters, all or nothing; psycopg 2 does not count the changed rows."""
        mogrify = self.raw.raw.cursor().mogrify
        batches = [
            b";".join(mogrify(sql, _adapted(row)) for row in rows[start : start + _BATCH])
            for start in range(0, len(rows), _BATCH)
        ]
        # One batch is one transaction by itself.
        around = len(batches) > 1 and not self.in_transaction
        try:
            for batch in chain([b"BEGIN"] * around, batches, [b"COMMIT"] * around):
                await self.execute(batch.decode(), ())
        except psycopg2.Error:
            if around and self.in_transaction:
                await self.rollback()
            raise
        return Result(-1 if rows else 0)

    async def settle(self) -> bool:
        """Stop a cancelled statement on the server and wait for its end."""
        if not self.raw.closed:
            if self.raw.isexecuting():
                await anyio.to_thread.run_sync(self.raw.raw.cancel, abandon_on_cancel=True)
                await self.raw.drain()
            await self.absorb_cancel()
        return not self.raw.closed

    async def close(self) -> None:
        """Close the connection."""
        self.terminate()

    def terminate(self) -> None:
        """Cut the connection."""
        with suppress(RuntimeError):  # its event loop is closed
            self.raw.close()


class AiopgDriver(LibpqDriver):
    """Opens connections to PostgreSQL with aiopg."""

    name: ClassVar[str] = "aiopg"
    paramstyle: ClassVar[str] = "format"
    loop_hint: ClassVar[str] = "; the scheme psycopg:// runs on both"
    capabilities: ClassVar[Capabilities] = replace(POSTGRESQL, trio=False)

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the server refuses writes on it."""
        raw = await self._open(await self.keywords(read_only=read_only))
        loads = json.loads if self.options.get("json") else anything
        psycopg2.extras.register_default_json(raw.raw, loads=loads)
        psycopg2.extras.register_default_jsonb(raw.raw, loads=loads)
        psycopg2.extras.register_ipaddress(raw.raw)
        pg.register_type(_BYTEA, raw.raw)
        pg.register_type(_BYTEA_ARRAY, raw.raw)
        return self.fenced(AiopgConnection(raw), read_only=read_only)

    async def _open(self, keywords: dict[str, Any]) -> aiopg.Connection:
        # Left to itself libpq connects again without encryption when a password was wrong, by a new socket that aiopg
        # does not look at: it would wait for ever.
        modes = {"prefer": ("require", "disable"), "allow": ("disable", "require")}
        mode = keywords.pop("sslmode", "prefer")
        *first, last = modes.get(mode, (mode,))
        for tried in first:
            try:
                return await _Connection(None, _NO_TIMEOUT, enable_hstore=False, sslmode=tried, **keywords)
            except psycopg2.OperationalError as exc:
                if not _is_about_encryption(exc):
                    raise
        return await _Connection(None, _NO_TIMEOUT, enable_hstore=False, sslmode=last, **keywords)

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of psycopg 2 means, by its SQLSTATE where it has one."""
        return self.diagnosed(exc, exc.pgcode, exc.diag) if isinstance(exc, psycopg2.Error) else diagnose_network(exc)


_NO_TIMEOUT = 0.0  # the pool has timeouts of its own


def _is_about_encryption(exc: Exception) -> bool:
    return "does not support SSL" in str(exc) or "no encryption" in str(exc)


def _adapted(params: Any) -> Any:
    """Return parameters with each dict as JSON."""
    if isinstance(params, Mapping):
        named = cast("Mapping[str, Any]", params)
        return dict(zip(named, _adapted(named.values()), strict=True))
    return [psycopg2.extras.Json(value) if isinstance(value, dict) else value for value in params]


def _bytes(text: Any, cursor: Any) -> bytes | None:
    return None if text is None else bytes(psycopg2.BINARY(text, cursor))


_BYTEA = pg.new_type((17,), "BYTEA", _bytes)  # the numbers are PostgreSQL's for these types
_BYTEA_ARRAY = pg.new_array_type((1001,), "BYTEAARRAY", _BYTEA)
