"""Functions that are run in transactions until they are committed, by many tasks at once, on every driver."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import ReadOnlyError, TransactionError, UniqueViolation

INSERT = "insert into users (id, name) values (?, ?)"
IDS = "select id from users order by id"
TASKS = 20


async def insert(db, *numbers):
    for number in numbers:
        await db.execute(INSERT, number, "new")
    return numbers


async def test_it_commits_and_returns_the_result(users):
    assert await users.run_transaction(insert, users, 4, 5) == (4, 5)
    assert await users.fetchall(IDS, into=int) == [1, 2, 3, 4, 5]
    assert users.current_conn is None


async def test_an_error_that_would_come_again_is_raised_and_nothing_is_committed(users):
    with pytest.raises(UniqueViolation) as caught:
        await users.run_transaction(insert, users, 4, 1)
    assert not hasattr(caught.value, "__notes__")
    assert await users.fetchall(IDS, into=int) == [1, 2, 3]


async def test_it_uses_the_connection_of_the_block_around_it(users):
    async with users.connection() as connection:

        async def work():
            return users.current_conn

        assert connection is await users.run_transaction(work)


async def test_inside_of_a_transaction_it_is_refused_and_that_one_goes_on(users):
    async with users.transaction():
        with pytest.raises(TransactionError, match="call it outside of the one open here"):
            await users.run_transaction(insert, users, 4)
        await users.execute(INSERT, 5, "Eve")
    assert await users.fetchall(IDS, into=int) == [1, 2, 3, 5]


async def test_in_a_replica_block_it_only_reads(replicated):
    async with replicated.replica():
        with pytest.raises(ReadOnlyError):
            await replicated.run_transaction(insert, replicated, 4)
        assert await replicated.run_transaction(replicated.fetchval, "select count(*) from users", readonly=True) == 3


@pytest.mark.targets(pooled=True)
async def test_no_increment_of_a_counter_is_lost_or_doubled(db):
    await db.execute("create table counters (id integer primary key, n integer)")
    await db.execute("insert into counters values (1, 0)")
    committed, tries = [], []

    async def increment(number):
        tries.append(number)
        transaction = db.current_transaction
        transaction.on_commit(committed.append, number)
        value = await db.fetchval("select n from counters where id = 1")
        await db.execute("update counters set n = ? where id = 1", value + 1)

    async def run(number):
        await db.run_transaction(increment, number, isolation="serializable", retries=1000, backoff=0.01)

    async with anyio.create_task_group() as tasks:
        for number in range(TASKS):
            tasks.start_soon(run, number)
    assert await db.fetchval("select n from counters where id = 1") == TASKS
    assert list(range(TASKS)) == sorted(committed)
    assert len(tries) >= TASKS
