"""A database that is used on a second event loop works, or raises at once: it never waits for the first (our tests)."""

from __future__ import annotations

import threading
from contextlib import suppress

import anyio
import pytest

from aio_databases import ConfigurationError, Database, InterfaceError
from aio_databases.testing.fake_driver import make_database, script_of, verify_closed
from loops import run

PAIRS = [("asyncio", "asyncio"), ("asyncio", "uvloop"), ("asyncio", "trio"), ("trio", "asyncio"), ("trio", "trio")]
IN_MEMORY = ["sqlite://", "aiosqlite://", "sqlite:///file:h1?mode=memory&cache=shared&uri=true"]


def in_thread(function):
    """Call a function in another thread and wait for its end, for 10 seconds."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits for ever"


def pairs_of(url):
    return [pair for pair in PAIRS if not (url.startswith("aio") and "trio" in pair)]


async def use(db, outcomes):
    with anyio.fail_after(5):
        try:
            outcomes.append(await db.fetchval("select 1"))
        except InterfaceError as exc:
            outcomes.append(str(exc))


@pytest.mark.parametrize("other_thread", [False, True])
@pytest.mark.parametrize(("url", "loops"), [(url, loops) for url in IN_MEMORY for loops in pairs_of(url)])
def test_a_database_that_was_never_connected_says_so_or_works(url, loops, other_thread):
    db, outcomes = Database(url), []
    run(loops[0], use, db, outcomes)
    second = lambda: run(loops[1], use, db, outcomes)  # noqa: E731
    in_thread(second) if other_thread else second()
    if "mode=memory" not in url:
        assert "belongs to another event loop" in outcomes[1]
    else:
        assert outcomes[1] == 1 or "belongs to another event loop" in outcomes[1]

    async def begin_anew():
        with anyio.fail_after(5):
            await db.disconnect()
            async with db:
                return await db.fetchval("select 3")

    assert run(loops[1], begin_anew) == 3


@pytest.mark.parametrize("loops", PAIRS)
@pytest.mark.parametrize("how", ["use", "connect", "async with", "transaction", "iterate", "replica"])
def test_an_open_database_of_another_loop_raises_whatever_is_done(how, loops):
    db = make_database(shared=how == "iterate")

    async def begin():
        await db.connect()

    async def do():
        with anyio.fail_after(5), pytest.raises(InterfaceError, match="belongs to another event loop"):
            if how == "use":
                await db.execute("select 1")
            elif how == "connect":
                await db.connect()
            elif how == "iterate":
                [row async for row in db.iterate("select 1")]
            else:
                async with {"async with": db, "transaction": db.transaction(), "replica": db.replica()}[how]:
                    pass
        await db.disconnect()

    run(loops[0], begin)
    run(loops[1], do)
    verify_closed(db)


@pytest.mark.parametrize("loops", PAIRS)
def test_async_with_works_in_one_loop_after_the_other(loops):
    db = make_database()

    async def work():
        with anyio.fail_after(5):
            async with db, db.connection():
                return await db.fetchval("select 1")

    for loop in loops:
        assert run(loop, work) == "select 1"
    verify_closed(db)


def test_what_a_killed_loop_has_left_locked_is_free_on_the_next_one():
    import asyncio  # noqa: PLC0415 - for this test alone

    db = make_database(single_writer=True)
    fake = script_of(db)
    fake.wait("insert 1")
    loop = asyncio.new_event_loop()

    async def hang():
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(db.execute("insert 1")), 0.05)

    loop.run_until_complete(hang())
    task = [task for task in asyncio.all_tasks(loop) if not task.done()]
    assert db._pool.writer_lock.locked
    for each in task:
        each.cancel()
    loop.run_until_complete(asyncio.gather(*task, return_exceptions=True))
    loop.close()
    db._pool.opening.locked = True  # as of a connect() whose loop was stopped half-way

    async def work():
        with anyio.fail_after(5):
            async with db:
                await db.execute("insert 2")

    run("asyncio", work)


@pytest.mark.parametrize("value", [float("nan"), -1, "5", True])
async def test_no_number_of_seconds_is_refused_when_a_database_opens_and_closes(value):
    db = make_database()
    with pytest.raises(ConfigurationError, match="retry_for must be a number of seconds"):
        await db.connect(retry_for=value)
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds"):
        await db.disconnect(timeout=value)
    verify_closed(db)


@pytest.mark.parametrize("other", ["asyncio", "trio"])
@pytest.mark.parametrize("where", ["reset", "close"])
async def test_a_connection_that_is_being_taken_back_is_counted_once(where, other):
    """disconnect() in another loop meanwhile left a pool of -1 connections, which opened more than max_size later."""
    db = make_database(max_size=1)
    fake = script_of(db)
    await db.connect()
    gate = fake.wait(where)

    async def lease() -> None:
        async with db.connection() as connection:
            await connection.execute("set x = 1")
            if where == "close":
                connection.physical.retire()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lease)
            await gate.reached()
            await anyio.to_thread.run_sync(run, other, db.disconnect)
            gate.open()
        assert db.stats()["primary"][:3] == (0, 0, 0)
        async with db:
            assert await db.fetchval("select 1") == "select 1"
            assert db.stats()["primary"][:3] == (1, 1, 0)
    verify_closed(db)
