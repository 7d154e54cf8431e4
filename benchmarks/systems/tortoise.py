"""Tortoise, by the raw SQL of its connections."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ClassVar

from tortoise import Tortoise, fields
from tortoise.models import Model
from tortoise.transactions import in_transaction

from systems.base import System, plain
from workloads import ALL, COUNT, INSERT, MANY, ONE, POOL, WHO, styled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from contextvars import Context

    from systems.base import Clock


class Item(Model):
    """Is there because there has to be one."""

    id = fields.IntField(primary_key=True)

    class Meta:
        table = "items"


class Raw(System):
    """Uses a client, which leases a connection for each statement outside of a transaction."""

    engine: ClassVar[str]
    style: ClassVar[str]
    absent: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("w1", "w2"), "holds no connection outside of a transaction"),
        "w7": "does not stream the rows of raw SQL",
    }

    def credentials(self) -> dict[str, Any]:
        raise NotImplementedError

    async def open(self) -> None:
        self.one, self.insert = styled(ONE, self.style), styled(INSERT, self.style)
        connections = {"default": {"engine": f"tortoise.backends.{self.engine}", "credentials": self.credentials()}}
        apps: dict[str, Any] = {"models": {"models": [__name__], "default_connection": "default"}}
        self.tortoise = await Tortoise.init({"connections": connections, "apps": apps}, use_tz=False)
        self.client = self.tortoise.connections.get("default")
        self._context = copy_context()

    async def close(self) -> None:
        await self.tortoise.close_connections()

    def context(self) -> Context:
        # It finds its connections by a context variable that `Tortoise.init` has set.
        return self._context.copy()

    def plain(self, row: Any) -> list[Any]:
        _, (found,) = row
        return plain(found)

    def lookup(self, key: int) -> Awaitable[Any]:
        return self.client.execute_query(self.one, [key])

    async def w4(self, clock: Clock, count: int) -> Any:
        client = self.client
        with clock:
            for _ in range(count):
                _, rows = await client.execute_query(ALL)
        return [len(rows), plain(rows[-1])]

    async def w5(self, clock: Clock, count: int) -> Any:
        insert = self.insert
        async with in_transaction() as connection:
            with clock:
                for _ in range(count):
                    await connection.execute_query(insert, WHO)
            written = await self.count(connection)
            await connection.rollback()
        return written

    async def w6(self, clock: Clock, count: int) -> Any:
        insert = self.insert
        async with in_transaction() as connection:
            with clock:
                for _ in range(count):
                    await connection.execute_many(insert, MANY)
            written = await self.count(connection)
            await connection.rollback()
        return written

    async def w9(self, clock: Clock, count: int) -> Any:
        insert = self.insert
        with clock:
            for _ in range(count):
                async with in_transaction() as connection:
                    await connection.execute_query(insert, WHO)
        return await self.count(self.client)

    async def w10(self, clock: Clock, count: int) -> Any:
        client = self.client
        with clock:
            for _ in range(count):
                _, rows = await client.execute_query(ALL)
                for row in rows:
                    last = [row["id"], row["name"], row["score"], row["visits"], row["note"]]
        return [len(rows), last]

    async def count(self, connection: Any) -> Any:
        _, (row,) = await connection.execute_query(COUNT)
        (number,) = plain(row)
        return number


class OnAiosqlite(Raw):
    """Has one connection, which all tasks share."""

    engine = "sqlite"
    style = "?"

    def credentials(self) -> dict[str, Any]:
        return {"file_path": self.address.database, "synchronous": "NORMAL"}


class OnAsyncpg(Raw):
    engine = "asyncpg"
    style = "$1"

    def credentials(self) -> dict[str, Any]:
        host = self.address.socket or self.address.host
        return {**self.address.login(), "host": host, "minsize": POOL, "maxsize": POOL}


class OnAsyncmy(Raw):
    engine = "mysql"
    style = "%s"

    def credentials(self) -> dict[str, Any]:
        login = {"host": self.address.host, **self.address.login(socket="unix_socket")}
        return {**login, "minsize": POOL, "maxsize": POOL}
