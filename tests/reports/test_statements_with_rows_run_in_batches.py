"""executemany() runs every kind of statement once per row, those that return rows too (README of 1.x)."""

from __future__ import annotations

import pytest


@pytest.mark.targets(pooled=True)
async def test_a_query_runs_for_each_row(db, words):
    await db.executemany(f"select {words.text_of.format('?')}", "1", "2", "3")
    assert await db.fetchval("select 1") == 1


@pytest.mark.targets(pooled=True)
async def test_rows_that_return_something_are_written(db):
    await db.execute("create table t (a integer)")
    result = await db.executemany("insert into t values (?) returning a", 1, 2, 3)
    assert result.rowcount in {-1, 3}
    assert await db.fetchval("select count(*) from t") == 3


@pytest.mark.targets(dialect="sqlite", pooled=True, loop="asyncio")
@pytest.mark.parametrize("nested", [False, True])
async def test_all_rows_are_undone_when_one_fails(db, target, nested):
    if target.odbc:
        pytest.skip("SQLite's ODBC driver counts no rows of a statement that begins with WITH.")
    await db.execute("create table t (a integer unique)")
    async with db.transaction() if nested else db.connection():
        with pytest.raises(Exception, match="UNIQUE"):
            await db.executemany("with s (a) as (select ?) insert into t select a from s", 1, 1)
        assert (await db.executemany("with s (a) as (select ?) insert into t select a from s", 1, 2)).rowcount == 2
    assert await db.fetchval("select count(*) from t") == 2
