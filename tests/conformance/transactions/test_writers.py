"""SQLite has one writer at a time: the writers of a `Database` queue up, and nobody who reads waits for them."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from aio_databases import LockTimeout

COUNT = "select count(*) from users"
INSERT = "insert into users (id) values (?)"

pytestmark = pytest.mark.targets(dialect="sqlite", memory=False)


async def test_writers_wait_for_each_other_and_are_served_in_order(users):
    served = []

    async def write(number):
        async with users.transaction():
            served.append(number)
            await users.execute(INSERT, number)
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as tasks:
        for number in range(10, 20):
            tasks.start_soon(write, number)
            await anyio.lowlevel.checkpoint()
    assert await users.fetchval(COUNT) == 13
    assert len(served) == len(set(served)) == 10


async def test_single_statements_wait_for_their_turn_too(users):
    async with anyio.create_task_group() as tasks:
        for number in range(10, 30):
            tasks.start_soon(users.execute, INSERT, number)
    assert await users.fetchval(COUNT) == 23


async def test_a_writer_that_waits_too_long_is_told_so(make_database):
    database = await make_database(timeout=0.05)
    await database.execute("create table t (i integer)")
    async with database.transaction():
        with pytest.raises(LockTimeout, match="one writer at a time"):
            async with database.transaction(create=True):
                pytest.fail("the block must not begin")
    await database.execute("insert into t (i) values (1)")


@pytest.mark.needs("busy_timeout")
async def test_the_writer_of_another_database_is_met_as_a_lock(users, make_database, words):
    other = await make_database()
    async with other.connection():
        await other.execute(words.impatience)
        async with users.transaction(mode="immediate"):
            with pytest.raises(LockTimeout) as caught:
                await other.execute("delete from users")
        assert caught.value.retryable
        await other.execute("delete from users")


@pytest.mark.parametrize("block", ["connection", "replica", "transaction"])
async def test_readers_do_not_wait_for_writers(users, make_database, url, block):
    database = await make_database(replicas=[url])
    blocks = {
        "connection": database.connection,
        "replica": database.replica,
        "transaction": lambda: database.transaction(create=True, readonly=True),
    }
    written, read = anyio.Event(), anyio.Event()

    async def write():
        async with database.transaction():
            await database.execute(INSERT, 4)
            written.set()
            await read.wait()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await written.wait()
            async with blocks[block]():
                assert await database.fetchval(COUNT) == 3
            read.set()
    assert await database.fetchval(COUNT) == 4


@pytest.mark.parametrize("databases", [1, 2])
async def test_fifty_writers_of_one_file_all_succeed(users, make_database, databases):
    every = [users, *[await make_database() for _ in range(databases - 1)]]

    async def write(number):
        database = every[number % databases]
        async with database.transaction():
            count = await database.fetchval(COUNT)
            await database.execute(INSERT, 100 + number)
            assert count + 1 == await database.fetchval(COUNT)
        await database.execute("update users set name = ? where id = ?", f"{number}", 100 + number)

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(write, number)
    expected = [(100 + number, f"{number}") for number in range(50)]
    assert await users.fetchall("select id, name from users where id >= 100 order by id") == expected


async def test_a_long_query_is_interrupted_by_its_cancellation(users, words):
    async with users.connection() as connection:
        with anyio.fail_after(5):
            for _ in range(3):
                with anyio.move_on_after(0.05) as scope:
                    await connection.fetchval(words.endless)
                assert scope.cancelled_caught
                assert await connection.fetchval(COUNT) == 3
    assert (await users.execute(INSERT, 4)).rowcount == 1
