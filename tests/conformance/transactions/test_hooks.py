"""Hooks, timeouts and decorators of transactions, on every driver."""

from __future__ import annotations

import pytest

from aio_databases import TransactionError, TransactionState, TransactionTimeout, UniqueViolation

INSERT = "insert into users (id, name) values (?, ?)"
IDS = "select id from users order by id"


async def ids(db):
    return await db.fetchall(IDS, into=int)


async def test_a_hook_sees_what_was_committed_and_may_write(users):
    seen = []

    async def look():
        seen.extend(await ids(users))
        await users.execute(INSERT, 5, "Eve")
        async with users.transaction():
            await users.execute(INSERT, 6, "Fay")

    async with users.transaction() as transaction:
        transaction.on_commit(look)
        await users.execute(INSERT, 4, "Dan")
        assert seen == []
    assert seen == [1, 2, 3, 4]
    assert await ids(users) == [1, 2, 3, 4, 5, 6]


async def test_a_hook_for_the_rollback_sees_nothing_of_it(users):
    seen = []

    async def look():
        seen.extend(await ids(users))

    with pytest.raises(UniqueViolation):
        async with users.transaction() as transaction:
            transaction.on_commit(pytest.fail, "it was not committed")
            transaction.on_rollback(look)
            await users.execute(INSERT, 4, "Dan")
            await users.execute(INSERT, 1, "twice")
    assert seen == [1, 2, 3]


async def test_hooks_of_a_nested_transaction_wait_for_the_outermost_one(users):
    calls = []
    async with users.transaction() as outer:
        outer.on_commit(calls.append, "outer committed")
        async with users.transaction() as kept:
            kept.on_commit(calls.append, "kept committed")
            kept.on_rollback(calls.append, "kept rolled back")
        async with users.transaction() as undone:
            undone.on_commit(calls.append, "undone committed")
            undone.on_rollback(calls.append, "undone rolled back")
            await undone.rollback()
        assert calls == []
    assert calls == ["outer committed", "kept committed", "undone rolled back"]


async def test_hooks_of_a_transaction_without_a_block(users):
    seen = []

    async def look():
        seen.extend(await ids(users))
        assert users.current_conn is None

    transaction = await users.transaction().start()
    transaction.on_commit(look)
    await users.execute(INSERT, 4, "Dan")
    await transaction.commit()
    assert seen == [1, 2, 3, 4]


async def test_hooks_of_a_transaction_that_lost_its_connection(users):
    seen = []

    async def look():
        seen.extend(await ids(users))

    with pytest.raises(TransactionError):
        async with users.transaction() as transaction:
            transaction.on_rollback(look)
            await users.execute(INSERT, 4, "Dan")
            await transaction.connection.release()
            assert seen == []
    assert seen == [1, 2, 3]


@pytest.mark.targets(dialect="mysql")
async def test_neither_kind_is_called_after_a_statement_that_commits_by_itself(users, caplog):
    with pytest.raises(TransactionError, match="ended by a statement"):
        async with users.transaction() as transaction:
            transaction.on_commit(pytest.fail, "nobody has committed it")
            transaction.on_rollback(pytest.fail, "it was not rolled back")
            await users.execute("create table others (id integer)")
    assert "2 of its hooks are not called" in caplog.text


# Timeouts


async def test_a_statement_is_cut_when_the_time_of_its_transaction_is_over(users, words):
    transaction = users.transaction(timeout=0.05)
    with pytest.raises(TransactionTimeout, match=r"longer than its timeout of 0.05 s"):
        async with transaction:
            await users.execute(INSERT, 4, "Dan")
            await users.fetchval(words.endless)
    assert transaction.state is not TransactionState.COMMITTED
    assert users.current_conn is None
    assert await ids(users) == [1, 2, 3]


async def test_a_block_in_time_commits(users):
    async with users.transaction(timeout=60), users.transaction(timeout=30):
        await users.execute(INSERT, 4, "Dan")
    assert await ids(users) == [1, 2, 3, 4]


# Decorators


async def test_a_decorated_function_runs_in_transactions_of_its_own(users):
    @users.transaction()
    async def insert(*numbers):
        for number in numbers:
            await users.execute(INSERT, number, "new")

    await insert(4, 5)
    with pytest.raises(UniqueViolation):
        await insert(6, 1)
    async with users.transaction():
        await insert(7)
        with pytest.raises(UniqueViolation):
            await insert(8, 1)
    assert await ids(users) == [1, 2, 3, 4, 5, 7]
