"""A wait that cannot end by itself, as it is for a block of the very task, raises at once.

By use: on SQLite a transaction with ``create=True`` inside of another one waited for the whole ``timeout``.
"""

from __future__ import annotations

from time import monotonic

import anyio
import pytest

from aio_databases import ConnectionBusy, LockTimeout
from aio_databases.physical_connection.scopes import current_block
from aio_databases.testing.fake_driver import connected

LOCKED = r"^would wait for ever for a transaction, opened by the very task that waits, to end: SQLite has one writer"


@pytest.mark.targets(dialect="sqlite", scheme={"sqlite", "aiosqlite"}, pooled=True, memory=False)
@pytest.mark.parametrize("inner", ["transaction", "statement", "run_transaction"])
async def test_a_second_writer_in_one_task_is_refused_at_once(make_database, inner):
    db = await make_database()
    await db.execute("create table t (a integer)")
    began = monotonic()
    async with db.transaction():
        await db.execute("insert into t values (1)")
        with pytest.raises(LockTimeout, match=LOCKED):
            if inner == "transaction":
                async with db.transaction(create=True):
                    pass
            else:
                async with db.connection():
                    if inner == "statement":
                        await db.execute("insert into t values (2)")
                    else:
                        await db.run_transaction(db.execute, "insert into t values (2)")
    assert monotonic() - began < 5
    await db.execute("insert into t values (3)")
    assert [row.a for row in await db.fetchall("select a from t order by a")] == [1, 3]


async def test_another_task_still_waits_for_its_turn_to_write():
    async with connected(single_writer=True) as (db, fake), anyio.create_task_group() as tasks:

        async def other() -> None:
            async with db.transaction(create=True):
                await db.execute("insert 2")

        async with db.transaction():
            tasks.start_soon(other)
            await anyio.wait_all_tasks_blocked()
            await db.execute("insert 1")
    assert [text for text in fake.sent if text.startswith("insert")] == ["insert 1", "insert 2"]


async def test_a_transaction_without_a_block_may_be_ended_by_another_task_and_is_waited_for():
    async with connected(single_writer=True) as (db, fake), anyio.create_task_group() as tasks:
        first = await db.transaction(create=True).start()
        tasks.start_soon(first.commit)
        second = await db.transaction(create=True).start()
        await second.commit()
    assert fake.sent == ["BEGIN", "COMMIT"] * 2


async def test_a_statement_beside_a_block_of_its_own_task_is_refused_at_once():
    """As one is that runs in another context than the block, as the steps of a fixture may."""
    async with connected() as (db, _), db.connection() as connection, db.transaction():
        inside = current_block.get()
        current_block.set(None)
        with pytest.raises(
            ConnectionBusy, match=r"^would wait for ever for a transaction, opened by the very task that waits"
        ):
            await connection.execute("insert 1")
        current_block.set(inside)
