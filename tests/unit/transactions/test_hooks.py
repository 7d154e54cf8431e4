"""Hooks on the scripted driver: which are called, when, and where."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import (
    Error,
    ReadOnlyError,
    TransactionError,
)
from aio_databases.testing.fake_driver import connected
from unit.calls import Boom, Calls, fail

# Which are called


async def test_hooks_run_in_the_order_in_which_they_were_registered():
    calls = Calls()
    async with connected() as (db, _), db.connection():
        async with db.transaction() as outer:
            outer.on_commit(calls.note, 1)
            async with db.transaction() as nested:
                nested.on_commit(calls.note_later, 2)
                outer.on_commit(calls.note, 3)
                nested.on_commit(calls.note, 4)
            outer.on_commit(calls.note_later, 5)
            assert calls == []
        assert calls == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("by_hand", [False, True])
async def test_a_rollback_calls_only_the_hooks_for_it(by_hand):
    calls = Calls()
    async with connected() as (db, _):
        with pytest.raises(Boom):
            async with db.transaction() as transaction:
                calls.add(transaction, "it")
                if by_hand:
                    await transaction.rollback()
                    assert calls == ["it rolled back"]
                raise Boom
    assert calls == ["it rolled back"]


async def test_a_commit_by_hand_calls_them_at_once_and_only_once():
    calls = Calls()
    async with connected() as (db, fake), db.transaction() as transaction:
        transaction.on_commit(db.execute, "insert 1")
        calls.add(transaction, "it")
        await transaction.commit()
        assert calls == ["it committed"]
        assert fake.sent == ["BEGIN", "COMMIT", "insert 1"]
    assert calls == ["it committed"]


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ((), ["a committed", "b committed", "c committed"]),
        (("c",), ["a committed", "b committed", "c rolled back"]),
        (("b",), ["a committed", "b rolled back", "c rolled back"]),
        (("b", "c"), ["a committed", "b rolled back", "c rolled back"]),
        (("a",), ["a rolled back", "b rolled back", "c rolled back"]),
        (("a", "c"), ["a rolled back", "b rolled back", "c rolled back"]),
    ],
    ids=str,
)
async def test_hooks_of_nested_transactions_share_the_fate_of_what_was_done_in_them(fails, expected):
    calls = Calls()

    async def nest(db, names):
        async with db.transaction() as transaction:
            calls.add(transaction, names[0])
            if names[1:]:
                await nest(db, names[1:])
            assert calls == []
            if names[0] in fails:
                await transaction.rollback()

    async with connected() as (db, _):
        await nest(db, "abc")
    assert calls == expected


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_ending_the_outermost_one_first_ends_those_inside_of_it(end):
    calls = Calls()
    async with connected() as (db, _), db.transaction() as outer, db.transaction() as nested:
        calls.add(nested, "nested")
        calls.add(outer, "outer")
        await getattr(outer, end)()
        expected = "committed" if end == "commit" else "rolled back"
        assert calls == [f"nested {expected}", f"outer {expected}"]
    assert len(calls) == 2


async def test_a_transaction_on_a_connection_of_its_own_has_hooks_of_its_own():
    calls = Calls()
    async with connected() as (db, _), db.transaction() as outer:
        async with db.transaction(create=True) as own:
            calls.add(own, "own")
        assert calls == ["own committed"]
        await outer.rollback()
    assert calls == ["own committed"]


async def test_a_transaction_without_a_block_calls_them_when_its_lease_has_gone_back():
    async with connected() as (db, _):
        transaction = await db.transaction().start()
        lent = []
        transaction.on_commit(lambda: lent.append((db._pool.lent, db.current_conn)))
        await transaction.commit()
    assert lent == [(0, None)]


async def test_a_replica_has_hooks_too():
    calls = Calls()
    async with connected() as (db, _), db.replica(), db.transaction(readonly=True) as transaction:
        calls.add(transaction, "reader")
        with pytest.raises(ReadOnlyError):
            await db.execute("insert 1")
    assert calls == ["reader committed"]


async def test_the_current_transaction_is_the_innermost_one_here():
    async with connected() as (db, fake), connected() as (other, _):
        assert db.current_transaction is None
        async with db.connection():
            assert db.current_transaction is None
            async with db.transaction() as outer:
                assert outer is db.current_transaction
                async with db.transaction() as nested:
                    assert nested is db.current_transaction
                    assert other.current_transaction is None
                    async with db.connection():
                        assert db.current_transaction is None
                assert outer is db.current_transaction
        started = await db.transaction().start()
        assert started is db.current_transaction
        await started.commit()
        assert db.current_transaction is None
        with pytest.raises(TransactionError):
            async with db.transaction():
                fake.drop("insert 1")
                with pytest.raises(Error):
                    await db.execute("insert 1")
                assert db.current_transaction is None, "it raises"


# Where they run


async def test_statements_of_a_hook_run_outside_of_the_transaction():
    async with connected(max_size=1) as (db, fake):
        async with db.transaction() as transaction:
            transaction.on_commit(db.execute, "insert 1")
        assert fake.sent == ["BEGIN", "COMMIT", "insert 1"]


async def test_a_hook_may_open_a_transaction_with_hooks_of_its_own():
    calls = Calls()
    async with connected(max_size=1) as (db, fake):

        async def again():
            with pytest.raises(TransactionError, match="this one is committed"):
                transaction.on_commit(fail)
            async with db.transaction() as second:
                calls.add(second, "second")
            calls.append("first")

        async with db.transaction() as transaction:
            transaction.on_commit(again)
        assert fake.sent == ["BEGIN", "COMMIT"] * 2
    assert calls == ["second committed", "first"]


async def test_hooks_run_in_the_task_that_ends_the_transaction():
    tasks = []
    async with connected() as (db, _):

        async def end(transaction):
            await transaction.commit()
            assert [anyio.get_current_task().id] == tasks

        async with db.transaction() as transaction, anyio.create_task_group() as group:
            transaction.on_commit(lambda: tasks.append(anyio.get_current_task().id))
            group.start_soon(end, transaction)


async def test_nothing_is_kept_for_hooks_while_there_are_none():
    async with connected() as (db, _):
        async with db.transaction() as outer, db.transaction() as nested:
            assert (outer.hooks, nested.hooks) == (None, None)
        assert (outer.hooks, nested.hooks) == (None, None)
