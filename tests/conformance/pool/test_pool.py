"""The pool: how many connections there are, who gets the next one, and what becomes of bad ones."""

from __future__ import annotations

from contextvars import Context

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from aio_databases import ConnectionLost, InterfaceError, PoolClosed, PoolTimeout
from loops import run

ONE = "select 1"

pytestmark = pytest.mark.targets(memory=False)  # databases in memory have one connection, which everybody shares


async def wait_until(condition):
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - what the pool counts tells of itself
            await anyio.sleep(0.001)


async def test_there_are_never_more_connections_than_the_pool_may_have(make_database):
    database = await make_database(max_size=2)
    highest = 0

    async def work():
        nonlocal highest
        async with database.connection() as connection:
            await anyio.lowlevel.checkpoint()  # aiopg does not wait where the answer is there at once
            highest = max(highest, database.stats()["primary"].size)
            assert await connection.fetchval(ONE) == 1

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(work)
    assert highest == 2
    assert database.stats()["primary"].waiting == 0


async def test_tasks_get_connections_in_the_order_in_which_they_asked(make_database):
    database = await make_database(max_size=1)
    served = []

    async def work(number):
        async with database.connection():
            served.append(number)

    async with anyio.create_task_group() as tasks, database.connection():
        for number in range(5):
            tasks.start_soon(work, number)
            await wait_until(lambda number=number: database.stats()["primary"].waiting == number + 1)
        assert served == []
    assert served == [0, 1, 2, 3, 4]


async def test_a_task_that_waits_too_long_is_told_what_to_do(make_database):
    database = await make_database(max_size=1, timeout=0.05)
    connection = await database.connection().acquire()  # by hand: another task might release it
    with pytest.raises(PoolTimeout, match=r"0\.05 s.*all 1 are in use.*max_size") as caught:
        async with database.connection():
            pass
    assert isinstance(caught.value, TimeoutError)
    assert database.stats()["primary"].timeouts == 1
    assert await connection.fetchval(ONE) == 1
    await connection.release()
    assert await database.fetchval(ONE) == 1


async def test_more_tasks_than_may_wait_are_refused_at_once(make_database):
    database = await make_database(max_size=1, max_waiting=1)

    async with anyio.create_task_group() as tasks, database.connection():
        tasks.start_soon(_lease, database)
        await wait_until(lambda: database.stats()["primary"].waiting)
        with pytest.raises(PoolTimeout, match="max_waiting"):
            await _lease(database)


async def _lease(database):
    async with database.connection():
        pass


@pytest.mark.targets(pooled=True)
async def test_connections_are_kept_and_the_last_one_used_is_lent_first(make_database):
    database = await make_database()
    async with database.connection() as first, database.connection() as second:
        drivers = [first.driver, second.driver]
    assert database.stats()["primary"].idle == 2
    async with database.connection() as again:
        assert drivers[0] is again.driver
    for _ in range(5):
        assert await database.fetchval(ONE) == 1
    assert (database.stats()["primary"].opened, database.stats()["primary"].closed) == (2, 0)


@pytest.mark.targets(pooled=False)
async def test_without_connect_each_lease_opens_and_closes_a_connection(db):
    assert not db.is_connected
    for _ in range(3):
        assert await db.fetchval(ONE) == 1
    async with db.connection():
        assert await db.fetchval(ONE) == 1
        assert await db.fetchval(ONE) == 1
    stats = db.stats()["primary"]
    assert (stats.size, stats.idle, stats.opened, stats.closed) == (0, 0, 4, 4)


@pytest.mark.targets(pooled=True)
async def test_connect_opens_as_many_connections_as_are_asked_for(make_database):
    for min_size, opened in ((0, 1), (1, 1), (3, 3)):
        database = await make_database(min_size=min_size)
        assert opened == database.stats()["primary"].idle == database.stats()["primary"].opened


@pytest.mark.targets(pooled=True)
async def test_old_connections_are_replaced(make_database):
    database = await make_database(max_lifetime=0.02)
    assert await database.fetchval(ONE) == 1
    await anyio.sleep(0.03)
    assert await database.fetchval(ONE) == 1
    stats = database.stats()["primary"]
    assert stats.opened >= 2
    assert stats.opened - stats.closed == stats.size


@pytest.mark.targets(pooled=True)
async def test_surplus_connections_are_closed(make_database):
    database = await make_database(min_size=1, max_idle=0.02)
    async with database.connection(), database.connection(), database.connection():
        pass
    assert database.stats()["primary"].size == 3
    await anyio.sleep(0.03)
    for _ in range(3):
        assert await database.fetchval(ONE) == 1
    assert database.stats()["primary"].size == 1


