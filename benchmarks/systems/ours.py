"""This library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from aio_databases import Database
from systems.base import System, plain
from workloads import ALL, COUNT, INSERT, MANY, ONE, POOL, STREAM, VALUE, WHO, keys

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from systems.base import Clock


class Ours(System):
    """Uses the verbs of a `Database`, in blocks where a connection is held."""

    scheme: ClassVar[str]
    socket: ClassVar[str] = "host"
    one: ClassVar[str] = ONE
    insert: ClassVar[str] = INSERT

    async def open(self) -> None:
        socket = {self.socket: self.address.socket} if self.address.socket else {}
        self.db = Database(self.address.url(self.scheme, **socket), min_size=POOL, max_size=POOL)
        await self.db.connect()

    async def close(self) -> None:
        await self.db.disconnect()

    def lookup(self, key: int) -> Awaitable[Any]:
        return self.db.fetchone(self.one, key)

    async def w1(self, clock: Clock, count: int) -> Any:
        db = self.db
        async with db.connection():
            with clock:
                for _ in range(count):
                    value = await db.fetchval(VALUE)
        return value

    async def w2(self, clock: Clock, count: int) -> Any:
        db, one = self.db, self.one
        async with db.connection():
            with clock:
                for key in keys(count):
                    row = await db.fetchone(one, key)
        return plain(row)

    async def w4(self, clock: Clock, count: int) -> Any:
        db = self.db
        async with db.connection():
            with clock:
                for _ in range(count):
                    rows = await db.fetchall(ALL)
        return [len(rows), plain(rows[-1])]

    async def w5(self, clock: Clock, count: int) -> Any:
        db, insert = self.db, self.insert
        async with db.transaction() as transaction:
            with clock:
                for _ in range(count):
                    await db.execute(insert, *WHO)
            written = await db.fetchval(COUNT)
            await transaction.rollback()
        return written

    async def w6(self, clock: Clock, count: int) -> Any:
        db, insert = self.db, self.insert
        async with db.transaction() as transaction:
            with clock:
                for _ in range(count):
                    await db.executemany(insert, MANY)
            written = await db.fetchval(COUNT)
            await transaction.rollback()
        return written

    async def w7(self, clock: Clock, count: int) -> Any:
        db = self.db
        with clock:
            for _ in range(count):
                async for row in db.iterate(STREAM):
                    pass
        return plain(row)

    async def w9(self, clock: Clock, count: int) -> Any:
        db, insert = self.db, self.insert
        async with db.connection():
            with clock:
                for _ in range(count):
                    async with db.transaction():
                        await db.execute(insert, *WHO)
            return await db.fetchval(COUNT)

    async def w10(self, clock: Clock, count: int) -> Any:
        db = self.db
        async with db.connection():
            with clock:
                for _ in range(count):
                    rows = await db.fetchall(ALL)
                    for row in rows:
                        last = [row["id"], row["name"], row["score"], row["visits"], row["note"]]
        return [len(rows), last]


class SQLite(Ours):
    scheme = "sqlite"


class OnAsyncpg(Ours):
    scheme = "asyncpg"


class OnPsycopg(Ours):
    scheme = "psycopg"


class OnAsyncmy(Ours):
    scheme = "asyncmy"
    socket = "unix_socket"


class OnAiomysql(Ours):
    scheme = "aiomysql"
    socket = "unix_socket"
