"""Reading what was written, and nothing that is too old, from replicas that are behind."""

from __future__ import annotations

import random
import re
from contextlib import asynccontextmanager
from time import monotonic

import anyio
import pytest

from aio_databases import Database, ReplicaLag, TransactionError
from clusters.followers import clients

TRIES = 10_000
ONE_OF_EACH = pytest.mark.parametrize(
    "client", [each for each in clients() if each.scheme in {"asyncpg", "asyncmy"}], ids=str
)


@asynccontextmanager
async def connected(followers, **options):
    """Give the database of a primary with its replicas, and an empty table that the replicas have as well."""
    primary, *replicas = followers.urls
    async with Database(primary, replicas=replicas, **options) as db:
        await db.execute("create table notes (owner integer primary key, number integer)")
        await anyio.to_thread.run_sync(followers.wait_until_caught_up)
        yield db


async def read(db, **wanted):
    """Return how many notes a replica block sees, and the role of the server that it reads from."""
    async with db.replica(**wanted) as connection:
        return await connection.fetchval("select count(*) from notes"), connection.role


async def test_a_read_after_a_position_waits_for_a_replica_that_is_a_little_behind(followers):
    async with connected(followers) as db:
        for replica in followers.replicas:
            followers.stop(replica)
        await db.execute("insert into notes values (1, 1)")
        position = await db.position()
        assert re.fullmatch(r"[0-9A-Fa-f/.-]{3,40}", position)
        assert await read(db) == (0, "replica")

        async def go_on():
            await anyio.sleep(0.2)
            for replica in followers.replicas:
                await anyio.to_thread.run_sync(followers.go_on, replica)

        began = monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(go_on)
            assert await read(db, after=position, wait=10) == (1, "replica")
        assert 0.1 < monotonic() - began < 5


async def test_a_read_after_a_position_that_no_replica_has_goes_to_the_primary(followers):
    async with connected(followers) as db:
        for replica in followers.replicas:
            followers.stop(replica)
        await db.execute("insert into notes values (1, 1)")
        position = await db.position()
        for wait in (0.1, 0.1, 0):
            assert await read(db, after=position, wait=wait) == (1, "primary")
        with pytest.raises(ReplicaLag, match=r"no replica has replayed the position within 0 s; pass fallback=True"):
            await read(db, after=position, wait=0, fallback=False)
        assert await read(db) == (0, "replica")
        for name, stats in db.stats().items():
            assert stats.size == stats.idle, name


@pytest.mark.parametrize("client", clients("postgresql"), ids=str)  # of MariaDB there is one replica
async def test_a_replica_that_has_the_position_is_taken_before_one_that_has_not(followers):
    async with connected(followers) as db:
        followers.stop(followers.replicas[0])
        await db.execute("insert into notes values (1, 1)")
        position = await db.position()
        await anyio.to_thread.run_sync(followers.replicas[1].wait_until_caught_up)
        for _ in range(10):
            assert await read(db, after=position, wait=0, fallback=False) == (1, "replica")


async def test_the_position_is_that_of_what_is_committed(followers):
    async with connected(followers) as db:
        async with db.transaction():
            await db.execute("insert into notes values (1, 1)")
            with pytest.raises(TransactionError, match="not known before its commit"):
                await db.position()
        position = await db.position()
        async with db.connection(), db.replica(after=position, wait=10, fallback=False):
            assert await db.fetchval("select count(*) from notes") == 1
            assert position == await db.position(), "the primary's, also inside of the block"


async def test_on_an_idle_primary_a_replica_is_not_behind(followers):
    async with connected(followers) as db:
        for pause in (0.3, 0.1, 0.15):
            await anyio.sleep(pause)
            if db.backend.dialect == "postgresql":
                # What its own processes have logged meanwhile is sent to standbys only when it is flushed.
                await db.execute("select pg_logical_emit_message(true, 'idle', '')")
                await anyio.to_thread.run_sync(followers.wait_until_caught_up)
            assert await read(db, max_lag=0.25, fallback=False) == (0, "replica")


