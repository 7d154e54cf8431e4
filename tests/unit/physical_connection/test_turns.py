"""Tasks that share a connection: who waits for whom, what a call stands in, and who outlives his block."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import ConnectionBusy, DatabaseError, Error, TransactionError, TransactionState
from aio_databases.physical_connection.lock import ConnectionLock
from aio_databases.testing.fake_driver import connected


async def pause(awaits=12):
    for _ in range(awaits):
        await checkpoint()


async def test_calls_on_one_connection_run_one_at_a_time_first_come_first_served():
    async with connected() as (db, fake), db.transaction():
        gate = fake.wait("insert 0")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.execute, "insert 0")
            await gate.reached()
            for number in range(1, 4):
                tasks.start_soon(db.execute, f"insert {number}")
                await pause(2)
            gate.open()
        assert fake.sent == ["BEGIN", "insert 0", "insert 1", "insert 2", "insert 3"]


async def test_siblings_and_the_outer_block_wait_while_a_nested_transaction_is_open():
    async with connected() as (db, fake):
        opened, ended = anyio.Event(), anyio.Event()

        async def nested():
            async with db.transaction():
                opened.set()
                await pause()
                await db.execute("insert nested")
                await ended.wait()

        async with db.transaction(), anyio.create_task_group() as tasks:
            tasks.start_soon(nested)
            await opened.wait()
            tasks.start_soon(db.execute, "insert sibling")
            tasks.start_soon(db.execute, "insert outer")
            await pause()
            assert fake.sent[-1] == "insert nested"
            ended.set()
        sent = fake.sent
        assert {"insert sibling", "insert outer"} == set(sent[sent.index("RELEASE aiodb_1") + 1 : -1])


async def test_a_call_on_the_connection_object_counts_as_inside_the_block_it_is_made_in():
    async with connected() as (db, fake), db.connection() as connection, connection.transaction():
        async with db.transaction():
            await connection.execute("insert 1")
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "insert 1", "RELEASE aiodb_1"]


async def test_a_wait_that_is_too_long_names_the_transaction_and_its_task():
    async with connected(timeout=0.02) as (db, fake):
        opened, ended = anyio.Event(), anyio.Event()

        async def hog():
            async with db.transaction():
                opened.set()
                await ended.wait()

        async with db.transaction(), anyio.create_task_group() as tasks:
            tasks.start_soon(hog, name="the hog")
            await opened.wait()
            with pytest.raises(
                ConnectionBusy, match=r"0.02 s for a nested transaction, opened by task 'the hog', to end"
            ):
                await db.execute("insert 1")
            ended.set()
        assert "insert 1" not in fake.sent


async def test_a_wait_for_a_statement_that_is_too_long_says_so():
    async with connected(timeout=0.02) as (db, fake), db.connection():
        gate = fake.wait("select slow")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.fetchval, "select slow")
            await gate.reached()
            with pytest.raises(ConnectionBusy, match="another task's statement"):
                await db.execute("insert 1")
            gate.open()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_is_cancelled_just_as_its_turn_comes_hands_it_on(anyio_backend):
    async with connected() as (db, fake), db.connection() as connection:
        turns = connection.lock
        turns.locked = True
        victim = asyncio.create_task(db.execute("insert victim"))
        await pause()
        following = asyncio.create_task(db.execute("insert next"))
        await pause()
        turns.release()
        victim.cancel()
        await following
        assert victim.cancelled()
        assert (fake.sent, turns.locked, turns._waiting) == (["insert next"], False, 0)


# Tasks that outlive their block


async def test_a_task_that_outlives_its_block_falls_back_to_a_lease_of_its_own():
    async with connected() as (db, fake):
        ended = anyio.Event()

        async def survivor():
            await ended.wait()
            assert db.current_conn is None
            assert await db.fetchval("select late") == "select late"

        async with anyio.create_task_group() as tasks:
            async with db.transaction():
                tasks.start_soon(survivor)
                await pause()
            ended.set()
        assert fake.sent == ["BEGIN", "COMMIT", "select late"]


async def test_a_task_that_outlives_a_nested_block_falls_back_to_the_block_around():
    async with connected() as (db, fake):
        ended, done = anyio.Event(), anyio.Event()

        async def survivor():
            await ended.wait()
            await db.execute("insert late")
            done.set()

        async with anyio.create_task_group() as tasks, db.transaction():
            async with db.transaction():
                tasks.start_soon(survivor)
                await pause()
            ended.set()
            await done.wait()
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "RELEASE aiodb_1", "insert late", "COMMIT"]


async def test_a_call_whose_block_ends_while_it_waits_runs_elsewhere():
    async with connected() as (db, fake):
        gate = fake.wait("select slow")

        async with anyio.create_task_group() as tasks, db.connection():
            tasks.start_soon(db.fetchval, "select slow")
            await gate.reached()
            tasks.start_soon(db.execute, "insert late")
            await pause()
            tasks.start_soon(open_soon, gate)
        assert "insert late" in fake.sent
        assert db._pool.lent == 0


async def open_soon(gate):
    await pause()
    gate.open()


async def test_an_explicit_connection_refuses_calls_after_its_release():
    async with connected() as (db, _):
        async with db.connection() as connection:
            pass
        with pytest.raises(Error, match="was used after its release"):
            await connection.execute("insert 1")
        with pytest.raises(Error, match="released"):
            _ = connection.raw


# Transactions that are started by hand, and ends from outside


async def test_a_transaction_started_by_hand_is_shared_by_all_who_stand_there():
    async with connected() as (db, fake):
        async with db.connection():
            transaction = await db.transaction().start()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(db.execute, "insert 1")
                tasks.start_soon(db.execute, "insert 1")
            await transaction.commit()
        assert fake.sent == ["BEGIN", "insert 1", "insert 1", "COMMIT"]


async def test_those_who_wait_below_a_transaction_started_by_hand_are_woken():
    async with connected() as (db, fake), db.connection():
        gate = fake.wait("SAVEPOINT")
        async with db.transaction():
            async with anyio.create_task_group() as tasks:
                inner = db.transaction()
                tasks.start_soon(inner.start)
                await gate.reached()
                tasks.start_soon(db.execute, "insert 1")
                await pause()
                gate.open()
            await inner.rollback()
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "insert 1", "ROLLBACK TO aiodb_1", "COMMIT"]


async def test_commit_by_the_outer_waits_for_the_nested_one_of_a_child():
    async with connected() as (db, fake):
        opened, ended = anyio.Event(), anyio.Event()

        async def child():
            async with db.transaction():
                opened.set()
                await ended.wait()
                await db.execute("insert child")

        async with anyio.create_task_group() as tasks, db.transaction() as outer:
            tasks.start_soon(child)
            await opened.wait()
            tasks.start_soon(end_soon, ended)
            await outer.commit()
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "insert child", "RELEASE aiodb_1", "COMMIT"]


async def end_soon(event):
    await pause()
    event.set()


async def test_rollback_by_the_outer_does_not_wait_and_the_child_is_told():
    async with connected() as (db, fake):
        opened, ended = anyio.Event(), anyio.Event()

        async def child():
            with pytest.raises(TransactionError, match="the transaction around it was rolled back"):
                async with db.transaction() as nested:
                    opened.set()
                    await ended.wait()
                    assert TransactionState.FAILED is nested.state
                    await db.execute("insert child")

        async with anyio.create_task_group() as tasks, db.transaction() as outer:
            tasks.start_soon(child)
            await opened.wait()
            await outer.rollback()
            ended.set()
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "ROLLBACK"]


async def test_a_rollback_goes_before_those_who_wait_and_they_are_told():
    async with connected() as (db, fake):
        gate = fake.wait("select slow")

        async def late():
            with pytest.raises(TransactionError, match="ended by another task while a statement of it waited"):
                await db.execute("insert late")

        async with anyio.create_task_group() as tasks, db.transaction() as transaction:
            tasks.start_soon(db.fetchval, "select slow")
            await gate.reached()
            tasks.start_soon(late)
            await pause()
            tasks.start_soon(open_soon, gate)
            await transaction.rollback()
        assert fake.sent == ["BEGIN", "select slow", "ROLLBACK"]


async def test_a_rollback_that_cannot_have_its_turn_cuts_the_connection():
    async with connected(cleanup_timeout=0.02) as (db, fake):
        gate = fake.wait("select slow")

        async def reader():
            with pytest.raises(Error):
                await db.fetchval("select slow")

        async with anyio.create_task_group() as tasks, db.transaction(silent=True) as transaction:
            tasks.start_soon(reader)
            await gate.reached()
            await transaction.rollback()
            assert (transaction.state, fake.terminates) == (TransactionState.FAILED, 1)


# What child tasks may do


async def test_isolated_tasks_see_only_blocks_of_their_own():
    async with connected(child_tasks="isolate") as (db, fake):

        async def child():
            assert db.current_conn is None
            async with db.transaction():
                await db.execute("insert child")

        async with db.transaction():
            await db.execute("insert parent")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(child)
        assert [line for line in fake.log if "insert" in line] == ["1 insert parent", "2 insert child"]


async def test_forbidding_refuses_the_use_of_an_inherited_transaction_but_not_of_a_connection():
    async with connected(child_tasks="forbid") as (db, _):

        async def child():
            with pytest.raises(TransactionError, match="which child_tasks='forbid' does not allow"):
                await db.execute("insert child")

        async with anyio.create_task_group() as tasks, db.connection():
            tasks.start_soon(db.fetchval, "select 1")
            await pause()
            async with db.transaction(), anyio.create_task_group() as inner:
                inner.start_soon(child)


async def test_two_databases_take_turns_for_themselves():
    async with connected() as (one, first), connected() as (two, second):
        async with one.transaction(), two.transaction(), one.transaction():
            await two.execute("insert two")
            await one.execute("insert one")
        assert second.sent == ["BEGIN", "insert two", "COMMIT"]
        assert first.sent == ["BEGIN", "SAVEPOINT aiodb_1", "insert one", "RELEASE aiodb_1", "COMMIT"]


async def test_a_failed_child_does_not_hold_the_turn():
    async with connected() as (db, fake), db.transaction():
        fake.fail("insert bad")

        async def child():
            with pytest.raises(DatabaseError):
                await db.execute("insert bad")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            tasks.start_soon(db.execute, "insert good")
        assert not db.current_conn.lock.locked


def test_turns_that_nobody_waits_for_are_free_after_use():
    turns = ConnectionLock()
    turns.locked = True
    turns.release()
    assert not turns.locked
