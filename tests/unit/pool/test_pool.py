"""The pool on the scripted driver: what it opens, lends, checks, closes and waits for."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import ConnectError, ConnectionLost, PoolTimeout
from aio_databases.testing.fake_driver import connected, make_database, script_of, verify_closed


async def leases(db, count):
    return [await db.connection().acquire() for _ in range(count)]


async def pause(awaits=8):
    for _ in range(awaits):
        await checkpoint()


# Opening


@pytest.mark.parametrize(("min_size", "opened"), [(0, 1), (1, 1), (3, 3)])
async def test_connect_opens_min_size_connections_but_at_least_one(min_size, opened):
    async with connected(min_size=min_size) as (db, fake):
        assert (opened, opened) == (fake.opens, db.stats()["primary"].idle)


async def test_connect_and_disconnect_are_idempotent():
    async with connected() as (db, fake):
        assert db is await db.connect()
        assert fake.opens == 1
        await db.disconnect()
        await db.disconnect()


async def test_a_connect_that_is_cancelled_opens_nothing():
    db = make_database(min_size=2)
    gate = script_of(db).wait("connect")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(db.connect)
        await gate.reached()
        tasks.cancel_scope.cancel()
        gate.open()
    assert not db.is_connected
    verify_closed(db)


async def test_a_server_that_does_not_answer_is_given_up_after_connect_timeout():
    db = make_database(connect_timeout=0.02)
    script_of(db).wait("connect")
    with pytest.raises(ConnectError, match=r"cannot connect to fake://server/db: no answer within 0.02 s"):
        await db.connect()
    verify_closed(db)


async def test_an_init_that_fails_closes_the_connection_and_raises_unchanged():
    def init(_):
        raise ZeroDivisionError

    db = make_database(init=init)
    with pytest.raises(ZeroDivisionError):
        await db.connect()
    assert script_of(db).terminates == 1
    verify_closed(db)


async def test_an_init_may_be_a_coroutine_function():
    seen = []

    async def init(raw):
        await checkpoint()
        seen.append(raw)

    async with connected(init=init) as (_, fake):
        assert fake.connections == seen


async def test_without_connect_each_use_opens_and_closes_a_connection():
    db = make_database()
    await db.fetchval("select 1")
    async with db.transaction():
        await db.execute("insert 1")
    assert (script_of(db).opens, script_of(db).closes) == (2, 2)
    verify_closed(db)


# Lending


async def test_the_connection_that_was_used_last_is_lent_first():
    async with connected(min_size=3) as (db, fake):
        held = await leases(db, 3)
        for connection in held:
            last = connection.driver.number
            await connection.release()
        await db.fetchval("select 1")
        assert f"{last} select 1" == fake.log[-1]


async def test_waiting_tasks_are_served_first_come_first_served():
    async with connected(max_size=1) as (db, fake):
        (held,) = await leases(db, 1)
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(db.fetchval, f"select {number}")
                await pause()
            assert db.stats()["primary"].waiting == 4
            await held.release()
        assert [f"select {number}" for number in range(4)] == fake.sent


async def test_a_pool_that_stays_empty_raises_after_the_timeout_and_says_why():
    async with connected(max_size=1, timeout=0.02) as (db, _):
        (held,) = await leases(db, 1)
        with pytest.raises(PoolTimeout, match=r"no free connection for 0.02 s: all 1 are in use"):
            await db.fetchval("select 1")
        assert db.stats()["primary"].timeouts == 1
        await held.release()


async def test_more_waiting_tasks_than_max_waiting_are_turned_away_at_once():
    async with connected(max_size=1, max_waiting=1) as (db, _):
        (held,) = await leases(db, 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.fetchval, "select 1")
            await pause()
            with pytest.raises(PoolTimeout, match="already has 1 tasks waiting"):
                await db.fetchval("select 2")
            await held.release()


async def test_the_pool_never_grows_beyond_max_size():
    async with connected(max_size=2) as (db, fake):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(db.fetchval, "select 1")
        assert fake.max_open == 2


# Checking


@pytest.mark.parametrize(("check_after", "sent"), [(0, ["ping", "select 1"]), (60, ["select 1"])])
async def test_a_connection_that_was_idle_for_long_is_checked_before_it_is_lent(check_after, sent):
    async with connected(check_after=check_after) as (db, fake):
        await db.fetchval("select 1")
        assert sent == fake.sent


async def test_a_connection_that_fails_its_check_is_replaced():
    async with connected(check_after=0, min_size=2) as (db, fake):
        fake.drop("ping", times=2)
        assert await db.fetchval("select 1") == "select 1"
        assert (fake.opens, fake.open_now) == (3, 1)


async def test_a_check_without_an_answer_ends_in_time():
    async with connected(check_after=0, connect_timeout=0.02) as (db, fake):
        fake.wait("ping")
        assert await db.fetchval("select 1") == "select 1"
        assert fake.opens == 2


async def test_only_one_check_without_an_answer_is_waited_for():
    async with connected(check_after=0, connect_timeout=0.02, min_size=3) as (db, fake):
        fake.wait("ping", times=3)
        assert await db.fetchval("select 1") == "select 1"
        assert (fake.sent, fake.opens, fake.open_now) == (["ping", "select 1"], 4, 1)


async def test_a_check_that_is_cancelled_frees_the_place():
    async with connected(check_after=0, max_size=1) as (db, fake):
        gate = fake.wait("ping")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.fetchval, "select 1")
            await gate.reached()
            tasks.cancel_scope.cancel()
        assert db.stats()["primary"][:6] == (0, 0, 0, 1, 1, 0)
        assert await db.fetchval("select 2") == "select 2"


async def test_a_lost_connection_has_the_idle_ones_checked():
    async with connected(min_size=2, max_size=2) as (db, fake):
        fake.drop("select 1")
        fake.drop("ping")
        with pytest.raises(ConnectionLost, match="the link broke"):
            await db.fetchval("select 1")
        assert await db.fetchval("select 2") == "select 2"
        assert fake.opens == 3


async def test_a_connection_that_lived_for_long_is_replaced():
    async with connected(max_lifetime=0.001) as (db, fake):
        await anyio.sleep(0.005)
        await db.fetchval("select 1")
        assert fake.log[:4] == ["1 connect", "1 close", "2 connect", "2 select 1"]


async def test_connections_that_are_idle_for_long_are_closed_down_to_min_size():
    async with connected(max_idle=0.001, max_size=3) as (db, fake):
        for connection in await leases(db, 3):
            await connection.release()
        await anyio.sleep(0.005)
        await db.fetchval("select 1")
        assert 1 == fake.open_now == db.stats()["primary"].size


# Taking back


@pytest.mark.parametrize(
    ("reset", "statement", "sent"),
    [
        ("auto", "select 1", ["select 1"]),
        ("auto", "set x = 1", ["set x = 1", "reset"]),
        ("always", "select 1", ["select 1", "reset"]),
        ("never", "set x = 1", ["set x = 1"]),
    ],
)
async def test_sessions_are_reset_as_the_option_says(reset, statement, sent):
    async with connected(reset=reset) as (db, fake):
        await db.execute(statement)
        assert (sent, 1) == (fake.sent, fake.open_now)


async def test_reset_may_be_a_function_or_a_coroutine_function():
    seen = []

    async def reset(raw):
        await checkpoint()
        seen.append(raw.number)

    async with connected(reset=reset) as (db, _):
        await db.execute("select 1")
    async with connected(reset=lambda raw: seen.append(-raw.number)) as (db, _):
        await db.execute("select 1")
    assert seen == [1, -1]


async def test_the_raw_connection_makes_a_reset_necessary():
    async with connected() as (db, fake):
        async with db.connection() as connection:
            assert fake.connections[0] is connection.raw
        assert fake.sent == ["reset"]


async def test_what_was_begun_with_the_users_own_sql_is_rolled_back():
    async with connected() as (db, fake):
        async with db.connection() as connection:
            connection.driver._in_transaction = True
        assert fake.sent == ["ROLLBACK"]


async def test_a_connection_that_cannot_be_settled_does_not_come_back():
    async with connected(reusable_after_cancel=False, max_size=1) as (db, fake):
        gate = fake.wait("select 1")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.fetchval, "select 1")
            await gate.reached()
            tasks.cancel_scope.cancel()
        assert (fake.terminates, fake.open_now) == (1, 0)
        assert await db.fetchval("select 2") == "select 2"


async def test_a_settle_that_fails_or_hangs_cuts_the_connection():
    for trouble in ("fail", "wait"):
        async with connected(cleanup_timeout=0.02) as (db, fake):
            gate = fake.wait("select 1")
            getattr(fake, trouble)("settle")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(db.fetchval, "select 1")
                await gate.reached()
                tasks.cancel_scope.cancel()
            assert (fake.terminates, db._pool.lent) == (1, 0)


async def test_a_close_that_hangs_is_cut_after_cleanup_timeout():
    db = make_database(cleanup_timeout=0.02)
    await db.connect()
    script_of(db).wait("close")
    await db.disconnect()
    assert script_of(db).terminates == 1
    verify_closed(db)


@pytest.mark.parametrize("error", [TimeoutError("mine"), OSError("mine"), TypeError("mine")], ids=repr)
async def test_whatever_an_init_raises_stays_as_it_is(error):
    def init(_):
        raise error

    db = make_database(init=init)
    with pytest.raises(type(error)) as caught:
        await db.connect()
    assert error is caught.value
    verify_closed(db)


async def test_a_connection_that_is_abandoned_is_not_taken_for_a_sign_that_its_server_works():
    async with connected() as (db, _):
        pool, connection = db._pool, await db.connection().acquire()
        before = pool.used_at
        await anyio.sleep(0.001)
        connection.abandon()
        assert pool.used_at == before
        await db.execute("insert 1")
        assert pool.used_at > before
