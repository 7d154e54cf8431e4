"""A read-only block on SQLite stopped what was half read: "abort due to ROLLBACK" (a hostile test).

``PRAGMA query_only`` ends every statement that opens another table later, as the second half of a UNION ALL does.
"""

from __future__ import annotations

import anyio.lowlevel
import pytest

from aio_databases import ReadOnlyError

pytestmark = pytest.mark.targets(dialect="sqlite", pooled=True)

STREAM = "select x from t union all select x from u"
WRITES = ("insert into t values (7)", "with c as (select 7) delete from t", "create table v (x)", "drop table u")


@pytest.fixture
async def filled(db):
    await db.execute("create table t (x integer)")
    await db.execute("create table u (x integer)")
    await db.executemany("insert into t values (?)", [(1,), (2,)])
    await db.executemany("insert into u values (?)", [(3,), (4,)])
    return db


def block(db, kind):
    return db.replica() if kind == "replica" else db.transaction(readonly=True)


@pytest.mark.parametrize("kind", ["replica", "readonly"])
async def test_a_stream_in_a_block_that_only_reads_is_read_to_its_end(filled, kind):
    async with block(filled, kind):
        found = []
        async for row in filled.iterate(STREAM, chunk_size=1):
            assert await filled.fetchval("select count(*) from (" + STREAM + ")") == 4
            found.append(row.x)
    assert found == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["replica", "readonly"])
async def test_a_stream_goes_on_after_a_block_that_only_reads(filled, kind):
    async with filled.connection() as connection:
        found = []
        async for row in connection.iterate(STREAM, chunk_size=1):
            async with block(filled, kind) as only_reads:
                assert await filled.fetchval("select count(*) from t") == 2
                if kind == "readonly":
                    refused = only_reads.connection
                    for sql in WRITES:
                        with pytest.raises(ReadOnlyError):
                            await refused.execute(sql)
                    with pytest.raises(ReadOnlyError):
                        await refused.executemany(WRITES[0].replace("7", "?"), [(1,), (2,)])
            found.append(row.x)
        assert found == [1, 2, 3, 4]
        await connection.execute(WRITES[0])
        assert await connection.fetchval("select count(*) from t") == 3


@pytest.mark.parametrize("kind", ["replica", "readonly"])
async def test_a_stream_goes_on_beside_a_block_of_another_task(filled, kind):
    found = []

    async def read():
        async with block(filled, kind):
            await filled.fetchval("select count(*) from t")

    async with filled.connection(), anyio.create_task_group() as tasks:
        async for row in filled.iterate(STREAM, chunk_size=1):
            found.append(row.x)
            tasks.start_soon(read)
            await anyio.lowlevel.checkpoint()
    assert found == [1, 2, 3, 4]
