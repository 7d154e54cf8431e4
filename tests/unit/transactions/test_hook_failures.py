"""Hooks when something fails: the transaction, the hooks themselves, or a cancellation comes."""

from __future__ import annotations

import asyncio
import logging

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import (
    CommitUncertainError,
    DatabaseError,
    Error,
    TransactionError,
    TransactionState,
)
from aio_databases.testing.fake_driver import FakeError, connected
from unit.calls import Boom, Calls, fail, fail_later

# Transactions that fail


async def test_a_transaction_that_the_database_ended_calls_them_at_the_end_of_its_block():
    calls = Calls()
    async with connected() as (db, fake):
        with pytest.raises(TransactionError):
            async with db.transaction() as outer, db.transaction() as nested:
                calls.add(outer, "outer")
                calls.add(nested, "nested")
                outer.on_rollback(db.execute, "insert 2")
                fake.fail("insert 1", FakeError("deadlock"), ends_transaction=True)
                with pytest.raises(DatabaseError):
                    await db.execute("insert 1")
                with pytest.raises(TransactionError):
                    await outer.commit()
                with pytest.raises(TransactionError, match="the database rolled it back"):
                    outer.on_commit(fail)
                assert calls == []
        assert calls == ["outer rolled back", "nested rolled back"]
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "insert 1", "insert 2"]


@pytest.mark.parametrize("verb", ["commit", "rollback"])
async def test_a_lost_transaction_without_a_block_calls_them_when_it_is_ended_by_hand(verb):
    calls = Calls()
    async with connected() as (db, fake):
        transaction = await db.transaction().start()
        calls.add(transaction, "it")
        fake.drop("insert 1")
        with pytest.raises(Error):
            await db.execute("insert 1")
        with pytest.raises(TransactionError):
            await getattr(transaction, verb)()
    assert calls == ["it rolled back"]


async def test_a_commit_that_the_database_refuses_is_a_rollback():
    calls = Calls()
    async with connected() as (db, fake):
        fake.fail("COMMIT")
        with pytest.raises(DatabaseError):
            async with db.transaction() as transaction:
                calls.add(transaction, "it")
    assert calls == ["it rolled back"]


async def test_nothing_is_called_when_nobody_knows_whether_it_was_committed(caplog):
    calls = Calls()
    async with connected() as (db, fake):
        fake.drop("COMMIT")
        with pytest.raises(CommitUncertainError):
            async with db.transaction() as transaction:
                calls.add(transaction, "it")
                async with db.transaction() as nested:
                    calls.add(nested, "nested")
                    await nested.rollback()
    assert calls == ["nested rolled back"]
    assert "it is unknown whether a transaction was committed: 2 of its hooks are not called" in caplog.text


async def test_nothing_is_called_when_a_statement_has_ended_the_transaction():
    calls = Calls()
    async with connected() as (db, fake):
        fake.fail("commit", None, ends_transaction=True)
        with pytest.raises(TransactionError, match="it was ended by a statement"):
            async with db.transaction() as transaction:
                calls.add(transaction, "it")
                async with db.transaction() as nested:
                    calls.add(nested, "nested")
                    await db.execute("commit")
    assert calls == []


# Failures


@pytest.mark.parametrize("by_hand", [False, True])
async def test_all_hooks_run_though_some_fail_and_the_commit_stands(by_hand):
    calls = Calls()
    async with connected() as (db, fake):
        with pytest.raises(ExceptionGroup, match="the transaction is committed") as caught:
            async with db.transaction() as transaction:
                transaction.on_commit(fail, "one")
                transaction.on_commit(calls.note, 1)
                transaction.on_commit(fail_later, "two")
                transaction.on_commit(calls.note_later, 2)
                if by_hand:
                    await transaction.commit()
        assert [str(each) for each in caught.value.exceptions] == ["one", "two"]
        assert TransactionState.COMMITTED is transaction.state
        assert fake.sent == ["BEGIN", "COMMIT"]
    assert calls == [1, 2]


async def test_a_rollback_by_hand_raises_what_fails_in_hooks():
    async with connected() as (db, _):
        transaction = await db.transaction().start()
        transaction.on_rollback(fail)
        with pytest.raises(ExceptionGroup, match="the transaction is gone"):
            await transaction.rollback()
        assert db._pool.lent == 0


async def test_a_failing_hook_never_masks_the_exception_that_leaves_the_block(caplog):
    calls = Calls()
    async with connected() as (db, _):
        with pytest.raises(Boom) as caught:
            async with db.transaction() as transaction:
                transaction.on_rollback(fail, "a hook's own")
                transaction.on_rollback(calls.note, 1)
                raise Boom
        assert caught.value.__context__ is None
    assert calls == [1]
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "a hook's own" in record.getMessage()
    assert record.exc_info


