"""A statement of SQLite that was cancelled, and whose connection is cut meanwhile, ends and lets go of the file.

Hostile test: on aiosqlite the cancelled task took back what was to stop the statement, as it was done with it; the
statement ran on in its thread, for ever if it was endless, and no writer got at the file.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import anyio
import anyio.lowlevel
import pytest

from aio_databases import Database

pytestmark = pytest.mark.targets(dialect="sqlite", memory=False, pooled=True, loop={"asyncio", "trio"})

LONG = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 90000000) select count(*) from n"
VERBS = {
    "execute": lambda db: db.execute(f"insert into t {LONG}"),
    "executemany": lambda db: db.executemany(f"insert into t {LONG}", [(), ()]),
    "fetchall": lambda db: db.fetchall(LONG),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_what_was_cancelled_and_cut_holds_no_lock(url, verb):
    db = await Database(url).connect()
    await db.execute("create table t (i integer)")
    file = await db.fetchval("select file from pragma_database_list")
    scope = anyio.CancelScope()

    async def run():
        with scope:
            async with db.transaction():
                await db.execute("insert into t values (1)")
                await VERBS[verb](db)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.sleep(0.05)
            scope.cancel()
            await anyio.lowlevel.checkpoint()  # the task waits for the statement to stop
            await db.disconnect(timeout=0)
    with closing(sqlite3.connect(file, timeout=2, isolation_level=None)) as other:
        other.execute("begin immediate")
        assert other.execute("select count(*) from t").fetchone() == (0,)
