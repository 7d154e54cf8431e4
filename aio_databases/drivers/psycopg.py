"""PostgreSQL through psycopg 3: natively on asyncio, in a worker thread on trio."""

from __future__ import annotations

import json
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.json import JsonDumper, set_json_loads

from aio_databases.concurrency import runs_on_trio
from aio_databases.drivers.base import diagnose_network
from aio_databases.drivers.cursor import CursorConnection
from aio_databases.drivers.libpq import LibpqDriver, shut_down
from aio_databases.drivers.postgresql import PostgreSQLConnection
from aio_databases.drivers.thread import ThreadConnection

if TYPE_CHECKING:
    from aio_databases.drivers.base import DriverConnection
    from aio_databases.errors import Diagnosis

__all__ = ("PsycopgDriver",)


class PsycopgConnection(PostgreSQLConnection):
    """What is particular to psycopg, natively and in a thread."""

    _cancel: Any = None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, as the server said with its last answer."""
        return not self.is_closed and self.raw.pgconn.transaction_status != TransactionStatus.IDLE

    @property
    def has_failed(self) -> bool:
        """Whether the open transaction has failed."""
        return bool(self.raw.pgconn.transaction_status == TransactionStatus.INERROR)

    def set_up(self, *, parse_json: bool) -> None:
        """Make the connection treat JSON as the other drivers do, and keep what it takes to cancel a statement."""
        self._cancel = self.raw.pgconn.get_cancel()  # good for closed connections, too
        self.raw.adapters.register_dumper(dict, _AnyJsonDumper)
        set_json_loads(json.loads if parse_json else _text, self.raw)


class NativeConnection(PsycopgConnection, CursorConnection):
    """A connection of psycopg on asyncio."""

    def __init__(self, raw: psycopg.AsyncConnection) -> None:
        """Take an open connection."""
        self.raw = raw

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed."""
        return bool(self.raw.closed)

    def new_cursor(self) -> Any:
        """Return a cursor that leaves ``$1`` to the server."""
        return psycopg.AsyncRawCursor(self.raw)

    async def settle(self) -> bool:
        """Make sure that a cancelled statement is stopped: psycopg did so, unless it had to close the connection."""
        if self.raw.closed:
            await anyio.to_thread.run_sync(self._cancel.cancel, abandon_on_cancel=True)
        else:
            await self.absorb_cancel()
        return not self.raw.closed

    async def close(self) -> None:
        """Close the connection in good order."""
        await self.raw.close()

    def terminate(self) -> None:
        """Cut the connection."""
        self.raw.pgconn.finish()


class ThreadedConnection(PsycopgConnection, ThreadConnection):
    """A connection of psycopg in a thread of its own."""

    async def settle(self) -> bool:
        """Stop a cancelled statement, wait for its end, and keep late cancel requests from the next one."""
        if await super().settle():
            await self.absorb_cancel()
        return not self.is_closed

    def interrupt(self) -> None:
        """Ask the server to stop the statement; in a thread, because that takes a connection."""
        if self._cancel is not None:
            Thread(target=_request, args=(self._cancel,), daemon=True).start()

    def cut(self) -> None:
        """Wake the thread, if it waits for the server."""
        if self.db is not None and not self.db.closed:
            shut_down(self.db.fileno())


class PsycopgDriver(LibpqDriver):
    """Opens connections to PostgreSQL with psycopg 3."""

    name: ClassVar[str] = "psycopg"

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the server refuses writes on it."""
        arguments: dict[str, Any] = {"autocommit": True, **await self.keywords(read_only=read_only)}
        if self.sessionless:
            arguments["prepare_threshold"] = None
        connection: NativeConnection | ThreadedConnection
        if runs_on_trio():
            connection = ThreadedConnection()
            cursor_factory = psycopg.RawCursor
            await connection.open(lambda: psycopg.connect(**arguments, cursor_factory=cursor_factory))
        else:
            connection = NativeConnection(await psycopg.AsyncConnection.connect(**arguments))
        connection.set_up(parse_json=self.options.get("json", False))
        return self.fenced(connection, read_only=read_only)

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of psycopg means, by its SQLSTATE where it has one."""
        return self.diagnosed(exc, exc.sqlstate, exc.diag) if isinstance(exc, psycopg.Error) else diagnose_network(exc)


class _AnyJsonDumper(JsonDumper):
    """Leaves it to the server whether a dict is ``json``, ``jsonb`` or text."""

    oid = 0


def _text(data: str | bytes) -> str:
    return data if isinstance(data, str) else bytes(data).decode()


def _request(cancel: Any) -> None:
    with suppress(psycopg.OperationalError):  # the server is gone, and the statement with it
        cancel.cancel()
