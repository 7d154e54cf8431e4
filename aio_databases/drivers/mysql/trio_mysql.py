"""MySQL and MariaDB through trio-mysql, on trio."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import trio
import trio_mysql

from aio_databases.drivers.mysql.family import MYSQL, MySQLDriver
from aio_databases.drivers.mysql.trio_mysql_connection import RepairedConnection, TrioMySQLConnection
from aio_databases.errors import ConnectionLost, Diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases.drivers.base import Capabilities
    from aio_databases.drivers.mysql.connection import MySQLConnection

__all__ = ("TrioMySQLDriver",)


class TrioMySQLDriver(MySQLDriver):
    """Opens connections to MySQL and MariaDB with trio-mysql."""

    name: ClassVar[str] = "trio-mysql"
    capabilities: ClassVar[Capabilities] = replace(MYSQL, asyncio=False)
    loop_hint: ClassVar[str] = "; the scheme mysql:// runs on both"
    library_error: ClassVar[type[Exception]] = trio_mysql.MySQLError
    library_connection: ClassVar[Callable[..., Any]] = RepairedConnection
    connection: ClassVar[Callable[..., MySQLConnection]] = TrioMySQLConnection

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of trio-mysql means, by its number where it has one."""
        lost = isinstance(exc, trio.BrokenResourceError | trio.ClosedResourceError)
        return Diagnosis(ConnectionLost) if lost else super().diagnose(exc)
