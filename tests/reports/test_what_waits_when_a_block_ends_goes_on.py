"""A task that waits for its turn when the connection() block around it ends goes on elsewhere, as docs/tasks.md says.

Statements did; transactions, streams and position() raised "was used after its release" (hostile test).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aio_databases.dialects.postgresql import POSTGRESQL
from aio_databases.testing.fake_driver import connected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_databases import Database


async def block(db: Database) -> None:
    async with db.transaction():
        await db.execute("insert 1")


async def block_in_time(db: Database) -> None:
    async with db.transaction(timeout=60):
        await db.execute("insert 1")


async def by_hand(db: Database) -> None:
    transaction = await db.transaction().start()
    await db.execute("insert 1")
    await transaction.commit()


async def function(db: Database) -> None:
    await db.run_transaction(db.execute, "insert 1")


async def decorated(db: Database) -> None:
    @db.transaction()
    async def work() -> None:
        await db.execute("insert 1")

    await work()


async def rows(db: Database) -> None:
    assert [row[0] async for row in db.iterate("select 1", chunk_size=2)] == ["select 1"] * 3


async def rows_of_a_write(db: Database) -> None:
    assert [row[0] async for row in db.iterate("insert 1", chunk_size=2)] == ["insert 1"] * 3


async def statement(db: Database) -> None:
    await db.execute("insert 1")


async def position(db: Database) -> None:
    assert await db.position() == POSITION


ASK = POSTGRESQL.position_questions[0].primary
POSITION = "5eed-1-0/A"
TRANSACTION = ["BEGIN", "insert 1", "COMMIT"]


@pytest.mark.parametrize("exclusive_cursor", [False, True])
@pytest.mark.parametrize("max_size", [1, 2])
@pytest.mark.parametrize(
    ("work", "sent"),
    [
        (statement, ["insert 1"]),
        (block, TRANSACTION),
        (block_in_time, TRANSACTION),
        (by_hand, TRANSACTION),
        (function, TRANSACTION),
        (decorated, TRANSACTION),
        (rows, None),
        (rows_of_a_write, ["insert 1"]),
        (position, [ASK]),
    ],
)
async def test_it_goes_on_when_its_block_ends(
    work: Callable[[Database], Awaitable[Any]], sent: list[str] | None, max_size, exclusive_cursor
):
    async with (
        connected(max_size=max_size, exclusive_cursor=exclusive_cursor) as (db, fake),
        anyio.create_task_group() as tasks,
    ):
        fake.rows["select 1"] = fake.rows["insert 1"] = 3
        fake.values[ASK] = f"{POSITION}-8-1"
        gate = fake.wait("select busy")
        async with db.connection():
            tasks.start_soon(db.fetchval, "select busy")
            await gate.reached()
            tasks.start_soon(work, db)
            await anyio.wait_all_tasks_blocked()
            # The block ends while both use its connection: its release waits for the one, and the other goes on.
            tasks.start_soon(open_soon, gate)
        await anyio.wait_all_tasks_blocked()
        assert sent is None or sent == [text for text in fake.sent if text in {*sent}]


async def open_soon(gate: Any) -> None:
    await anyio.wait_all_tasks_blocked()
    gate.open()


async def test_rows_that_were_read_are_given_although_the_block_ends_before_the_cursor_is_closed():
    async with connected(max_size=1) as (db, fake), anyio.create_task_group() as tasks:
        fake.rows["select 1"] = 3
        found: list[str] = []

        async def read() -> None:
            found.extend([row[0] async for row in db.iterate("select 1")])

        reading, busy = fake.wait("cursor select 1"), fake.wait("select busy")
        async with db.connection():
            tasks.start_soon(read)
            await reading.reached()
            tasks.start_soon(db.fetchval, "select busy")
            await anyio.wait_all_tasks_blocked()
            reading.open()
            await busy.reached()  # while the cursor waits for its turn, to be closed
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(open_soon, busy)
    assert found == ["select 1"] * 3


async def test_a_stream_that_was_begun_in_the_block_ends_with_it():
    async with connected(max_size=1) as (db, fake):
        fake.rows["select 1"] = 3
        async with db.connection() as connection:
            streams = db.iterate("select 1", chunk_size=1), connection.iterate("select 1", chunk_size=1)
            for stream in streams:
                await anext(stream)
            late = connection.iterate("select 1")
        for stream in (*streams, late):
            with pytest.raises(RuntimeError, match="was used after its release"):
                await anext(stream)
