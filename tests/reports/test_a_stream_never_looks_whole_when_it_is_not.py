"""A stream gives each row once, to one task at a time, and does not end before the last one without an error.

A hostile test: of two tasks that read one stream each lost rows of the other, and a stream that was read on after a
time limit ended early, both without an error.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from aio_databases import InterfaceError
from aio_databases.testing.fake_driver import FakeError, connected

ROWS = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 20) select i from n"


async def read(stream: Any, found: list[Any]) -> None:
    async for row in stream:
        found.append(row[0])  # noqa: PERF401 - what was read before an error counts


@pytest.mark.parametrize("at", ["first row", "later row"])
@pytest.mark.parametrize("held", [False, True], ids=["leased", "held"])
async def test_a_second_task_is_refused_and_the_first_gets_every_row(at, held):
    async with connected(max_size=2) as (db, fake), anyio.create_task_group() as tasks:
        place = db.connection() if held else None
        if place is not None:
            await place.acquire()
        fake.rows["select 1"] = 20
        stream = (db if place is None else place._connection).iterate("select 1", chunk_size=5)
        found: list[Any] = [] if at == "first row" else [await anext(stream)]
        gate = fake.wait("cursor select 1")
        tasks.start_soon(read, stream, found)
        await gate.reached()
        for _ in range(2):
            with pytest.raises(InterfaceError, match="another task waits for a row of this stream"):
                await anext(stream)
        with pytest.raises(InterfaceError, match="another task waits for a row of this stream"):
            await stream.aclose()
        gate.open()
        await anyio.wait_all_tasks_blocked()
        if place is not None:
            await place.release()
    assert len(found) == 20
    assert fake.sent.count("cursor select 1") == 5


@pytest.mark.parametrize("end", ["cancelled", "failed", "left by an error"])
@pytest.mark.parametrize("at", ["first row", "later row"])
async def test_a_stream_that_was_broken_off_says_so_when_it_is_read_on(end, at):
    async with connected() as (db, fake):
        fake.rows["select 1"] = 20
        stream = db.iterate("select 1", chunk_size=5)
        if at == "later row":
            for _ in range(5):
                await anext(stream)
        if end == "failed":
            fake.fail("cursor select 1", FakeError("refused"))
            with pytest.raises(FakeError):
                await anext(stream)
        elif end == "cancelled":
            fake.wait("cursor select 1")
            with anyio.move_on_after(0.02):
                await anext(stream)
        else:
            with pytest.raises(ZeroDivisionError):
                async with stream:
                    await anext(stream)
                    raise ZeroDivisionError
            for _ in range(4):
                await anext(stream)  # those that have come
        for _ in range(2):
            with pytest.raises(InterfaceError, match="the rest of this stream is lost"):
                await anext(stream)


async def test_a_query_that_fails_before_the_first_row_has_not_no_rows():
    async with connected(exclusive_cursor=True, max_size=1) as (db, fake), db.connection():
        fake.fail("select 1", FakeError("refused"))
        stream = db.iterate("select 1")
        with pytest.raises(FakeError):
            await anext(stream)
        with pytest.raises(InterfaceError, match="the rest of this stream is lost"):
            await anext(stream)


@pytest.mark.targets(pooled=True, loop={"asyncio", "trio"})
@pytest.mark.parametrize("where", ["autocommit", "transaction"])
async def test_two_readers_lose_no_row(make_database, where):
    db = await make_database()
    found: list[int] = []
    refused: list[str] = []

    async def reader(stream: Any) -> None:
        try:
            await read(stream, found)
        except InterfaceError as exc:
            refused.append(str(exc))

    async def both() -> None:
        stream = db.iterate(ROWS, chunk_size=3)
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(reader, stream)

    if where == "transaction":
        async with db.transaction():
            await both()
    else:
        await both()
    assert list(range(1, 21)) == sorted(found)
    assert refused in (
        [],
        ["another task waits for a row of this stream: read it in one task, or make a stream for each"],
    )


@pytest.mark.targets(pooled=True, loop={"asyncio", "trio"})
async def test_a_stream_read_on_after_a_time_limit_raises(make_database):
    db = await make_database()
    stream = db.iterate(ROWS, chunk_size=3)
    found = [(await anext(stream)).i for _ in range(3)]
    with anyio.CancelScope() as scope:
        scope.cancel()
        found.append((await anext(stream)).i)
    if scope.cancelled_caught:
        with pytest.raises(InterfaceError, match="the rest of this stream is lost"):
            await anext(stream)
    else:  # the library had the rows already
        found += [row.i async for row in stream]
        assert list(range(1, 21)) == found


@pytest.mark.targets(dialect="postgresql", pooled=True, loop="asyncio")
async def test_the_value_of_a_row_without_columns_is_none(make_database):
    db = await make_database()
    assert None is await db.fetchval("select")
    with pytest.raises(IndexError):
        await db.fetchval("select 1", column=1)
