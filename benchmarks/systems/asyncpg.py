"""asyncpg by hand, and its pool as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from systems.base import System, plain
from workloads import ALL, COUNT, INSERT, MANY, ONE, POOL, STREAM, VALUE, WHO, keys, styled

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from systems.base import Clock

ONE = styled(ONE, "$1")
INSERT = styled(INSERT, "$1")


class Asyncpg(System):
    """Uses a connection without a pool where one is held, which is the least that asyncpg can cost."""

    async def open(self) -> None:
        login = self.address.login()
        self.connection = await asyncpg.connect(**login)
        self.pool = await asyncpg.create_pool(**login, min_size=POOL, max_size=POOL)

    async def close(self) -> None:
        await self.connection.close()
        await self.pool.close()

    def lookup(self, key: int) -> Awaitable[Any]:
        return self.pool.fetchrow(ONE, key)

    async def w1(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                value = await connection.fetchval(VALUE)
        return value

    async def w2(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for key in keys(count):
                row = await connection.fetchrow(ONE, key)
        return plain(row)

    async def w4(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                rows = await connection.fetch(ALL)
        return [len(rows), plain(rows[-1])]

    async def w5(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        transaction = connection.transaction()
        await transaction.start()
        with clock:
            for _ in range(count):
                await connection.execute(INSERT, *WHO)
        written = await connection.fetchval(COUNT)
        await transaction.rollback()
        return written

    async def w6(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        transaction = connection.transaction()
        await transaction.start()
        with clock:
            for _ in range(count):
                await connection.executemany(INSERT, MANY)
        written = await connection.fetchval(COUNT)
        await transaction.rollback()
        return written

    async def w7(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                async with connection.transaction():
                    async for row in connection.cursor(STREAM):
                        pass
        return plain(row)

    async def w9(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                async with connection.transaction():
                    await connection.execute(INSERT, *WHO)
        return await connection.fetchval(COUNT)

    async def w10(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                rows = await connection.fetch(ALL)
                for row in rows:
                    last = [row["id"], row["name"], row["score"], row["visits"], row["note"]]
        return [len(rows), last]
