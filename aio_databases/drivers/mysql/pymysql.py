# ruff: noqa: SLF001 - PyMySQL keeps to itself what is needed to cut a connection
"""MySQL and MariaDB through PyMySQL, in one worker thread per connection, on asyncio and trio."""

# It has no types.
# pyright: basic

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pymysql

from aio_databases.drivers.mysql.connection import MySQLConnection, MySQLCursor, counts_rows
from aio_databases.drivers.mysql.family import MySQLDriver, TlsGuard
from aio_databases.drivers.thread import CLOSED, ThreadConnection
from aio_databases.errors import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from aio_databases.drivers.base import Cursor, DriverConnection, TransactionOptions
    from aio_databases.rows.record import Record, Result

T = TypeVar("T")


class InterruptibleConnection(TlsGuard, pymysql.Connection):  # type: ignore[misc]  # it has no types
    """PyMySQL's connection, which can be cut while a thread waits for it."""

    is_cut = False
    _result: Any
    _sock: Any

    def connect(self, sock: Any = None) -> None:
        """Open the connection."""
        if self.unix_socket:  # PyMySQL would not close a socket on which no server listens
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(self.connect_timeout)
            try:
                sock.connect(self.unix_socket)
            except OSError:
                sock.close()
                raise
            sock.settimeout(None)
            self._secure = True
        super().connect(sock)

    def _get_server_information(self) -> None:
        if self.is_cut:
            raise ConnectionLost(CLOSED)
        super()._get_server_information()  # pyright: ignore[reportAttributeAccessIssue]

    def forget_tls(self) -> None:
        """Do not insist on encryption, as PyMySQL does from 1.2 on."""
        self.ssl = False

    def _read_query_result(self, unbuffered: bool = False) -> Any:  # noqa: FBT001, FBT002 - as PyMySQL has it
        count = super()._read_query_result(unbuffered)  # pyright: ignore[reportAttributeAccessIssue]
        if unbuffered:
            self._result.__class__ = _Result
        return count

    def cut(self) -> None:
        """Wake the thread that waits for the server, even if it has to connect first."""
        self.is_cut = True
        if self._sock is not None:
            with suppress(OSError):  # it is closed already
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


class _Result(pymysql.connections.MySQLResult):  # type: ignore[misc]  # it has no types
    def __del__(self) -> None:
        """Do nothing: PyMySQL would read the rest of the rows, in the garbage collector."""


class _Link:
    """A PyMySQL connection whose methods are awaited, as those of its asynchronous relatives."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._raw, name)
        return partial(_call, attribute) if callable(attribute) else attribute


async def _call(function: Callable[..., T], *args: Any) -> T:
    return function(*args)


def _drive(function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Run a coroutine function that never has to wait, as nothing in it is really asynchronous."""
    try:
        function(*args).send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    message = "a call of the worker thread waits for the event loop"
    raise RuntimeError(message)


class _Session(MySQLConnection):
    """The verbs, which are driven in the thread."""

    def __init__(self, driver: MySQLDriver, raw: Any, *, read_only: bool) -> None:
        super().__init__(driver, raw, _Link(raw), read_only=read_only)

    async def log_in(self) -> None:
        self.raw.connect()

    @property
    def socket(self) -> Any:
        return self.raw._sock

    @property
    def is_closed(self) -> bool:
        return not self.raw.open

    async def read_rows(self, result: Any, size: int | None) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        while size is None or len(rows) < size:
            row = result._read_rowdata_packet_unbuffered()
            if row is None:
                break
            rows.append(row)
        return rows

    def terminate(self) -> None:
        self.raw._force_close()


class _Cursor(MySQLCursor):
    """Reads rows in the thread."""

    def __init__(self, connection: PyMySQLConnection, sql: str, params: Any) -> None:
        super().__init__(connection.session, sql, params)
        self._thread = connection

    async def fetch_rows(self, size: int) -> list[tuple[Any, ...]]:
        return await self._thread.run(_drive, super().fetch_rows, size)

    async def skip(self, limit: int | None) -> bool:
        return await self._thread.run(_drive, super().skip, limit)