async def test_a_replica_that_is_too_far_behind_is_left_out_until_it_has_caught_up(followers):
    async with connected(followers) as db:
        assert await read(db, max_lag=0.5) == (0, "replica")
        for replica in followers.replicas:
            followers.stop(replica)
        await db.execute("insert into notes values (1, 1)")
        await anyio.sleep(0.6)
        assert await read(db, max_lag=0.5) == (1, "primary")
        with pytest.raises(ReplicaLag, match=r"is known to be at most 0.5 s behind"):
            await read(db, max_lag=0.5, fallback=False)
        assert await read(db, max_lag=60) == (0, "replica"), "it is not that much behind"
        for replica in followers.replicas:
            followers.go_on(replica)
        await anyio.to_thread.run_sync(followers.wait_until_caught_up)
        assert await read(db, max_lag=0.5, fallback=False) == (1, "replica")


@ONE_OF_EACH
async def test_reads_under_load_are_never_older_than_they_may_be(followers):
    """Each note is the moment at which it was written: what is read may not be older than `max_lag`."""
    max_lag, roles = 0.3, {"primary": 0, "replica": 0}
    async with connected(followers, max_size=4) as db:
        began = monotonic()
        await db.execute("insert into notes values (0, 0)")
        await anyio.to_thread.run_sync(followers.wait_until_caught_up)

        async def write():
            while monotonic() - began < 4:
                now = int(1000 * (monotonic() - began))
                await db.execute("update notes set number = ? where owner = 0", now)
                await anyio.sleep(0.01)

        async def check():
            while monotonic() - began < 4:
                now = monotonic() - began
                async with db.replica(max_lag=max_lag) as connection:
                    age = now - await connection.fetchval("select number from notes") / 1000
                    roles[connection.role] += 1
                assert age < max_lag + 0.3, f"what a {connection.role} told was {age:.3f} s old"
                await anyio.sleep(0.005)

        async def disturb():
            for seconds in (0.7, 0.2):
                for replica in followers.replicas:
                    await anyio.sleep(0.3)
                    await anyio.to_thread.run_sync(followers.stop, replica)
                    await anyio.sleep(seconds)
                    await anyio.to_thread.run_sync(followers.go_on, replica)

        async with anyio.create_task_group() as tasks:
            for task in (write, check, check, disturb):
                tasks.start_soon(task)
    assert roles["replica"] > 50, roles


@ONE_OF_EACH
async def test_no_read_after_a_position_is_older_than_it(followers, client, measured):
    """Ten users write and read at once, while the replicas stop and go on: none may miss what it wrote."""
    roles, is_over = {"primary": 0, "replica": 0}, anyio.Event()
    async with connected(followers, max_size=6) as db:

        async def use(owner):
            await db.execute("insert into notes values (?, 0)", owner)
            for number in range(1, TRIES // 10 + 1):
                await db.execute("update notes set number = ? where owner = ?", number, owner)
                position = await db.position()
                async with db.replica(after=position, wait=0.05) as connection:
                    found = await connection.fetchval("select number from notes where owner = ?", owner)
                    roles[connection.role] += 1
                assert number == found, f"a {connection.role} that was to be at {position} has not what was written"

        async def disturb():
            chance = random.Random(7)  # noqa: S311 - the same disturbance each time
            while not is_over.is_set():
                replica = chance.choice(followers.replicas)
                await anyio.to_thread.run_sync(followers.stop, replica)
                await anyio.sleep(chance.uniform(0, 0.05))
                await anyio.to_thread.run_sync(followers.go_on, replica)
                await anyio.sleep(chance.uniform(0, 0.2))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(disturb)
            async with anyio.create_task_group() as users:
                for owner in range(10):
                    users.start_soon(use, owner)
            is_over.set()
    assert sum(roles.values()) == TRIES
    assert roles["replica"] > TRIES / 4, roles
    measured(
        f"{client}: {TRIES} reads after a position, none older; {roles['replica']} by replicas that stop and go on, "
        f"{roles['primary']} by the primary"
    )