@pytest.mark.targets(pooled=True)
async def test_connections_that_break_while_they_are_idle_are_replaced_unseen(make_database):
    database = await make_database(min_size=2)
    async with database.connection() as first, database.connection() as second:
        drivers = [first.driver, second.driver]
    for driver in drivers:
        driver.terminate()
    for _ in range(3):
        assert await database.fetchval(ONE) == 1


@pytest.mark.targets(dialect={"postgresql", "mysql"}, pooled=True)
@pytest.mark.parametrize("check_after", [0, 30])
async def test_a_killed_backend_is_replaced(make_database, server, words, check_after):
    database = await make_database(min_size=3, check_after=check_after)
    async with database.connection() as one, database.connection() as two, database.connection() as three:
        numbers = [await each.fetchval(words.own_id) for each in (one, two, three)]
    async with database.connection() as held:
        await held.fetchval(ONE)
        for number in numbers:
            server.execute(words.kill.format(number))
        with pytest.raises(ConnectionLost):
            await held.fetchval(ONE)
    for _ in range(4):
        assert await database.fetchval(ONE) == 1


async def test_a_broken_connection_does_not_come_back(db):
    async with db.connection() as connection:
        connection.driver.terminate()
        assert not connection.is_ready
    assert db.stats()["primary"].idle == 0
    assert await db.fetchval(ONE) == 1


# Opening and closing


async def test_a_database_can_be_connected_and_disconnected_again_and_again(make_database):
    database = await make_database()
    for _ in range(3):
        assert database is await database.connect()
        assert database is await database.connect()
        assert database.is_connected
        assert await database.fetchval(ONE) == 1
        await database.disconnect()
        await database.disconnect()
        assert not database.is_connected
        assert database.stats()["primary"].size == 0


@pytest.mark.parametrize("verb", ["execute", "executemany", "fetchall", "fetchone", "fetchval"])
async def test_use_after_disconnect_says_so(db, verb):
    await db.disconnect()
    with pytest.raises(PoolClosed, match=r"disconnected; call connect\(\)"):
        await getattr(db, verb)(ONE)
    with pytest.raises(PoolClosed):
        await anext(db.iterate(ONE))
    for block in (db.connection(), db.transaction(), db.replica()):
        with pytest.raises(PoolClosed):
            async with block:
                pytest.fail("the block must not begin")


async def test_disconnect_waits_for_connections_in_use(db):
    order = []
    started = anyio.Event()

    async def work():
        async with db.connection() as connection:
            started.set()
            await anyio.sleep(0.05)
            assert await connection.fetchval(ONE) == 1
            order.append("work")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await started.wait()
        await db.disconnect()
        order.append("disconnect")
    assert order == ["work", "disconnect"]


async def test_disconnect_cuts_connections_that_are_in_use_for_too_long(db):
    started, finish = anyio.Event(), anyio.Event()
    seen = []

    async def work():
        async with db.connection() as connection:
            started.set()
            await finish.wait()
            seen.append(connection.is_ready)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await started.wait()
        await db.disconnect(timeout=0.02)
        finish.set()
    assert seen == [False]
    assert db.stats()["primary"].size == 0


async def test_tasks_that_wait_for_a_connection_are_told_of_the_disconnect(make_database):
    database = await make_database(max_size=1)
    caught = []

    async def work():
        with pytest.raises(PoolClosed) as error:
            await _lease(database)
        caught.append(error)

    async with anyio.create_task_group() as tasks:
        connection = await database.connection().acquire()
        tasks.start_soon(work)
        tasks.start_soon(work)
        await wait_until(lambda: database.stats()["primary"].waiting == 2)
        tasks.start_soon(database.disconnect)
        await wait_until(lambda: len(caught) == 2)
        await connection.release()


async def test_another_event_loop_is_refused_with_a_hint(db, target):
    async with db.connection():
        for use in (db.fetchval, db.execute, db.fetchall):
            with pytest.raises(InterfaceError, match=r"another event loop.*disconnect\(\) before"):
                await to_thread.run_sync(_run_elsewhere, use, target)
        assert await db.fetchval(ONE) == 1
    await db.disconnect()
    assert await to_thread.run_sync(_run_elsewhere, _connect_and_ask(db), target) == 1
    await db.connect()
    assert await db.fetchval(ONE) == 1


def _run_elsewhere(use, target):
    return Context().run(run, target.loop, use, ONE)


def _connect_and_ask(db):
    async def ask(query):
        async with db:
            return await db.fetchval(query)

    return ask
