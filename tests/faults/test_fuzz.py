"""Cancels at random moments, hundreds of times per driver, in every way a task can be cancelled.

No query ever gets the answer of another, what is written is whole, nothing is leaked, here or on the server, and the
pool still lends every connection that it may have.
"""

from __future__ import annotations

import asyncio
import gc
import random
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from faults.sites import site_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aio_databases import Database

SIZE = 4
ROUNDS = 70
AT_ONCE = 5
LONGEST = 0.012  # seconds until a task is cancelled
LEFT_ALONE = 0.1  # of the tasks are not: on a busy machine all others may be

DRIVERS = [
    *(("asyncio", scheme) for scheme in ("sqlite", "aiosqlite")),
    *(("asyncio", scheme) for scheme in ("asyncpg", "psycopg", "aiopg")),
    *(("asyncio", scheme) for scheme in ("asyncmy", "aiomysql", "pymysql")),
    *(("asyncio", f"aioodbc+{kind}") for kind in ("sqlite", "postgresql", "mysql")),
    *(("trio", scheme) for scheme in ("sqlite", "psycopg", "pymysql", "trio-mysql")),
    *(("trio", f"pyodbc+{kind}") for kind in ("sqlite", "postgresql", "mysql")),
]
SLOW = {
    "sqlite": "with recursive n (i) as (select 1 union all select i + 1 from n where i < 1 + 2000000 * ?) "
    "select ? from (select max(i) from n)",
    "postgresql": "select cast(? as integer) from (select pg_sleep(?)) as t",
    "mysql": "select ? from (select sleep(?)) as t",
}
"""Queries that take the given number of seconds, or some moments, and return the other parameter."""
MANY = {
    "sqlite": "with recursive n (i) as (select 1 union all select i + 1 from n where i < 2000) select ?, i from n",
    "postgresql": "select cast(? as integer), i from generate_series(1, 2000) as s (i)",
    "mysql": "select ?, seq as i from seq_1_to_2000",
}
CAST = {"postgresql": "cast(? as integer)"}


