"""aiosqlite by hand: step by step, each of which is a trip to its thread, and by its calls that take one trip."""

from __future__ import annotations

import sqlite3
from asyncio import Queue
from typing import TYPE_CHECKING, Any

import aiosqlite

from systems.base import System, plain
from workloads import ALL, COUNT, INSERT, MANY, ONE, POOL, STREAM, VALUE, WHO, keys

if TYPE_CHECKING:
    from systems.base import Clock


class Aiosqlite(System):
    """Lends its connections from a queue, as aiosqlite has no pool."""

    async def open(self) -> None:
        self.connection = await self.connect()
        self.named = await self.connect()
        self.named.row_factory = sqlite3.Row
        self.queue: Queue[aiosqlite.Connection] = Queue()
        for _ in range(POOL):
            self.queue.put_nowait(await self.connect())

    async def connect(self) -> aiosqlite.Connection:
        """Open a connection without Python's own transactions, set up as ours are."""
        connection = await aiosqlite.connect(self.address.database, isolation_level=None)
        await connection.executescript(
            "pragma journal_mode = wal; pragma synchronous = normal; pragma foreign_keys = on"
        )
        return connection

    async def close(self) -> None:
        for connection in (self.connection, self.named, *(self.queue.get_nowait() for _ in range(POOL))):
            await connection.close()

    async def count(self) -> Any:
        ((number,),) = await self.connection.execute_fetchall(COUNT)
        return number

    async def w6(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        await connection.execute("begin")
        with clock:
            for _ in range(count):
                await connection.executemany(INSERT, MANY)
        written = await self.count()
        await connection.rollback()
        return written

    async def w7(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                async with connection.execute(STREAM) as cursor:
                    async for row in cursor:
                        pass
        return plain(row)


class Naive(Aiosqlite):
    """Executes, fetches and closes, one after the other."""

    async def lookup(self, key: int) -> Any:
        connection = await self.queue.get()
        try:
            async with connection.execute(ONE, (key,)) as cursor:
                return await cursor.fetchone()
        finally:
            self.queue.put_nowait(connection)

    async def w1(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                async with connection.execute(VALUE) as cursor:
                    (value,) = await cursor.fetchone() or ()
        return value

    async def w2(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for key in keys(count):
                async with connection.execute(ONE, (key,)) as cursor:
                    row = await cursor.fetchone()
        return plain(row)

    async def w3(self, clock: Clock, count: int) -> Any:
        return await self.w2(clock, count)

    async def w4(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                async with connection.execute(ALL) as cursor:
                    rows: Any = await cursor.fetchall()
        return [len(rows), plain(rows[-1])]

    async def w5(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        await connection.execute("begin")
        with clock:
            for _ in range(count):
                async with connection.execute(INSERT, WHO):
                    pass
        written = await self.count()
        await connection.rollback()
        return written

    async def w9(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                await connection.execute("begin")
                async with connection.execute(INSERT, WHO):
                    pass
                await connection.commit()
        return await self.count()

    async def w10(self, clock: Clock, count: int) -> Any:
        connection = self.named
        with clock:
            for _ in range(count):
                async with connection.execute(ALL) as cursor:
                    rows: Any = await cursor.fetchall()
                for row in rows:
                    last = [row["id"], row["name"], row["score"], row["visits"], row["note"]]
        return [len(rows), last]


class OneHop(Aiosqlite):
    """Executes and fetches in one trip to the thread."""

    async def lookup(self, key: int) -> Any:
        connection = await self.queue.get()
        try:
            (row,) = await connection.execute_fetchall(ONE, (key,))
            return row
        finally:
            self.queue.put_nowait(connection)

    async def w1(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                ((value,),) = await connection.execute_fetchall(VALUE)
        return value

    async def w2(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for key in keys(count):
                (row,) = await connection.execute_fetchall(ONE, (key,))
        return plain(row)

    async def w4(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                rows: Any = await connection.execute_fetchall(ALL)
        return [len(rows), plain(rows[-1])]

    async def w5(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        await connection.execute("begin")
        with clock:
            for _ in range(count):
                await connection.execute(INSERT, WHO)
        written = await self.count()
        await connection.rollback()
        return written

    async def w9(self, clock: Clock, count: int) -> Any:
        connection = self.connection
        with clock:
            for _ in range(count):
                await connection.execute("begin")
                await connection.execute(INSERT, WHO)
                await connection.commit()
        return await self.count()

    async def w10(self, clock: Clock, count: int) -> Any:
        connection = self.named
        with clock:
            for _ in range(count):
                rows: Any = await connection.execute_fetchall(ALL)
                for row in rows:
                    last = [row["id"], row["name"], row["score"], row["visits"], row["note"]]
        return [len(rows), last]
