"""A task that has all connections of a pool in its own blocks is told so at once, and does not wait (our tests)."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import PoolTimeout
from aio_databases.testing.fake_driver import connected

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
MESSAGE = r"none can come back: all \d are in use \(\d by the very task that waits"


@LOOPS
@pytest.mark.parametrize("outer", ["connection", "transaction"])
@pytest.mark.parametrize("inner", ["connection", "transaction"])
async def test_a_second_connection_in_a_block_of_the_only_one_fails_at_once(outer, inner, loop):
    async with connected(max_size=1, timeout=20) as (db, _), getattr(db, outer)():
        with anyio.fail_after(2), pytest.raises(PoolTimeout, match=MESSAGE):
            async with db.connection() if inner == "connection" else db.transaction(create=True):
                pass


async def test_more_than_one_connection_may_be_held():
    async with connected(max_size=2, timeout=20) as (db, _), db.connection(), db.connection():
        with anyio.fail_after(2), pytest.raises(PoolTimeout, match=MESSAGE):
            await db.connection().acquire()


async def test_a_replica_block_in_another_one_goes_on_to_the_next_server_at_once():
    async with connected(max_size=1, timeout=20, replicas=["fake://replica/db"]) as (db, _), db.replica():
        with anyio.fail_after(2):
            async with db.replica() as second:
                assert second.role == "primary"
                with pytest.raises(PoolTimeout, match=MESSAGE):
                    async with db.replica():
                        pass


@pytest.mark.parametrize("how", ["another task", "acquired by hand", "started by hand", "single statement"])
async def test_what_another_task_may_give_back_is_waited_for(how):
    async with connected(max_size=1, timeout=20) as (db, fake), anyio.create_task_group() as tasks:
        gate, ended = fake.wait("select held"), anyio.Event()

        async def hold():
            async with db.connection():
                await ended.wait()

        if how == "another task":
            tasks.start_soon(hold)
        elif how == "single statement":
            tasks.start_soon(db.fetchval, "select held")
        elif how == "acquired by hand":
            connection = await db.connection().acquire()
        else:
            transaction = await db.transaction().start()
        await anyio.wait_all_tasks_blocked()

        async def give_back():
            await anyio.wait_all_tasks_blocked()
            if how == "another task":
                ended.set()
            elif how == "single statement":
                gate.open()
            elif how == "acquired by hand":
                await connection.release()
            else:
                await transaction.commit()

        tasks.start_soon(give_back)
        with anyio.fail_after(2):
            async with db.connection():
                pass


async def test_a_child_waits_for_the_block_of_its_parent():
    async with connected(max_size=1, timeout=20) as (db, _), anyio.create_task_group() as tasks:
        got = []

        async def child():
            async with db.transaction(silent=True), db.connection() as connection:
                got.append(await connection.fetchval("select 1"))

        async with db.connection() as connection:
            tasks.start_soon(child)
            await anyio.wait_all_tasks_blocked()
            assert got == []
            await connection.release()
        with anyio.fail_after(2):
            while not got:  # noqa: ASYNC110 - until the child has what it waits for
                await anyio.sleep(0.01)
