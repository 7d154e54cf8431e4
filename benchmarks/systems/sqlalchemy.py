"""SQLAlchemy Core on asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import create_async_engine

from systems.base import System, plain
from workloads import ALL, COUNT, INSERT, MANY, ONE, POOL, STREAM, VALUE, WHO, keys, styled

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from systems.base import Clock

VALUE = text(VALUE)
ONE = text(styled(ONE, ":p1"))
ALL = text(ALL)
STREAM = text(STREAM)
INSERT = text(styled(INSERT, ":p1"))
COUNT = text(COUNT)
ROWS = [{"p1": name, "p2": visits} for name, visits in MANY]
ROW = {"p1": WHO[0], "p2": WHO[1]}


class SQLAlchemy(System):
    """Uses the connections of an engine."""

    scheme: str
    socket: str

    async def open(self) -> None:
        arguments = {self.socket: self.address.socket} if self.address.socket else {}
        self.engine = self.make(connect_args=arguments, pool_size=POOL, max_overflow=0)

    def make(self, **options: Any) -> AsyncEngine:
        return create_async_engine(self.address.url(self.scheme), **options)

    async def close(self) -> None:
        await self.engine.dispose()

    async def lookup(self, key: int) -> Any:
        async with self.engine.connect() as connection:
            return (await connection.execute(ONE, {"p1": key})).one()

    async def w1(self, clock: Clock, count: int) -> Any:
        async with self.engine.connect() as connection:
            with clock:
                for _ in range(count):
                    value = await connection.scalar(VALUE)
        return value

    async def w2(self, clock: Clock, count: int) -> Any:
        async with self.engine.connect() as connection:
            with clock:
                for key in keys(count):
                    row = (await connection.execute(ONE, {"p1": key})).one()
        return plain(row)

    async def w4(self, clock: Clock, count: int) -> Any:
        async with self.engine.connect() as connection:
            with clock:
                for _ in range(count):
                    rows = (await connection.execute(ALL)).all()
        return [len(rows), plain(rows[-1])]

    async def w5(self, clock: Clock, count: int) -> Any:
        async with self.engine.connect() as connection:
            transaction = await connection.begin()
            with clock:
                for _ in range(count):
                    await connection.execute(INSERT, ROW)
            written = await connection.scalar(COUNT)
            await transaction.rollback()
        return written

    async def w6(self, clock: Clock, count: int) -> Any:
        async with self.engine.connect() as connection:
            transaction = await connection.begin()
            with clock:
                for _ in range(count):
                    await connection.execute(INSERT, ROWS)
            written = await connection.scalar(COUNT)
            await transaction.rollback()
        return written

    async def w7(self, clock: Clock, count: int) -> Any:
        with clock:
            for _ in range(count):
                async with self.engine.connect() as connection, connection.stream(STREAM) as rows:
                    async for row in rows:
                        pass
        return plain(row)

    async def w9(self, clock: Clock, count: int) -> Any:
        async with self.engine.connect() as connection:
            with clock:
                for _ in range(count):
                    async with connection.begin():
                        await connection.execute(INSERT, ROW)
            return await connection.scalar(COUNT)

    async def w10(self, clock: Clock, count: int) -> Any:
        async with self.engine.connect() as connection:
            with clock:
                for _ in range(count):
                    rows = (await connection.execute(ALL)).all()
                    for row in rows:
                        last = [row.id, row.name, row.score, row.visits, row.note]
        return [len(rows), last]


class OnAiosqlite(SQLAlchemy):
    scheme = "sqlite+aiosqlite"

    def make(self, **options: Any) -> AsyncEngine:
        engine = super().make(**options)

        @event.listens_for(engine.sync_engine, "connect")
        def set_up(connection: Any, _: object) -> None:
            cursor = connection.cursor()
            cursor.execute("pragma synchronous = normal")
            cursor.close()

        return engine


class OnAsyncpg(SQLAlchemy):
    scheme = "postgresql+asyncpg"
    socket = "host"


class OnAsyncmy(SQLAlchemy):
    scheme = "mysql+asyncmy"
    socket = "unix_socket"
