"""Servers that change their roles under open connections: replicas are promoted, primaries become replicas."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import ConnectionLost, Database, OperationalError, ReadOnlyError
from conformance.addresses import on_hosts, with_option
from servers import MariaDBServer, StandbyCluster

MYSQL = pytest.mark.targets(dialect="mysql", pooled=True)
POSTGRESQL = pytest.mark.targets(dialect="postgresql", pooled=True)


@pytest.fixture(scope="module")
def two_mysql(require_server):
    """Give two MariaDB servers."""
    with require_server("mysql"):
        first, second = MariaDBServer(), MariaDBServer()
    with first, second:
        yield first, second


@pytest.fixture
def switching(two_mysql, as_target):
    """Give a function that makes the first (0) or the second (1) server the primary, and the URL of both."""

    def switch(primary):
        for number, server in enumerate(two_mysql):
            server.execute(f"set global read_only = {int(number != primary)}")

    for server in two_mysql:
        server.execute("create or replace table test.t (i integer)")
    switch(0)
    first, second = two_mysql
    return switch, on_hosts(as_target(first.url()), None, f"{second.host}:{second.port}")


def rows(servers):
    """Tell how many rows each server has."""
    return [server.execute("select count(*) from test.t")[0][0] for server in servers]


INSERT = "insert into t values (1)"


@MYSQL
async def test_a_write_that_is_refused_leads_the_next_ones_to_the_new_primary(make_database, switching, two_mysql):
    switch, url = switching
    database = await make_database(url)
    async with database.connection(), database.connection() as lent:
        await lent.execute(INSERT)
        switch(1)
    with pytest.raises(ReadOnlyError) as caught:
        await database.execute(INSERT)
    assert caught.value.errno == 1290
    async with database.connection() as one, database.connection() as other:
        await one.execute(INSERT)
        await other.execute(INSERT)
    assert rows(two_mysql) == [1, 2]


@MYSQL
async def test_a_connection_that_stayed_open_is_left_in_time(make_database, switching, two_mysql):
    switch, url = switching
    database = await make_database(url, check_after=0)
    await database.execute(INSERT)
    switch(1)
    await database.execute(INSERT)
    switch(0)
    await database.execute(INSERT)
    assert rows(two_mysql) == [2, 1]


async def closed(database):
    """Wait until the pool has closed a connection."""
    with anyio.fail_after(5):
        while True:
            if database.stats()["primary"].closed:
                return
            await anyio.sleep(0.01)


@MYSQL
async def test_a_write_waits_for_the_end_of_the_failover(make_database, switching, two_mysql):
    switch, url = switching
    database = await make_database(url, check_after=0)
    two_mysql[0].execute("set global read_only = 1")
    two_mysql[1].execute("set global read_only = 1")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(database.execute, INSERT)
        await closed(database)
        switch(1)
    assert rows(two_mysql) == [0, 1]


@MYSQL
async def test_reads_are_moved_from_a_replica_that_was_promoted(make_database, switching, two_mysql):
    switch, url = switching
    switch(1)
    database = await make_database(url, replicas=[url], check_after=0)
    for primary in (1, 0, 1):
        switch(primary)
        async with database.replica(fallback=False):
            port = await database.fetchval("select @@port")
        assert two_mysql[1 - primary].port == port


# PostgreSQL


@pytest.fixture(scope="module")
def standby_cluster(require_server):
    """Give a PostgreSQL primary and a standby."""
    with require_server("postgres"):
        cluster = StandbyCluster(1)
    with cluster:
        yield cluster


@pytest.fixture
def replicated(standby_cluster, as_target):
    """Give the URLs of an empty database on the primary, on the standby, and on the standby or the primary."""
    primary, [standby] = standby_cluster.primary, standby_cluster.standbys
    name = primary.create_database()
    standby.wait_until_caught_up()
    first, second = (as_target(server.url(database=name)) for server in (primary, standby))
    yield first, second, on_hosts(second, None, f"{primary.host}:{primary.port}")
    standby_cluster.heal()
    primary.drop_database(name)


@POSTGRESQL
async def test_writes_go_to_the_primary_and_reads_to_the_standby(make_database, replicated):
    _, _, url = replicated
    database = await make_database(url, replicas=[url], check_after=0)
    for _ in range(2):
        await database.execute("create table if not exists t (i integer)")
        async with database.replica(fallback=False):
            assert await database.fetchval("select pg_is_in_recovery()")
    assert 1 == database.stats()["primary"].size == database.stats()["replica-1"].size


@POSTGRESQL
async def test_a_standby_that_is_named_on_purpose_serves_reads(make_database, replicated, monkeypatch):
    _, url, _ = replicated
    database = await make_database(url)
    for _ in range(2):
        assert await database.fetchval("select pg_is_in_recovery()")
        with pytest.raises(ReadOnlyError) as caught:
            await database.execute("create table t (i integer)")
        assert caught.value.sqlstate == "25006"
    assert database.stats()["primary"].opened == 1
    monkeypatch.setattr("aio_databases.physical_connection.connection._A_MOMENT", 0.0)
    with pytest.raises(ReadOnlyError):
        await database.execute("create table t (i integer)")
    for _ in range(3):
        assert await database.fetchval("select pg_is_in_recovery()")
    assert database.stats()["primary"].opened == 2


@POSTGRESQL
@pytest.mark.targets(scheme={"asyncpg", "psycopg", "aioodbc"})
async def test_writes_go_on_at_the_standby_that_was_promoted(replicated, standby_cluster):
    _, _, url = replicated
    database = Database(url, connect_timeout=3)
    async with database:
        await database.execute("create table t (i integer)")
        standby_cluster.standbys[0].wait_until_caught_up()
        standby_cluster.primary.kill()
        with pytest.raises(ConnectionLost):
            await database.execute("insert into t values (1)")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(database.execute, "insert into t values (2)")
            await anyio.to_thread.run_sync(standby_cluster.standbys[0].promote)
        assert await database.fetchval("select i from t") == 2


@POSTGRESQL
@pytest.mark.targets(scheme={"asyncpg", "psycopg", "aioodbc"})
async def test_a_connection_to_a_standby_that_was_promoted_is_left(make_database, replicated, standby_cluster):
    first, second, _ = replicated
    database = await make_database(first, replicas=[with_option(second, "target=read-only")], check_after=0)
    async with database.replica(fallback=False):
        assert await database.fetchval("select pg_is_in_recovery()")
    standby_cluster.standbys[0].promote()
    with pytest.raises(OperationalError, match="is a primary"):
        async with database.replica(fallback=False):
            pass
