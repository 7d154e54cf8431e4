"""Transactions and savepoints, with and without blocks, on every driver."""

from __future__ import annotations

import pytest

from aio_databases import Error, InterfaceError, TransactionError, TransactionState, UniqueViolation

INSERT = "insert into users (id, name) values (?, ?)"
IDS = "select id from users order by id"


class Stop(Exception):
    """What the blocks below are left by."""


async def ids(db):
    return await db.fetchall(IDS, into=int)


async def committed_ids(db):
    async with db.connection() as connection:
        return await connection.fetchall(IDS, into=int)


# One transaction


async def test_a_block_commits(users):
    async with users.transaction() as transaction:
        assert TransactionState.ACTIVE is transaction.state
        assert transaction.is_active
        await users.execute(INSERT, 4, "Dan")
        assert await ids(users) == [1, 2, 3, 4]
    assert TransactionState.COMMITTED is transaction.state
    assert not transaction.is_active
    assert await committed_ids(users) == [1, 2, 3, 4]


async def test_a_block_that_an_exception_leaves_rolls_back_and_keeps_the_exception(users):
    reason = Stop("mine")
    with pytest.raises(Stop) as caught:
        async with users.transaction() as transaction:
            await users.execute(INSERT, 4, "Dan")
            raise reason
    assert reason is caught.value
    assert reason.__context__ is None
    assert TransactionState.ROLLED_BACK is transaction.state
    assert await committed_ids(users) == [1, 2, 3]


async def test_an_error_of_the_database_leaves_the_block_as_it_is(users):
    with pytest.raises(UniqueViolation):
        async with users.transaction() as transaction:
            await users.execute(INSERT, 4, "Dan")
            await users.execute(INSERT, 1, "twice")
    assert TransactionState.ROLLED_BACK is transaction.state
    assert await committed_ids(users) == [1, 2, 3]


async def test_an_exception_survives_a_connection_that_breaks_in_the_block(users):
    with pytest.raises(Stop):
        async with users.transaction() as transaction:
            await users.execute(INSERT, 4, "Dan")
            transaction.connection.driver.terminate()
            raise Stop


async def test_rollback_by_hand_ends_the_transaction_early(users):
    async with users.transaction() as transaction:
        await users.execute(INSERT, 4, "Dan")
        await transaction.rollback()
        assert TransactionState.ROLLED_BACK is transaction.state
        await users.execute(INSERT, 5, "Eve")
    assert TransactionState.ROLLED_BACK is transaction.state
    assert await committed_ids(users) == [1, 2, 3, 5]


async def test_commit_by_hand_ends_the_transaction_early(users):
    with pytest.raises(Stop):
        async with users.transaction() as transaction:
            await users.execute(INSERT, 4, "Dan")
            await transaction.commit()
            assert TransactionState.COMMITTED is transaction.state
            raise Stop
    assert TransactionState.COMMITTED is transaction.state
    assert await committed_ids(users) == [1, 2, 3, 4]


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_transaction_ends_once(users, end):
    async with users.transaction() as transaction:
        await getattr(transaction, end)()
        for again in (transaction.commit, transaction.rollback):
            with pytest.raises(TransactionError, match=transaction.state.value):
                await again()
    with pytest.raises(TransactionError, match="make a new one"):
        await transaction.start()


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_transaction_that_was_not_started_cannot_be_ended(users, end):
    transaction = users.transaction()
    assert TransactionState.NEW is transaction.state
    with pytest.raises(TransactionError, match="not started"):
        await getattr(transaction, end)()


@pytest.mark.parametrize(("end", "expected"), [("commit", [1, 2, 3, 4]), ("rollback", [1, 2, 3])])
async def test_a_transaction_can_be_started_without_a_block(users, end, expected):
    transaction = users.transaction()
    assert transaction is await transaction.start()
    assert users.current_conn is transaction.connection
    await users.execute(INSERT, 4, "Dan")
    with pytest.raises(TransactionError):
        await transaction.start()
    await getattr(transaction, end)()
    assert users.current_conn is None
    assert await committed_ids(users) == expected


