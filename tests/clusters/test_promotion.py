"""Replicas that are promoted: after the primary was killed, and while connections to both stay open."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic
from urllib.parse import urlsplit

import anyio
import pytest

from aio_databases import ConnectError, ConnectionLost, Database, ReadOnlyError, ReplicaLag, TargetNotFound
from clusters.followers import clients
from conformance.addresses import on_hosts

INSERT = "insert into notes values (?, ?)"
PORT = {"postgresql": "select inet_server_port()", "mysql": "select @@port"}
WRITERS = 2
MYSQL = pytest.mark.parametrize("client", clients("mysql"), ids=str)
POSTGRESQL = pytest.mark.parametrize("client", clients("postgresql"), ids=str)
ONE_OF_EACH = pytest.mark.parametrize(
    "client", [each for each in clients() if each.scheme in {"asyncpg", "asyncmy"}], ids=str
)

in_thread = anyio.to_thread.run_sync


def place(url):
    """Return the `host:port` of a URL."""
    return urlsplit(url).netloc.rpartition("@")[2]


def one_url(*urls):
    """Return one URL of several servers."""
    return on_hosts(urls[0], *map(place, urls))


@asynccontextmanager
async def connected(followers, url, **options):
    """Give the database behind a URL, and on all servers an empty table."""
    async with Database(followers.urls[0]) as db:
        await db.execute("create table notes (owner integer primary key, number integer)")
    await in_thread(followers.wait_until_caught_up)
    async with Database(url, **options) as db:
        yield db


def owners(followers, server):
    """List the rows that a server has."""
    return [owner for (owner,) in server.execute("select owner from notes", database=followers.name)]


@dataclass
class Load:
    """Tasks that write one row after the other; moments are those of the clock `monotonic`."""

    db: Database
    written: dict[int, float] = field(default_factory=dict)
    failed: list[tuple[float, float, BaseException]] = field(default_factory=list)
    is_over: bool = False

    async def write(self, writer):
        """Insert row after row, half of them in a transaction; what fails is not tried again."""
        number = writer
        while not self.is_over:
            number += WRITERS
            began = monotonic()
            try:
                if number % (2 * WRITERS) < WRITERS:
                    await self.db.execute(INSERT, number, writer)
                else:
                    async with self.db.transaction():
                        await self.db.execute(INSERT, number, writer)
                self.written[number] = monotonic()
            except (ConnectError, ConnectionLost) as exc:
                self.failed.append((began, monotonic(), exc))
            await anyio.sleep(0.005)

    async def write_more(self, rows):
        """Wait until so many more rows were written."""
        wanted = len(self.written) + rows
        with anyio.fail_after(20):
            while len(self.written) < wanted:
                await anyio.sleep(0.005)


async def test_after_the_primary_was_killed_writes_go_on_at_the_promoted_replica(followers, client, measured):
    primary, promoted = followers.primary, followers.replicas[0]
    url = one_url(*followers.urls)
    async with connected(followers, url, timeout=20) as db, anyio.create_task_group() as tasks:
        load = Load(db)
        for writer in range(WRITERS):
            tasks.start_soon(load.write, writer)
        await load.write_more(20)
        replicated = set(load.written)
        await in_thread(followers.wait_until_caught_up)
        async with db.connection() as connection:
            assert primary.port == await connection.fetchval(PORT[client.dialect])
            killed = monotonic()
            await in_thread(primary.kill)
            with pytest.raises(ConnectionLost):
                await connection.execute(INSERT, -1, 0)
        await in_thread(promoted.promote)
        up = monotonic()
        async with db.connection() as connection:
            await connection.execute(INSERT, -2, 0)
            assert promoted.port == await connection.fetchval(PORT[client.dialect])
        await load.write_more(20)
        load.is_over = True
    stored = owners(followers, promoted)
    later = {number for number, moment in load.written.items() if moment > up}
    lost = load.written.keys() - set(stored)
    longest = max(later - moment for moment, later in pairwise(sorted(load.written.values())))
    measured(
        f"{client}, the primary killed: another promoted {up - killed:.2f} s later, no write done for {longest:.2f} s; "
        f"{len(load.written)} writes acknowledged, {len(lost)} lost that were not replicated, {len(load.failed)} failed"
    )
    assert set() == (replicated | later | {-2}) - set(stored)
    assert len(stored) == len(set(stored))
    assert len(load.failed) <= WRITERS
    assert all(killed <= ended and began <= up for began, ended, _ in load.failed), load.failed


@POSTGRESQL
async def test_reads_leave_a_standby_that_was_promoted_within_check_after(followers, client):
    check_after, leases, is_over = 0.3, [], anyio.Event()
    promoted, other = followers.replicas
    url = one_url(*followers.urls[1:])
    async with connected(followers, url, target="read-only", check_after=check_after) as db:

        async def read():
            while not is_over.is_set():
                began = monotonic()
                leases.append((began, await db.fetchval(PORT[client.dialect])))
                await anyio.sleep(0.005)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(read)
            await anyio.sleep(check_after)
            await in_thread(promoted.promote)
            moved = monotonic()
            await anyio.sleep(check_after + 0.4)
            is_over.set()
    assert {promoted.port} == {port for began, port in leases if began < moved - 1} | {leases[0][1]}
    assert {other.port} == {port for began, port in leases if began > moved + check_after + 0.1}


@pytest.fixture
def switch_over(followers):
    """Give a function that makes the primary a replica, and the replica the primary."""

    async def switch():
        await in_thread(followers.primary.execute, "set global read_only = 1")
        await in_thread(followers.replicas[0].wait_until_caught_up)
        await in_thread(followers.replicas[0].promote)

    yield switch
    followers.primary.execute("set global read_only = 0")


@MYSQL
async def test_one_write_is_refused_when_the_primary_became_a_replica(followers, client, switch_over):
    """The four idle connections are all to the old primary: the first error has all of them checked."""
    url = one_url(*followers.urls)
    promoted = followers.replicas[0]
    async with connected(followers, url, replicas=[url]) as db:
        async with db.connection(), db.connection(), db.connection(), db.connection():
            await db.execute(INSERT, 0, 0)
        await switch_over()
        refused = []
        for number in range(1, 9):
            try:
                await db.run_transaction(db.execute, INSERT, number, 0)
            except ReadOnlyError as exc:
                refused.append(exc.errno)
        stats = db.stats()["primary"]
        print(client, refused, stats)
        assert promoted.port == await db.fetchval(PORT["mysql"])
        async with db.replica(fallback=False) as connection:
            assert followers.primary.port == await connection.fetchval(PORT["mysql"])
    print(owners(followers, promoted), owners(followers, followers.primary))


@MYSQL
async def test_a_block_keeps(followers, client, switch_over):
    url = one_url(*followers.urls)
    async with connected(followers, url) as db:
        async with db.connection() as connection:
            await connection.execute(INSERT, 0, 0)
            async def transaction():
                try:
                    async with db.connection() as connection, connection.transaction():
                        await connection.execute(INSERT, 1, 0)
                        begun.set()
                        await switched.wait()
                        print("committing")
                except Exception as exc:
                    print("commit", repr(exc), type(exc).__mro__[1:4])
                else:
                    print("committed")
            begun, switched = anyio.Event(), anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(transaction)
                await begun.wait()
                with anyio.move_on_after(3) as scope:
                    await switch_over()
                print("waited", scope.cancelled_caught)
                switched.set()
            for _ in range(2):
                with pytest.raises(ReadOnlyError) as caught:
                    await connection.execute(INSERT, 2, 0)
            print(caught.value)
        await db.execute(INSERT, 3, 0)
    print(owners(followers, followers.replicas[0]), owners(followers, followers.primary))


async def test_target_not_found(followers, client):
    url = one_url(*followers.urls)
    first, *others = map(place, followers.urls)
    for replica in followers.replicas:
        replica.kill()
    began = monotonic()
    with pytest.raises(TargetNotFound) as caught:
        await Database(url, target="read-only", timeout=0.2).connect()
    print(caught.value, monotonic() - began)
    for other in others:
        assert f"{other} failed (" in str(caught.value)
    assert f"{first} is a primary" in str(caught.value)
    async with Database(url, target="prefer-read-only") as db:
        assert followers.primary.port == await db.fetchval(PORT[client.dialect])
    print(monotonic() - began)
