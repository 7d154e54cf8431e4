"""Streams on the scripted driver: chunks, early ends, what happens to their connection."""

from __future__ import annotations

import gc

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import DatabaseError, Error, InterfaceError
from aio_databases.testing.fake_driver import connected

QUERY = "select 3"


async def test_rows_are_read_in_chunks():
    async with connected() as (db, fake):
        fake.rows[QUERY] = 3
        assert len([row async for row in db.iterate(QUERY, chunk_size=2)]) == 3
        assert [f"cursor {QUERY}"] * 2 + ["close cursor"] == fake.sent
        assert db._pool.lent == 0


async def test_rows_that_fill_the_last_chunk_take_one_more_look():
    async with connected() as (db, fake):
        fake.rows[QUERY] = 2
        assert len([row async for row in db.iterate(QUERY, chunk_size=2)]) == 2
        assert [f"cursor {QUERY}"] * 2 + ["close cursor"] == fake.sent


async def test_a_stream_can_be_used_up_only_once():
    async with connected() as (db, _):
        stream = db.iterate(QUERY)
        assert len([row async for row in stream]) == 1
        assert [row async for row in stream] == []


def test_nothing_is_sent_before_the_first_row_is_asked_for_and_sizes_are_checked():
    async def main():
        async with connected() as (db, fake):
            db.iterate(QUERY)
            assert fake.sent == []
            with pytest.raises(InterfaceError, match="at least 1 row, not 0"):
                db.iterate(QUERY, chunk_size=0)

    anyio.run(main)


async def test_closing_frees_the_cursor_at_once_and_may_be_done_twice():
    async with connected() as (db, fake):
        fake.rows[QUERY] = 3
        async with db.connection():
            async with db.iterate(QUERY, chunk_size=1) as stream:
                assert await anext(stream) == (QUERY,)
            assert [f"cursor {QUERY}", "close cursor"] == fake.sent
            await stream.aclose()
            assert [row async for row in stream] == []


async def test_a_loop_left_early_is_cleaned_up_before_the_next_statement():
    async with connected() as (db, fake):
        fake.rows[QUERY] = 3
        async with db.connection():
            async for _ in db.iterate(QUERY, chunk_size=1):
                break
            gc.collect()
            await db.execute("insert 1")
        assert [f"cursor {QUERY}", "close cursor", "insert 1"] == fake.sent


async def test_a_loop_left_early_outside_of_a_block_gives_its_connection_back():
    async with connected(exclusive_cursor=True) as (db, fake):
        fake.rows[QUERY] = 3
        async for _ in db.iterate(QUERY, chunk_size=1):
            break
        gc.collect()
        for _ in range(4):
            await checkpoint()
        assert (db._pool.lent, fake.open_now) == (0, 0)  # cut, because nobody waits for it and its cursor is open
        assert await db.fetchval("select 1") == "select 1"


async def test_a_cursor_that_needs_a_transaction_gets_a_connection_of_its_own():
    async with connected(exclusive_cursor=True) as (db, fake), db.connection():
        fake.rows[QUERY] = 3
        async for _ in db.iterate(QUERY, chunk_size=1):
            await db.execute("insert 1")
        assert {"1 insert 1", f"2 cursor {QUERY}"} <= set(fake.log)


async def test_a_cursor_inside_of_a_transaction_stays_on_its_connection():
    async with connected(exclusive_cursor=True) as (db, fake), db.transaction():
        assert len([row async for row in db.iterate(QUERY)]) == 1
        assert fake.opens == 1


async def test_what_no_cursor_can_be_declared_for_is_read_at_once():
    async with connected() as (db, fake), db.transaction():
        assert len([row async for row in db.iterate("show all", chunk_size=1)]) == 1
        assert "show all" in fake.sent


@pytest.mark.parametrize("why", ["no room", "session changed"])
async def test_where_a_cursor_would_be_in_the_way_everything_is_read_at_once(why):
    async with connected(exclusive_cursor=True, max_size=1 if why == "no room" else 2) as (db, fake):
        async with db.connection():
            if why == "session changed":
                await db.execute("set x = 1")
            fake.rows[QUERY] = 3
            assert len([row async for row in db.iterate(QUERY, chunk_size=1)]) == 3
        assert QUERY in fake.sent
        assert fake.opens == 1


async def test_a_stream_whose_transaction_has_ended_says_so():
    async with connected() as (db, fake), db.connection():
        fake.rows[QUERY] = 3
        async with db.transaction():
            stream = db.iterate(QUERY, chunk_size=1)
            await anext(stream)
        with pytest.raises(InterfaceError, match="a transaction, in which it was opened, has ended"):
            await anext(stream)
        await db.execute("insert 1")
        assert fake.sent[-2:] == ["close cursor", "insert 1"]


@pytest.mark.parametrize("inside", [True, False])
async def test_a_query_that_fails_frees_what_it_holds(inside):
    async with connected() as (db, fake):
        fake.fail("cursor")
        if inside:
            async with db.connection():
                with pytest.raises(DatabaseError):
                    await anext(db.iterate(QUERY))
                await db.execute("insert 1")
        else:
            with pytest.raises(DatabaseError):
                await anext(db.iterate(QUERY))
        assert db._pool.lent == 0


async def test_a_query_that_does_not_fit_its_values_leases_nothing():
    async with connected() as (db, _):
        with pytest.raises(Error):
            await anext(db.iterate("select $1, $2", 1))
        assert db._pool.lent == 0


async def test_a_stream_on_a_released_connection_says_so():
    async with connected() as (db, _):
        async with db.connection() as connection:
            pass
        with pytest.raises(InterfaceError, match="after its release"):
            await anext(connection.iterate(QUERY))


async def test_a_stream_whose_connection_is_released_meanwhile_says_so():
    async with connected() as (db, fake):
        fake.rows[QUERY] = 3
        async with db.connection() as connection:
            stream = connection.iterate(QUERY, chunk_size=1)
            await anext(stream)
        with pytest.raises(InterfaceError, match=r"released|after its release"):
            await anext(stream)


async def test_a_stream_that_outlived_its_block_can_be_closed():
    async with connected() as (db, fake):
        fake.rows[QUERY] = 3
        async with db.connection():
            stream = db.iterate(QUERY, chunk_size=1)
            await anext(stream)
        await stream.aclose()
        assert ([f"cursor {QUERY}", "close cursor"], 0) == (fake.sent, db._pool.lent)


async def test_a_stream_that_is_forgotten_after_disconnect_does_no_harm():
    async with connected(exclusive_cursor=True) as (db, fake):
        fake.rows[QUERY] = 3
        stream = db.iterate(QUERY, chunk_size=1)
        await anext(stream)
        await db.disconnect(timeout=0)
        del stream
        gc.collect()
        for _ in range(4):
            await checkpoint()
        assert (db._pool.lent, fake.terminates) == (0, 1)
