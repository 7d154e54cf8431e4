# ruff: noqa: SLF001 - aiomysql keeps to itself what is needed to cut a connection
"""MySQL and MariaDB through aiomysql, on asyncio."""

# It has no types.
# pyright: basic

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import aiomysql

from aio_databases.drivers.mysql.connection import MySQLConnection
from aio_databases.drivers.mysql.family import MULTI_STATEMENTS, MYSQL, MySQLDriver, TlsGuard

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases.drivers.base import Capabilities


class _Connection(TlsGuard, aiomysql.Connection):  # type: ignore[misc]  # it has no types
    _reader: Any

    def __init__(self, *, client_flag: int = 0, **arguments: Any) -> None:
        super().__init__(client_flag=client_flag, **arguments)
        self.client_flag &= client_flag | ~MULTI_STATEMENTS

    def close(self) -> None:
        """Cut the connection: a server that does not read would never let it be closed."""
        reader = self._reader
        if self._writer is not None:
            with suppress(RuntimeError):  # its event loop is closed, and the socket with it
                self._writer.transport.abort()
        super().close()
        self._reader = reader  # or a task that reads on would miss it, instead of the end of the link

    def __del__(self) -> None:
        """Do nothing: asyncio warns of a transport that was not closed, and closes it without an event loop, too."""


class AiomysqlConnection(MySQLConnection):
    """A connection of aiomysql."""

    async def log_in(self) -> None:
        """Open aiomysql's connection."""
        try:
            await self.raw._connect()
        except aiomysql.OperationalError as exc:
            if exc.__cause__ is not None:  # aiomysql does not say why there is no connection
                raise aiomysql.OperationalError(exc.args[0], f"{exc.args[1]} ({exc.__cause__})") from exc.__cause__
            raise

    @property
    def socket(self) -> Any:
        """The socket below aiomysql's transport."""
        return self.raw._writer.get_extra_info("socket")

    @property
    def is_closed(self) -> bool:
        return bool(self.raw.closed or self.raw._reader.eof_received)


class AiomysqlDriver(MySQLDriver):
    """Opens connections to MySQL and MariaDB with aiomysql."""

    name: ClassVar[str] = "aiomysql"
    capabilities: ClassVar[Capabilities] = replace(MYSQL, trio=False)
    loop_hint: ClassVar[str] = "; the scheme mysql:// runs on both"
    library_error: ClassVar[type[Exception]] = aiomysql.MySQLError
    library_connection: ClassVar[Callable[..., Any]] = _Connection
    connection: ClassVar[Callable[..., MySQLConnection]] = AiomysqlConnection
    database_argument: ClassVar[str] = "db"
