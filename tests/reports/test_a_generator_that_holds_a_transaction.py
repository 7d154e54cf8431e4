"""What the consumer of an async generator runs in a transaction that the generator holds is not lost without a word.

A hostile test (compare PEP 789): after ``break`` statements of the consumer were rolled back although they had told
success, and the generator's ``timeout=`` cancelled the consumer, by nobody.
"""

from __future__ import annotations

import gc
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest

from aio_databases import ConnectionLost, Error, TransactionError, TransactionTimeout
from aio_databases.testing.fake_driver import connected

LEFT = "the async generator that held the transaction was left early"


async def numbers(db, **options):
    async with db.transaction(**options):
        for number in range(3):
            await db.execute(f"insert {number}")
            yield number


async def break_off(db):
    async for _ in numbers(db):
        break
    gc.collect()
    await db.execute("insert mine")
    await anyio.wait_all_tasks_blocked()


async def close_early(db):
    async with aclosing(numbers(db)) as generator:
        async for _ in generator:
            await db.execute("insert mine")
            break


@pytest.mark.parametrize("leave", [break_off, close_early])
async def test_statements_that_were_run_in_a_generator_that_was_left_early_are_told_as_lost(leave, caplog):
    async with connected() as (db, fake):
        with pytest.warns(ResourceWarning, match=LEFT):
            await leave(db)
        with pytest.raises(TransactionError, match=f"{LEFT}, and nothing of it was committed"):
            await db.execute("insert more")
        await db.execute("insert more")
        assert fake.sent[-1] == "insert more"
        assert "COMMIT" not in fake.sent
    assert LEFT in caplog.text


async def test_a_generator_that_is_left_early_without_such_statements_is_in_the_way_of_nothing(recwarn):
    async with connected() as (db, fake):
        async for _ in numbers(db):
            break
        gc.collect()
        await anyio.wait_all_tasks_blocked()
        await db.execute("insert mine")
        assert fake.sent[-1] == "insert mine"
    assert [warning for warning in recwarn if LEFT in str(warning.message)] == []


async def test_a_generator_that_is_read_to_its_end_commits_all(recwarn):
    async with connected() as (db, fake):
        async for number in numbers(db):
            await db.execute(f"insert mine {number}")
        assert (fake.sent.index("COMMIT"), fake.sent[-1]) == (7, "COMMIT")
        await db.execute("insert more")
    assert [warning for warning in recwarn if LEFT in str(warning.message)] == []


async def test_its_own_statements_and_child_tasks_are_no_guests(recwarn):
    async def rows(db):
        async with db.transaction():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(db.execute, "insert 1")
            yield await db.fetchval("select 1")

    async with connected() as (db, _):
        async for _row in rows(db):
            break
        gc.collect()
        await anyio.wait_all_tasks_blocked()
        await db.execute("insert mine")
    assert [warning for warning in recwarn if LEFT in str(warning.message)] == []


async def test_a_context_manager_made_of_a_generator_is_a_block_like_any_other():
    @asynccontextmanager
    async def block(db):
        async with db.transaction(timeout=0.02):
            yield

    async with connected() as (db, fake):
        async with block(db):
            await db.execute("insert 1")
        with pytest.raises(TransactionTimeout):
            async with block(db):
                await anyio.sleep(5)
        assert fake.sent == ["BEGIN", "insert 1", "COMMIT", "BEGIN", "ROLLBACK"]


@pytest.mark.parametrize("late", ["its own statement", "a statement of the consumer", "its commit"])
async def test_a_time_limit_in_a_generator_cancels_nobody_and_raises_where_the_transaction_is_used(late):
    async def once(db):
        async with db.transaction(timeout=0.02):
            yield 1
            if late == "its own statement":
                await db.execute("insert 2")

    async with connected() as (db, fake):
        generator = once(db)
        assert await anext(generator) == 1
        await anyio.sleep(0.03)  # the consumer's own work
        if late == "a statement of the consumer":
            with pytest.raises(TransactionTimeout):
                await db.execute("insert mine")
        with pytest.raises(TransactionTimeout):
            await anext(generator)
        assert fake.sent == ["BEGIN", "ROLLBACK"]
        await db.execute("insert more")


async def test_a_time_limit_in_a_generator_that_is_kept_is_no_different():
    async with connected() as (db, fake):
        async for _ in numbers(db, timeout=5):
            pass
        assert fake.sent[-1] == "COMMIT"


@pytest.mark.targets(pooled=True, loop="asyncio")
async def test_no_success_is_told_for_what_is_lost(make_database):
    db = await make_database()
    await db.execute("create table g (a integer)")

    async def rows():
        async with db.transaction():
            for number in range(3):
                yield number

    async def consume():
        async for _ in rows():
            break
        await db.execute("insert into g values (1)")
        await anyio.sleep(0.05)
        await db.fetchval("select count(*) from g")

    with pytest.warns(ResourceWarning, match=LEFT), pytest.raises(Error) as caught:  # the link may be cut below it
        await consume()
    assert isinstance(caught.value, TransactionError | ConnectionLost)