async def test_a_transaction_of_a_connection_runs_on_it(users):
    async with users.connection() as connection:
        async with connection.transaction() as transaction:
            assert transaction.connection is connection
            await users.execute(INSERT, 4, "Dan")
            await connection.execute(INSERT, 5, "Eve")
            await transaction.rollback()
        assert await ids(users) == [1, 2, 3]


async def test_a_transaction_uses_the_connection_of_the_block_around_it(users):
    async with users.connection() as connection, users.transaction() as transaction:
        assert connection is transaction.connection is users.current_conn


async def test_the_connection_is_usable_after_a_transaction(users):
    async with users.connection() as connection:
        for _ in range(3):
            async with connection.transaction():
                await connection.execute("update users set name = 'x' where id = 1")
            with pytest.raises(Stop):
                async with connection.transaction():
                    await connection.execute("update users set name = 'y' where id = 1")
                    raise Stop
        assert not connection.driver.in_transaction
        assert await connection.fetchval("select name from users where id = 1") == "x"


# Nested ones


@pytest.mark.parametrize(
    ("fails", "expected"),
    [((), [4, 5, 6]), ((3,), [4, 5]), ((2,), [4]), ((1,), []), ((2, 3), [4]), ((1, 3), [])],
    ids=str,
)
async def test_three_transactions_deep_each_undoes_what_is_inside_of_it(users, fails, expected):
    async def nest(depth):
        async with users.transaction() as transaction:
            await users.execute(INSERT, 3 + depth, "nested")
            if depth < 3:
                await nest(depth + 1)
            if depth in fails:
                await transaction.rollback()

    await nest(1)
    assert await committed_ids(users) == [1, 2, 3, *expected]


async def test_an_exception_of_a_nested_transaction_can_be_caught_in_the_outer_one(users):
    async with users.transaction():
        await users.execute(INSERT, 4, "Dan")
        for _ in range(3):
            with pytest.raises(UniqueViolation):
                async with users.transaction():
                    await users.execute(INSERT, 5, "Eve")
                    await users.execute(INSERT, 1, "twice")
        await users.execute(INSERT, 6, "Fay")
    assert await committed_ids(users) == [1, 2, 3, 4, 6]


async def test_a_committed_nested_transaction_is_undone_with_the_outer_one(users):
    with pytest.raises(Stop):
        async with users.transaction():
            async with users.transaction() as nested:
                await users.execute(INSERT, 4, "Dan")
            assert TransactionState.COMMITTED is nested.state
            raise Stop
    assert await committed_ids(users) == [1, 2, 3]


async def test_nested_transactions_may_follow_each_other(users):
    async with users.transaction():
        for number in (4, 5, 6):
            async with users.transaction() as nested:
                await users.execute(INSERT, number, "next")
                if number == 5:
                    await nested.rollback()
    assert await committed_ids(users) == [1, 2, 3, 4, 6]


async def test_a_nested_transaction_ended_by_hand_leaves_the_outer_one_open(users):
    async with users.transaction() as outer:
        async with users.transaction() as nested:
            await users.execute(INSERT, 4, "Dan")
            await nested.commit()
            await users.execute(INSERT, 5, "Eve")
        assert outer.is_active
        await outer.rollback()
    assert await committed_ids(users) == [1, 2, 3]


@pytest.mark.parametrize(("end", "expected"), [("commit", [1, 2, 3, 4, 5]), ("rollback", [1, 2, 3])])
async def test_ending_the_outer_transaction_first_ends_those_inside_of_it(users, end, expected):
    async with users.transaction() as outer:
        await users.execute(INSERT, 4, "Dan")
        async with users.transaction() as nested:
            await users.execute(INSERT, 5, "Eve")
            await getattr(outer, end)()
            assert outer.state is nested.state
            assert not nested.is_active
            with pytest.raises(TransactionError):
                await nested.commit()
    assert await committed_ids(users) == expected


