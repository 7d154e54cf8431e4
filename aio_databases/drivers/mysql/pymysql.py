"""MySQL and MariaDB through PyMySQL, in one worker thread per connection, on asyncio and trio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pymysql

from aio_databases.drivers.mysql.family import MySQLDriver
from aio_databases.drivers.mysql.pymysql_connection import LibraryConnection, PyMySQLConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases.drivers.base import DriverConnection

__all__ = ("PyMySQLDriver",)


class PyMySQLDriver(MySQLDriver):
    """Opens connections to MySQL and MariaDB with PyMySQL."""

    name: ClassVar[str] = "pymysql"
    library_error: ClassVar[type[Exception]] = pymysql.err.MySQLError
    library_connection: ClassVar[Callable[..., Any]] = partial(LibraryConnection, defer_connect=True)

    async def arguments(self) -> dict[str, Any]:
        """Return the arguments for PyMySQL's connection, which from 1.2 on would encrypt without being asked to."""
        arguments = await super().arguments()
        asked = any(name.startswith("ssl") for name in arguments)
        return arguments if asked else {**arguments, "ssl_disabled": True}

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the server refuses writes on it."""
        connection = PyMySQLConnection(self, await self.guarded(), read_only=read_only)
        await connection.open(connection.log_in)
        return connection
