"""Replicas that are promoted: after the primary was killed, and while connections stay open."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic

import anyio
import pytest

from aio_databases import ConnectError, ConnectionLost, Database, ReadOnlyError, ReplicaLag
from clusters.followers import clients
from clusters.several import INSERT, PORT, connected, drivers, in_thread, one_url, place
from conformance.addresses import with_option
from conformance.secrets_told import everything_told

READERS = 20
WRITERS = 2


def owners(followers, server):
    """List the rows that a server has."""
    return [owner for (owner,) in server.execute("select owner from notes order by owner", database=followers.name)]


# The primary is killed


@dataclass
class Load:
    """Tasks that write one row after the other; moments are those of the clock `monotonic`."""

    db: Database
    written: dict[int, float] = field(default_factory=dict)
    failed: list[tuple[float, float, BaseException]] = field(default_factory=list)
    is_over: bool = False
    wanted: float = float("inf")
    reached: anyio.Event = field(default_factory=anyio.Event)

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
                if len(self.written) >= self.wanted:
                    self.reached.set()
            except (ConnectError, ConnectionLost) as exc:
                self.failed.append((began, monotonic(), exc))
            await anyio.sleep(0.005)

    async def write_more(self, rows):
        """Wait until so many more rows were written."""
        self.wanted, self.reached = len(self.written) + rows, anyio.Event()
        with anyio.fail_after(20):
            await self.reached.wait()


async def test_after_the_primary_was_killed_writes_go_on_at_the_promoted_replica(followers, client, measured):
    primary, promoted, url = followers.primary, followers.replicas[0], one_url(*followers.urls)
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
    pause = max(later - earlier for earlier, later in pairwise(sorted(load.written.values())))
    measured(
        f"{client}, primary killed: another one promoted {up - killed:.2f} s later, {pause:.2f} s without a write; "
        f"{len(load.written)} writes acknowledged, {len(lost)} lost that were not replicated, {len(load.failed)} failed"
    )
    assert set() == (replicated | later | {-2}) - set(stored)
    assert len(stored) == len(set(stored))
    assert len(load.failed) <= WRITERS
    assert all(killed <= ended and began <= up for began, ended, _ in load.failed), load.failed


@drivers()
async def test_a_pool_stays_with_the_new_primary_when_the_old_one_comes_back_as_another(followers, client):
    """Nobody but an operator can tell which of two primaries is the right one."""
    url, promoted = one_url(*followers.urls), followers.replicas[0]
    async with connected(followers, url, check_after=0, timeout=20) as db:
        await in_thread(followers.primary.kill)
        await in_thread(promoted.promote)
        await db.execute(INSERT, 1, 0)
        followers.primary.start()
        async with db.connection() as one, db.connection() as two, db.connection() as three:
            for connection in (one, two, three):
                assert promoted.port == await connection.fetchval(PORT[client.dialect])
    assert owners(followers, promoted) == [1]
    async with Database(url) as db:
        port = await db.fetchval(PORT[client.dialect])
        assert followers.primary.port == port, "who comes anew takes the first one of the URL"


# Connections stay open


@drivers("asyncpg-asyncio", "psycopg-trio", "aioodbc-asyncio", dialects=["postgresql"])
async def test_within_check_after_no_lease_is_of_a_standby_that_was_promoted(followers, client):
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
            before = monotonic()
            await in_thread(promoted.promote)
            after = monotonic()
            await anyio.sleep(check_after + 0.4)
            is_over.set()
    assert {promoted.port} == {port for began, port in leases if began < before}
    assert {other.port} == {port for began, port in leases if began > after + check_after + 0.1}


@drivers(dialects=["postgresql"])
async def test_where_any_server_will_do_a_standby_refuses_writes_until_it_is_promoted(followers, client):
    primary, standby, _ = followers.urls
    async with connected(followers, one_url(standby, primary), target="any") as db:
        for _ in range(2):
            with pytest.raises(ReadOnlyError) as caught:
                await db.execute(INSERT, 1, 0)
            assert caught.value.sqlstate == "25006"
        await in_thread(followers.replicas[0].promote)
        await db.execute(INSERT, 1, 0)
        assert db.stats()["primary"].opened == 1
    assert [owners(followers, server) for server in (followers.replicas[0], followers.primary)] == [[1], []]


@pytest.fixture
def switch_over(followers):
    """Give a function that makes MariaDB's primary a replica, and its replica the primary."""

    def switch():
        followers.primary.execute("set global read_only = 1")
        followers.wait_until_caught_up()
        followers.replicas[0].promote()

    yield switch
    followers.primary.execute("set global read_only = 0")


