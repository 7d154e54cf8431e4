"""What reads in a thread, on SQLite and by ODBC, raises when its connection is cut; no result ends early.

Hostile test: the same on MySQL returned a part as if it were the whole, and a statement of SQLite that was cut said
"interrupted", a QueryTimeout.
"""

from __future__ import annotations

import anyio
import pytest

from aio_databases import ConnectionLost, Database, InterfaceError

pytestmark = pytest.mark.targets(
    scheme={"sqlite", "aiosqlite", "aioodbc", "pyodbc"}, pooled=True, loop={"asyncio", "trio"}
)

ROWS = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 900) select i from n"
SLOW = {
    "sqlite": "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n",
    "postgresql": "select pg_sleep(20)",
    "mysql": "select sleep(20)",
}


async def stream(db, sql):
    """Read a stream to its end."""
    return [row async for row in db.iterate(sql)]


VERBS = {
    "execute": lambda db, sql: db.execute(sql),
    "executemany": lambda db, sql: db.executemany(sql, [(), ()]),
    "fetchall": lambda db, sql: db.fetchall(sql),
    "fetchmany": lambda db, sql: db.fetchmany(5, sql),
    "fetchval": lambda db, sql: db.fetchval(sql),
    "iterate": stream,
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_statement_that_is_cut_by_a_shutdown_has_lost_its_connection(url, target, verb):
    caught = []
    db = await Database(url).connect()

    async def run():
        with pytest.raises(ConnectionLost) as raised:
            await VERBS[verb](db, SLOW[target.dialect])
        caught.append(raised.value)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.sleep(0.05)  # it is endless, so no time is too short or too long
            await db.disconnect(timeout=0)
    assert list(map(str, caught)) == ["the connection was closed while it was in use"]


@pytest.mark.targets(memory=False)
async def test_a_statement_that_outlasts_its_block_has_lost_its_connection(url, target):
    async with Database(url, cleanup_timeout=0.05) as db:

        async def run(connection):
            with pytest.raises(ConnectionLost):
                await connection.fetchall(SLOW[target.dialect])

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks, db.connection() as connection:
                tasks.start_soon(run, connection)
                await anyio.sleep(0.05)
        assert await db.fetchval("select 1") == 1


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_stream_that_is_cut_between_its_chunks_does_not_end(url, in_transaction):
    read = []
    db = await Database(url).connect()

    async def run():
        async for row in db.iterate(ROWS, chunk_size=10):
            read.append(row[0])
            if len(read) == 25:
                await db.disconnect(timeout=0)

    with anyio.fail_after(10), pytest.raises((ConnectionLost, InterfaceError)):
        if in_transaction:
            async with db.transaction():
                await run()
        else:
            await run()
    assert list(range(1, 31)) == read
