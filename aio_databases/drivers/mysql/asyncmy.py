# ruff: noqa: SLF001 - asyncmy keeps to itself what is needed to cut a connection
"""MySQL and MariaDB through asyncmy, on asyncio."""

# Its types do not cover what is used here.
# pyright: basic

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import asyncmy.connection
import asyncmy.errors

from aio_databases.concurrency.loops import InlineFuture
from aio_databases.drivers.mysql.connection import MySQLConnection
from aio_databases.drivers.mysql.family import CLOSED, MULTI_STATEMENTS, MYSQL, MySQLDriver, TlsGuard
from aio_databases.errors import ConfigurationError, ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aio_databases.config.url import Address
    from aio_databases.drivers.base import Capabilities
    from aio_databases.rows.record import Record


class _Connection(TlsGuard, asyncmy.connection.Connection):
    _client_flag: int
    _transport: Any

    def __init__(self, *, client_flag: int = 0, **arguments: Any) -> None:
        super().__init__(client_flag=client_flag, **arguments)  # type: ignore[no-untyped-call]
        self._client_flag &= client_flag | ~MULTI_STATEMENTS

    def _request_authentication(self) -> Any:
        # Else asyncmy takes a row that begins with a value of 16 MiB or more for the end of the rows.
        self.server_capabilities &= ~_DEPRECATE_EOF
        return super()._request_authentication()

    def forget_tls(self) -> None:
        """Do not insist on encryption: asyncmy does not ask whether the server has it."""
        self._ssl_context = None
        self._client_flag &= ~_TLS

    def close(self) -> None:
        """Cut the connection: a server that does not read would never let it be closed."""
        if self._transport is not None:
            with suppress(RuntimeError):  # its event loop is closed, and the socket with it
                self._transport.abort()
        super().close()


class _Portions(asyncmy.connection._MySQLProtocol):  # type: ignore[name-defined, misc]  # its types leave it out
    """Takes no more at a time than a portion: uvloop reads 32 times before the reader can make it wait."""

    def get_buffer(self, sizehint: int) -> memoryview:
        buffer: memoryview = super().get_buffer(sizehint)
        return buffer[:_PORTION]


class AsyncmyConnection(MySQLConnection):
    """A connection of asyncmy."""

    @property
    def cancels_no_task(self) -> bool:  # type: ignore[override]  # elsewhere it is known beforehand
        """Whether `commit` and `rollback` leave their task alone; for a time limit on reading asyncmy cancels it."""
        return bool(self.raw._read_timeout is None)

    async def log_in(self) -> None:
        """Open asyncmy's connection."""
        await self.raw.connect()
        protocol = self.raw._proto
        if isinstance(protocol._loop, asyncio.BaseEventLoop):  # which uvloop is not, and needs no help
            # All that asyncmy wants of its event loop from now on is futures, for what comes from the server.
            protocol._loop = SimpleNamespace(create_future=partial(InlineFuture, loop=protocol._loop))
        else:
            protocol.__class__ = _Portions
            self.raw._transport.set_protocol(protocol)  # uvloop has kept the method that is another one now

    @property
    def socket(self) -> Any:
        """The socket below asyncmy's transport."""
        return self.raw._transport.get_extra_info("socket")

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed, by us or by the server; asyncmy's own ``connected`` notices little."""
        return bool(not self.raw._connected or self.raw._stream_broken)

    async def fetch_records(self, sql: bytes, limit: int | None) -> list[Record]:
        """Run a statement and return its first rows, which become records while the server still sends the next."""
        raw, most = self.raw, sys.maxsize if limit is None else limit
        await raw.query(sql, True)  # noqa: FBT003 - asyncmy does not read the rows by itself
        result = raw._result
        if not result.unbuffered_active:
            result = await self.skip_results(result)
            return (await self.records(result, result.rows, sql))[:limit]
        plain = self.driver.json_columns.plain(result)
        record: Any = plain or tuple  # JSON is read last: it may fail, or has to be looked up by this connection
        rows: list[Any] = []
        while len(rows) < most and (row := await result._read_rowdata_packet_unbuffered()) is not None:
            rows.append(record(row))
            rows.extend(map(record, result._take_pending_rows(most - len(rows))))
        if result.unbuffered_active:
            await result._finish_unbuffered_query()
        if result.has_next:
            await self.skip_results(result)
        return rows if plain else await self.records(result, rows, sql)

    async def read_rows(self, result: Any, size: int | None) -> list[tuple[Any, ...]]:
        """Return the next ``size`` rows of a result that is not buffered, or all that are left.

        Until it is called again nothing is taken from the network: asyncmy by itself would fill the memory with what
        a slow reader has not asked for.
        """
        rows: list[tuple[Any, ...]] = result._take_pending_rows(size)
        transport = self.raw._transport
        if transport is None:
            raise ConnectionLost(CLOSED)
        if len(rows) != size:
            transport.resume_reading()
        while size is None or len(rows) < size:
            row = await result._read_rowdata_packet_unbuffered()
            if row is None:
                break
            rows.append(row)
            rows += result._take_pending_rows(None if size is None else size - len(rows))
        if result.unbuffered_active:
            transport.pause_reading()
        return rows


class AsyncmyDriver(MySQLDriver):
    """Opens connections to MySQL and MariaDB with asyncmy."""

    name: ClassVar[str] = "asyncmy"
    capabilities: ClassVar[Capabilities] = replace(MYSQL, trio=False)
    loop_hint: ClassVar[str] = "; the scheme mysql:// runs on both"
    library_error: ClassVar[type[Exception]] = asyncmy.errors.MySQLError
    library_connection: ClassVar[Callable[..., Any]] = _Connection
    connection: ClassVar[Callable[..., MySQLConnection]] = AsyncmyConnection

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Keep where and how to connect.  Raises ConfigurationError for what asyncmy cannot do."""
        super().__init__(address, options, connect_args)
        if connect_args.get("local_infile"):
            message = f"asyncmy fails to send local files, which 'local_infile' is for: use pymysql:// for {address}"
            raise ConfigurationError(message)


_PORTION = 1 << 18  # bytes
_TLS = 1 << 11  # the flag for it
_DEPRECATE_EOF = 1 << 24
