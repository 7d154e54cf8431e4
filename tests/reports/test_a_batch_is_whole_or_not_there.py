"""A batch of which the library refuses a row leaves none of them in the transaction, which goes on (hostile test)."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import DataError

pytestmark = pytest.mark.targets(pooled=True)


@pytest.mark.parametrize("count", [1, 3000])
async def test_a_row_that_is_refused_takes_the_others_along(db, target, count):
    count = min(count, 100) if target.odbc else count  # ODBC sends row by row
    await db.execute("create table t (i int, j varchar(9))")
    insert = "insert into t values (?, ?)"
    async with db.transaction():
        await db.execute(insert, -1, "x")
        with pytest.raises(DataError):
            await db.executemany(insert, [*((i, "x") for i in range(count)), (0, object())])
        assert await db.fetchall("select i from t", into=int) == [-1]
        await db.executemany(insert, [(i, "x") for i in range(3)])
    assert await db.fetchval("select count(*) from t") == 4


@pytest.mark.targets(scheme={"aiopg", "asyncpg", "psycopg"})
async def test_a_batch_that_is_cancelled_leaves_nothing_to_commit(db):
    await db.execute("create table t (i int)")
    async with db.connection() as connection:
        await connection.execute("begin")
        with anyio.move_on_after(0.02) as scope:
            await connection.executemany("insert into t values (?)", [(i,) for i in range(300_000)])
        assert scope.cancelled_caught
        try:
            left = await connection.fetchval("select count(*) from t")
        except Exception:  # noqa: BLE001 - it has failed, as with other statements
            left = 0
        assert left == 0
