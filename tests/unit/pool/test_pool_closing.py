"""How a pool ends: disconnection, other event loops, and pools that were forgotten."""

from __future__ import annotations

import asyncio
import gc
from time import monotonic

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import AuthenticationError, ConnectError, InterfaceError, PoolClosed
from aio_databases.pool.pool import Pool
from aio_databases.testing.fake_driver import FakeError, LinkError, connected, make_database, script_of, verify_closed


async def leases(db, count):
    return [await db.connection().acquire() for _ in range(count)]


async def pause(awaits=8):
    for _ in range(awaits):
        await checkpoint()


async def test_disconnect_wakes_those_who_wait():
    async with connected(max_size=1) as (db, _):
        (held,) = await leases(db, 1)

        async def late():
            with pytest.raises(PoolClosed, match="while a task waited"):
                await db.fetchval("select 1")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(late)
            await pause()
            await db.disconnect(timeout=0)
        await held.release()


async def test_disconnect_waits_for_leases():
    async with connected() as (db, fake):
        gate = fake.wait("select 1")

        async def reader():
            assert await db.fetchval("select 1") == "select 1"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader)
            await gate.reached()
            tasks.start_soon(db.disconnect)
            await pause()
            gate.open()
        assert (fake.closes, fake.terminates) == (1, 0)


async def test_disconnect_cuts_leases_after_its_timeout(caplog):
    async with connected() as (db, fake):
        (held,) = await leases(db, 1)
        await db.disconnect(timeout=0.01)
        assert fake.terminates == 1
        await held.release()
    assert "1 connections of" in caplog.text


async def test_disconnect_waits_for_all_pools_together_no_longer_than_its_timeout(monkeypatch):
    waited = []
    wait = Pool._wait_for_leases

    async def note(pool, leaving, until):
        waited.append(until - monotonic())
        await wait(pool, leaving, until)

    monkeypatch.setattr(Pool, "_wait_for_leases", note)
    async with connected(replicas=["fake://replica/db"]) as (db, _):
        (held,) = await leases(db, 1)
        replica = db.replica(fallback=False)
        await replica.__aenter__()
        replica.leave()
        await db.disconnect(timeout=0.05)
        await replica.__aexit__(None, None, None)
        await held.release()
    assert waited[0] > 0.04
    assert [later for later in waited[1:] if later > 0.01] == []


async def test_disconnect_ends_a_connect_that_is_under_way():
    db = make_database(min_size=2)
    gate = script_of(db).wait("connect")
    async with anyio.create_task_group() as tasks:

        async def connect():
            with pytest.raises(PoolClosed, match="was disconnected while it was being connected"):
                await db.connect()

        tasks.start_soon(connect)
        await gate.reached()
        await db.disconnect()
        gate.open()
    assert not db.is_connected
    verify_closed(db)


async def test_disconnect_ends_a_connect_that_is_going_to_try_again():
    db = make_database()
    script_of(db).fail("connect", LinkError, times=99)
    async with anyio.create_task_group() as tasks:

        async def connect():
            with pytest.raises(PoolClosed, match="was disconnected while it was being connected"):
                await db.connect(retry_for=60)

        tasks.start_soon(connect)
        await anyio.wait_all_tasks_blocked()
        await db.disconnect()
    assert not db.is_connected
    verify_closed(db)


async def test_connect_tries_again_for_as_long_as_it_is_told():
    db = make_database()
    script_of(db).fail("connect", LinkError, times=2)
    await db.connect(retry_for=60)
    assert script_of(db).attempts == 3
    await db.disconnect()


@pytest.mark.parametrize(("kind", "retry_for"), [(ConnectError, 0), (AuthenticationError, 60)])
async def test_connect_does_not_try_again_what_is_hopeless_or_not_wanted(kind, retry_for):
    db = make_database()
    script_of(db).fail("connect", FakeError("refused", kind), times=9)
    with pytest.raises(kind):
        await db.connect(retry_for=retry_for)
    assert script_of(db).attempts == 1
    verify_closed(db)


async def test_disconnect_waits_for_one_silent_connection_only():
    db = await make_database(min_size=3, cleanup_timeout=0.02).connect()
    fake = script_of(db)
    fake.wait("close", times=3)
    await db.disconnect()
    assert sum(line.endswith(" close") for line in fake.log) == 1
    assert fake.terminates == 3
    assert fake.open_now == 0


async def test_disconnect_inside_a_block_releases_its_connection():
    async with connected() as (db, fake):
        async with db.connection():
            await db.disconnect()
            with pytest.raises(PoolClosed, match="call connect"):
                await db.fetchval("select 1")
        assert fake.closes == 1


async def test_a_connection_that_opens_during_disconnect_is_not_lent():
    async with connected(max_size=2) as (db, fake):
        (held,) = await leases(db, 1)
        gate = fake.wait("connect")

        async def late():
            with pytest.raises(PoolClosed, match="while a task waited"):
                await db.connection().acquire()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(late)
            await gate.reached()
            await db.disconnect(timeout=0)
            gate.open()
        await held.release()


async def test_use_after_disconnect_says_what_to_do_and_connect_makes_it_work_again():
    async with connected() as (db, _):
        await db.disconnect()
        with pytest.raises(PoolClosed, match=r"was disconnected; call connect\(\)"):
            await db.fetchval("select 1")
        await db.connect()
        assert await db.fetchval("select 1") == "select 1"


def test_another_event_loop_is_refused_with_advice():
    db = make_database()
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(db.connect())
        with pytest.raises(InterfaceError, match="belongs to another event loop"):
            second.run(db.fetchval("select 1"))
        first.run(db.disconnect())
    verify_closed(db)


def test_disconnect_on_another_event_loop_cuts_the_connections():
    db = make_database()
    with asyncio.Runner() as first:
        first.run(db.connect())
    with asyncio.Runner() as second:
        second.run(db.disconnect())
        second.run(db.connect())
        second.run(db.disconnect())
    assert script_of(db).terminates == 1
    verify_closed(db)


def test_a_pool_that_was_forgotten_warns_and_cuts_its_connections():
    db = make_database()
    asyncio.run(db.connect())
    fake = script_of(db)
    with pytest.warns(ResourceWarning, match=r"was never disconnected: call 'await db.disconnect"):  # noqa: PT031 - both together forget it
        del db
        gc.collect()
    assert fake.open_now == 0


async def test_the_pool_is_described_by_role_address_and_counts():
    async with connected() as (db, _):
        assert "<Pool primary fake://server/db PoolStats(size=1, idle=1, waiting=0" in repr(db._pool)
        assert "<Pool primary read-only fake://server/db" in repr(db._replicas.fallback)


def test_a_lease_that_outlives_its_event_loop_is_counted_once():
    db = make_database(max_size=1)
    held = []

    async def lease():
        await db.connect()
        held.append(await db.connection().acquire())

    async def end():
        await db.disconnect()
        await held[0].release()
        await db.connect()
        assert db.stats()["primary"][:2] == (1, 1)
        await db.disconnect()

    asyncio.run(lease())
    asyncio.run(end())
    verify_closed(db)