class PyMySQLConnection(ThreadConnection):
    """A connection of PyMySQL in a thread of its own."""

    def __init__(self, driver: MySQLDriver, raw: Any, *, read_only: bool) -> None:
        """Start the thread."""
        self.session = _Session(driver, raw, read_only=read_only)
        super().__init__()

    @property
    def server(self) -> Any:
        """Which server it is, as far as it is known."""
        return self.session.server

    @property
    def is_closed(self) -> bool:
        return self._closed or (self.db is not None and self.session.is_closed)

    @property
    def in_transaction(self) -> bool:
        return not self._closed and self.session.in_transaction

    def has_hung_up(self) -> bool:
        return self._closed or self.session.has_hung_up()

    async def fetch(self, sql: str, params: Any, limit: int | None, /) -> list[Record]:
        if counts_rows(sql):  # a cursor looks up beside the connection which columns are JSON
            return (await self.cursor(sql, params).fetch(sys.maxsize))[:limit]
        return await super().fetch(sql, params, limit)

    def cursor(self, sql: str, params: Any, /) -> Cursor:
        """Return a cursor that has the connection to itself; for anything else the rest of its rows is read before."""
        return _Cursor(self, sql, params)

    async def begin(self, options: TransactionOptions) -> None:
        """Begin a transaction; on a read-only connection none can write."""
        await self.run(_drive, self.session.begin, options)

    async def commit(self) -> None:
        await self.session.leave_stream()
        await super().commit()

    async def rollback(self) -> None:
        await self.session.leave_stream()
        await super().rollback()

    async def ping(self) -> None:
        await self.run(_drive, self.session.ping)

    async def reset(self) -> bool:
        return await self.run(_drive, self.session.reset)

    async def settle(self) -> bool:
        """Take a cancelled call back, or else stop it on the server and cut the connection."""
        call = self._call
        if call is None or self.withdraw() or call.done:
            self._call = None
            return not self.is_closed
        self.terminate()
        await self.session.driver.kill(f"{self.raw.thread_id()}", self.server)
        return False

    def interrupt(self) -> None:
        """Do nothing: a statement is stopped by the server, or by cutting the connection."""

    def cut(self) -> None:
        """Wake the thread, if it waits for the server."""
        self.session.raw.cut()

    def log_in(self) -> Any:
        """Open PyMySQL's connection and begin the session; part of a call."""
        _drive(self.session.open)
        return self.session.raw

    def _execute(self, sql: str, params: Any) -> Result:
        return _drive(self.session.execute, sql, params)

    def _executemany(self, sql: str, rows: Sequence[Any]) -> Result:
        return _drive(self.session.executemany, sql, rows)

    def _fetch(self, sql: str, params: Any, limit: int | None) -> list[Record]:
        return _drive(self.session.fetch, sql, params, limit)

    def _close(self) -> None:
        if self.session.raw.open:
            self.session.raw.close()


class PyMySQLDriver(MySQLDriver):
    """Opens connections to MySQL and MariaDB with PyMySQL."""

    name: ClassVar[str] = "pymysql"
    library_error: ClassVar[type[Exception]] = pymysql.err.MySQLError
    library_connection: ClassVar[Callable[..., Any]] = partial(InterruptibleConnection, defer_connect=True)

    async def arguments(self) -> dict[str, Any]:
        """Return the arguments for PyMySQL's connection, which from 1.2 on would encrypt without being asked to."""
        arguments = await super().arguments()
        asked = any(name.startswith("ssl") for name in arguments)
        return arguments if asked else {**arguments, "ssl_disabled": True}

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        connection = PyMySQLConnection(self, await self.guarded(), read_only=read_only)
        await connection.open(connection.log_in)
        return connection
