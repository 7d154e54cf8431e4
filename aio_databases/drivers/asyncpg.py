"""PostgreSQL through asyncpg, on asyncio."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from aio_databases import errors
from aio_databases.drivers.base import Capabilities, Cursor, Driver, DriverConnection, diagnose_network
from aio_databases.error_codes import kind_of_sqlstate
from aio_databases.errors import ConnectionLost, DataError, Diagnosis, InterfaceError
from aio_databases.record import Record, Result
from aio_databases.url import anything, integer, optional, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
            message = "the transaction was rolled back instead of committed, because a statement in it had failed: "
            raise errors.TransactionError(message + "run what may fail in a nested transaction")

    async def reset(self) -> bool:
        """Undo what was changed in the session."""
        await self.raw.reset()
        await self.raw.execute(_RESET)
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


class AsyncpgDriver(Driver):
    """Opens connections to PostgreSQL with asyncpg."""

    name: ClassVar[str] = "asyncpg"
    dialect: ClassVar[str] = "postgresql"
    paramstyle: ClassVar[str] = "numeric_dollar"
    capabilities: ClassVar[Capabilities] = Capabilities(
        trio=False,
        isolation_levels=frozenset({"read uncommitted", "read committed", "repeatable read", "serializable"}),
        deferrable=True,
        cursor_needs_transaction=True,
        reusable_after_cancel=True,
    )
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "application_name": str,
        "command_timeout": optional(seconds),
        "database": str,
        "direct_tls": anything,
        "host": anything,
        "max_cacheable_statement_size": integer,
        "max_cached_statement_lifetime": integer,
        "passfile": anything,
        "password": anything,
        "port": anything,
        "server_settings": dict,
        "ssl": anything,
        "statement_cache_size": integer,
        "target_session_attrs": str,
        "user": str,
    }

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the server refuses writes on it."""
        raw = await asyncpg.connect(**self._arguments(read_only=read_only), record_class=AsyncpgRecord)
        connection = AsyncpgConnection(raw)
        if self.options.get("json"):
            for name in ("json", "jsonb"):
                await raw.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        return connection

    def _arguments(self, *, read_only: bool) -> dict[str, Any]:
        address = self.address
        located = {
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "password": address.password,
            "database": address.database or None,
        }
        arguments: dict[str, Any] = {name: value for name, value in located.items() if value is not None}
        arguments.update((name, self.options[name]) for name in self.option_types if name in self.options)
        settings = dict(arguments.pop("server_settings", {}))
        if "application_name" in arguments:
            settings["application_name"] = arguments.pop("application_name")
        if read_only:
            settings["default_transaction_read_only"] = "on"
        return {**arguments, "server_settings": settings, **self.connect_args}

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of asyncpg means, by its SQLSTATE where it has one."""
        if isinstance(exc, asyncpg.PostgresError):
            sqlstate: str = getattr(exc, "sqlstate", None) or ""
            details = (getattr(exc, f"{name}_name", None) for name in ("constraint", "table", "column"))
            return Diagnosis(kind_of_sqlstate(sqlstate), sqlstate, None, *details)
        if isinstance(exc, TimeoutError):
            return Diagnosis(errors.QueryTimeout)  # asyncpg's own command_timeout
        if isinstance(exc, asyncpg.InterfaceError):
            return Diagnosis(_kind_of_interface_error(exc))
        if isinstance(exc, asyncpg.InternalClientError):
            return Diagnosis(errors.InternalError)
        return diagnose_network(exc)


# What asyncpg's reset() leaves: the role, temporary tables, currval(), and statements that were prepared by SQL.
_RESET = """
SET SESSION AUTHORIZATION DEFAULT;
RESET ROLE;
DISCARD TEMP;
DISCARD SEQUENCES;
DO $$
DECLARE statement text;
BEGIN
    FOR statement IN SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql LOOP
        EXECUTE 'DEALLOCATE ' || pg_catalog.quote_ident(statement);
    END LOOP;
END $$
"""


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