@pytest.mark.parametrize("bad", [None, 1, "name"])
async def test_a_hook_has_to_be_a_function(bad):
    async with connected() as (db, _), db.transaction() as transaction:
        for register in (transaction.on_commit, transaction.on_rollback):
            with pytest.raises(TypeError, match="a hook is a function or a coroutine function"):
                register(bad)


async def test_a_coroutine_is_no_hook():
    async with connected() as (db, _), db.transaction() as transaction:
        with pytest.raises(TypeError, match="give the function, then its arguments"):
            transaction.on_commit(fail_later())


@pytest.mark.parametrize("state", ["not started", "committed", "rolled back"])
async def test_hooks_belong_to_an_open_transaction(state):
    async with connected() as (db, _):
        transaction = db.transaction()
        if state != "not started":
            await transaction.start()
            await (transaction.commit() if state == "committed" else transaction.rollback())
        for register in (transaction.on_commit, transaction.on_rollback):
            with pytest.raises(TransactionError, match=f"this one is {state}"):
                register(fail)


# Cancellations


async def test_a_cancellation_in_a_hook_goes_on_after_the_others_were_called():
    calls = Calls()
    async with connected() as (db, _):
        with anyio.CancelScope() as scope:
            async with db.transaction() as transaction:
                transaction.on_commit(scope.cancel)
                transaction.on_commit(calls.note_later, "waits")
                transaction.on_commit(fail)
                transaction.on_commit(calls.note, "called")
            calls.append("after the block")
        assert scope.cancelled_caught
        assert TransactionState.COMMITTED is transaction.state
    assert calls == ["called"]


async def test_a_cancellation_in_a_hook_replaces_an_error_but_no_other_cancellation():
    async with connected() as (db, _):
        with anyio.CancelScope() as scope:
            async with db.transaction() as transaction:
                transaction.on_rollback(scope.cancel)
                transaction.on_rollback(checkpoint)
                raise Boom
        assert scope.cancelled_caught
        with anyio.CancelScope() as scope:
            async with db.transaction() as transaction:
                transaction.on_rollback(checkpoint)
                scope.cancel()
                await checkpoint()
        assert scope.cancelled_caught


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_first_of_two_cancellations_goes_on(anyio_backend):
    calls = Calls()
    async with connected() as (db, _):

        async def cancel():
            asyncio.current_task().cancel("second")
            await checkpoint()

        async def work():
            async with db.transaction() as transaction:
                transaction.on_rollback(cancel)
                transaction.on_rollback(calls.note_later, "called")
                asyncio.current_task().cancel("first")
                await checkpoint()

        with pytest.raises(asyncio.CancelledError, match="first"):
            await asyncio.create_task(work())
    assert calls == ["called"]


async def test_hooks_run_though_the_commit_is_cancelled_when_it_has_been_sent():
    calls = Calls()
    async with connected() as (db, fake):
        gate = fake.wait("COMMIT")
        async with anyio.create_task_group() as group:

            async def work():
                async with db.transaction() as transaction:
                    calls.add(transaction, "it")

            group.start_soon(work)
            await gate.reached()
            group.cancel_scope.cancel()
            gate.open()
    assert calls == ["it committed"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio's awaits want answers
@pytest.mark.parametrize("timeout", [None, 60])
async def test_hooks_of_a_coroutine_that_is_closed_are_not_called(anyio_backend, timeout, caplog):
    outcomes = [await closed_at(k, timeout, caplog) for k in range(1, 7)]
    assert outcomes == [[], [], ["open"], ["open"], ["open"], ["open", "it committed"]]


async def closed_at(k, timeout, caplog):
    """Close a coroutine at its k-th await, and return what it has called."""
    calls = Calls()
    caplog.clear()
    async with connected(max_size=1) as (db, _):

        async def work():
            async with db.transaction(timeout=timeout) as transaction:
                calls.add(transaction, "it")
                transaction.on_commit(calls.note_later, "second")
                transaction.on_commit(calls.note_later, "third")
                calls.append("open")
                await db.execute("insert 1")

        coroutine = work()
        future = coroutine.send(None)
        for _ in range(1, k):
            await (checkpoint() if future is None else answered(future))
            future = coroutine.send(None)
        coroutine.close()
        assert await db.fetchval("select 1") == "select 1"
    assert (calls == ["open"]) == ("4 hooks of a transaction are not called" in caplog.text)
    return calls


async def answered(future):
    """Wait for a future that a coroutine has yielded to its task."""
    future._asyncio_future_blocking = False
    await asyncio.wait([future])
