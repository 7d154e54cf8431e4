"""A transaction whose BEGIN is under way when its connection is released has ended, and says so (hostile test).

Its statements ran on another connection, each committed by itself, and its COMMIT was sent on the one that it had lost.
"""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import CommitUncertainError, Error, TransactionError
from aio_databases.testing.fake_driver import connected

RELEASED = "^a transaction cannot be used any more: its connection was released, and nothing of it was committed"


@pytest.mark.parametrize("reconnects", [False, True])
@pytest.mark.parametrize("has_block", [False, True])
async def test_nothing_runs_in_a_transaction_that_was_released_while_it_began(has_block, reconnects):
    async with connected(max_size=1) as (db, fake), db.connection() as connection, anyio.create_task_group() as tasks:
        gate = fake.wait("BEGIN")

        async def give_back() -> None:
            await gate.reached()
            tasks.start_soon(connection.reconnect if reconnects else connection.release)
            await anyio.wait_all_tasks_blocked()
            gate.open()

        tasks.start_soon(give_back)
        transaction = db.transaction()
        with pytest.raises(TransactionError, match=RELEASED):
            if has_block:
                async with transaction:
                    await anyio.wait_all_tasks_blocked()
                    with pytest.raises(TransactionError, match=RELEASED):
                        await db.execute("insert 1")
            else:
                await transaction.start()
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(Error):
                    await connection.execute("insert 1")
                await transaction.commit()
        assert fake.sent == ["BEGIN", "ROLLBACK"]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("next_step", ["statement", "transaction", "stream"])
async def test_nothing_runs_elsewhere_in_the_moment_after_it_began(next_step, shared):
    """What the task ran at once, before the release had its turn, ran on another connection and was committed."""
    async with connected(max_size=2, shared=shared) as (db, fake), anyio.create_task_group() as tasks:
        gate = fake.wait("BEGIN")

        async def work() -> None:
            with pytest.raises(TransactionError, match=RELEASED):
                async with db.transaction():
                    if next_step == "statement":
                        await db.execute("insert 1")
                    elif next_step == "transaction":
                        async with db.transaction():
                            await db.execute("insert 1")
                    else:
                        await anext(db.iterate("insert 1"))

        async def open_soon() -> None:
            await anyio.wait_all_tasks_blocked()
            gate.open()

        async with db.connection():
            tasks.start_soon(work)
            await gate.reached()
            tasks.start_soon(open_soon)
        await anyio.wait_all_tasks_blocked()
        assert await db.fetchval("select 2") == "select 2"
        assert [text for text in fake.sent if text != "settle"] == ["BEGIN", "ROLLBACK", "select 2"]


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("has_block", [False, True])
@pytest.mark.parametrize("awaits", range(8))
async def test_what_begins_while_a_release_waits_for_a_commit_is_rolled_back(awaits, has_block, shared, cancelled):
    """Its further statements ran on another connection, each committed by itself, and it was told as rolled back."""
    async with connected(max_size=3, shared=shared) as (db, fake), anyio.create_task_group() as tasks:
        commit = fake.wait("COMMIT")

        async def first() -> None:
            async with db.transaction():
                await db.execute("insert 1")

        async def second() -> None:
            with suppress(TransactionError):
                if not has_block:
                    transaction = await db.transaction().start()
                    try:
                        for _ in range(30):
                            await db.execute("insert 2")
                    finally:
                        await transaction.commit()
                    return
                async with db.transaction():
                    for _ in range(30):
                        await db.execute("insert 2")

        async def open_soon() -> None:
            await anyio.wait_all_tasks_blocked()
            if cancelled:
                scope.cancel()
            begin.open()

        with anyio.CancelScope() as scope:
            async with db.connection():
                tasks.start_soon(first)
                await commit.reached()
                begin = fake.wait("BEGIN")
                tasks.start_soon(second)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(open_soon)
                commit.open()
                for _ in range(awaits):
                    await checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert await db.fetchval("select 1") == "select 1"
        assert committed_by_themselves(fake.log) == []


def committed_by_themselves(log: list[str]) -> list[str]:
    """Return the writes that no transaction was open for, on their connection."""
    found, in_transaction = [], set()
    for number, _, what in (line.partition(" ") for line in log):
        if what == "BEGIN":
            in_transaction.add(number)
        elif what in {"COMMIT", "ROLLBACK", "terminate"}:
            in_transaction.discard(number)
        elif what.startswith("insert") and number not in in_transaction:
            found.append(f"{number} {what}")
    return found


@pytest.mark.parametrize("verb", ["release", "reconnect"])
@pytest.mark.parametrize("has_block", [False, True])
async def test_nothing_runs_elsewhere_while_a_release_rolls_back(has_block, verb):
    """A statement made while ROLLBACK was under way ran on another connection, and was committed by itself."""
    async with connected(max_size=2) as (db, fake), db.connection() as connection, anyio.create_task_group() as tasks:
        gate = fake.wait("ROLLBACK")

        async def use() -> None:
            tasks.start_soon(getattr(connection, verb))
            await gate.reached()
            tasks.start_soon(open_soon)
            with pytest.raises(TransactionError):
                await db.execute("insert 1")

        async def open_soon() -> None:
            await anyio.wait_all_tasks_blocked()
            gate.open()

        transaction = db.transaction()
        with pytest.raises(TransactionError, match=RELEASED):
            if has_block:
                async with transaction:
                    await use()
            else:
                await transaction.start()
                await use()
                await transaction.commit()
        assert fake.sent == ["BEGIN", "ROLLBACK"]


async def test_a_commit_that_has_met_the_loss_is_all_that_the_owner_hears_of_it():
    """A loop that begins anew on a connection which replaces itself met the loss of the first round in all others."""
    async with connected() as (db, fake), db.connection(reconnect=True) as connection:
        transaction = await connection.transaction().start()
        await connection.execute("insert 1")
        fake.drop("COMMIT")
        with pytest.raises(CommitUncertainError):
            await transaction.commit()
        await connection.reconnect()
        second = await connection.transaction().start()
        await connection.execute("insert 2")
        await second.commit()
    assert fake.sent[-2:] == ["insert 2", "COMMIT"]
