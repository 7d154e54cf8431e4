"""One physical connection, and what is known of its state between two users."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from aio_databases.turns import Turns

if TYPE_CHECKING:
    from aio_databases.drivers.base import Cursor, DriverConnection

__all__ = ("Physical",)


class Physical:
    """One physical connection and what the pool knows of it."""

    __slots__ = ("abandoned", "cursors", "driver", "expires", "in_doubt", "leases", "session_changed", "turns", "used")

    def __init__(self, driver: DriverConnection, expires: float) -> None:
        self.driver = driver
        self.expires = expires
        self.used = monotonic()
        self.renew()

    def renew(self) -> None:
        """Start with a clean slate, for the next user."""
        self.turns = Turns()
        self.leases = 0
        self.session_changed = False
        self.in_doubt = False
        self.cursors: set[Cursor] = set()
        self.abandoned: list[Cursor] = []

    async def settle(self) -> bool:
        """Clear up what a cancelled verb and abandoned streams left, and return whether the connection is usable."""
        if self.in_doubt:
            if not await self.driver.settle():
                return False
            if self.driver.in_transaction and not self.turns.stack:
                await self.driver.rollback()  # its BEGIN was cancelled, too late
            self.in_doubt = False
        while self.abandoned:
            await self.close_cursor(self.abandoned.pop())
        return not self.driver.is_closed

    async def close_cursor(self, cursor: Cursor) -> None:
        """Close a cursor."""
        self.cursors.discard(cursor)
        await cursor.close()

    @property
    def is_clean(self) -> bool:
        """Whether the next user may get the connection as it is."""
        turns = self.turns
        return not (
            self.session_changed
            or self.in_doubt
            or self.cursors
            or turns.busy
            or turns.stack
            or self.driver.is_closed
            or self.driver.in_transaction
        )
