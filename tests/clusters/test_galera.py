"""Galera: three nodes that take writes and agree on each commit, which may fail on one because of another."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from time import monotonic

import anyio
import pytest

from aio_databases import (
    ConnectionLost,
    Database,
    DeadlockDetected,
    OperationalError,
    PoolTimeout,
    TransactionError,
)
from clusters.followers import clients
from clusters.ledger import Ledger, until
from conformance.addresses import on_hosts

EVERY_DRIVER = pytest.mark.parametrize("client", clients("mysql"), ids=str)
ONE_DRIVER = pytest.mark.parametrize("client", clients("mysql")[:1], ids=str)
ONE_OF_EACH_LOOP = pytest.mark.parametrize(
    "client", [each for each in clients("mysql") if each.scheme in {"asyncmy", "trio-mysql"}], ids=str
)
SECONDS_WITHOUT_SERVICE = 8.0
"""How long nobody may be able to write after a fault; the nodes need about 1.5 s to notice it."""


@pytest.fixture
def urls(galera, as_client):
    """Give the URL of an empty database on each node."""
    return [as_client(url) for url in galera.urls(galera.create_database())]


@pytest.fixture
def all_nodes(galera, urls):
    """Give the URL of the database on whichever node takes writes, the first one if it does."""
    return on_hosts(urls[0], None, *(f"{node.host}:{node.port}" for node in galera.nodes[1:]))


@asynccontextmanager
async def on_each_node(galera, urls, **options):
    """Give a database for each node, whose replicas are the other nodes, and an empty table."""
    async with AsyncExitStack() as stack:
        databases = [Database(url, replicas=[each for each in urls if each != url], **options) for url in urls]
        for database in databases:
            await stack.enter_async_context(database)
        await databases[0].execute("create table notes (owner int primary key, number int not null)")
        await databases[0].execute("insert into notes values (0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)")
        await anyio.to_thread.run_sync(galera.wait_until_caught_up)
        yield databases


WRITE, READ = "update notes set number = ? where owner = ?", "select number from notes where owner = ?"


async def reads_after_positions(databases, rounds):
    """Write on each node, and read on the others at once; return how many of the reads were done where."""
    roles = {"primary": 0, "replica": 0}

    async def use(owner):
        database = databases[owner % 3]
        asked = database if owner < 3 else databases[(owner + 1) % 3]  # any node knows what all have committed
        for number in range(1, rounds + 1):
            await database.execute(WRITE, number, owner)
            position = await asked.position()
            async with database.replica(after=position, wait=5) as connection:
                found = await connection.fetchval(READ, owner)
                roles[connection.role] += 1
            assert number == found, f"a {connection.role} that was to be at {position} has not what was written"

    async with anyio.create_task_group() as users:
        for owner in range(6):
            users.start_soon(use, owner)
    return roles


@EVERY_DRIVER
async def test_what_was_written_on_a_node_is_read_on_the_others_after_its_position(galera, urls):
    async with on_each_node(galera, urls, max_size=4) as databases:
        assert re.fullmatch(r"[0-9a-f-]{36}:\d+", await databases[0].position())
        roles = await reads_after_positions(databases, 10)
    assert roles["replica"] > 30, roles


@ONE_DRIVER
async def test_of_many_reads_after_a_position_none_is_older(galera, urls, measured):
    async with on_each_node(galera, urls, max_size=4) as databases:
        roles = await reads_after_positions(databases, 300)
    measured(f"Galera: {roles['replica']} reads on other nodes after a position, none older")
    assert roles["replica"] > 900, roles


@ONE_DRIVER
async def test_the_primary_that_stands_in_may_be_another_node_and_waits_for_what_was_written(galera, all_nodes):
    async with Database(all_nodes) as db:
        await db.execute("create table notes (owner int primary key, number int not null)")
        await db.execute("insert into notes values (0, 0)")
        async with db.replica() as connection:
            first = await connection.fetchval("select @@port")
        galera.nodes[0].execute("set global wsrep_reject_queries = all")
        with pytest.raises(OperationalError):
            await db.execute(WRITE, 0, 0)
        await db.execute(WRITE, 0, 0)
        galera.nodes[0].execute("set global wsrep_reject_queries = none")
        assert first != await db.fetchval("select @@port")
        for number in range(1, 301):
            await db.execute(WRITE, number, 0)
            async with db.replica(after=await db.position()):
                assert number == await db.fetchval(READ, 0)
        async with db.replica() as connection:
            assert first == await connection.fetchval("select @@port")


# Conflicts


@EVERY_DRIVER
async def test_increments_on_three_nodes_are_all_there(galera, urls):
    tasks, increments, tries = 6, 8, count()
    async with on_each_node(galera, urls, max_size=4) as databases:

        async def increment(database):
            next(tries)
            number = await database.fetchval("select number from notes where owner = 0 for update")
            await database.execute(WRITE, number + 1, 0)

        async def use(database):
            for _ in range(increments):
                await database.run_transaction(increment, database, retries=1000, backoff=0.02)

        async with anyio.create_task_group() as users:
            for task in range(tasks):
                users.start_soon(use, databases[task % 3])
        await anyio.to_thread.run_sync(galera.wait_until_caught_up)
        for database in databases:
            assert tasks * increments == await database.fetchval(READ, 0)
    assert next(tries) > tasks * increments, "no conflict was met"


async def overtake(galera, database):
    """Write on one node what a transaction on another one has written too, and wait until that node knows it."""
    await database.execute(WRITE, 7, 0)
    await anyio.to_thread.run_sync(galera.wait_until_caught_up)


@EVERY_DRIVER
async def test_after_a_conflict_the_transaction_is_gone_with_all_that_follows(galera, urls):
    async with on_each_node(galera, urls) as (one, other, _):
        with pytest.raises(TransactionError, match="rolled it back") as caught:
            async with one.transaction() as outer:
                await one.execute(WRITE, 1, 0)
                async with one.transaction():
                    await overtake(galera, other)
                    with pytest.raises(DeadlockDetected) as conflict:
                        await one.execute(WRITE, 2, 1)
                    with pytest.raises(TransactionError):
                        await one.execute(WRITE, 3, 2)
        assert conflict.value.errno == 1213
        assert conflict.value.retryable
        assert conflict.value is caught.value.__cause__
        assert not outer.is_active
        assert [await one.fetchval(READ, owner) for owner in range(3)] == [7, 0, 0]


@EVERY_DRIVER
async def test_a_conflict_may_show_at_the_commit_only(galera, urls):
    async with on_each_node(galera, urls) as (one, other, _):
        with pytest.raises(DeadlockDetected) as conflict:
            async with one.transaction():
                await one.execute(WRITE, 1, 0)
                await one.execute(WRITE, 1, 1)
                await overtake(galera, other)
        assert conflict.value.errno == 1213
        assert [await one.fetchval(READ, owner) for owner in range(2)] == [7, 0]


# Nodes that are lost


@ONE_OF_EACH_LOOP
@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_writes_go_on_at_another_node_and_none_is_lost_or_doubled(galera, all_nodes, client, fault, measured):
    async with Database(all_nodes, max_size=6, connect_timeout=3, commit_timeout=2, cleanup_timeout=1) as db:
        await db.execute("create table ledger (id int auto_increment primary key, entry int not null)")
        ledger = Ledger(db, patience=2)
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(ledger.write)
            await until(lambda: len(ledger.written) > 50)
            await anyio.to_thread.run_sync(getattr(galera.nodes[0], fault))
            broken = monotonic()
            await until(lambda: ledger.moments[-1] > broken + 1 and ledger.moments[-50] > broken)
            ledger.is_over.set()
        assert await db.fetchval("select @@port") in {node.port for node in galera.nodes[1:]}
        told = await ledger.check()
    measured(f"Galera, {client.scheme}, a node is {'killed' if fault == 'kill' else 'frozen'}: {told}")
    assert ledger.longest_gap < SECONDS_WITHOUT_SERVICE


@pytest.fixture
def rejecting(galera):
    """Give a function that makes nodes answer everything as without a quorum, or no more."""

    def reject(*nodes):
        for node in galera.nodes:
            node.execute(f"set global wsrep_reject_queries = {'all' if node in nodes else 'none'}")

    yield reject
    reject()


@EVERY_DRIVER
async def test_a_node_that_is_not_ready_is_left_for_another_one(galera, all_nodes, rejecting):
    async with Database(all_nodes, timeout=0.5) as db:
        async with db.connection(), db.connection(create=True):
            pass
        await db.execute("create table notes (number int primary key)")
        assert db.stats()["primary"].size == 2
        rejecting(galera.nodes[0])
        with pytest.raises(OperationalError, match="WSREP has not yet prepared node") as caught:
            await db.execute("insert into notes values (1)")
        assert caught.value.errno == 1047
        async with db.connection() as one, db.connection() as other:
            ports = {await connection.fetchval("select @@port") for connection in (one, other)}
            await other.execute("insert into notes values (2)")
        assert galera.nodes[0].port not in ports
        rejecting(*galera.nodes)
        with pytest.raises(OperationalError):
            await db.execute("insert into notes values (3)")
        with anyio.fail_after(5), pytest.raises(OperationalError, match=r"cannot connect to .*WSREP has not yet"):
            await db.execute("insert into notes values (4)")
        rejecting()
        await db.execute("insert into notes values (5)")
        assert [row.number for row in await db.fetchall("select number from notes order by 1")] == [2, 5]


@EVERY_DRIVER
async def test_a_node_that_is_not_ready_is_not_read_from_any_more(galera, urls, rejecting):
    async with Database(urls[1], replicas=urls, cool_down=30) as db:
        await db.execute("create table notes (number int primary key)")
        await anyio.to_thread.run_sync(galera.wait_until_caught_up)
        for _ in range(12):
            async with db.replica():
                assert await db.fetchval("select count(*) from notes") == 0
        opened = db.stats()["replica-1"].opened
        rejecting(galera.nodes[0])
        failures = []
        for _ in range(36):
            try:
                async with db.replica(fallback=False):
                    assert await db.fetchval("select count(*) from notes") == 0
            except OperationalError as error:
                failures.append(error.errno)
        assert len(failures) * [1047] == failures
        assert opened >= len(failures), "each connection that was open tells it at most once"


@ONE_DRIVER
async def test_without_a_quorum_there_are_errors_and_after_it_the_same_program_works(galera, all_nodes):
    async with Database(all_nodes, timeout=0.5, connect_timeout=3, commit_timeout=5) as db:
        await db.execute("create table notes (number int primary key)")
        await db.execute("insert into notes values (1)")
        for node in galera.nodes[1:]:
            await anyio.to_thread.run_sync(node.kill)
        await anyio.to_thread.run_sync(galera.nodes[0].wait_until_sees, 1)
        errors = []
        for number in (2, 3, 4):
            with anyio.fail_after(5), pytest.raises(OperationalError) as caught:
                await db.execute("insert into notes values (?)", number)
            errors.append(caught.value)
        assert errors[0].errno == 1047
        assert not isinstance(errors[0], ConnectionLost | PoolTimeout)
        assert "WSREP has not yet prepared node" in f"{errors[-1]}"
        await anyio.to_thread.run_sync(galera.nodes[0].bootstrap)
        await db.execute("insert into notes values (5)")
        assert [row.number for row in await db.fetchall("select number from notes order by 1")] == [1, 5]
