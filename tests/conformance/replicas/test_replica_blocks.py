"""Blocks of `replica()`: what they read from, and what may stand inside of one another."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import InterfaceError, ReadOnlyError, TransactionError

INSERT = "insert into users (id, name) values (4, 'Dan')"
COUNT = "select count(*) from users"
OURS = "a replica only reads"

# Reading


async def test_every_query_verb_reads_from_the_replica(replicated):
    async with replicated.replica() as connection:
        assert connection is replicated.current_conn
        assert connection.read_only
        for owner in (replicated, connection):
            assert await owner.fetchval(COUNT) == 3
            assert await owner.fetchone("select id from users order by id") == (1,)
            assert await owner.fetchall("select id from users order by id", into=int) == [1, 2, 3]
            assert await owner.fetchmany(2, "select id from users order by id") == [(1,), (2,)]
            assert [row.name async for row in owner.iterate("select name from users where id = ?", 2)] == ["Bob"]
    assert replicated.current_conn is None


@pytest.mark.targets(memory=False)
async def test_reads_lease_from_the_replica_and_not_from_the_primary(replicated):
    async with replicated.replica():
        await replicated.fetchval(COUNT)
        async for _ in replicated.iterate("select id from users", chunk_size=1):
            stats = replicated.stats()
        assert stats["replica-1"].size > stats["replica-1"].idle
    assert stats["primary"].size == stats["primary"].idle
    assert stats["fallback"].opened == 0


async def test_a_stream_that_is_left_early_leaves_nothing_behind(replicated):
    async with replicated.replica():
        async for row in replicated.iterate("select id from users order by id", chunk_size=1):
            assert row == (1,)
            break
        assert await replicated.fetchval(COUNT) == 3


async def test_a_child_task_of_the_block_reads_from_the_replica(replicated):
    async def child():
        assert replicated.current_conn is connection
        assert await replicated.fetchval(COUNT) == 3
        with pytest.raises(ReadOnlyError, match=OURS):
            await replicated.execute(INSERT)

    async with replicated.replica() as connection, anyio.create_task_group() as tasks:
        tasks.start_soon(child)
        tasks.start_soon(child)


async def test_another_database_is_not_concerned_by_the_block(replicated, make_database, target, url):
    other = await make_database()
    async with replicated.replica():
        assert other.current_conn is None
        await other.execute("create table others (id integer)")
        await other.execute("insert into others (id) values (1)")
        assert await other.fetchval("select count(*) from others") == 1


async def test_after_the_block_writes_work_again(replicated):
    async with replicated.replica():
        await replicated.fetchval(COUNT)
    await replicated.execute(INSERT)
    async with replicated.replica():
        assert await replicated.fetchval(COUNT) == 4


# Blocks inside of the block


async def test_a_transaction_that_only_reads_works_inside(replicated):
    async with replicated.replica() as connection:
        for owner in (replicated, connection):
            async with owner.transaction(readonly=True) as transaction:
                assert transaction.connection is connection
                assert await replicated.fetchval(COUNT) == 3
                with pytest.raises(ReadOnlyError, match=OURS):
                    await replicated.execute(INSERT)
                async with replicated.transaction(readonly=True):
                    assert [row.id async for row in replicated.iterate("select id from users order by id")] == [1, 2, 3]
    assert await replicated.fetchval(COUNT) == 3


@pytest.mark.targets(dialect="postgresql")
async def test_a_transaction_inside_takes_its_options(replicated):
    async with replicated.replica(), replicated.transaction(readonly=True, isolation="serializable", deferrable=True):
        assert await replicated.fetchval("show transaction_isolation") == "serializable"
        assert await replicated.fetchval("show transaction_deferrable") == "on"


async def test_the_database_refuses_writes_in_a_transaction_inside(replicated):
    async with replicated.replica() as connection:
        connection.read_only = False  # our own fences are down
        with pytest.raises(ReadOnlyError):
            async with replicated.transaction(readonly=True):
                await replicated.execute(INSERT)
    assert await replicated.fetchval(COUNT) == 3


async def test_a_connection_inside_reaches_the_primary(replicated):
    async with replicated.replica() as replica:
        async with replicated.connection() as primary:
            assert primary is replicated.current_conn
            assert not primary.read_only
            await replicated.execute(INSERT)
            async with replicated.transaction():
                await replicated.execute("insert into users (id) values (5)")
        assert replica is replicated.current_conn
        assert await replicated.fetchval(COUNT) == 5
        with pytest.raises(ReadOnlyError, match=OURS):
            await replicated.execute(INSERT)


async def test_a_connection_that_need_not_be_new_is_the_replicas(replicated):
    async with replicated.replica() as replica, replicated.connection(create=False) as connection:
        assert replica is connection
        with pytest.raises(ReadOnlyError, match=OURS):
            await replicated.execute(INSERT)


async def test_a_transaction_of_its_own_inside_reaches_the_primary(replicated):
    async with replicated.replica():
        async with replicated.transaction(create=True):
            await replicated.execute(INSERT)
        assert await replicated.fetchval(COUNT) == 4


async def test_blocks_nest(replicated):
    async with replicated.replica() as outer:
        async with replicated.replica() as inner:
            assert inner is replicated.current_conn
            assert await replicated.fetchval(COUNT) == 3
        assert outer is replicated.current_conn
        assert await replicated.fetchval(COUNT) == 3


async def test_a_block_inside_of_a_transaction_of_the_primary_is_refused(replicated):
    async with replicated.transaction() as transaction:
        await replicated.execute(INSERT)
        for block in (replicated.replica, lambda: replicated.replica(fallback=False)):
            with pytest.raises(TransactionError, match="does not see what the open transaction has written"):
                await block().__aenter__()
        async with replicated.transaction(), anyio.create_task_group() as tasks:
            tasks.start_soon(refused_in_a_task, replicated)
        assert transaction.is_active
        await replicated.execute("insert into users (id) values (5)")
    assert await replicated.fetchval(COUNT) == 5
    async with replicated.replica():
        assert await replicated.fetchval(COUNT) == 5


async def refused_in_a_task(database):
    with pytest.raises(TransactionError, match="does not see what the open transaction has written"):
        await database.replica().__aenter__()


async def test_a_block_inside_of_a_connection_without_a_transaction_is_a_block_as_any_other(replicated):
    async with replicated.connection() as connection:
        async with replicated.replica() as replica:
            assert replica is replicated.current_conn
            assert await replicated.fetchval(COUNT) == 3
        assert connection is replicated.current_conn


async def test_a_block_inside_of_a_replicas_transaction_is_one_more_replica(replicated):
    async with replicated.replica(), replicated.transaction(readonly=True), replicated.replica() as inner:
        assert inner is replicated.current_conn
        assert await replicated.fetchval(COUNT) == 3


@pytest.mark.targets(memory=False)
async def test_a_connection_knows_the_role_of_its_server(replicated, users):
    async with replicated.replica() as connection:
        assert (connection.role, connection.read_only) == ("replica", True)
        async with replicated.connection() as inner:
            assert (inner.role, inner.read_only) == ("primary", False)
    async with users.replica() as connection:
        assert (connection.role, connection.read_only) == ("primary", True)


async def test_an_exception_leaves_the_block_as_it_is(replicated):
    reason = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with replicated.replica():
            raise reason
    assert reason is caught.value
    assert replicated.current_conn is None


async def test_the_connection_of_a_block_that_ended_says_so(replicated):
    async with replicated.replica() as connection:
        pass
    with pytest.raises(InterfaceError, match="after its release"):
        await connection.fetchval(COUNT)
