"""The release 2.0 of this library.  It has the same import name, so it is run by a Python of its own."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from aio_databases import Database
from systems.ours import Ours
from workloads import COUNT, INSERT, MANY, ONE, POOL, styled

if TYPE_CHECKING:
    from systems.base import Clock


class Predecessor(Ours):
    """Has the same verbs, and placeholders of the driver."""

    def database(self) -> Database:
        raise NotImplementedError

    async def open(self) -> None:
        self.db = self.database()
        await self.db.connect()

    async def w6(self, clock: Clock, count: int) -> Any:
        db, insert = self.db, self.insert
        async with db.transaction() as transaction:
            with clock:
                for _ in range(count):
                    await db.executemany(insert, *MANY)
            written = await db.fetchval(COUNT)
            await transaction.rollback()
        return written


class Tuned(sqlite3.Connection):
    """Is set up as ours are, for a library that opens a connection for each query."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.execute("pragma synchronous = normal")


class OnAiosqlite(Predecessor):
    def database(self) -> Database:
        return Database(self.address.url("aiosqlite"), factory=Tuned)


class Server(Predecessor):
    socket: str
    name: str

    def pool(self) -> dict[str, Any]:
        raise NotImplementedError

    def database(self) -> Database:
        db = Database(self.address.url(self.scheme), **self.pool())
        # It takes the password as it is spelled in the URL, percent signs and all, and knows no socket.
        db.backend.options.update(self.address.login(socket=self.socket, database=self.name))
        return db


class OnAsyncpg(Server):
    scheme = "asyncpg+pool"
    socket = "host"
    name = "database"
    one = styled(ONE, "$1")
    insert = styled(INSERT, "$1")

    def pool(self) -> dict[str, Any]:
        return {"min_size": POOL, "max_size": POOL}


class OnAiomysql(Server):
    scheme = "aiomysql+pool"
    socket = "unix_socket"
    name = "db"
    one = styled(ONE, "%s")
    insert = styled(INSERT, "%s")

    def pool(self) -> dict[str, Any]:
        return {"minsize": POOL, "maxsize": POOL, "autocommit": True}
