"""PostgreSQL through asyncpg, on asyncio."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from aio_databases import errors
from aio_databases.drivers.base import Cursor, DriverConnection, diagnose_network
from aio_databases.drivers.postgresql import (
    ASYNCPG_OPTIONS,
    POSTGRESQL,
    POSTGRESQL_OPTIONS,
    RESET,
    ROLLED_BACK,
    PostgreSQLDriver,
    diagnosis,
)
from aio_databases.errors import ConnectionLost, DataError, Diagnosis, InterfaceError
from aio_databases.record import Record, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aio_databases.drivers.base import Capabilities

    asyncpg: Any  # it brings no types
else:
    import asyncpg

__all__ = ("AsyncpgDriver",)


# asyncpg has no types, so its class is Any to the checkers.
class AsyncpgRecord(asyncpg.Record, Record):  # type: ignore[misc]  # pyright: ignore[reportUntypedBaseClass]
    """A row made by asyncpg in C, with the rest of `Record`'s contract."""

    __slots__ = ()
    __repr__ = Record.__repr__
    values = Record.values
    items = Record.items

    def keys(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        return tuple(asyncpg.Record.keys(self))


class AsyncpgConnection(DriverConnection):
    """A connection of asyncpg, which has no autocommit to switch on: it never begins a transaction by itself."""

    def __init__(self, raw: Any) -> None:
        """Take an open connection."""
        self.raw = raw

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed, by us or by the server."""
        return bool(self.raw.is_closed())

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, as the server said with its last answer."""
        return not self.is_closed and bool(self.raw.is_in_transaction())

    async def execute(self, sql: str, params: Any, /) -> Result:
        """Run a statement and leave its rows, if any."""
        try:
            status = await self.raw.execute(sql, *params)
        except AttributeError:
            status = ""  # asyncpg 0.32 stumbles over an empty statement, which has no status
        return Result(_affected(status))

    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        """Run a statement once per row of parameters, all or nothing; asyncpg does not count the changed rows."""
        if rows:
            await self.raw.executemany(sql, rows)
        return Result(-1 if rows else 0)

    async def fetch(self, sql: str, params: Any, limit: int | None, /) -> list[Record]:
        """Run a statement and return its rows, at most ``limit`` of them."""
        if limit is None:
            rows: list[Record] = await self.raw.fetch(sql, *params)
            return rows
        if limit == 1:
            row = await self.raw.fetchrow(sql, *params)
            return [] if row is None else [row]
        cursor = self.cursor(sql, params)
        try:
            return (await cursor.fetch(max(limit, 1)))[:limit]
        finally:
            await cursor.close()

    def cursor(self, sql: str, params: Any, /) -> Cursor:
        """Return a cursor; outside of a transaction it begins one and commits it when it is closed."""
        return AsyncpgCursor(self.raw, sql, params)

    async def ping(self) -> None:
        """Ask the server for a sign of life."""
        await self.raw.execute("SELECT 1")

    async def settle(self) -> bool:
        """Wait for asyncpg's own cancellation, and absorb a cancel request that reaches the server late."""
        if not self.raw.is_closed():
            try:
                await self.ping()
            except asyncpg.QueryCanceledError:
                await self.ping()
            except asyncpg.InFailedSQLTransactionError:
                pass  # it answers, which is all that matters here
        return not self.raw.is_closed()

    async def commit(self) -> None:
        """Commit the transaction.

        PostgreSQL answers ROLLBACK, and no error, when a statement had failed in it: that must not look like success.
        """
        if await self.raw.execute("COMMIT") == "ROLLBACK":
            raise errors.TransactionError(ROLLED_BACK)

    async def reset(self) -> bool:
        """Undo what was changed in the session."""
        await self.raw.reset()
        await self.raw.execute(RESET)
        return True

    async def close(self) -> None:
        """Close the connection in good order."""
        await self.raw.close()

    def terminate(self) -> None:
        """Cut the connection."""
        try:
            self.raw.terminate()
        except RuntimeError:
            return  # its event loop is closed, and the socket with it


class AsyncpgCursor(Cursor):
    """A portal of the server."""

    def __init__(self, raw: Any, sql: str, params: Any) -> None:
        """Keep what to run; nothing is sent before the first `fetch`."""
        self._raw = raw
        self._statement = (sql, params)
        self._portal: Any = None
        self._began = False

    async def fetch(self, size: int) -> list[Record]:
        """Return the next ``size`` rows; fewer mean that there are no more."""
        if self._raw.is_closed():
            raise ConnectionLost("the connection is closed")
        if self._portal is None:
            if not self._raw.is_in_transaction():
                self._began = True
                await self._raw.execute("BEGIN")
            sql, params = self._statement
            self._portal = await self._raw.cursor(sql, *params)
        rows: list[Record] = await self._portal.fetch(size)
        return rows

    async def close(self) -> None:
        """Close the portal, and commit the transaction that was begun for it."""
        self._portal = None  # the portal itself ends with its transaction
        began, self._began = self._began, False
        if began and not self._raw.is_closed() and self._raw.is_in_transaction():
            await self._raw.execute("COMMIT")


class AsyncpgDriver(PostgreSQLDriver):
    """Opens connections to PostgreSQL with asyncpg."""

    name: ClassVar[str] = "asyncpg"
    loop_hint: ClassVar[str] = "; the scheme psycopg:// runs on both"
    capabilities: ClassVar[Capabilities] = replace(POSTGRESQL, trio=False)
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = {**POSTGRESQL_OPTIONS, **ASYNCPG_OPTIONS}

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the server refuses writes on it."""
        arguments = {**self.arguments(read_only=read_only), "password": await self.password(), **self.connect_args}
        raw = await asyncpg.connect(**arguments, record_class=AsyncpgRecord)
        connection = AsyncpgConnection(raw)
        if self.options.get("json"):
            for name in ("json", "jsonb"):
                await raw.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        return self.fenced(connection, read_only=read_only)

    def arguments(self, *, read_only: bool) -> dict[str, Any]:
        """Return the arguments to connect with, but for the password."""
        copied = ("passfile", "target_session_attrs", *ASYNCPG_OPTIONS)
        arguments: dict[str, Any] = {
            "database": self.located("database"),
            "server_settings": self.settings(read_only=read_only),
            # asyncpg tries without encryption, too, if it is told so by a word
            "ssl": self.ssl if self.ssl in {"allow", "prefer"} else self.ssl_context() or self.ssl,
            "user": self.located("user"),
            **self.place(),
            **{name: self.options.get(name) for name in copied},
        }
        if self.sessionless:
            arguments["statement_cache_size"] = 0  # the next statement may run on another connection of the server
        return {name: value for name, value in arguments.items() if value is not None}

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of asyncpg means, by its SQLSTATE where it has one."""
        if isinstance(exc, asyncpg.PostgresError):
            return diagnosis(getattr(exc, "sqlstate", None) or "", exc)
        if isinstance(exc, TimeoutError):
            return Diagnosis(errors.QueryTimeout)  # asyncpg's own command_timeout
        if isinstance(exc, asyncpg.InterfaceError):
            return Diagnosis(_kind_of_interface_error(exc))
        if isinstance(exc, asyncpg.InternalClientError):
            return Diagnosis(errors.InternalError)
        return diagnose_network(exc)


def _kind_of_interface_error(exc: Exception) -> type[errors.Error]:
    if isinstance(exc, asyncpg.exceptions.ClientConfigurationError):
        return errors.ConfigurationError
    if isinstance(exc, ValueError):
        return DataError
    closed = "closed" in str(exc) or "released" in str(exc)  # asyncpg has no class of its own for it
    return ConnectionLost if closed else InterfaceError


def _affected(status: str) -> int:
    """Return the number of rows in a command tag such as ``INSERT 0 3``, or -1 where it has none."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdecimal() else -1
