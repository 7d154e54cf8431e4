"""A coroutine that is closed, as that of a forgotten task is, gives its connection back at once (hostile test).

Streams, and transactions that were ended by hand, waited: "coroutine ignored GeneratorExit".
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aio_databases.testing.fake_driver import connected
from faults.cancelling import counting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_databases import Database


async def stream(db: Database) -> None:
    async for _ in db.iterate("select 1", chunk_size=2):
        pass


async def stream_in_a_transaction(db: Database) -> None:
    async with db.transaction():
        await stream(db)


async def stream_left_early(db: Database) -> None:
    async with db.iterate("select 1", chunk_size=2) as rows:
        await anext(rows)


async def stream_closed_by_hand(db: Database) -> None:
    rows = db.iterate("select 1", chunk_size=2)
    await anext(rows)
    await rows.aclose()


async def rows_of_a_write(db: Database) -> None:
    await anext(db.iterate("insert 1"))


async def commit(db: Database) -> None:
    transaction = await db.transaction().start()
    await transaction.commit()


async def rollback(db: Database) -> None:
    transaction = await db.transaction().start()
    await transaction.rollback()


async def commit_in_the_block(db: Database) -> None:
    async with db.transaction() as transaction:
        await transaction.commit()


async def nested(db: Database) -> None:
    async with db.transaction():
        transaction = await db.transaction().start()
        await transaction.commit()


async def block(db: Database) -> None:
    async with db.connection():
        await db.execute("set x = 1")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio's awaits want answers
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    "work",
    [
        stream,
        stream_in_a_transaction,
        stream_left_early,
        stream_closed_by_hand,
        rows_of_a_write,
        commit,
        rollback,
        commit_in_the_block,
        nested,
        block,
    ],
)
async def test_it_gives_its_connection_back_at_each_await(
    work: Callable[[Database], Awaitable[Any]], shared, anyio_backend
):
    for k in range(1, 100):
        async with connected(max_size=1, shared=shared) as (db, fake):
            fake.rows["select 1"] = 3
            coroutine: Any = work(db)
            if not await is_closed_at(k, coroutine):
                return
            assert db._pool.lent == 0, k
            assert await db.fetchval("select 2") == "select 2"
    raise AssertionError("it did not end")


class Closed(Exception):
    """The coroutine was closed."""


async def is_closed_at(k: int, coroutine: Any) -> bool:
    """Close a coroutine at its k-th await, and return whether it came so far."""

    def at_await(count: int) -> None:
        if count == k:
            coroutine.close()
            raise Closed

    try:
        await asyncio.create_task(counting(coroutine, at_await))
    except Closed:
        return True
    return False
