"""A task that has begun a transaction with start() in a block of another one hears of its end (hostile test).

When that block ended first, the transaction was rolled back, and the statements that the task meant for it ran on other
connections, each committed by itself.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import anyio
import pytest

from aio_databases import TransactionError
from aio_databases.testing.fake_driver import connected

if TYPE_CHECKING:
    from aio_databases import Database


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("verb", ["execute", "iterate", "transaction", "nothing"])
@pytest.mark.parametrize("around", ["connection", "transaction", "started"])
async def test_statements_raise_until_it_is_ended(around, verb, end):
    async with connected(max_size=2) as (db, fake), anyio.create_task_group() as tasks:
        has_begun, has_ended = anyio.Event(), anyio.Event()

        async def child() -> None:
            transaction = await db.transaction().start()
            await db.execute("insert 1")
            has_begun.set()
            await has_ended.wait()
            if verb != "nothing":
                with pytest.raises(TransactionError, match=r"^a (nested )?transaction cannot be used any more: "):
                    await use(db, verb)
            with pytest.raises(TransactionError):
                await getattr(transaction, end)()
            await db.execute("insert 3")
            assert db.current_conn is None

        if around == "started":
            transaction = await db.transaction().start()
            tasks.start_soon(child)
            await has_begun.wait()
            await transaction.rollback()
        else:
            with pytest.raises(ZeroDivisionError):
                async with getattr(db, around)():
                    tasks.start_soon(child)
                    await has_begun.wait()
                    raise ZeroDivisionError
        has_ended.set()
        await anyio.wait_all_tasks_blocked()
        assert "insert 2" not in fake.sent
        assert fake.sent[-1] == "insert 3"


@pytest.mark.parametrize("verb", ["execute", "iterate", "transaction"])
@pytest.mark.parametrize("around", ["transaction", "started", "nested"])
async def test_statements_raise_after_it_was_committed_with_the_transaction_around_it(around, verb):
    async with connected(max_size=2) as (db, fake), anyio.create_task_group() as tasks:
        has_begun, has_ended = anyio.Event(), anyio.Event()
        called = []

        async def child() -> None:
            transaction = await db.transaction().start()
            transaction.on_commit(lambda: called.append("commit"))
            has_begun.set()
            await has_ended.wait()
            with pytest.raises(TransactionError, match=r"it was committed with the transaction around it$"):
                await use(db, verb)
            with pytest.raises(TransactionError, match=r"it was committed with the transaction around it$"):
                await transaction.commit()
            await db.execute("insert 3")

        async with contextlib.AsyncExitStack() as blocks:
            if around == "nested":
                await blocks.enter_async_context(db.transaction())
            if around == "started":
                transaction = await db.transaction().start()
                tasks.start_soon(child)
                await has_begun.wait()
                await transaction.commit()
            else:
                async with db.transaction():
                    tasks.start_soon(child)
                    await has_begun.wait()
            has_ended.set()
            await anyio.wait_all_tasks_blocked()
        assert called == ["commit"]
        assert "insert 2" not in fake.sent
        assert "insert 3" in fake.sent


@pytest.mark.parametrize("verb", ["execute", "iterate", "transaction"])
async def test_a_block_that_ends_while_it_is_begun_counts(verb):
    async with connected(max_size=2) as (db, fake), anyio.create_task_group() as tasks:
        gate = fake.wait("SAVEPOINT aiodb_1")

        async def child() -> None:
            transaction = await db.transaction().start()
            with pytest.raises(TransactionError):
                await use(db, verb)
            with pytest.raises(TransactionError):
                await transaction.commit()

        async def open_soon() -> None:
            await anyio.wait_all_tasks_blocked()
            gate.open()

        with pytest.raises(ZeroDivisionError):
            async with db.transaction():
                tasks.start_soon(child)
                await gate.reached()
                tasks.start_soon(open_soon)
                raise ZeroDivisionError
        await anyio.wait_all_tasks_blocked()
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "ROLLBACK"]


async def use(db: Database, verb: str) -> None:
    if verb == "execute":
        await db.execute("insert 2")
    elif verb == "iterate":
        await anext(db.iterate("insert 2"))
    else:
        async with db.transaction():
            await db.execute("insert 2")


async def test_in_the_task_of_the_block_it_ends_with_the_block():
    async with connected() as (db, fake):
        async with db.connection():
            await db.transaction().start()
        await db.execute("insert 1")
        assert fake.sent == ["BEGIN", "ROLLBACK", "insert 1"]


async def test_what_a_child_has_started_is_part_of_the_block_while_it_is_open():
    async with connected() as (db, fake), db.connection(), anyio.create_task_group() as tasks:

        async def child() -> None:
            transaction = await db.transaction().start()
            await db.execute("insert 1")
            async with db.transaction():
                await db.execute("insert 2")
            await transaction.commit()
            await db.execute("insert 3")
            async with db.transaction():
                await db.execute("insert 4")

        tasks.start_soon(child)
        await anyio.wait_all_tasks_blocked()
        savepoint = ["SAVEPOINT aiodb_1", "insert 2", "RELEASE aiodb_1"]
        assert fake.sent == ["BEGIN", "insert 1", *savepoint, "COMMIT", "insert 3", "BEGIN", "insert 4", "COMMIT"]
        assert fake.opens == 1