async def test_transactions_without_blocks_nest_too(users):
    outer = await users.transaction().start()
    await users.execute(INSERT, 4, "Dan")
    nested = await users.transaction().start()
    await users.execute(INSERT, 5, "Eve")
    await nested.rollback()
    await users.execute(INSERT, 6, "Fay")
    await outer.commit()
    assert await committed_ids(users) == [1, 2, 3, 4, 6]


@pytest.mark.needs("transactional_ddl")
async def test_an_error_in_ddl_of_a_nested_transaction_leaves_the_outer_one_intact(users):
    async with users.transaction():
        await users.execute("create table others (id integer)")
        with pytest.raises(Error):
            async with users.transaction():
                await users.execute("create table more (id integer)")
                await users.execute("create table others (id integer)")
        await users.execute("insert into others (id) values (1)")
    assert await users.fetchval("select count(*) from others") == 1
    with pytest.raises(Error):
        await users.fetchall("select * from more")


@pytest.mark.needs("transactional_ddl")
async def test_ddl_is_rolled_back(users):
    async with users.transaction() as transaction:
        await users.execute("create table others (id integer)")
        await transaction.rollback()
    with pytest.raises(Error):
        await users.fetchall("select * from others")


# A connection of its own


@pytest.mark.targets(memory=False)
@pytest.mark.parametrize("arguments", [((True,), {}), ((), {"create": True})], ids=["positional", "keyword"])
async def test_a_transaction_with_a_connection_of_its_own_is_not_nested(users, arguments):
    positional, keyword = arguments
    async with users.transaction(readonly=True) as outer:
        async with users.transaction(*positional, **keyword) as own:
            assert own.connection is not outer.connection
            assert own.connection is users.current_conn
            await users.execute(INSERT, 4, "Dan")
        assert outer.connection is users.current_conn
        await outer.rollback()
    assert await committed_ids(users) == [1, 2, 3, 4]


@pytest.mark.targets(memory=True)
async def test_in_memory_a_transaction_with_a_connection_of_its_own_is_nested_all_the_same(users):
    with pytest.raises(Stop):
        async with users.transaction(create=True):
            async with users.transaction(create=True):
                await users.execute(INSERT, 4, "Dan")
            raise Stop
    assert await committed_ids(users) == [1, 2, 3]


# Ended from outside


async def test_statements_in_a_transaction_that_lost_its_connection_are_refused(users):
    with pytest.raises(TransactionError, match="nothing of it was committed"):
        async with users.connection() as connection, users.transaction() as transaction:
            await users.execute(INSERT, 4, "Dan")
            await connection.release()
            assert TransactionState.FAILED is transaction.state
            with pytest.raises(TransactionError):
                await users.execute(INSERT, 5, "Eve")
            with pytest.raises(TransactionError):
                await transaction.commit()
    assert await committed_ids(users) == [1, 2, 3]


async def test_a_silent_transaction_that_lost_its_connection_is_no_error(users):
    async with users.transaction(silent=True) as transaction:
        await users.execute(INSERT, 4, "Dan")
        await transaction.connection.release()
        await transaction.commit()
        await transaction.rollback()
    assert TransactionState.FAILED is transaction.state
    assert await committed_ids(users) == [1, 2, 3]


@pytest.mark.parametrize("statement", ["commit", "rollback", "COMMIT", "/* by hand */ commit"])
async def test_sql_that_ends_a_transaction_makes_its_block_fail(users, statement):
    with pytest.raises(InterfaceError, match="ended by a statement"):
        async with users.transaction() as transaction:
            await users.execute(INSERT, 4, "Dan")
            await users.execute(statement)
            assert TransactionState.FAILED is transaction.state
    assert await committed_ids(users) in ([1, 2, 3], [1, 2, 3, 4])
