"""What failures mean for a connection and its transactions."""

from __future__ import annotations

import asyncio
import gc

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import TransactionError
from aio_databases.testing.fake_driver import connected


async def test_a_link_that_breaks_behind_an_answer_is_a_lost_connection_and_no_commit():
    async with connected() as (db, fake):
        with pytest.raises(TransactionError, match="its connection was lost, and nothing of it was committed"):
            async with db.transaction() as transaction:
                connection = transaction.connection.driver
                answer = connection.execute

                async def execute(sql, params):
                    result = await answer(sql, params)
                    connection.terminate()
                    return result

                connection.execute = execute
                assert (await db.execute("insert 1")).rowcount == 1
                await db.execute("insert 2")
        assert fake.sent == ["BEGIN", "insert 1"]


async def test_a_stream_that_is_forgotten_leaves_nothing_open_at_the_database():
    async with connected() as (db, fake):
        fake.rows["select many"] = 20
        stream = db.iterate("select many", chunk_size=5)
        await anext(stream)
        del stream
        await anyio.wait_all_tasks_blocked()  # it comes back with a round of the event loop
        assert (fake.opens, fake.open_now) == (1, 0)
        assert await db.fetchval("select 1") == "select 1"
        assert fake.opens == 2


async def test_who_waits_for_a_connection_gets_the_one_that_was_forgotten_and_clears_it_up():
    async with connected(max_size=1) as (db, fake), anyio.create_task_group() as tasks:
        fake.rows["select many"] = 20
        stream = db.iterate("select many", chunk_size=5)
        await anext(stream)
        tasks.start_soon(db.fetchval, "select 1")
        await anyio.wait_all_tasks_blocked()
        del stream
        await anyio.wait_all_tasks_blocked()
        assert fake.sent[-1] == "select 1"
        assert (fake.opens, fake.open_now) == (1, 1)


@pytest.mark.parametrize("sql", ["commit and chain", "/* so */ rollback and chain", "select 1; end", "abort"])
async def test_a_transaction_that_a_statement_has_ended_is_over_even_if_it_began_another(sql):
    async with connected() as (db, _):
        with pytest.raises(TransactionError, match="it was ended by a statement"):
            async with db.transaction():
                await db.execute(sql)
                await db.execute("insert 1")


@pytest.mark.parametrize(
    "sql", ["rollback to savepoint a", "begin", "select 'commit'", "insert into t (end) values (1)"]
)
async def test_what_ends_no_transaction_leaves_it_open(sql):
    async with connected() as (db, fake):
        async with db.transaction():
            await db.execute(sql)
            await db.execute("insert 1")
        assert "COMMIT" in fake.sent


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_error_of_an_ended_task_keeps_no_connection(anyio_backend):
    async with connected(max_size=1) as (db, fake):
        fake.rows["select many"] = 20

        async def fail():
            async for _ in db.iterate("select many", chunk_size=5):
                raise ZeroDivisionError

        for _ in range(3):
            task = asyncio.ensure_future(fail())
            await asyncio.wait([task])
            assert isinstance(task.exception(), ZeroDivisionError)
            del task
            gc.collect()
            await checkpoint()
        assert db._pool.lent == 0
