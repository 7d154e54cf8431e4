"""A server of another history has not what a position or a lag asks for, however high its numbers are.

A hostile test: after a failover a standby that had been ahead, and the old primary that came back, counted as fresh.
"""

from __future__ import annotations

from time import monotonic

import anyio
import pytest

from aio_databases import Database, ReplicaLag
from clusters.several import drivers, in_thread
from servers.mysql import MariaDBServer

COUNT = "select count(*) from t where n = 1"


async def check(primary, replica, *, serves):
    """Write to one server, and read it, or the error, from another one that is named as its replica."""
    async with Database(primary, replicas=[replica]) as db:
        await db.execute("delete from t where n = 1")
        await db.execute("insert into t values (1)")
        for wish in ({"after": await db.position()}, {"max_lag": 60}):
            if not serves:
                with pytest.raises(ReplicaLag):
                    await db.replica(**wish, fallback=False, wait=0).__aenter__()
            async with db.replica(**wish, wait=5 if serves else 0) as connection:
                assert ("replica" if serves else "primary", 1) == (connection.role, await db.fetchval(COUNT)), wish
        async with db.replica() as connection:
            assert connection.role == "replica", "who wants nothing may have it"


async def wait_until(condition):
    """Wait until a function of no arguments is true."""
    deadline = monotonic() + 10
    while not await in_thread(condition):
        assert monotonic() < deadline
        await anyio.sleep(0.02)


@drivers("asyncpg-asyncio", "psycopg-trio", dialects=["postgresql"])
async def test_after_a_failover_of_postgresql_who_does_not_follow_is_no_replica(followers):
    primary, (promoted, ahead) = followers.primary, followers.replicas
    primary.execute("create table t (n int)", database=followers.name)
    primary.execute("grant all on t to public", database=followers.name)
    followers.wait_until_caught_up()
    promoted.execute("alter system set primary_conninfo = ''")
    promoted.execute("select pg_reload_conf()")
    await wait_until(lambda: not promoted.execute("select from pg_stat_wal_receiver"))
    primary.execute("insert into t select -1 from generate_series(1, 20000)", database=followers.name)
    ahead.wait_until_caught_up()
    primary.kill()
    promoted.promote()
    urls = [followers.url(each) for each in (promoted, ahead, primary)]
    await check(urls[0], urls[1], serves=False)
    primary.start()
    await check(urls[0], urls[2], serves=False)
    await check(urls[0], urls[0], serves=True)
    ahead.promote()  # it calls its timeline 2, too
    await check(urls[0], urls[1], serves=False)


@drivers("asyncpg-asyncio", dialects=["postgresql"])
async def test_a_standby_that_follows_the_promoted_one_is_fresh_as_soon_as_it_says_so(followers):
    promoted, follower = followers.replicas
    followers.primary.execute("create table t (n int)", database=followers.name)
    followers.primary.execute("grant all on t to public", database=followers.name)
    followers.wait_until_caught_up()
    urls = [followers.url(each) for each in (promoted, follower)]
    old = followers.primary.execute("select pg_current_wal_lsn()::text")[0][0]
    promoted.promote()
    login = promoted.superuser
    password = login.password.replace("\\", "\\\\").replace("'", "\\'")
    place = f"host={promoted.host} port={promoted.port} user={login.user} password='{password}' sslmode=disable"
    try:
        follower.execute("alter system set primary_conninfo = '{}'".format(place.replace("'", "''")))
        follower.execute("select pg_reload_conf()")
        await wait_until(lambda: follower.execute("select received_tli from pg_stat_wal_receiver") == [(2,)])
        await check(*urls, serves=False)  # its control file says 1, and the user may not see what it receives
        promoted.execute("checkpoint")
        position = promoted.execute("select pg_current_wal_flush_lsn()::text")[0][0]
        await wait_until(
            lambda: follower.execute(f"select pg_last_wal_replay_lsn() >= '{position}'::pg_lsn") == [(True,)]
        )
        follower.execute("checkpoint")
        await check(*urls, serves=True)
        async with Database(urls[0], replicas=urls[1:]) as db:
            with pytest.raises(ReplicaLag):  # a location without a history, of an earlier version of the library
                await db.replica(after=old, wait=0, fallback=False).__aenter__()
    finally:
        follower.promote()  # so that it is made anew


