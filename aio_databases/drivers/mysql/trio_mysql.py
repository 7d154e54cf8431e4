# ruff: noqa: SLF001 - a library without releases any more is repaired from outside
"""MySQL and MariaDB through trio-mysql, on trio."""

# It has no types.
# pyright: basic

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import trio
import trio_mysql
from trio_mysql import _auth

from aio_databases.drivers.mysql.connection import MySQLConnection
from aio_databases.drivers.mysql.family import MYSQL, MySQLDriver, TlsGuard
from aio_databases.errors import ConnectionLost, Diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases.drivers.base import Capabilities


class PatchedConnection(TlsGuard, trio_mysql.Connection):  # type: ignore[misc]  # it has no types
    """trio-mysql's connection, repaired: its last release is from 2021."""

    _auth_plugin_name: str
    password: bytes

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"use_unicode": True, **arguments})  # by default it cannot read a DECIMAL

    async def connect(self, sock: Any = None) -> None:
        """Open the connection; what went wrong on the way is closed."""
        if sock is None:
            if self.unix_socket:
                sock = await trio.open_unix_socket(self.unix_socket)
                self._secure = True
            else:
                sock = await trio.open_tcp_stream(self.host, self.port)
        self._sock = sock
        try:
            await super().connect(sock)
        except trio.BrokenResourceError as exc:  # it hides why no encryption could be agreed on
            raise trio_mysql.OperationalError(_CONNECTION_FAILED, str(exc.__cause__ or exc)) from exc
        finally:
            if self._closed:
                self._force_close()

    def _request_authentication(self) -> Any:
        # trio-mysql forgets to await these two.  As if it did not know them, it waits for the server to ask for them.
        if self._auth_plugin_name in {"caching_sha2_password", "sha256_password"}:
            self._auth_plugin_name = ""
        return super()._request_authentication()

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        if plugin_name != b"caching_sha2_password" or not self.password:
            return await super()._process_auth(plugin_name, auth_packet)
        # https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html
        self.salt = auth_packet.read_all()[:_SALT]
        packet = await _auth._roundtrip(self, _auth.scramble_caching_sha2(self.password, self.salt))
        packet.advance(1)
        if packet.read_uint8() == _KNOWN:
            packet = await self._read_packet()
            packet.check_error()
            return packet
        if self._secure:
            return await _auth._roundtrip(self, self.password + b"\0")
        key = self.server_public_key or (await _auth._roundtrip(self, _ASK_FOR_KEY))._data[1:]
        return await _auth._roundtrip(self, _auth.sha2_rsa_encrypt(self.password, self.salt, key))

    def _force_close(self) -> None:
        stream, self._sock, self._closed = self._sock, None, True
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if stream is not None:
            with suppress(RuntimeError):  # trio has ended, and the garbage collector will close the socket
                stream.socket.close()

    async def aclose(self) -> None:
        """Say good-bye, if that takes no longer than a second, and close the connection."""
        with trio.move_on_after(_PATIENCE, shield=True):
            try:
                if self._sock is not None:
                    await self._write_bytes(_QUIT)
            except trio_mysql.MySQLError:
                pass  # the server has gone already
        self._force_close()

    async def _write_bytes(self, data: bytes) -> None:
        try:
            await super()._write_bytes(data)
        except BaseException:
            self._force_close()  # it is unknown how much of it was sent
            raise

    async def _execute_command(self, command: int, sql: Any) -> None:
        if self._result is not None and self._result.unbuffered_active:
            await self._result._finish_unbuffered_query()
        while self._result is not None and self._result.has_next:
            await self.next_result()
        await super()._execute_command(command, sql)

    async def _read_query_result(self, unbuffered: bool = False) -> Any:  # noqa: FBT001, FBT002 - as trio-mysql has it
        count = await super()._read_query_result(unbuffered)
        setattr(self._result, "__class__", _Result)  # noqa: B010 - pyright takes it for None
        return count


class _Result(trio_mysql.connections.MySQLResult):  # type: ignore[misc]  # it has no types
    def __del__(self) -> None:
        """Do nothing: trio-mysql raises an error, in the garbage collector, if not all rows were read."""


class TrioMySQLConnection(MySQLConnection):
    """A connection of trio-mysql."""

    async def log_in(self) -> None:
        """Open trio-mysql's connection."""
        await self.raw.connect()

    @property
    def socket(self) -> Any:
        """The socket below trio's stream, which may be below one that encrypts."""
        return getattr(self.raw._sock, "transport_stream", self.raw._sock).socket

    @property
    def is_closed(self) -> bool:
        return self.raw._sock is None

    async def close(self) -> None:
        await self.raw.aclose()


_CONNECTION_FAILED = 2003
_QUIT = struct.pack("<iB", 1, 1)
_SALT = 20  # bytes, and a zero
_KNOWN = 3  # the server remembers the password; else it asks for it
_ASK_FOR_KEY = b"\2"
_PATIENCE = 1.0  # seconds


class TrioMySQLDriver(MySQLDriver):
    """Opens connections to MySQL and MariaDB with trio-mysql."""

    name: ClassVar[str] = "trio-mysql"
    capabilities: ClassVar[Capabilities] = replace(MYSQL, asyncio=False)
    loop_hint: ClassVar[str] = "; the scheme mysql:// runs on both"
    library_error: ClassVar[type[Exception]] = trio_mysql.MySQLError
    library_connection: ClassVar[Callable[..., Any]] = PatchedConnection
    connection: ClassVar[Callable[..., MySQLConnection]] = TrioMySQLConnection

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of trio-mysql means, by its number where it has one."""
        lost = isinstance(exc, trio.BrokenResourceError | trio.ClosedResourceError)
        return Diagnosis(ConnectionLost) if lost else super().diagnose(exc)