@pytest.mark.parametrize("client", clients("mysql"), ids=str)
async def test_one_write_is_refused_when_the_primary_became_a_replica(followers, client, switch_over):
    """The first error has all idle connections checked, each of which leads to the old primary."""
    url, promoted, refused = one_url(*followers.urls), followers.replicas[0], []
    async with connected(followers, url, replicas=[with_option(url, "check_after=0")]) as db:
        async with db.connection(), db.connection(), db.connection(), db.connection() as connection:
            await connection.execute(INSERT, 0, 0)
        async with db.replica(fallback=False) as connection:
            assert promoted.port == await connection.fetchval(PORT["mysql"])
        await in_thread(switch_over)
        for number in range(1, 7):
            try:
                await db.run_transaction(db.execute, INSERT, number, 0)
            except ReadOnlyError as exc:
                refused.append(exc.errno)
                await db.run_transaction(db.execute, INSERT, number, 0)
        assert db.stats()["primary"].closed == 4
        async with db.replica(fallback=False) as connection:
            assert followers.primary.port == await connection.fetchval(PORT["mysql"]), "the roles are exchanged"
    assert refused == [1290]
    assert [[*range(7)], [0]] == [owners(followers, server) for server in (promoted, followers.primary)]


@drivers(dialects=["mysql"])
async def test_a_block_keeps_the_primary_that_became_a_replica_and_its_commit_is_refused(
    followers, client, switch_over
):
    async with connected(followers, one_url(*followers.urls)) as db:
        async with db.connection() as connection:
            await connection.execute(INSERT, 0, 0)
            with pytest.raises(ReadOnlyError) as caught:
                async with db.connection() as other, other.transaction():
                    await other.execute(INSERT, 1, 0)
                    await in_thread(switch_over)
            assert caught.value.errno == 1290
            for _ in range(2):
                with pytest.raises(ReadOnlyError):
                    await connection.execute(INSERT, 2, 0)
        await db.execute(INSERT, 3, 0)
    assert [owners(followers, server) for server in (followers.replicas[0], followers.primary)] == [[0, 3], [0]]


# Reading


WRITING = {
    "postgresql": "language sql as 'insert into notes values (9, 9) returning owner'",
    "mysql": "deterministic begin insert into notes values (9, 9); return 9; end",
}


@drivers()
async def test_without_a_primary_replica_blocks_read_on_and_say_that_the_lag_is_not_known(followers, client):
    primary, *replicas = followers.urls
    ports = set()
    async with connected(followers, primary, replicas=replicas) as db:
        function = f"create function note() returns integer {WRITING[client.dialect]}"
        followers.primary.execute(function, database=followers.name)
        await in_thread(followers.wait_until_caught_up)
        async with db.replica(max_lag=10, fallback=False):
            assert await db.fetchval("select count(*) from notes") == 0
        await in_thread(followers.primary.kill)
        await in_thread(followers.replicas[0].promote)
        for _ in range(20):
            async with db.replica(fallback=False) as connection:
                assert (connection.role, connection.read_only) == ("replica", True)
                ports.add(await db.fetchval(PORT[client.dialect]))
                with pytest.raises(ReadOnlyError):
                    await db.fetchval("select note()")
                assert await db.fetchval("select count(*) from notes") == 0
        with anyio.fail_after(5):
            with pytest.raises(ConnectError, match=place(primary)) as caught:
                await db.replica(max_lag=0.001).__aenter__()
            with pytest.raises(ReplicaLag, match="is known to be at most"):
                await db.replica(max_lag=0.001, fallback=False).__aenter__()
        assert "no replica is known to be at most 0.001 s behind" in everything_told(caught.value)
        sizes = {name: stats.size for name, stats in db.stats().items() if name.startswith("replica")}
    assert {replica.port for replica in followers.replicas} == ports, "the promoted one still serves reads"
    assert {f"replica-{number}": 1 for number, _ in enumerate(replicas, 1)} == sizes


@drivers()
async def test_many_who_read_with_max_lag_do_not_queue_up_for_a_frozen_primary(followers, client):
    primary, *replicas = followers.urls
    options = {"replicas": replicas, "connect_timeout": 0.5, "max_size": READERS}
    async with connected(followers, primary, **options) as db:
        async with db.replica(max_lag=10, fallback=False):
            pass
        await in_thread(followers.primary.pause)

        async def read():
            with pytest.raises(ReplicaLag):
                await db.replica(max_lag=0.001, fallback=False).__aenter__()

        try:
            with anyio.fail_after(READERS / 4):  # and not half a second for each of them
                async with anyio.create_task_group() as tasks:
                    for _ in range(READERS):
                        tasks.start_soon(read)
            with anyio.fail_after(5):
                with pytest.raises(ConnectError, match=r"no answer within 0\.5 s"):
                    await db.replica(max_lag=0.001).__aenter__()
                async with db.replica(fallback=False):
                    assert await db.fetchval("select count(*) from notes") == 0
        finally:
            followers.primary.resume()
