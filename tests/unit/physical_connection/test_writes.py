"""What is watched of writing."""

from __future__ import annotations

from contextvars import copy_context

import anyio
import pytest

from aio_databases import Database, ReadOnlyError, WriteTracker
from aio_databases.testing.fake_driver import connected


async def iterate(db):
    async for _ in db.iterate("insert into t values (1) returning x"):
        pass


@pytest.mark.parametrize(
    "write",
    [
        lambda db: db.execute("insert 1"),
        lambda db: db.executemany("insert $1", (1,)),
        lambda db: db.fetchval("update t set x = 1 returning x"),
        lambda db: db.fetchval("select nextval('s')"),
        iterate,
    ],
)
async def test_a_statement_that_writes_is_noticed(write):
    async with connected() as (db, _):
        with WriteTracker(db) as writes:
            await db.fetchval("select 1")
            async with db.connection(), db.transaction(readonly=True):
                await db.fetchval("select 2")
            assert not writes.has_written
            await write(db)
        assert (writes.has_written, writes.are_open) == (True, False)


async def test_a_transaction_that_may_write_is_noticed_and_open_until_its_end():
    async with connected() as (db, _):
        with WriteTracker(db) as writes:
            async with db.transaction():
                assert (writes.has_written, writes.are_open) == (True, True)
                async with db.transaction():
                    pass
                assert writes.are_open
            assert not writes.are_open
            transaction = await db.transaction().start()
            assert writes.are_open
            await transaction.rollback()
            assert not writes.are_open


async def test_what_is_refused_on_a_replica_is_no_write():
    async with connected() as (db, _):
        with WriteTracker(db) as writes:
            async with db.replica():
                with pytest.raises(ReadOnlyError):
                    await db.execute("insert 1")
                async with db.transaction(readonly=True):
                    await db.fetchval("select 1")
            assert not writes.has_written


async def test_tasks_are_watched_too_but_only_those_that_were_started_inside():
    async with connected() as (db, _):

        async def write():
            await inside.wait()
            await db.execute("insert 1")

        inside = anyio.Event()
        async with anyio.create_task_group() as before:
            before.start_soon(write)
            with WriteTracker(db) as writes:
                inside.set()
                await anyio.wait_all_tasks_blocked()
                assert not writes.has_written
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(write)
                assert writes.has_written


async def test_a_watch_is_about_one_database_and_one_block():
    async with connected() as (db, _), connected() as (other, _):
        with WriteTracker(db) as outer, WriteTracker(other) as foreign:
            with WriteTracker(db) as inner:
                pass
            await db.execute("insert 1")
        await other.execute("insert 2")
        assert [outer.has_written, inner.has_written, foreign.has_written] == [True, False, False]


async def test_transactions_that_have_ended_are_forgotten():
    async with connected() as (db, _):
        with WriteTracker(db) as writes:
            for _ in range(5):
                async with db.transaction():
                    pass
            assert len(writes._transactions) == 1


async def test_a_watch_may_end_in_another_context():
    async with connected() as (db, _):
        watch = WriteTracker(db)
        watch.__enter__()
        copy_context().run(watch.__exit__, None, None, None)
        watch.__exit__(None, None, None)
        await db.execute("insert 1")
        assert not watch.has_written


async def test_many_writes_in_a_transaction_begun_by_sql_are_one(tmp_path):
    """A hostile test: each write looked at all writes before it, so 4,000 took five seconds."""
    async with Database(f"sqlite:///{tmp_path}/test.db") as db:
        await db.execute("create table t (x int)")
        with WriteTracker(db) as writes:
            for _ in range(2):
                async with db.connection() as connection:
                    await connection.execute("begin")
                    for _ in range(20):
                        await connection.execute("insert into t values (1)")
                        assert connection.raw
                    assert writes.are_open
                    assert len(writes._transactions) == 1
                    await connection.execute("rollback")
                assert not writes.are_open
