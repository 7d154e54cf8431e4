"""asyncmy by hand, and its pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncmy
from asyncmy.cursors import DictCursor, SSCursor

from systems.base import System, plain
from workloads import ALL, COUNT, INSERT, MANY, ONE, POOL, STREAM, VALUE, WHO, keys, styled

if TYPE_CHECKING:
    from systems.base import Clock

ONE = styled(ONE, "%s")
INSERT = styled(INSERT, "%s")


class Asyncmy(System):
    """Opens a cursor per statement, as there is no way around one."""

    async def open(self) -> None:
        login = self.address.login(database="db", socket="unix_socket")
        self.connection = await asyncmy.connect(**login, autocommit=True)
        self.pool = await asyncmy.create_pool(**login, autocommit=True, minsize=POOL, maxsize=POOL)

    async def close(self) -> None:
        await self.connection.ensure_closed()
        self.pool.close()
        await self.pool.wait_closed()

    async def lookup(self, key: int) -> Any:
        async with self.pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(ONE, (key,))
            return await cursor.fetchone()

    async def count(self) -> int:
        async with self.connection.cursor() as cursor:
            await cursor.execute(COUNT)
            (number,) = await cursor.fetchone()
        return int(number)

    async def w1(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                async with connection.cursor() as cursor:
                    await cursor.execute(VALUE)
                    (value,) = await cursor.fetchone()
        return value

    async def w2(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for key in keys(count):
                async with connection.cursor() as cursor:
                    await cursor.execute(ONE, (key,))
                    row = await cursor.fetchone()
        return plain(row)

    async def w4(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                async with connection.cursor() as cursor:
                    await cursor.execute(ALL)
                    rows = await cursor.fetchall()
        return [len(rows), plain(rows[-1])]

    async def w5(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        await connection.begin()
        with clock:
            for _ in range(count):
                async with connection.cursor() as cursor:
                    await cursor.execute(INSERT, WHO)
        written = await self.count()
        await connection.rollback()
        return written

    async def w6(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        await connection.begin()
        with clock:
            for _ in range(count):
                async with connection.cursor() as cursor:
                    await cursor.executemany(INSERT, MANY)
        written = await self.count()
        await connection.rollback()
        return written

    async def w7(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                async with connection.cursor(SSCursor) as cursor:
                    await cursor.execute(STREAM)
                    while (row := await cursor.fetchone()) is not None:
                        last = row
        return plain(last)

    async def w9(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                await connection.begin()
                async with connection.cursor() as cursor:
                    await cursor.execute(INSERT, WHO)
                await connection.commit()
        return await self.count()

    async def w10(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                async with connection.cursor(DictCursor) as cursor:
                    await cursor.execute(ALL)
                    rows = await cursor.fetchall()
                for row in rows:
                    last = [row["id"], row["name"], row["score"], row["visits"], row["note"]]
        return [len(rows), last]
