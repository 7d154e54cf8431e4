"""A network that is slow, pauses, or delivers in crumbs: everything arrives, complete and in order."""

from __future__ import annotations

import anyio
import pytest

from faults.stage import INSERT, SECONDS, recovered
from servers.proxy import UNPLUGGED, Mode

A_WHILE = 0.1


async def test_bytes_that_come_one_by_one_are_put_together(stage):
    stage.proxy.mode = Mode(chunk=1)
    db = await stage.database().connect()
    async with db.transaction():
        await db.execute(INSERT)
        assert await db.fetchval(f"select '{'0123456789' * 10}'") == "0123456789" * 10
    assert stage.count == 1
    await recovered(db)


async def test_a_short_outage_is_nothing_but_a_delay(stage):
    db = await stage.database().connect()
    began, ended = anyio.Event(), anyio.Event()

    async def insert() -> None:
        async with db.transaction():
            await db.execute(INSERT)
            stage.proxy.mode = UNPLUGGED
            began.set()
        ended.set()

    with anyio.fail_after(2 * SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(insert)
            await began.wait()
            with anyio.move_on_after(A_WHILE):
                await ended.wait()
            assert not ended.is_set()
            assert stage.count == 0
            stage.heal()
    assert stage.count == 1
    await recovered(db)


@pytest.mark.parametrize("mode", [Mode(rate=4_000_000, chunk=10_000), Mode(delay=0.005)], ids=["narrow", "far"])
async def test_big_results_arrive_complete(stage, mode):
    db = await stage.database().connect()
    stage.proxy.mode = mode

    async def read_a_megabyte() -> None:
        assert await db.fetchval("select repeat('x', 1000000)") == "x" * 1_000_000

    async def read_a_stream() -> None:
        rows = [row[0] async for row in db.iterate(f"{stage.words.rows} limit 3000", chunk_size=1000)]
        assert [f"row-{number}" for number in range(1, 3001)] == rows

    with anyio.fail_after(2 * SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_a_megabyte)
            tasks.start_soon(read_a_stream)
        await db.executemany("insert into t (x) values (?)", [(number,) for number in range(50)])
    assert stage.count == 50
    stage.heal()
    await recovered(db)