@pytest.fixture
def site(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Give a database with the table `t`."""
    site = site_of(driver, request, tmp_path / "test.db")
    yield site
    site.remove()


# What is cancelled


async def slow_query(db: Database, number: int, choose: random.Random) -> None:
    """Ask something that takes a moment."""
    seconds = choose.random() * LONGEST / 2
    dialect = db.backend.dialect
    values = (seconds, number) if dialect == "sqlite" else (number, seconds)
    assert number == await db.fetchval(SLOW[dialect], *values)


async def writing(db: Database, number: int, choose: random.Random) -> None:
    """Write a row twice, in a transaction with a nested one."""
    async with db.transaction():
        await db.execute("insert into t (x) values (?)", number)
        async with db.transaction():
            await db.execute("insert into t (x) values (?)", number)
        assert await db.fetchval("select count(*) from t where x = ?", number) == 2
        if choose.random() < 0.3:
            await slow_query(db, number, choose)


async def writing_many(db: Database, number: int, _choose: random.Random) -> None:
    """Write a row twice, with one call."""
    await db.executemany("insert into t (x) values (?)", [(number,), (number,)])


async def streaming(db: Database, number: int, choose: random.Random) -> None:
    """Read many rows, to their end or not, outside of a block."""
    last = choose.randrange(1, 2000)
    async for row in db.iterate(MANY[db.backend.dialect], number, chunk_size=choose.choice((7, 300))):
        assert number == row[0]
        if row[1] == last:
            break


async def streaming_in_a_transaction(db: Database, number: int, choose: random.Random) -> None:
    """Read many rows in a transaction, and ask other things meanwhile."""
    asked = CAST.get(db.backend.dialect, "?")
    async with db.transaction(readonly=choose.choice((None, True))):
        async for row in db.iterate(MANY[db.backend.dialect], number, chunk_size=50):
            assert number == row[0]
            if row[1] % 100 == 0:
                assert number + row[1] == await db.fetchval(f"select {asked}", number + row[1])


async def sharing(db: Database, number: int, choose: random.Random) -> None:
    """Have tasks use one connection."""
    async with db.connection(), anyio.create_task_group() as tasks:
        for offset in range(3):
            tasks.start_soon(slow_query, db, number + offset, choose)


async def reading(db: Database, number: int, choose: random.Random) -> None:
    """Read from a replica."""
    async with db.replica():
        await slow_query(db, number, choose)


KINDS = (slow_query, writing, writing_many, streaming, streaming_in_a_transaction, sharing, reading)


# How it is cancelled


async def by_task(work: Any, delay: float) -> bool:
    """Cancel with asyncio's own `Task.cancel`, again and again until the task is done."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=delay)
    while not task.done():
        task.cancel()
        await asyncio.sleep(0.001)
    if task.cancelled():
        return True
    task.result()
    return False


async def by_asyncio_timeout(work: Any, delay: float) -> bool:
    """Cancel with `asyncio.timeout`."""
    try:
        async with asyncio.timeout(delay):
            await work
    except TimeoutError:
        return True
    return False


async def by_scope(work: Any, delay: float) -> bool:
    """Cancel with a scope of anyio."""
    with anyio.move_on_after(delay) as scope:
        await work
    return scope.cancelled_caught


async def by_trio(work: Any, delay: float) -> bool:
    """Cancel with a scope of trio."""
    with trio.move_on_after(delay) as scope:
        await work
    return scope.cancelled_caught


WAYS = {"asyncio": (by_task, by_asyncio_timeout, by_scope), "trio": (by_scope, by_trio)}


# The test itself


async def everything_came_back(db: Database) -> None:
    """Wait until no connection is lent: a stream that was left half-way gives its own back when it is collected."""
    with anyio.fail_after(5):
        while any(pool.lent for pool in (db._pool, *db._replicas.pools)):
            gc.collect()
            await checkpoint()


@pytest.mark.parametrize(
    ("anyio_backend", "driver"),
    [pytest.param(*each, marks=[pytest.mark.server] * (each[1] not in {"sqlite", "aiosqlite"})) for each in DRIVERS],
)
async def test_whenever_tasks_are_cancelled_every_answer_is_the_right_one(site, anyio_backend):
    choose = random.Random(anyio_backend)  # noqa: S311 - so that it can be repeated
    numbers = count(10, 10_000)
    cancelled: list[bool] = []

    async def run(seed: float) -> None:
        own = random.Random(seed)  # noqa: S311 - as above
        cancel = own.choice(WAYS[anyio_backend])
        work = own.choice(KINDS)(db, next(numbers), own)
        if own.random() < LEFT_ALONE:
            await work
            cancelled.append(False)
        else:
            cancelled.append(await cancel(work, own.random() * LONGEST))

    db = site.make(size=SIZE)
    async with db:
        async with db.connection(), db.connection(), db.connection(), db.connection():
            pass  # so that few are cancelled while a connection is opened
        for _ in range(ROUNDS):
            async with anyio.create_task_group() as tasks:
                for _ in range(AT_ONCE):
                    tasks.start_soon(run, choose.random())
            await everything_came_back(db)
            assert db.stats()["primary"].size <= SIZE
        assert len(cancelled) == ROUNDS * AT_ONCE
        assert len(cancelled) > sum(cancelled) > len(cancelled) / 4
        leases = [await db.connection().acquire() for _ in range(SIZE)]
        for number, connection in enumerate(leases):
            assert f"own {number}" == await connection.fetchval(f"select 'own {number}'")
            assert not connection.driver.in_transaction
        for connection in leases:
            await connection.release()
        assert await db.fetchval("select count(*) from (select x from t group by x having count(*) <> 2) as odd") == 0
    site.check(db)
    site.close(db)
