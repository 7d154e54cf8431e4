"""Both ends of a transaction at once: none returns without an error if the other one has won.

A hostile test: ``rollback()`` beside ``commit()`` returned without an error, and the transaction was committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aio_databases import TransactionError, TransactionState
from aio_databases.testing.fake_driver import connected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def outcome(call: Callable[[], Awaitable[Any]], found: dict[str, str], name: str) -> None:
    try:
        await call()
    except TransactionError as exc:
        found[name] = str(exc)
    else:
        found[name] = "done"


@pytest.mark.parametrize("nested", [False, True], ids=["transaction", "savepoint"])
@pytest.mark.parametrize("first", ["commit", "rollback"])
@pytest.mark.parametrize("second", ["commit", "rollback"])
async def test_what_comes_second_hears_what_has_become_of_the_transaction(first, second, nested):
    found: dict[str, str] = {}
    async with connected() as (db, fake), db.connection():
        outer = await db.transaction().start() if nested else None
        transaction = await db.transaction().start()
        words = (
            {"commit": "RELEASE", "rollback": "ROLLBACK TO"} if nested else {"commit": "COMMIT", "rollback": "ROLLBACK"}
        )
        gate = fake.wait(words[first])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(outcome, getattr(transaction, first), found, "first")
            await gate.reached()
            tasks.start_soon(outcome, getattr(transaction, second), found, "second")
            await anyio.wait_all_tasks_blocked()
            gate.open()
        state = TransactionState.COMMITTED if first == "commit" else TransactionState.ROLLED_BACK
        assert (state, "done") == (transaction.state, found["first"])
        if (first, second) == ("rollback", "rollback"):
            assert found["second"] == "done"  # it is as it says
        elif second == "rollback":
            assert found["second"] == "cannot roll back a transaction that is committed"
        else:
            assert "was ended by another task" in found["second"]
        if outer is not None:
            await outer.rollback()


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_the_end_of_a_block_wins_over_a_rollback_in_another_task(end):
    found: dict[str, str] = {}
    async with connected() as (db, fake), anyio.create_task_group() as tasks:
        gate = fake.wait("COMMIT")

        async def late(transaction: Any) -> None:
            await gate.reached()
            tasks.start_soon(outcome, getattr(transaction, end), found, "late")
            await anyio.wait_all_tasks_blocked()
            gate.open()

        async with db.transaction() as transaction:
            tasks.start_soon(late, transaction)
    assert TransactionState.COMMITTED is transaction.state
    assert ("cannot roll back a transaction that is committed" if end == "rollback" else "ended by another") in found[
        "late"
    ]


async def test_a_time_limit_beside_a_commit_says_what_has_become_of_it():
    """The commit has stopped the clock, so the block ends in time."""
    async with connected() as (db, fake), anyio.create_task_group() as tasks:
        gate = fake.wait("COMMIT")

        async def commit(transaction: Any) -> None:
            await transaction.commit()

        async with db.transaction(timeout=0.02) as transaction:
            tasks.start_soon(commit, transaction)
            await gate.reached()
            await anyio.sleep(0.03)
            gate.open()
    assert TransactionState.COMMITTED is transaction.state


@pytest.mark.targets(pooled=True, memory=False, loop={"asyncio", "trio"})
async def test_a_rollback_beside_a_commit_is_true_on_every_driver(make_database):
    db = await make_database()
    await db.execute("create table t (a integer)")
    found: dict[str, str] = {}
    transaction = await db.transaction().start()
    await db.execute("insert into t values (1)")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outcome, transaction.commit, found, "commit")
        tasks.start_soon(outcome, transaction.rollback, found, "rollback")
    rows = await db.fetchval("select count(*) from t")
    assert [found["commit"], found["rollback"]].count("done") == 1
    won = (1, TransactionState.COMMITTED) if found["commit"] == "done" else (0, TransactionState.ROLLED_BACK)
    assert won == (rows, transaction.state)
