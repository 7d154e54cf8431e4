"""The blocks that choose a connection, and the look from outside at which one is chosen."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aio_databases import current_conn
from aio_databases.testing.fake_driver import connected, make_database, script_of, verify_closed


async def test_the_innermost_block_of_a_database_has_its_connection():
    async with connected() as (db, _):
        assert db.current_conn is None
        async with db.connection() as outer:
            assert outer is db.current_conn
            async with db.connection() as inner:
                assert inner is db.current_conn
                assert inner is not outer
            assert outer is db.current_conn
        assert db.current_conn is None


@pytest.mark.parametrize("arguments", [(False,), ()])
async def test_create_says_whether_an_existing_connection_is_good_enough(arguments):
    async with connected() as (db, _), db.connection() as outer, db.connection(*arguments) as inner:
        assert (arguments == (False,)) is (inner is outer)


async def test_a_block_that_shares_does_not_release_what_is_not_its_own():
    async with connected() as (db, _):
        async with db.connection() as outer:
            async with db.connection(create=False):
                pass
            assert outer.is_ready
        async with db.connection(create=False) as own:
            assert own.is_ready
        assert not own.is_ready


async def test_acquiring_without_a_block_does_not_make_a_connection_current():
    async with connected() as (db, _):
        block = db.connection()
        await block.acquire()
        assert db.current_conn is None
        await block.release()


async def test_a_connection_that_was_released_inside_its_block_is_not_used_any_more():
    async with connected() as (db, _), db.connection() as outer:
        async with db.connection() as inner:
            await inner.release()
            assert outer is db.current_conn
        assert outer is db.current_conn


async def test_the_context_variable_of_1x_knows_the_connection_of_whatever_database():
    async with connected() as (one, _), connected() as (two, _):
        assert (current_conn.get(), current_conn.get("default")) == (None, "default")
        async with one.connection() as first:
            assert first is current_conn.get()
            async with two.connection() as second:
                assert second is current_conn.get()
                await second.release()
                assert first is current_conn.get()


async def test_blocks_that_are_left_out_of_order_do_no_harm():
    async with connected() as (db, _):
        outer, inner = db.connection(), db.connection()
        await outer.__aenter__()
        connection = await inner.__aenter__()
        await outer.__aexit__(None, None, None)
        assert connection is db.current_conn
        await inner.__aexit__(None, None, None)
        assert db.current_conn is None


async def test_the_session_of_a_replica_is_reset_when_its_block_ends():
    async with connected() as (db, fake):
        async with db.replica() as replica:
            assert replica.raw is fake.connections[-1]
        assert (fake.sent, replica.pool.lent) == (["reset"], 0)


async def test_a_primary_block_inside_of_a_replica_block_writes():
    async with connected() as (db, fake), db.replica() as replica:
        async with db.connection():
            await db.execute("insert 1")
        assert replica is db.current_conn
        assert [each.read_only for each in fake.connections if f"{each.number} insert 1" in fake.log] == [False]


def test_an_event_loop_may_go_on_in_another_thread():
    loop = asyncio.new_event_loop()
    db = make_database()
    loop.run_until_complete(db.connect())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def work():
        async with db.transaction() as transaction:
            assert transaction.connection is db.current_conn
            await db.execute("insert 1")
        await db.disconnect()

    try:
        asyncio.run_coroutine_threadsafe(work(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
    assert script_of(db).sent == ["BEGIN", "insert 1", "COMMIT"]
    verify_closed(db)
