"""How a system is asked for any number of rows: this library, and each driver by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from systems import OURS

if TYPE_CHECKING:
    from collections.abc import Callable

    from systems.base import System


class Way:
    """What is measured of a system; ``style`` is how it writes a placeholder."""

    style: ClassVar[str]

    def __init__(self, system: Any) -> None:
        self.system = system
        self.lookup = system.lookup

    async def fetchall(self, sql: str) -> Any:
        """Return all rows."""
        raise NotImplementedError

    async def iterate(self, sql: str) -> int:
        """Read row by row, and return how many there were."""
        raise NotImplementedError

    async def fetchone(self, sql: str, key: int) -> Any:
        """Return one row, on one connection."""
        raise NotImplementedError


class Ours(Way):
    """The verbs of a `Database`, each of which leases a connection."""

    style = "?"

    async def fetchall(self, sql: str) -> Any:
        return await self.system.db.fetchall(sql)

    async def iterate(self, sql: str) -> int:
        count = 0
        async for _ in self.system.db.iterate(sql):
            count += 1
        return count

    async def fetchone(self, sql: str, key: int) -> Any:
        return await self.system.db.fetchone(sql, key)


class Aiosqlite(Way):
    style = "?"

    async def fetchall(self, sql: str) -> Any:
        return await self.system.connection.execute_fetchall(sql)

    async def iterate(self, sql: str) -> int:
        count = 0
        async with self.system.connection.execute(sql) as cursor:
            async for _ in cursor:
                count += 1
        return count

    async def fetchone(self, sql: str, key: int) -> Any:
        (row,) = await self.system.connection.execute_fetchall(sql, (key,))
        return row


class Asyncpg(Way):
    style = "$1"

    async def fetchall(self, sql: str) -> Any:
        return await self.system.connection.fetch(sql)

    async def iterate(self, sql: str) -> int:
        count = 0
        async with self.system.connection.transaction():
            async for _ in self.system.connection.cursor(sql):
                count += 1
        return count

    async def fetchone(self, sql: str, key: int) -> Any:
        return await self.system.connection.fetchrow(sql, key)


class Asyncmy(Way):
    style = "%s"

    async def fetchall(self, sql: str) -> Any:
        async with self.system.connection.cursor() as cursor:
            await cursor.execute(sql)
            return await cursor.fetchall()

    async def iterate(self, sql: str) -> int:
        from asyncmy.cursors import SSCursor  # noqa: PLC0415 - where it is measured, it is installed

        count = 0
        async with self.system.connection.cursor(SSCursor) as cursor:
            await cursor.execute(sql)
            while await cursor.fetchone() is not None:
                count += 1
        return count

    async def fetchone(self, sql: str, key: int) -> Any:
        async with self.system.connection.cursor() as cursor:
            await cursor.execute(sql, (key,))
            return await cursor.fetchone()


WAYS: dict[str, Callable[[System], Way]] = {
    OURS: Ours,
    "sqlite": Aiosqlite,
    "postgresql": Asyncpg,
    "mysql": Asyncmy,
}
"""For this library, and for the driver of each database."""
