# ruff: noqa: SLF001 - aiosqlite keeps to itself what the class below needs
"""SQLite through aiosqlite, on asyncio."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import aiosqlite
import anyio

from aio_databases.drivers.sqlite.connection import SQLiteVerbs
from aio_databases.drivers.sqlite.driver import SQLiteDriver
from aio_databases.drivers.thread import CLOSED
from aio_databases.errors import ConnectionLost

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from aio_databases.drivers.base import Capabilities, DriverConnection
    from aio_databases.drivers.sqlite.connection import Stop

T = TypeVar("T")
_POLL_EVERY = 0.005  # seconds
_LAST_WORDS = 1.0  # seconds


class AiosqliteConnection(SQLiteVerbs):
    """A connection of aiosqlite; the verbs run in aiosqlite's thread, one hop each.

    Rests on names that aiosqlite keeps private.  ``_execute`` and ``_conn``: its public verbs take a hop for every step
    and leave the cursor open when they are cancelled.  ``_tx`` and ``_thread``: its ``stop`` reports to an event loop
    that may be gone, and its thread would keep the interpreter from exiting.
    """

    cancels_no_task: ClassVar[bool] = True

    def __init__(self, raw: aiosqlite.Connection, stop: Stop) -> None:
        """Take an open connection, whose statements look at ``stop``."""
        super().__init__()
        self._library: Any = raw
        self.stop = stop
        self.db: sqlite3.Connection = raw._conn  # pyright: ignore[reportPrivateUsage]
        self._closed = False
        self._idle = True

    @property
    def raw(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The connection of aiosqlite, on which the transaction that is due has begun."""
        self.begin_for_raw_use()
        return self._library

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def run(self, function: Callable[..., T], /, *args: Any) -> T:
        """Call a function in aiosqlite's thread.  Raises ConnectionLost once the connection is closed."""
        if self._closed:
            raise ConnectionLost(CLOSED)

        timed = self.stop.timed(
            self.in_transaction_call(function) if self._pending_begin or self.is_guarded else function
        )

        def call() -> T:
            try:
                return timed(*args)
            finally:
                self._idle = True

        self._idle = False
        try:
            return await self._library._execute(call)  # type: ignore[no-any-return]  # it is private
        except Exception as exc:
            if self._closed:
                raise ConnectionLost(CLOSED) from exc
            raise

    async def settle(self) -> bool:
        """Stop the statement whose caller was cancelled, and wait for the thread to be done with it."""
        try:
            while not self._idle and not self._closed:
                self.stop.request()
                await anyio.sleep(_POLL_EVERY)
        finally:
            if not self._closed:  # else the request is that of `terminate`
                self.stop.clear()
        return not self._closed

    async def close(self) -> None:
        """Close the connection and end the thread."""
        if not self._closed:
            self._closed = True
            await self._library._execute(self.close_cursors)
            await self._library.close()

    def terminate(self) -> None:
        """Stop what runs and have the thread close the connection, without waiting for it."""
        if not self._closed:
            self._closed = True
            self.stop.request()
            # Called here, stop() would have the thread report to an event loop that may be gone by then.
            for call in (self.close_cursors, self._library.stop):
                self._library._tx.put_nowait((None, call))  # pyright: ignore[reportPrivateUsage]


class AiosqliteDriver(SQLiteDriver):
    """Opens SQLite databases through aiosqlite."""

    name: ClassVar[str] = "aiosqlite"
    loop_hint: ClassVar[str] = "; the scheme sqlite:// runs on both"
    capabilities: ClassVar[Capabilities] = replace(SQLiteDriver.capabilities, trio=False)

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        stop = self.stop()
        raw = aiosqlite.Connection(lambda: self.open(stop, read_only=read_only), iter_chunk_size=64)
        raw._thread.daemon = True  # pyright: ignore[reportPrivateUsage] - or it would hang the exit
        try:
            connection = AiosqliteConnection(await raw, stop)
        except BaseException:
            # The thread still has to report its end, to an event loop that has to be there.
            with anyio.move_on_after(_LAST_WORDS, shield=True):
                while raw._thread.is_alive():  # noqa: ASYNC110 - there is no event for it  # pyright: ignore[reportPrivateUsage]
                    await anyio.sleep(_POLL_EVERY)
            raise
        connection.use_json(self.json)
        return connection
