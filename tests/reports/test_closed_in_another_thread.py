"""A forgotten coroutine that the garbage collector closes in another thread hands on what it had (a hostile test)."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import anyio
import pytest

from aio_databases.concurrency.queues import WaitQueue
from aio_databases.testing.fake_driver import connected

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
DEBUG = pytest.mark.parametrize("debug", [False, True])


class Bare:
    """What a coroutine waits for that never comes."""

    def __await__(self):
        yield "for ever"


class Driven:
    """Drives another coroutine up to where it waits for `Bare`, and then leaves it alone."""

    def __init__(self, coroutine):
        self.coroutine = coroutine

    def __await__(self):
        value = None
        while (waits_for := self.coroutine.send(value)) != "for ever":
            value = yield waits_for
        yield from anyio.sleep_forever().__await__()


def close_in_thread(coroutine):
    """Close a coroutine in another thread, as the garbage collector does."""
    failures = []

    def close():
        try:
            coroutine.close()
        except BaseException as exc:  # noqa: BLE001 - it is shown
            failures.append(exc)

    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    assert failures == []


@pytest.fixture
def set_debug(debug):
    """Give a function that puts asyncio into its debug mode, if that is wanted."""

    def set_mode():
        with suppress(RuntimeError):  # trio has none
            asyncio.get_running_loop().set_debug(debug)

    return set_mode


async def hold(block):
    async with block:
        await Bare()


async def read(db):
    async for _ in db.iterate("select held"):
        await Bare()


CALLS = {
    "connection": lambda db: hold(db.connection()),
    "transaction": lambda db: hold(db.transaction()),
    "run_transaction": lambda db: db.run_transaction(Bare),
    "stream": read,
}


@LOOPS
@DEBUG
@pytest.mark.parametrize("call", list(CALLS))
async def test_the_next_in_line_gets_the_connection_at_once(call, set_debug, loop):
    set_debug()
    async with connected(max_size=1, timeout=20) as (db, fake), anyio.create_task_group() as tasks:
        fake.rows["select held"] = 5000
        forgotten, got = CALLS[call](db), []

        async def wait():
            got.append(await db.fetchval("select 2"))

        tasks.start_soon(lambda: drive(forgotten))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert got == []
        close_in_thread(forgotten)
        await anyio.sleep(0.2)
        assert got == ["select 2"]
        tasks.cancel_scope.cancel()


@LOOPS
@DEBUG
async def test_the_next_in_line_gets_its_turn_at_once(set_debug, loop):
    set_debug()
    async with connected(timeout=20) as (db, _), anyio.create_task_group() as tasks, db.connection() as connection:
        forgotten, got = hold(connection.transaction()), []

        async def wait():
            got.append(await connection.fetchval("select 2"))

        tasks.start_soon(lambda: drive(forgotten))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert got == []
        close_in_thread(forgotten)
        await anyio.sleep(0.2)
        assert got == ["select 2"]
        tasks.cancel_scope.cancel()


@LOOPS
@DEBUG
async def test_the_next_writer_gets_the_lock_at_once(set_debug, loop):
    set_debug()
    async with connected(single_writer=True, timeout=20) as (db, _), anyio.create_task_group() as tasks:
        forgotten, got = hold(db.transaction()), []

        async def wait():
            got.append(await db.execute("insert 2"))

        tasks.start_soon(lambda: drive(forgotten))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert got == []
        close_in_thread(forgotten)
        await anyio.sleep(0.2)
        assert len(got) == 1
        tasks.cancel_scope.cancel()


async def drive(coroutine):
    await Driven(coroutine)


@LOOPS
async def test_a_waiter_is_woken_from_another_thread(loop):
    line, got = WaitQueue(), []

    async def wait():
        got.append(await line.wait(20, got.append))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert await anyio.to_thread.run_sync(line.wake_next, 5)
        assert not await anyio.to_thread.run_sync(line.wake_next, 6)
    assert got == [5]
