"""A replica block reads, and three fences keep it from writing."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from aio_databases import ConnectError, PoolTimeout, ReadOnlyError

COUNT = "select count(*) from users"
INSERT = "insert into users (id, name) values (4, 'Dan')"


@pytest.fixture
async def reader(users, url, target, make_database):
    """Give a database of three users whose replica is the same server; one in memory is its own."""
    return users if target.memory else await make_database(replicas=[url])


async def test_a_replica_block_reads(reader):
    async with reader.replica() as connection:
        assert connection is reader.current_conn
        assert connection.read_only
        assert 3 == await reader.fetchval(COUNT)
        assert (1, "Ann") == await reader.fetchone("select id, name from users where id = ?", 1)
        assert [1, 2, 3] == [row.id async for row in reader.iterate("select id from users order by id", chunk_size=2)]
        assert [(1,)] == await connection.fetchmany(1, "with n as (select 1 as i) select i from n")
    assert reader.current_conn is None


async def test_execute_is_refused_at_once(reader):
    async with reader.replica() as connection:
        for caller in (reader, connection):
            for call in (
                caller.execute(INSERT),
                caller.execute(COUNT),
                caller.executemany("insert into users (id) values (?)", 4, 5),
            ):
                with pytest.raises(ReadOnlyError, match=r"db\.connection\(\)"):
                    await call
        assert 3 == await reader.fetchval(COUNT)


@pytest.mark.parametrize(
    "query",
    [
        f"{INSERT} returning id",
        "update users set name = 'x' returning id",
        "delete from users returning id",
        "with new as (select 4 as id) insert into users (id) select id from new returning id",
        "create table others (id integer)",
        "drop table users",
        "/* harmless */ delete from users",
        "-- harmless\ndelete from users",
    ],
)
async def test_queries_that_write_are_refused_by_every_verb(reader, query):
    async with reader.replica():
        for call in (
            reader.fetchall(query),
            reader.fetchone(query),
            reader.fetchval(query),
            reader.fetchmany(1, query),
        ):
            with pytest.raises(ReadOnlyError):
                await call
        with pytest.raises(ReadOnlyError):
            await anext(reader.iterate(query))
        assert 3 == await reader.fetchval(COUNT)
    assert 3 == await reader.fetchval(COUNT)


LIFTS = {
    "sqlite": ["pragma query_only = off", "pragma query_only(0)", "pragma main.query_only = 0"],
    "postgresql": [
        "set default_transaction_read_only = off",
        "set session default_transaction_read_only to off",
        "select set_config('default_transaction_read_only', 'off', false)",
        "set session characteristics as transaction read write",
        "reset default_transaction_read_only",
        "reset all",
        "discard all",
        "begin read write",
    ],
}


async def test_the_fence_cannot_be_lifted(reader, target):
    for query in LIFTS[target.dialect]:
        async with reader.replica():
            with pytest.raises(ReadOnlyError):
                await reader.fetchall(query)
    async with reader.replica():
        with pytest.raises(ReadOnlyError):
            await reader.fetchall(f"{INSERT} returning id")


@pytest.mark.targets(dialect="postgresql")
@pytest.mark.parametrize(
    "query",
    [
        "with new as (insert into users (id) values (4) returning id) select id from new",
        "select hidden()",
        "select nextval('numbers')",
        "select * from users for update",
        "select id into others from users",
        "explain analyze delete from users",
    ],
)
async def test_writes_in_disguise_are_refused(reader, query):
    await reader.execute("create sequence numbers")
    await reader.execute("create function hidden() returns int language sql as 'delete from users returning id'")
    async with reader.replica():
        with pytest.raises(ReadOnlyError):
            await reader.fetchall(query)
    assert 3 == await reader.fetchval(COUNT)


async def test_the_database_refuses_by_itself(reader):
    """Even who goes around both of our fences does not write."""
    async with reader.replica() as connection:
        with pytest.raises(ReadOnlyError) as caught:
            await connection.perform(connection.physical, _HARMLESS, connection.driver.execute, INSERT, ())
    assert type(caught.value).__mro__.index(ReadOnlyError) == 1, "an error of the database, not of ours"
    assert 3 == await reader.fetchval(COUNT)


class _Harmless:
    writes = session = False


_HARMLESS = _Harmless()


# Transactions and other blocks inside


async def test_a_read_only_transaction_runs_on_the_replica(reader):
    async with reader.replica() as connection:
        async with reader.transaction(readonly=True) as transaction:
            assert connection is transaction.connection
            assert 3 == await reader.fetchval(COUNT)
            async with reader.transaction():
                assert 3 == await reader.fetchval(COUNT)
            with pytest.raises(ReadOnlyError):
                await reader.fetchall(f"{INSERT} returning id")
        async with connection.transaction(readonly=True):
            assert 3 == await reader.fetchval(COUNT)


@pytest.mark.parametrize("options", [{}, {"readonly": False}], ids=str)
async def test_a_transaction_that_could_write_is_refused(reader, options):
    async with reader.replica() as connection:
        for transaction in (reader.transaction(**options), connection.transaction(**options)):
            with pytest.raises(ReadOnlyError, match="readonly=True"):
                async with transaction:
                    pytest.fail("the block must not begin")
        assert 3 == await reader.fetchval(COUNT)


async def test_a_connection_block_inside_reaches_the_primary(reader):
    async with reader.replica() as replica:
        async with reader.connection() as connection:
            assert connection is not replica
            assert not connection.read_only
            await reader.execute(INSERT)
            assert 4 == await reader.fetchval(COUNT)
        assert replica is reader.current_conn
        assert 4 == await reader.fetchval(COUNT)


async def test_a_transaction_with_a_connection_of_its_own_reaches_the_primary(reader):
    async with reader.replica():
        async with reader.transaction(True):
            await reader.execute(INSERT)
        assert 4 == await reader.fetchval(COUNT)


async def test_a_connection_block_that_creates_nothing_stays_on_the_replica(reader):
    async with reader.replica() as replica, reader.connection(False) as same:
        assert same is replica
        with pytest.raises(ReadOnlyError):
            await reader.execute(INSERT)


async def test_a_replica_block_inside_a_transaction_reads_beside_it(reader):
    async with reader.connection():
        async with reader.replica() as replica:
            assert replica is reader.current_conn
            assert 3 == await reader.fetchval(COUNT)
        await reader.execute(INSERT)
    assert 4 == await reader.fetchval(COUNT)


async def test_writing_goes_on_after_the_block(reader):
    for number in (4, 5):
        async with reader.replica():
            await reader.fetchval(COUNT)
        await reader.execute("insert into users (id) values (?)", number)
    assert 5 == await reader.fetchval(COUNT)


async def test_an_exception_leaves_the_block(reader):
    with pytest.raises(ZeroDivisionError):
        async with reader.replica() as connection:
            raise ZeroDivisionError
    assert not connection.is_ready
    assert reader.current_conn is None


# Choice


@pytest.fixture
def broken_url(target, tmp_path):
    """Give the URL of a replica that is not there."""
    if target.dialect == "sqlite":
        return f"{target.scheme}:///{tmp_path}/no/such/folder/replica.db"
    return f"{target.scheme}://app:secret@127.0.0.1:1/nowhere"


@pytest.mark.targets(memory=False)
async def test_the_load_is_spread_over_the_replicas(users, make_database, url):
    database = await make_database(replicas=[url, url, url])
    blocks = [database.replica() for _ in range(6)]
    pools = Counter([(await block.__aenter__()).pool for block in blocks])
    for block in reversed(blocks):
        await block.__aexit__(None, None, None)
    assert [2, 2, 2] == list(pools.values())
    assert {"primary", "replica-1", "replica-2", "replica-3", "fallback"} == database.stats().keys()


@pytest.mark.targets(memory=False)
async def test_a_replica_that_is_not_there_is_passed_over(users, make_database, url, broken_url):
    database = await make_database(replicas=[broken_url, url], connect_timeout=2)
    for _ in range(4):
        async with database.replica() as connection:
            assert 3 == await database.fetchval(COUNT)
            assert connection.pool is not database._replicas.fallback
    assert 0 == database.stats()["replica-1"].opened


@pytest.mark.targets(memory=False)
async def test_without_any_replica_the_primary_is_read_still_read_only(users, make_database, broken_url):
    database = await make_database(replicas=[broken_url], connect_timeout=2)
    for _ in range(2):
        async with database.replica():
            assert 3 == await database.fetchval(COUNT)
            with pytest.raises(ReadOnlyError):
                await database.fetchall(f"{INSERT} returning id")


@pytest.mark.targets(memory=False)
async def test_without_fallback_a_missing_replica_is_an_error(users, make_database, broken_url):
    database = await make_database(replicas=[broken_url], connect_timeout=2)
    for _ in range(2):
        with pytest.raises(ConnectError) as caught:
            async with database.replica(fallback=False):
                pytest.fail("the block must not begin")
        assert "secret" not in str(caught.value)
    assert database.current_conn is None


async def test_without_replicas_the_primary_is_read_behind_the_same_fences(users):
    async with users.replica() as connection:
        assert 3 == await users.fetchval(COUNT)
        for call in (users.execute(INSERT), users.fetchall(f"{INSERT} returning id"), users.transaction().start()):
            with pytest.raises(ReadOnlyError):
                await call
        with pytest.raises(ReadOnlyError):
            await connection.perform(connection.physical, _HARMLESS, connection.driver.execute, INSERT, ())
        async with users.transaction(readonly=True):
            assert 3 == await users.fetchval(COUNT)
        async with users.connection():
            await users.execute(INSERT)
    assert 4 == await users.fetchval(COUNT)


async def test_without_replicas_and_fallback_there_is_nothing_to_read_from(users):
    with pytest.raises(ConnectError, match="none is configured"):
        async with users.replica(fallback=False):
            pytest.fail("the block must not begin")


@pytest.mark.targets(memory=False)
async def test_a_replica_whose_pool_is_exhausted_is_passed_over(users, make_database, url):
    database = await make_database(replicas=[url], max_size=1, timeout=0.05)
    async with database.replica() as first:
        async with database.replica() as second:
            assert first.pool is not second.pool
            assert 3 == await database.fetchval(COUNT)
        with pytest.raises((PoolTimeout, ConnectError)):
            async with database.replica(fallback=False):
                pytest.fail("the block must not begin")


@pytest.mark.targets(memory=False)
async def test_readers_on_replicas_do_not_wait_for_writers(users, make_database, url):
    database = await make_database(replicas=[url])
    async with database.transaction():
        await database.execute(INSERT)
        with anyio.fail_after(5):
            async with database.replica():
                assert 3 == await database.fetchval(COUNT)
    async with database.replica():
        assert 4 == await database.fetchval(COUNT)
