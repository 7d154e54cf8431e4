"""sqlspec, whose rows are dicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlspec import SQLSpec

from systems.base import System, plain
from workloads import ALL, COUNT, INSERT, MANY, ONE, POOL, STREAM, VALUE, WHO, keys, styled

if TYPE_CHECKING:
    from systems.base import Clock


class Spec(System):
    """Uses sessions, each of which has a connection of a pool."""

    style: str

    def config(self) -> Any:
        raise NotImplementedError

    async def open(self) -> None:
        self.one, self.insert = styled(ONE, self.style), styled(INSERT, self.style)
        self.spec = SQLSpec()
        self.database = self.spec.add_config(self.config())
        self.session = self.spec.provide_session

    async def close(self) -> None:
        await self.spec.close_all_pools()

    async def lookup(self, key: int) -> Any:
        async with self.session(self.database) as session:
            return await session.select_one(self.one, key)

    async def w1(self, clock: Clock, count: int) -> Any:
        async with self.session(self.database) as session:
            with clock:
                for _ in range(count):
                    value = await session.select_value(VALUE)
        return value

    async def w2(self, clock: Clock, count: int) -> Any:
        one = self.one
        async with self.session(self.database) as session:
            with clock:
                for key in keys(count):
                    row = await session.select_one(one, key)
        return plain(row)

    async def w4(self, clock: Clock, count: int) -> Any:
        async with self.session(self.database) as session:
            with clock:
                for _ in range(count):
                    rows = await session.select(ALL)
        return [len(rows), plain(rows[-1])]

    async def w5(self, clock: Clock, count: int) -> Any:
        insert = self.insert
        async with self.session(self.database) as session:
            await session.begin()
            with clock:
                for _ in range(count):
                    await session.execute(insert, *WHO)
            written = await session.select_value(COUNT)
            await session.rollback()
        return written

    async def w6(self, clock: Clock, count: int) -> Any:
        insert = self.insert
        async with self.session(self.database) as session:
            await session.begin()
            with clock:
                for _ in range(count):
                    await session.execute_many(insert, MANY)
            written = await session.select_value(COUNT)
            await session.rollback()
        return written

    async def w7(self, clock: Clock, count: int) -> Any:
        with clock:
            for _ in range(count):
                async with self.session(self.database) as session, session.select_stream(STREAM) as rows:
                    async for row in rows:
                        pass
        return plain(row)

    async def w9(self, clock: Clock, count: int) -> Any:
        insert = self.insert
        async with self.session(self.database) as session:
            with clock:
                for _ in range(count):
                    async with session.transaction():
                        await session.execute(insert, *WHO)
            return await session.select_value(COUNT)

    async def w10(self, clock: Clock, count: int) -> Any:
        async with self.session(self.database) as session:
            with clock:
                for _ in range(count):
                    rows = await session.select(ALL)
                    for row in rows:
                        last = [row["id"], row["name"], row["score"], row["visits"], row["note"]]
        return [len(rows), last]


class OnAiosqlite(Spec):
    """Sets ``synchronous`` to ``normal``, and more, by itself."""

    style = "?"

    def config(self) -> Any:
        from sqlspec.adapters.aiosqlite import AiosqliteConfig  # noqa: PLC0415 - one library per database

        return AiosqliteConfig(connection_config={"database": self.address.database, "pool_size": POOL})


class OnAsyncpg(Spec):
    style = "$1"

    def config(self) -> Any:
        from sqlspec.adapters.asyncpg import AsyncpgConfig  # noqa: PLC0415 - one library per database

        return AsyncpgConfig(connection_config={**self.address.login(), "min_size": POOL, "max_size": POOL})


class OnAsyncmy(Spec):
    style = "%s"

    def config(self) -> Any:
        from sqlspec.adapters.asyncmy import AsyncmyConfig  # noqa: PLC0415 - one library per database

        login = self.address.login(socket="unix_socket")
        return AsyncmyConfig(connection_config={**login, "autocommit": True, "minsize": POOL, "maxsize": POOL})