@drivers("asyncmy-asyncio", "trio-mysql-trio", "aioodbc-asyncio", dialects=["mysql"])
async def test_mariadbs_old_primary_that_comes_back_is_no_replica(followers):
    primary, promoted = followers.primary, followers.replicas[0]
    primary.execute("create table t (n int)", database=followers.name)
    followers.wait_until_caught_up()
    promoted.execute("stop slave")
    for _ in range(20):
        primary.execute("insert into t values (-1)", database=followers.name)
    primary.kill()
    promoted.promote()
    primary.start()
    urls = [followers.url(each) for each in (promoted, primary)]
    await check(*urls, serves=False)
    await check(urls[0], urls[0], serves=True)  # the promoted one, still named as a replica


@drivers("asyncpg-asyncio", dialects=["postgresql"])
async def test_a_server_of_another_cluster_is_no_replica(followers, postgres):
    """Such as a subscriber of logical replication, whose locations are its own."""
    other = postgres.create_database()
    for server, name in ((followers.primary, followers.name), (postgres, other)):
        server.execute("create table t (n int)", database=name)
        server.execute("grant all on t to public", database=name)
    await check(followers.url(followers.primary), postgres.url(database=other), serves=False)
    await check(postgres.url(database=other), followers.url(followers.primary), serves=False)
    postgres.drop_database(other)


@drivers("asyncpg-asyncio", "psycopg-trio", "aioodbc-asyncio", dialects=["postgresql"])
async def test_at_the_beginning_of_a_segment_replicas_are_not_behind(followers):
    """A hostile test: after pg_switch_wal(), as archive_timeout does it, no replica was ever at the position."""
    primary, *replicas = followers.urls
    followers.primary.execute("create table t (n int)", database=followers.name)
    async with Database(primary, replicas=replicas) as db:
        followers.primary.execute("select pg_switch_wal()")
        position = await db.position()
        assert int(position.rpartition("/")[2], 16) % 8192 == 0
        await in_thread(followers.wait_until_caught_up)
        async with db.replica(after=position, fallback=False):
            pass
        async with db.replica(max_lag=1, fallback=False):
            pass


@pytest.fixture
def mariadb(require_server):
    """Give a server with a binary log and a table that nobody has written to."""
    with require_server("mysql"):
        server = MariaDBServer({"log-bin": "binlog", "server-id": "5"})
    with server:
        yield server


@drivers("asyncmy-asyncio", "trio-mysql-trio", dialects=["mysql"])
async def test_a_position_of_mariadb_counts_what_other_server_ids_wrote(mariadb, as_client):
    """A hostile test: @@gtid_current_pos leaves that out, so the position went backwards or was an error."""
    name = mariadb.create_database()
    url = as_client(mariadb.url(database=name))
    async with Database(url) as db:
        await db.execute("create table t (n int)")
        before = int((await db.position()).rpartition("-")[2])
    mariadb.stop()
    mariadb.settings["server-id"] = "6"
    mariadb.start()
    async with Database(url, replicas=[url]) as db:
        assert f"0-5-{before}" == await db.position()
        await db.execute("insert into t values (1)")
        assert f"0-6-{before + 1}" == await db.position()
        replayed = "begin not atomic set session server_id = 77; insert into t values (1); end"
        mariadb.execute(replayed, database=name)  # as the output of mysqlbinlog does it
        assert f"0-77-{before + 2}" == await db.position()
        for after in (f"0-5-{before}", f"0-6-{before + 1}", f"0-77-{before + 2}"):
            async with db.replica(after=after, fallback=False):
                assert await db.fetchval(COUNT) == 2
        with pytest.raises(ReplicaLag):
            await db.replica(after=f"0-77-{before + 3}", fallback=False, wait=0).__aenter__()
        async with db.replica(max_lag=60, fallback=False):
            assert await db.fetchval(COUNT) == 2
