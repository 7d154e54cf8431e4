"""PostgreSQL through asyncpg, on asyncio."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from itertools import chain
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, ClassVar

from aio_databases import errors
from aio_databases.drivers.base import Cursor, DriverConnection, begin_statement, diagnose_builtin
from aio_databases.drivers.postgresql.asyncpg_codecs import read_json, read_uuids
from aio_databases.drivers.postgresql.asyncpg_schema import CHANGED, OUTDATED, UNREADABLE, Schema
from aio_databases.drivers.postgresql.family import BATCH, POSTGRESQL, RESET, ROLLED_BACK, PostgreSQLDriver, diagnosis
from aio_databases.drivers.postgresql.options import ASYNCPG_OPTIONS, POSTGRESQL_OPTIONS, styles_to_set
from aio_databases.errors import (
    ConfigurationError,
    ConnectionLost,
    DataError,
    Diagnosis,
    InterfaceError,
    NotSupportedError,
    note_row,
)
from aio_databases.rows.record import Record, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aio_databases.config.url import Address
    from aio_databases.drivers.base import Capabilities, TransactionOptions

    asyncpg: Any  # it brings no types
else:
    import asyncpg


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

    cancels_no_task: ClassVar[bool] = True

    def __init__(self, raw: Any, schema: Schema | None = None) -> None:
        """Take an open connection; ``schema`` is what its driver's connections know of theirs together."""
        self.raw = raw
        self.schema = schema or Schema()
        self.schema.join(raw)
        self._moving = self.schema.moving
        self._batch: asyncio.Task[Any] | None = None
        self._stops = False

    @property
    def is_closed(self) -> bool:
        return bool(self.raw.is_closed())

    @property
    def in_transaction(self) -> bool:
        return not self.is_closed and bool(self.raw.is_in_transaction())

    @property
    def is_at_rest(self) -> bool:
        """Whether the connection is open and not in a transaction."""
        raw = self.raw
        return not (raw.is_closed() or raw.is_in_transaction())

    def writes_by_default(self) -> bool:
        """Return whether transactions may write unless they say otherwise; servers before 14 do not report that: no."""
        raw = self.raw
        return not raw.is_closed() and getattr(raw.get_settings(), "default_transaction_read_only", "") == "off"

    def may_run_again(self, sql: str, exc: Exception) -> bool:
        """Return whether a statement has failed without effect for what asyncpg remembers, which is forgotten now.

        Raises SerializationFailure if the transaction that it was run in has to be run again with it.
        """
        if not self.schema.has_changed(self.raw, sql, exc):
            return False
        if self.in_transaction and not isinstance(exc, asyncpg.DataError):
            raise errors.translate(exc, Diagnosis(errors.SerializationFailure, text=CHANGED))
        return not isinstance(exc, asyncpg.OutdatedSchemaCacheError)

    async def execute(self, sql: str, params: Any, /, *, again: bool = False) -> Result:
        try:
            if params and self._moving and sql in self._moving:
                statement = await self.raw.prepare(sql)
                await statement.fetch(*params)
                status = statement.get_statusmsg()
            else:
                status = await self.raw.execute(sql, *params)
        except AttributeError:
            if self.raw.is_closed():
                raise
            status = ""  # asyncpg 0.32 stumbles over an empty statement, which has no status
        except OUTDATED as exc:
            if again or not self.may_run_again(sql, exc):
                raise
            return await self.execute(sql, params, again=True)
        return Result(_affected(status))

    async def executemany(self, sql: str, rows: Sequence[Any], /, *, again: bool = False) -> Result:
        """Run a statement once per row of parameters, all or nothing; asyncpg does not count the changed rows."""
        if not rows:
            return Result(0)
        # In a task of its own: cancelled while it sends, asyncpg would wait for an answer to what it has not sent.
        self._stops = False
        task = self._batch = asyncio.create_task(self._run_all(sql, rows))
        task.add_done_callback(_take_notice)
        await asyncio.wait((task,))
        try:
            task.result()
        except OUTDATED as exc:
            if again or not self.may_run_again(sql, exc) or self.in_transaction:
                raise
            return await self.executemany(sql, rows, again=True)
        return Result(-1)

    async def _run_all(self, sql: str, rows: Sequence[Any]) -> None:
        within = len(rows) > 1 and self.in_transaction
        if within:
            await self.savepoint(BATCH)
        fed = chain.from_iterable(self._fed(rows))
        try:
            if sql in self._moving:
                await (await self.raw.prepare(sql)).executemany(fed)
            else:
                await self.raw.executemany(sql, fed)
        except Exception as exc:
            if len(rows) == 1:
                note_row(exc, 1)
            # A row that asyncpg itself refuses leaves those before it, and the transaction goes on.
            if within and self.in_transaction and not getattr(exc, "severity", None):
                await self.rollback_to_savepoint(BATCH)
            raise
        if within:
            await self.release_savepoint(BATCH)

    def _fed(self, rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
        for start in range(0, len(rows), _FED):
            if self._stops:
                raise DataError(_STOPPED)  # upon which asyncpg ends the batch in good order
            yield rows[start : start + _FED]

    async def fetch(self, sql: str, params: Any, limit: int | None, /, *, again: bool = False) -> list[Record]:
        try:
            if self._moving and sql in self._moving:
                rows: list[Record] = await (await self.raw.prepare(sql)).fetch(*params)
                return rows[:limit]
            if limit is None:
                return await self.raw.fetch(sql, *params)  # type: ignore[no-any-return]
            if limit == 1:
                row = await self.raw.fetchrow(sql, *params)
                return [] if row is None else [row]
        except OUTDATED as exc:
            if again or not self.may_run_again(sql, exc):
                raise
            return await self.fetch(sql, params, limit, again=True)
        cursor = self.cursor(sql, params)
        try:
            return (await cursor.fetch(max(limit, 1)))[:limit]
        finally:
            await cursor.close()

    def cursor(self, sql: str, params: Any, /) -> Cursor:
        """Return a cursor; outside of a transaction it begins one and commits it when it is closed."""
        return AsyncpgCursor(self, sql, params)

    async def ping(self) -> None:
        await self.raw.execute("SELECT 1")

    async def settle(self) -> bool:
        """Wait for asyncpg's own cancellation, and absorb a cancel request that reaches the server late."""
        batch, self._batch = self._batch, None
        self._stops = True
        if batch is not None:
            await asyncio.wait((batch,), timeout=_A_MOMENT)
            if not batch.done():
                batch.cancel()
                await asyncio.wait((batch,))
        if not self.raw.is_closed():
            try:
                await self.ping()
            except asyncpg.QueryCanceledError:
                await self.ping()
            except asyncpg.InFailedSQLTransactionError:
                pass  # it answers, which is all that matters here
        return not self.raw.is_closed()

    async def begin(self, options: TransactionOptions) -> None:
        await self.raw.execute(begin_statement(options))

    async def commit(self) -> None:
        """Commit the transaction.

        PostgreSQL answers ROLLBACK, and no error, when a statement had failed in it: that must not look like success.
        """
        if await self.raw.execute("COMMIT") == "ROLLBACK":
            raise errors.TransactionError(ROLLED_BACK)

    async def reset(self) -> bool:
        await self.raw.reset()
        await self.raw.execute(RESET)
        self.raw._mark_stmts_as_closed()  # noqa: SLF001 - the server has forgotten them
        await self.set_styles()
        return True

    async def set_styles(self) -> None:
        """Have the server write dates and intervals as it does on the other libraries."""
        settings = self.raw.get_settings()
        if wrong := styles_to_set(lambda name: getattr(settings, name, "")):
            await self.raw.execute(wrong)

    async def close(self) -> None:
        await self.raw.close()

    def terminate(self) -> None:
        try:
            self.raw.terminate()
        except RuntimeError:
            return  # its event loop is closed, and the socket with it


class AsyncpgCursor(Cursor):
    """A portal of the server."""

    def __init__(self, connection: AsyncpgConnection, sql: str, params: Any) -> None:
        """Keep what to run; nothing is sent before the first `fetch`."""
        self._connection = connection
        self._raw = connection.raw
        self._statement = (sql, params)
        self._portal: Any = None
        self._began = False

    async def fetch(self, size: int) -> list[Record]:
        if self._raw.is_closed():
            raise ConnectionLost("the connection is closed")
        portal = self._portal or await self._open()
        try:
            rows: list[Record] = await portal.fetch(size)
        except asyncpg.OutdatedSchemaCacheError as exc:
            self._connection.may_run_again(self._statement[0], exc)
            raise
        return rows

    async def _open(self) -> Any:
        if not self._raw.is_in_transaction():
            self._began = True
            await self._raw.execute("BEGIN")
        try:
            self._portal = await self._bind()
        except OUTDATED as exc:
            if self._began and not isinstance(exc, asyncpg.DataError):
                await self._raw.execute("ROLLBACK")
            if not self._connection.may_run_again(self._statement[0], exc):
                raise
            if self._began and not self._raw.is_in_transaction():
                await self._raw.execute("BEGIN")
            self._portal = await self._bind()
        return self._portal

    async def _bind(self) -> Any:
        sql, params = self._statement
        if sql in self._connection.schema.moving:
            return await (await self._raw.prepare(sql)).cursor(*params)
        return await self._raw.cursor(sql, *params)

    async def close(self) -> None:
        """Close the portal, and commit the transaction that was begun for it."""
        portal, self._portal = self._portal, None
        began, self._began = self._began, False
        if portal is not None and not began and not self._raw.is_closed() and self._raw.is_in_transaction():
            # asyncpg leaves it to the end of the transaction, which could not change the table until then.
            await portal._close_portal(None)  # noqa: SLF001
        if began and not self._raw.is_closed() and self._raw.is_in_transaction():
            await self._raw.execute("COMMIT")


_FED = 100  # rows that a batch takes at a time
_A_MOMENT = 0.05  # seconds
_STOPPED = "the statement was cancelled"


def _take_notice(task: asyncio.Task[Any]) -> None:
    _ = task.cancelled() or task.exception()  # the task that waited for it may be gone


def _affected(status: str) -> int:
    """Return the number of rows in a command tag such as ``INSERT 0 3``, or -1 where it has none."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdecimal() else -1


class AsyncpgDriver(PostgreSQLDriver):
    """Opens connections to PostgreSQL with asyncpg."""

    name: ClassVar[str] = "asyncpg"
    loop_hint: ClassVar[str] = "; the scheme psycopg:// runs on both"
    capabilities: ClassVar[Capabilities] = replace(POSTGRESQL, trio=False)
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = {**POSTGRESQL_OPTIONS, **ASYNCPG_OPTIONS}

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Keep where and how to connect.  Raises ConfigurationError for a protection that asyncpg cannot give."""
        super().__init__(address, options, connect_args)
        self._schema = Schema()
        if self._binds and super().ssl in {"allow", "disable", "prefer"}:
            message = (
                f"channel_binding='require' does not go with the ssl of {address}: leave that out, as the channel "
            )
            raise ConfigurationError(message + "is that of TLS")
        if self.options.get("gssencmode") == "require":
            message = f"asyncpg does not encrypt by GSSAPI, as gssencmode='require' of {address} wants it: "
            raise ConfigurationError(message + "use the scheme psycopg://, or ssl='verify-full'")

    @property
    def _binds(self) -> bool:
        return self.options.get("channel_binding") == "require"

    @property
    def ssl(self) -> str | SSLContext | None:
        """How to encrypt; asyncpg cannot bind channels, so the certificate has to prove which server it talks to."""
        mode = super().ssl
        return "verify-full" if self._binds and not isinstance(mode, SSLContext) else mode

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        args = {name: value for name, value in self.connect_args.items() if name != "server_settings"}
        arguments = {**self.arguments(read_only=read_only), "password": await self.password(), **args}
        raw = await asyncpg.connect(**arguments, record_class=AsyncpgRecord)
        if self.keepalive:
            self.keepalive.watch(raw._transport.get_extra_info("socket"))  # noqa: SLF001 - there is no other way
        connection = AsyncpgConnection(raw, self._schema)
        await self.style(connection)
        await read_uuids(raw)
        await read_json(raw, self.json.text, self.json.read)
        return self.guarded_against_writes(connection, connection.writes_by_default, read_only=read_only)

    def arguments(self, *, read_only: bool) -> dict[str, Any]:
        """Return the arguments to connect with, but for the password."""
        copied = ("passfile", *ASYNCPG_OPTIONS)
        arguments: dict[str, Any] = {
            "database": self.located("database"),
            "timeout": self.gives_up_after,
            "server_settings": self._all_settings(read_only=read_only),
            # asyncpg tries without encryption, too, if a word asks for it
            "ssl": self.ssl if self.ssl in {"allow", "prefer"} else self.ssl_context() or self.ssl,
            "user": self.located("user"),
            **self.place(),
            **{name: self.options.get(name) for name in copied},
        }
        if self.sessionless:
            arguments["statement_cache_size"] = 0  # the next statement may run on another connection of the server
        return {name: value for name, value in arguments.items() if value is not None}

    def _all_settings(self, *, read_only: bool) -> dict[str, str]:
        """Return the server settings with those that asyncpg has no arguments for, and those of connect_args."""
        settings = self.settings(read_only=read_only)
        if "options" in self.options:
            settings["options"] = self.options["options"]
        if "fallback_application_name" in self.options:
            settings.setdefault("application_name", self.options["fallback_application_name"])
        return {**settings, **(self.connect_args.get("server_settings") or {})}

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of asyncpg means, by its SQLSTATE where it has one."""
        if isinstance(exc, asyncpg.PostgresError):
            refused = _REFUSED.match(f"{exc.args[0]}") if exc.args else None
            if refused:
                exc.args, exc.__cause__ = (_VALUE.sub("", refused[0].replace(refused[2] or "", "", 1)),), None
            row = int(refused[3]) + 1 if refused and refused[3] else None
            found = diagnosis(getattr(exc, "sqlstate", None) or "", exc)
            vars(exc)["position"] = found.position  # asyncpg leaves the digits
            return found._replace(parameter=refused[1], row=row) if refused else found
        if isinstance(exc, TimeoutError) and exc.errno is None:
            limit = self.connect_args.get("command_timeout", self.options.get("command_timeout"))
            return Diagnosis(errors.QueryTimeout, text=limit and errors.too_slow("command_timeout", limit))
        if isinstance(exc, asyncpg.InterfaceError):
            return Diagnosis(_kind_of_interface_error(exc))
        if isinstance(exc, asyncpg.InternalClientError):
            return _of_internal_error(exc)
        return diagnose_builtin(exc)


_REFUSED = re.compile(
    r"invalid input for query argument \$(\d+)( in element #(\d+) of executemany\(\) sequence)?.*", re.DOTALL
)
# The parameter, which no message shall show: as asyncpg quotes it, and then the type's own complaint about it.
_VALUE = re.compile(r"(?<=\d|e): .*(?= \()|(?<= \()(?:.* (?=does not appear to be)|invalid UUID '.*': )", re.DOTALL)


def _of_internal_error(exc: Exception) -> Diagnosis:
    if isinstance(exc, asyncpg.OutdatedSchemaCacheError):
        return Diagnosis(DataError, text=UNREADABLE)
    # Unless it is about a type, it has lost its place in the conversation with the server.
    return Diagnosis(NotSupportedError if _ABOUT_TYPES.search(str(exc)) else ConnectionLost)


_ABOUT_TYPES = re.compile("codec|coder|type record|argument types|array|multirange|data format")


def _kind_of_interface_error(exc: Exception) -> type[errors.Error]:
    if isinstance(exc, asyncpg.exceptions.ClientConfigurationError):
        return errors.ConfigurationError
    if isinstance(exc, asyncpg.UnsupportedClientFeatureError | asyncpg.UnsupportedServerFeatureError):
        return NotSupportedError
    if "number of query arguments" in str(exc):
        return errors.ProgrammingError
    if isinstance(exc, ValueError):
        return DataError
    closed = "closed" in str(exc) or "released" in str(exc)  # asyncpg has no class of its own for it
    return ConnectionLost if closed else InterfaceError
