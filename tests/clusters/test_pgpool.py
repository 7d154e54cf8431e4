"""Pgpool-II before a primary and a standby: it reads what is sent and chooses the server, which nobody is told.

The standby is kept from replaying in most tests: so what a query returns tells who has answered.
"""

from __future__ import annotations

from itertools import pairwise
from time import monotonic

import anyio
import pytest

from aio_databases import Database, OperationalError, ReadOnlyError, TargetNotFound
from clusters.followers import clients
from clusters.ledger import until
from conformance.addresses import with_option
from servers.pgpool import WRITER

EVERY_DRIVER = pytest.mark.parametrize("client", clients("postgresql"), ids=str)
FEW_DRIVERS = pytest.mark.parametrize(
    "client", [each for each in clients("postgresql") if each.loop == "trio" or each.scheme == "asyncpg"], ids=str
)
BY_NAME = [client for client in clients("postgresql") if not client.scheme.endswith("odbc")]
"""Those that tell their application_name when they connect."""

COUNT = "select count(*) from notes"
INSERT = "insert into notes (owner) values (:owner)"
ON_STANDBY = 0


@pytest.fixture
def name(pgpool):
    """Name a database with an empty table, which the standby has as well."""
    name = pgpool.create_database()
    pgpool.primary.execute("create table notes (id serial primary key, owner int)", database=name)
    pgpool.primary.execute(f"alter table notes owner to {pgpool.primary.app_user}", database=name)
    pgpool.wait_until_caught_up()
    return name


@pytest.fixture
def url(pgpool, as_client, client, name):
    """Give its URL."""
    url = as_client(pgpool.url(name))
    # A statement that was prepared on one server cannot be run on the other one.
    return with_option(url, "statement_cache_size=0") if client.scheme == "asyncpg" else url


@pytest.fixture
def standby(pgpool, name):
    """Give the standby, which replays no more."""
    [standby] = pgpool.standbys
    standby.pause_replay()
    return standby


@EVERY_DRIVER
async def test_reads_go_to_the_standby_and_what_follows_a_write_in_its_transaction_does_not(url, standby):
    async with Database(url) as db:
        await db.execute(INSERT, {"owner": 1})
        assert await db.fetchval(COUNT) == ON_STANDBY
        assert await db.fetchval(f"{COUNT} where owner = :owner", {"owner": 1}) == ON_STANDBY
        async with db.transaction():
            assert await db.fetchval(COUNT) == ON_STANDBY
            await db.execute(INSERT, {"owner": 2})
            assert await db.fetchval(COUNT) == 2
            with pytest.raises(ZeroDivisionError):
                async with db.transaction():
                    await db.execute(INSERT, {"owner": 3})
                    raise ZeroDivisionError
            assert [row.owner async for row in db.iterate("select owner from notes order by id")] == [1, 2]
        assert [row.id for row in await db.fetchall("insert into notes (owner) values (4) returning id")] == [4]
        assert len(await db.fetchall("select * from notes for update")) == 3
        assert await db.fetchval(f"/*NO LOAD BALANCE*/ {COUNT}") == 3
        async with db.connection():
            await db.execute(INSERT, {"owner": 5})
            assert await db.fetchval(COUNT) == ON_STANDBY, "outside of a transaction one does not read what one wrote"


@EVERY_DRIVER
async def test_a_replica_block_refuses_writes(url, name, pgpool):
    pgpool.primary.execute(
        "create function sneak() returns int language sql as 'insert into notes values (7, 7) returning id'",
        database=name,
    )
    async with Database(url) as db, db.replica() as connection:
        assert await connection.fetchval(COUNT) == 0
        for refused in ("insert into notes (owner) values (1) returning id", "select sneak()"):
            with pytest.raises(ReadOnlyError):
                await connection.fetchall(refused)
    assert pgpool.primary.execute(COUNT, database=name) == [(0,)]


@EVERY_DRIVER
async def test_many_tasks_get_their_own_rows(url):
    async with Database(url, max_size=10) as db:

        async def use(owner):
            assert owner == await db.fetchval("select :owner::int", {"owner": owner})
            async with db.transaction():
                for written in range(1, 4):
                    await db.execute(INSERT, {"owner": owner})
                    assert written == await db.fetchval(f"{COUNT} where owner = :owner", {"owner": owner})
            async with db.replica():
                rows = await db.fetchall("select owner from notes where owner = :owner", {"owner": owner})
            assert {owner} >= {row.owner for row in rows}

        async with anyio.create_task_group() as tasks:
            for owner in range(40):
                tasks.start_soon(use, owner)
        assert await db.fetchval(f"/*NO LOAD BALANCE*/ {COUNT}") == 120


@FEW_DRIVERS
async def test_a_position_is_the_primarys_and_promises_nothing_of_reads_that_it_balances(url, standby):
    async with Database(url, replicas=[url]) as db:
        await db.execute(INSERT, {"owner": 1})
        async with db.replica(after=await db.position(), wait=0):
            assert await db.fetchval(COUNT) == ON_STANDBY
        async with db.replica(max_lag=0.01):
            assert await db.fetchval(COUNT) == ON_STANDBY


@pytest.mark.parametrize("client", BY_NAME, ids=str)
async def test_with_the_standby_as_a_replica_of_its_own_positions_hold(url, name, standby, pgpool, as_client):
    direct = as_client(standby.url(database=name))
    url = with_option(url, f"application_name={WRITER}")
    async with Database(url, replicas=[direct], cool_down=0.1) as db:
        for written in range(1, 11):
            await db.execute(INSERT, {"owner": 1})
            assert written == await db.fetchval(COUNT)
            async with db.replica(after=await db.position(), wait=0) as connection:
                assert (written, "primary") == (await connection.fetchval(COUNT), connection.role)
        standby.resume_replay()
        await anyio.to_thread.run_sync(pgpool.wait_until_caught_up)
        role = ""
        with anyio.fail_after(10):
            while role != "replica":
                async with db.replica(after=await db.position()) as connection:
                    assert await connection.fetchval(COUNT) == 10
                    role = connection.role


@FEW_DRIVERS
async def test_behind_it_the_primary_is_found_and_no_standby(url):
    async with Database(with_option(url, "target=read-write")) as db:
        await db.execute(INSERT, {"owner": 1})
    with pytest.raises(TargetNotFound, match="is a primary"):
        await Database(with_option(url, "target=read-only"), timeout=0).connect()


@EVERY_DRIVER
async def test_reads_go_on_at_the_primary_when_the_standby_is_killed(url, pgpool, client, measured):
    async with Database(url, max_size=4) as db:
        await db.execute(INSERT, {"owner": 1})
        pgpool.wait_until_caught_up()
        failures, moments, is_over = 0, [], anyio.Event()

        async def read():
            nonlocal failures
            while not is_over.is_set():
                try:
                    assert await db.fetchval(COUNT) == 1
                except OperationalError:
                    failures += 1
                else:
                    moments.append(monotonic())
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(read)
            await until(lambda: len(moments) > 20)
            await anyio.to_thread.run_sync(pgpool.standbys[0].kill)
            await anyio.to_thread.run_sync(pgpool.pgpool.wait_until_used, pgpool.primary)
            enough = len(moments) + 20
            await until(lambda: len(moments) > enough)
            is_over.set()
        await db.execute(INSERT, {"owner": 2})
        assert await db.fetchval(COUNT) == 2
    gap = max(later - earlier for earlier, later in pairwise(moments))
    measured(f"pgpool, {client.scheme}, its standby is killed: {failures} reads failed, {gap:.1f} s without one")
