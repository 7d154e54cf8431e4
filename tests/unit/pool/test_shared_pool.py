"""The pool of a database that lives in one connection, on the scripted driver."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import ConnectionLost, PoolClosed
from aio_databases.testing.fake_driver import connected, make_database, script_of, verify_closed


async def leases(db, count):
    return [await db.connection().acquire() for _ in range(count)]


async def test_a_shared_connection_serves_all_leases_by_turns():
    async with connected(shared=True) as (db, fake):
        one, two = await leases(db, 2)
        assert one.physical is two.physical
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.fetchval, "select 1")
            tasks.start_soon(two.fetchval, "select 2")
        await one.release()
        assert db._pool.lent == 1
        await two.release()
        assert (fake.opens, db._pool.lent) == (1, 0)


async def test_a_shared_connection_that_was_lost_is_opened_anew():
    async with connected(shared=True) as (db, fake):
        fake.drop("select 1")
        with pytest.raises(ConnectionLost, match="the link broke"):
            await db.fetchval("select 1")
        assert await db.fetchval("select 2") == "select 2"
        assert fake.opens == 2


async def test_tasks_that_need_a_shared_connection_open_it_once():
    db = make_database(shared=True)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(db.fetchval, "select 1")
    assert script_of(db).opens == 1
    await db.disconnect()
    verify_closed(db)


async def test_a_shared_connection_is_cleared_of_a_stray_transaction_before_its_next_statement():
    async with connected(shared=True) as (db, fake):
        async with db.connection() as connection:
            connection.driver._in_transaction = True
        await db.fetchval("select 1")
        assert fake.sent == ["settle", "ROLLBACK", "select 1"]


async def test_a_replica_block_on_a_shared_connection_reads_through_a_view():
    async with connected(shared=True) as (db, fake):
        async with db.replica() as replica, db.connection():
            assert replica.read_only
            await db.execute("insert 1")
        assert fake.opens == 1


async def test_a_shared_pool_that_is_closed_while_it_opens_lends_nothing():
    db = make_database(shared=True)
    gate = script_of(db).wait("connect")

    async def late():
        with pytest.raises(PoolClosed):
            await db.fetchval("select 1")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(late)
        await gate.reached()
        await db.disconnect(timeout=0)
        gate.open()
    verify_closed(db)
