"""A connection that replaces itself when it is lost does not take another one after its release (hostile test).

One that was used after its block took a place in the pool that never came back.
"""

from __future__ import annotations

import anyio
import pytest

from aio_databases import ConnectionLost, InterfaceError
from aio_databases.testing.fake_driver import LinkError, connected

RELEASED = "was used after its release"


@pytest.mark.parametrize("verb", ["execute", "iterate", "transaction"])
async def test_it_is_refused_after_its_block(verb):
    async with connected(max_size=1) as (db, _):
        async with db.connection(reconnect=True) as connection:
            await connection.execute("insert 1")
        with pytest.raises(InterfaceError, match=RELEASED):
            if verb == "execute":
                await connection.execute("insert 2")
            elif verb == "iterate":
                await anext(connection.iterate("select 1"))
            else:
                await connection.transaction().start()
        assert db._pool.lent == 0
        await db.execute("insert 3")


async def test_it_is_not_replaced_when_a_statement_meets_the_loss_after_its_release():
    async with connected(max_size=1) as (db, fake):
        gate = fake.wait("insert 1")
        async with db.connection(reconnect=True) as connection, anyio.create_task_group() as tasks:

            async def use() -> None:
                with pytest.raises((ConnectionLost, LinkError)):
                    await connection.execute("insert 1")

            tasks.start_soon(use)
            await gate.reached()
            tasks.start_soon(connection.release)
            await anyio.wait_all_tasks_blocked()
            fake.connections[0].terminate()
        assert db._pool.lent == 0


async def end(block, connection, how):
    if how == "block":
        await block.__aexit__(None, None, None)
    elif how == "release":
        await connection.release()
    else:
        connection.abandon()


async def take_in_vain(connection, verb):
    with pytest.raises(InterfaceError, match=RELEASED):
        await getattr(connection, verb)(*["select 1"] * (verb == "fetchval"))


@pytest.mark.parametrize("how", ["block", "release", "abandon"])
@pytest.mark.parametrize("reconnects", [False, True])
async def test_the_place_that_a_reconnect_waits_for_goes_to_others_after_the_release(reconnects, how):
    async with connected(max_size=1) as (db, _), anyio.create_task_group() as tasks:
        block = db.connection(reconnect=reconnects)
        connection = await block.__aenter__()
        other = db.connection()
        tasks.start_soon(other.acquire)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(take_in_vain, connection, "reconnect")
        await anyio.wait_all_tasks_blocked()
        await end(block, connection, how)
        await other.release()
        await anyio.wait_all_tasks_blocked()
        assert db._pool.lent == 0
        await db.execute("insert 1")
        await take_in_vain(connection, "fetchval")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("how", ["block", "release", "abandon"])
@pytest.mark.parametrize("verb", ["reconnect", "acquire", "make_ready", "fetchval"])
async def test_a_connection_that_is_opened_goes_to_others_after_the_release(verb, how, shared):
    async with connected(max_size=1, shared=shared) as (db, fake), anyio.create_task_group() as tasks:
        block = db.connection(reconnect=True)
        connection = await block.__aenter__()
        fake.drop("insert 1")
        fake.fail("connect", LinkError)
        with pytest.raises(ConnectionLost):
            await connection.execute("insert 1")
        gate = fake.wait("connect")
        tasks.start_soon(take_in_vain, connection, verb)
        await gate.reached()
        await end(block, connection, how)
        gate.open()
        await anyio.wait_all_tasks_blocked()
        assert db._pool.lent == 0
        await db.execute("insert 2")
        await take_in_vain(connection, "fetchval")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_release_that_waits_for_a_statement_which_meets_the_loss_leaves_nothing(when, caplog):
    async with connected(max_size=1) as (db, fake), anyio.create_task_group() as tasks:
        gate = fake.wait("insert 1")
        connection = await db.connection(reconnect=True).acquire()
        await connection.transaction().start()
        opening = fake.wait("connect")

        async def use() -> None:
            with pytest.raises(ConnectionLost):
                await connection.execute("insert 1")

        tasks.start_soon(use)
        await gate.reached()
        if when == "before":
            tasks.start_soon(connection.release)
            await anyio.wait_all_tasks_blocked()
        fake.connections[0].terminate()
        if when == "after":
            await opening.reached()
            tasks.start_soon(connection.release)
            await anyio.wait_all_tasks_blocked()
        opening.open()
        await anyio.wait_all_tasks_blocked()
        assert db._pool.lent == 0
        await take_in_vain(connection, "fetchval")
        assert "could not be replaced" not in caplog.text


async def test_a_connection_that_two_tasks_replace_at_once_is_taken_once():
    async with connected(max_size=1) as (db, _), anyio.create_task_group() as tasks:
        connection = await db.connection().acquire()
        other = db.connection()
        tasks.start_soon(other.acquire)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(connection.reconnect)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(connection.reconnect)
        await anyio.wait_all_tasks_blocked()
        await other.release()
        await anyio.wait_all_tasks_blocked()
        assert await connection.fetchval("select 1") == "select 1"
        await connection.release()
        assert db._pool.lent == 0
