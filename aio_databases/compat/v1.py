"""Names of aio-databases 1.x and 2.0 that the library does not use itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aio_databases.physical_connection.scopes import current_block, live_connection

if TYPE_CHECKING:
    from aio_databases.connection import Connection

__all__ = ("CurrentConnection", "current_conn")


class CurrentConnection:
    """The connection in use here, of any `Database`; 1.x had a context variable of this name."""

    def get(self, default: Connection | None = None) -> Connection | None:
        """Return the connection of the innermost block that has one, else ``default``."""
        block = current_block.get()
        while block is not None:
            connection: Connection | None = live_connection(block.owner)
            if connection is not None:
                return connection
            block = block.outer
        return default


current_conn = CurrentConnection()
