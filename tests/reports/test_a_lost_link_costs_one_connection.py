"""One connection that loses its link does not take the others of the pool along (our tests)."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import ConnectionLost
from aio_databases.testing.fake_driver import connected


async def six(db):
    held = [await db.connection().acquire() for _ in range(6)]
    for connection in held:
        await connection.release()


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("block", [False, True])
async def test_idle_connections_are_checked_when_lent_and_not_closed_at_once(loop, block):
    async with connected(max_size=6) as (db, fake):
        await six(db)
        fake.drop("select 1")
        with pytest.raises(ConnectionLost):
            if block:
                async with db.connection():
                    await db.fetchval("select 1")
            else:
                await db.fetchval("select 1")
        assert (fake.closes, db.stats()["primary"].idle) == (0, 5)
        assert "ping" not in fake.sent
        await db.fetchval("select 2")
        assert fake.sent[-2:] == ["ping", "select 2"]
        await db.fetchval("select 3")
        assert fake.sent[-2:] == ["select 2", "select 3"]  # it has answered once


async def test_all_are_checked_one_after_the_other():
    async with connected(max_size=6) as (db, fake):
        await six(db)
        fake.drop("select 1")
        with pytest.raises(ConnectionLost):
            await db.fetchval("select 1")
        await six(db)
        assert fake.sent.count("ping") == 5
        await six(db)
        assert fake.sent.count("ping") == 5


async def test_connections_that_are_idle_for_too_long_are_still_closed():
    async with connected(max_size=6, max_idle=0.05) as (db, fake):
        await six(db)
        fake.drop("select 1")
        with pytest.raises(ConnectionLost):
            await db.fetchval("select 1")
        assert fake.closes == 0
        await anyio.sleep(0.06)
        async with db.connection():
            pass
        await db.fetchval("select 2")
        assert fake.closes >= 4


async def test_what_the_user_left_does_not_count_as_idle_for_ever():
    async with connected(max_size=6) as (db, fake):
        await six(db)
        connection = await db.connection().acquire()
        connection.abandon()
        await db.fetchval("select 1")
        assert (fake.closes, db.stats()["primary"].idle, fake.sent) == (0, 6, ["ping", "select 1"])
