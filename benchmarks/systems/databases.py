"""The library databases."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from databases import Database
from systems.base import System
from workloads import ALL, COUNT, INSERT, MANY, ONE, POOL, STREAM, VALUE, WHO, keys, styled

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from systems.base import Clock

ONE = styled(ONE, ":p1")
INSERT = styled(INSERT, ":p1")


def named(*values: Any) -> dict[str, Any]:
    """Return parameters with the names that `styled` gives them."""
    return {f"p{number}": value for number, value in enumerate(values, 1)}


ROW = named(*WHO)
ROWS = [named(*row) for row in MANY]


class Databases(System):
    """Uses a `Database`, which has a connection of its own for each task."""

    def database(self) -> Database:
        raise NotImplementedError

    async def open(self) -> None:
        self.db = self.database()
        await self.db.connect()

    async def close(self) -> None:
        await self.db.disconnect()

    def plain(self, row: Any) -> list[Any]:
        return list(row._mapping.values())  # noqa: SLF001 - what its documentation names

    def lookup(self, key: int) -> Awaitable[Any]:
        return self.db.fetch_one(ONE, {"p1": key})

    async def w1(self, clock: Clock, count: int) -> Any:
        db = self.db
        async with db.connection():
            with clock:
                for _ in range(count):
                    value = await db.fetch_val(VALUE)
        return value

    async def w2(self, clock: Clock, count: int) -> Any:
        db = self.db
        async with db.connection():
            with clock:
                for key in keys(count):
                    row = await db.fetch_one(ONE, {"p1": key})
        return self.plain(row)

    async def w4(self, clock: Clock, count: int) -> Any:
        db = self.db
        async with db.connection():
            with clock:
                for _ in range(count):
                    rows = await db.fetch_all(ALL)
        return [len(rows), self.plain(rows[-1])]

    async def w5(self, clock: Clock, count: int) -> Any:
        db = self.db
        async with db.connection():
            transaction = await db.transaction()
            with clock:
                for _ in range(count):
                    await db.execute(INSERT, ROW)
            written = await db.fetch_val(COUNT)
            await transaction.rollback()
        return written

    async def w6(self, clock: Clock, count: int) -> Any:
        db = self.db
        async with db.connection():
            transaction = await db.transaction()
            with clock:
                for _ in range(count):
                    await db.execute_many(INSERT, ROWS)
            written = await db.fetch_val(COUNT)
            await transaction.rollback()
        return written

    async def w7(self, clock: Clock, count: int) -> Any:
        db = self.db
        with clock:
            for _ in range(count):
                async with db.transaction():
                    async for row in db.iterate(STREAM):
                        pass
        return self.plain(row)

    async def w9(self, clock: Clock, count: int) -> Any:
        db = self.db
        async with db.connection():
            with clock:
                for _ in range(count):
                    async with db.transaction():
                        await db.execute(INSERT, ROW)
            return await db.fetch_val(COUNT)

    async def w10(self, clock: Clock, count: int) -> Any:
        db = self.db
        async with db.connection():
            with clock:
                for _ in range(count):
                    rows = await db.fetch_all(ALL)
                    for row in rows:
                        last = [row["id"], row["name"], row["score"], row["visits"], row["note"]]
        return [len(rows), last]


class Tuned(sqlite3.Connection):
    """Is set up as ours are, for a library that opens a connection for each query and has no options for it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.execute("pragma synchronous = normal")


class OnAiosqlite(Databases):
    def database(self) -> Database:
        return Database(self.address.url("sqlite"), factory=Tuned)


class OnAsyncpg(Databases):
    def database(self) -> Database:
        socket = {"host": self.address.socket} if self.address.socket else {}
        return Database(self.address.url("postgresql"), min_size=POOL, max_size=POOL, **socket)


class OnAsyncmy(Databases):
    def database(self) -> Database:
        socket = {"unix_socket": self.address.socket} if self.address.socket else {}
        return Database(self.address.url("mysql+asyncmy"), min_size=POOL, max_size=POOL, **socket)
