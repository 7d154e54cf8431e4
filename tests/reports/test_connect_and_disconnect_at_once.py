"""connect() and disconnect() may overtake each other: each disconnect() closes what it has found (a hostile test)."""

from __future__ import annotations

from contextlib import suppress
from itertools import product

import anyio
import anyio.lowlevel
import pytest

from aio_databases import ConnectError, PoolClosed
from aio_databases.testing.fake_driver import connected, make_database, verify_closed

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])


@LOOPS
async def test_what_is_leased_after_a_new_connect_is_not_cut_by_the_old_disconnect(loop):
    async with connected() as (db, fake), anyio.create_task_group() as tasks:
        old = await db.connection().acquire()
        tasks.start_soon(lambda: db.disconnect(timeout=0.05))
        await anyio.wait_all_tasks_blocked()
        await db.connect()
        async with db.connection() as new:
            await new.fetchval("select 1")
            while old.is_ready:  # noqa: ASYNC110 - until it is cut
                await anyio.sleep(0.01)
            assert await new.fetchval("select 2") == "select 2"
        await old.release()
        assert db.is_connected
        assert fake.terminates == 1


async def test_the_old_disconnect_does_not_wait_for_what_was_leased_later():
    async with connected() as (db, _), anyio.create_task_group() as tasks:
        ended = anyio.Event()

        async def disconnect():
            await db.disconnect()
            ended.set()

        old = await db.connection().acquire()
        tasks.start_soon(disconnect)
        await anyio.wait_all_tasks_blocked()
        await db.connect()
        async with db.connection():
            await old.release()
            with anyio.fail_after(2):
                await ended.wait()


@pytest.mark.parametrize("waiting", [1, 3])
@pytest.mark.parametrize("reason", ["disconnect", "disconnect of a replica", "silent replica"])
async def test_who_comes_in_the_moment_after_others_were_sent_away_waits_for_a_place_of_its_own(waiting, reason):
    """Of those who were sent away it got a place that was not there, and was told that the server does not answer."""
    replica = "replica" in reason
    options = {"replicas": ["fake://one/db"]} if replica else {}
    async with connected(max_size=1, **options) as (db, fake), anyio.create_task_group() as tasks:
        block, pool = (db.replica, db._replicas.own[0].pool) if replica else (db.connection, db._pool)
        given_back = anyio.Event()

        async def hold() -> None:
            async with block():
                await given_back.wait()

        async def wait() -> None:
            with pytest.raises(ConnectError if reason == "silent replica" else PoolClosed):
                await pool.acquire()

        for each in (hold, *[wait] * waiting):
            tasks.start_soon(each)
            await anyio.wait_all_tasks_blocked()
        # Those who wait have not run yet when the next comes.
        if reason == "silent replica":
            leaving = []
            pool.leave_alone("silent")
        else:
            leaving = pool.shut()  # as disconnect() does
            pool.open_lazily()
        tasks.start_soon(open_soon, given_back)
        with anyio.fail_after(2):
            physical = await pool.acquire()
        await pool.release(physical)
        await pool.close(leaving, 2.0)
        assert pool.stats[:3] == (1, 1, 0)
        assert fake.max_open <= 1


async def open_soon(event: anyio.Event) -> None:
    await anyio.wait_all_tasks_blocked()
    event.set()


async def test_what_comes_back_from_before_the_disconnect_is_closed_and_not_lent_again():
    async with connected(max_size=2) as (db, fake), anyio.create_task_group() as tasks:
        old = await db.connection().acquire()
        tasks.start_soon(db.disconnect)
        await anyio.wait_all_tasks_blocked()
        await db.connect()
        await old.release()
        await db.fetchval("select 1")
        assert "2 select 1" in fake.log
        assert "1 close" in fake.log


async def test_a_later_disconnect_with_less_time_cuts_all_and_the_earlier_no_more():
    async with connected() as (db, fake), anyio.create_task_group() as tasks:
        first = await db.connection().acquire()
        tasks.start_soon(db.disconnect)
        await anyio.wait_all_tasks_blocked()
        await db.connect()
        second = await db.connection().acquire()
        await db.disconnect(timeout=0)
        assert fake.terminates == 2
        await db.connect()
        third = await db.connection().acquire()
        await first.release()
        await second.release()
        await anyio.wait_all_tasks_blocked()
        assert await third.fetchval("select 3") == "select 3"
        await third.release()


@pytest.mark.parametrize("shared", [False, True])
async def test_a_task_that_waits_is_sent_away_although_a_connect_follows_at_once(shared):
    async with connected(shared=shared, max_size=1) as (db, fake), anyio.create_task_group() as tasks:
        outcomes = []

        async def use():
            try:
                outcomes.append(await db.fetchval("select 1"))
            except PoolClosed as exc:
                outcomes.append(type(exc))

        if shared:
            gate = fake.wait("connect")
            fake.connections[0].terminate()
            tasks.start_soon(use)
            await gate.reached()
        else:
            held = await db.connection().acquire()
            tasks.start_soon(use)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(lambda: db.disconnect(timeout=0))
        tasks.start_soon(db.connect)
        await anyio.wait_all_tasks_blocked()
        if shared:
            gate.open()
        else:
            await held.release()
        await anyio.wait_all_tasks_blocked()
        assert [PoolClosed] == outcomes


@pytest.mark.parametrize("calls", list(product(["connect", "disconnect", "use"], repeat=4)), ids="-".join)
@pytest.mark.parametrize("shared", [False, True])
async def test_calls_at_once_end_in_every_order_and_lose_no_place(calls, shared):
    db = make_database(shared=shared, max_size=2, timeout=2)
    db.backend.rows["select 1"] = 1

    async def call(name):
        with suppress(PoolClosed):
            if name == "use":
                async with db.connection():
                    await db.fetchval("select 1")
            else:
                await getattr(db, name)()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for name in calls:
                tasks.start_soon(call, name)
        await db.connect()
        assert await db.fetchval("select 1") == "select 1"
        await db.disconnect()
    verify_closed(db)


@pytest.mark.targets(pooled=True, loop={"asyncio", "trio"})
async def test_a_new_connect_gets_new_connections(make_database, target):
    db = await make_database(max_size=2)
    async with anyio.create_task_group() as tasks:
        release = anyio.Event()

        async def hold():
            async with db.connection() as held:
                await held.fetchval("select 1")
                await release.wait()

        tasks.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(10):
            while not db._pool.lent:  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.01)
        tasks.start_soon(lambda: db.disconnect(timeout=0.2))
        while db.is_connected:
            await anyio.lowlevel.checkpoint()
        await db.connect()
        if target.memory:  # its one connection is still in use
            release.set()
        async with db.connection() as connection:
            await connection.fetchval("select 1")
            await anyio.sleep(0.3)  # the time of the old disconnect() is over
            assert await connection.fetchval("select 2") == 2
        release.set()
    assert db.is_connected
