"""Whatever a library raises on a connection that was cut, users see ConnectionLost, or CommitUncertainError in COMMIT.

A hostile test: AttributeErrors of aiomysql and asyncpg, and an "interrupted" of SQLite, came out of a shutdown, and one
of them in COMMIT was taken for a rollback, although the transaction was committed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aio_databases import CommitUncertainError, ConnectionLost, TransactionError, TransactionState
from aio_databases.testing.fake_driver import FakeError, connected

if TYPE_CHECKING:
    from aio_databases import Database

RAW = [AttributeError("'NoneType' object has no attribute 'feed'"), RuntimeError("closed"), ValueError("closed file")]
CODELESS = FakeError("the cursor is closed")


async def stream(db: Database) -> list[Any]:
    return [row async for row in db.iterate("select 1")]


VERBS = {
    "execute": lambda db: db.execute("insert 1"),
    "executemany": lambda db: db.executemany("insert 1", (), ()),
    "fetchall": lambda db: db.fetchall("select 1"),
    "iterate": stream,
}


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: type(raw).__name__)
@pytest.mark.parametrize("verb", VERBS)
async def test_a_raw_error_after_a_cut_is_a_lost_connection(verb, raw):
    async with connected() as (db, fake):
        fake.fail({"fetchall": "select", "iterate": "cursor"}.get(verb, "insert"), raw, drops=True)
        with pytest.raises(ConnectionLost, match="was closed while it was in use") as caught:
            await VERBS[verb](db)
        assert caught.value.__cause__ is raw


async def test_an_error_on_a_connection_that_lives_stays_as_it_is():
    async with connected() as (db, fake):
        fake.fail("select", RuntimeError("a bug"))
        with pytest.raises(RuntimeError, match="a bug") as caught:
            await db.fetchall("select 1")
        assert RuntimeError is type(caught.value)


@pytest.mark.parametrize("raw", [*RAW, CODELESS], ids=lambda raw: type(raw).__name__)
@pytest.mark.parametrize("by_hand", [False, True], ids=["block", "by-hand"])
async def test_a_commit_whose_connection_was_cut_is_uncertain_and_calls_no_hook(raw, by_hand, caplog):
    calls: list[str] = []
    async with connected() as (db, fake):
        fake.fail("COMMIT", raw, drops=True)
        with pytest.raises(CommitUncertainError):
            async with db.transaction() as transaction:
                transaction.on_commit(calls.append, "committed")
                transaction.on_rollback(calls.append, "rolled back")
                if by_hand:
                    await transaction.commit()
        assert TransactionState.FAILED is transaction.state
        assert transaction.may_be_committed
    assert calls == []
    assert "2 of its hooks are not called" in caplog.text


async def test_a_refusal_that_came_before_the_cut_is_certain():
    calls: list[str] = []
    refusal = FakeError("could not serialize")
    refusal.sqlstate = "40001"  # type: ignore[attr-defined]
    async with connected() as (db, fake):
        fake.fail("COMMIT", refusal, drops=True)
        with pytest.raises(FakeError) as caught:
            async with db.transaction() as transaction:
                transaction.on_rollback(calls.append, "rolled back")
        assert not isinstance(caught.value, CommitUncertainError)
        assert not transaction.may_be_committed
    assert calls == ["rolled back"]


async def test_a_savepoint_whose_connection_was_cut_is_rolled_back_for_sure():
    async with connected() as (db, fake):
        fake.fail("RELEASE", RAW[0], drops=True)
        with pytest.raises(ConnectionLost) as caught:
            async with db.transaction(), db.transaction() as nested:
                pass
        assert not isinstance(caught.value, CommitUncertainError)
        assert not nested.may_be_committed


@pytest.mark.parametrize("how", ["rollback", "release"])
async def test_what_gives_a_commit_up_leaves_it_uncertain(how, caplog):
    """It has waited for the answer in vain, and cuts the connection."""
    calls: list[str] = []
    caplog.set_level(logging.WARNING)
    async with connected(cleanup_timeout=0.02) as (db, fake), anyio.create_task_group() as tasks:
        gate = fake.wait("COMMIT")
        connection = await db.connection().acquire()
        transaction = await connection.transaction().start()
        transaction.on_rollback(calls.append, "rolled back")

        async def commit() -> None:
            with pytest.raises(CommitUncertainError):
                await transaction.commit()

        tasks.start_soon(commit)
        await gate.reached()
        if how == "rollback":
            with pytest.raises(TransactionError, match=r"cannot be used any more: its connection was cut$"):
                await transaction.rollback()
        else:
            await connection.release()
        assert transaction.may_be_committed
        await connection.release()
    assert calls == []


@pytest.mark.targets(pooled=True, memory=False)
@pytest.mark.parametrize("inside", [False, True], ids=["autocommit", "transaction"])
async def test_a_statement_that_a_shutdown_cuts_is_a_lost_connection(make_database, words, inside):
    db = await make_database()

    async def read() -> None:
        with pytest.raises(ConnectionLost):
            if inside:
                async with db.transaction():
                    await db.fetchall(words.endless)
            else:
                await db.fetchall(words.endless)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.sleep(0.1)  # it may be cut on its way, or when the statement runs
        await db.disconnect(timeout=0)
