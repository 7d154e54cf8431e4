"""The options of transactions: honoured by the database, or refused where it has no such thing."""

from __future__ import annotations

import pytest

from aio_databases import (
    CheckViolation,
    Error,
    ForeignKeyViolation,
    NotSupportedError,
    ReadOnlyError,
    SerializationFailure,
    TransactionError,
    TransactionState,
)

INSERT = "insert into users (id, name) values (?, ?)"
LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable", "snapshot", "nonsense")
MODES = ("deferred", "immediate", "exclusive", "nonsense")


async def begin(db, **options):
    async with db.transaction(**options):
        return await db.fetchval("select count(*) from users")


@pytest.mark.parametrize("level", LEVELS)
async def test_an_isolation_level_is_honoured_or_refused(users, level):
    if level in users.backend.capabilities.isolation_levels:
        assert await begin(users, isolation=level) == 3
        assert await begin(users, isolation=level.upper()) == 3
        return
    with pytest.raises(NotSupportedError, match=level):
        await begin(users, isolation=level)


@pytest.mark.parametrize("mode", MODES)
async def test_a_mode_is_honoured_or_refused(users, mode):
    if mode in users.backend.capabilities.modes:
        assert await begin(users, mode=mode) == 3
        assert await begin(users, mode=mode.upper()) == 3
        return
    with pytest.raises(NotSupportedError, match=mode):
        await begin(users, mode=mode)


@pytest.mark.parametrize("deferrable", [True, False])
async def test_deferrable_is_honoured_or_refused(users, deferrable):
    if users.backend.capabilities.deferrable:
        assert await begin(users, isolation="serializable", readonly=True, deferrable=deferrable) == 3
        return
    with pytest.raises(NotSupportedError, match="deferrable"):
        await begin(users, deferrable=deferrable)


@pytest.mark.targets(dialect="postgresql")
async def test_postgresql_runs_the_transaction_with_the_options_asked_for(users):
    shown = "select current_setting('transaction_isolation'), current_setting('transaction_read_only'), "
    shown += "current_setting('transaction_deferrable')"
    async with users.transaction(isolation="Serializable", readonly=True, deferrable=True):
        assert await users.fetchone(shown) == ("serializable", "on", "on")
    async with users.transaction(isolation="repeatable read", readonly=False, deferrable=False):
        assert await users.fetchone(shown) == ("repeatable read", "off", "off")
    async with users.transaction():
        assert await users.fetchone(shown) == ("read committed", "off", "off")


async def refused_in_a_read_only_transaction(users, statement):
    with pytest.raises(ReadOnlyError):
        async with users.transaction(readonly=True):
            assert await users.fetchval("select count(*) from users") == 3
            await users.execute(statement)
    await users.execute(INSERT, 4, "Dan")
    assert await users.fetchval("select count(*) from users") == 4


@pytest.mark.parametrize(
    "statement",
    [
        "insert into users (id) values (4)",
        "insert into users (id) values (4) returning id",
        "update users set name = 'x'",
        "delete from users",
    ],
)
async def test_the_database_refuses_to_write_in_a_read_only_transaction(users, statement):
    await refused_in_a_read_only_transaction(users, statement)


@pytest.mark.parametrize("statement", ["create table others (id integer)", "drop table users"])
async def test_the_database_refuses_to_change_tables_in_a_read_only_transaction(users, statement):
    await refused_in_a_read_only_transaction(users, statement)


async def test_the_connection_writes_again_after_a_read_only_transaction(users):
    async with users.connection():
        for end in ("commit", "rollback"):
            async with users.transaction(readonly=True) as transaction:
                await users.fetchall("select * from users")
                await getattr(transaction, end)()
            await users.execute("update users set name = ? where id = 1", end)
            assert end == await users.fetchval("select name from users where id = 1")


@pytest.mark.targets(dialect="sqlite")
@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_it_writes_again_when_a_read_only_transaction_was_ended_by_sql(users, end):
    async with users.connection():
        with pytest.raises(TransactionError, match="ended by a statement"):
            async with users.transaction(readonly=True):
                await users.execute(end)
        await users.execute("update users set name = 'new' where id = 1")
    await users.execute("update users set name = 'newer' where id = 1")
    assert await users.fetchval("select name from users where id = 1") == "newer"


@pytest.mark.parametrize("options", [{"isolation": "serializable"}, {"readonly": True}, {"readonly": False}], ids=str)
async def test_options_belong_to_the_outermost_transaction(users, options):
    async with users.transaction() as outer:
        with pytest.raises(NotSupportedError, match="outermost"):
            await begin(users, **options)
        assert outer.is_active
        await users.execute(INSERT, 4, "Dan")
    assert await users.fetchval("select count(*) from users") == 4


async def test_a_transaction_that_cannot_begin_leaves_nothing_behind(users):
    with pytest.raises(NotSupportedError):
        await begin(users, isolation="nonsense")
    assert users.current_conn is None
    assert await begin(users) == 3


ORDERS = "create table orders (user_id integer references users (id) deferrable initially deferred)"


@pytest.mark.needs("deferred_constraints")
async def test_a_commit_that_the_database_refuses_rolls_back_and_says_why(users):
    await users.execute(ORDERS)
    with pytest.raises(ForeignKeyViolation):
        async with users.transaction() as transaction:
            await users.execute("insert into orders (user_id) values (99)")
    assert TransactionState.ROLLED_BACK is transaction.state
    assert users.current_conn is None
    assert await users.fetchval("select count(*) from orders") == 0


@pytest.mark.needs("deferred_constraints")
async def test_a_commit_by_hand_that_the_database_refuses_rolls_back_and_says_why(users):
    await users.execute(ORDERS)
    transaction = await users.transaction().start()
    await users.execute("insert into orders (user_id) values (99)")
    with pytest.raises(ForeignKeyViolation):
        await transaction.commit()
    assert TransactionState.ROLLED_BACK is transaction.state
    assert users.current_conn is None
    async with users.connection() as connection:
        assert not connection.driver.in_transaction
        assert await connection.fetchval("select count(*) from orders") == 0


async def test_a_failed_statement_that_was_caught_does_not_make_a_half_of_the_transaction_last(users):
    """SQLite goes on after it, PostgreSQL refuses everything but ROLLBACK: never is a part lost without an error."""
    await users.execute("create table marks (value integer check (value > 0))")
    failure = None
    try:
        async with users.transaction():
            await users.execute(INSERT, 4, "Dan")
            with pytest.raises(CheckViolation):
                await users.execute("insert into marks (value) values (-1)")
    except Error as error:
        failure = error
    assert (3 if failure else 4) == await users.fetchval("select count(*) from users")


@pytest.mark.targets(dialect="postgresql")
async def test_concurrent_updates_are_a_serialization_failure(users):
    update = "update users set name = name || '!' where id = 1"
    async with users.connection() as other:
        with pytest.raises(SerializationFailure) as caught:
            async with users.transaction(create=True, isolation="repeatable read"):
                await users.fetchall("select * from users")
                await other.execute(update)
                await users.execute(update)
    assert caught.value.retryable
    assert caught.value.sqlstate == "40001"
    assert await users.fetchval("select name from users where id = 1") == "Ann!"


@pytest.mark.needs("busy_timeout")
@pytest.mark.targets(dialect="sqlite", memory=False)
@pytest.mark.parametrize(
    ("options", "reads", "locked"),
    [
        ({}, 0, False),
        ({}, 1, True),
        ({"mode": "immediate"}, 0, True),
        ({"mode": "exclusive"}, 0, True),
        ({"mode": "deferred"}, 1, False),
        ({"readonly": True}, 1, False),
    ],
)
async def test_sqlite_takes_the_write_lock_with_the_first_statement_or_when_asked_for_a_mode(  # noqa: PLR0917 - fixtures
    users, make_database, words, options, reads, locked
):
    other = await make_database()
    async with other.connection():
        await other.execute(words.impatience)
        async with users.transaction(**options):
            for _ in range(reads):
                await users.fetchval("select count(*) from users")
            if locked:
                with pytest.raises(Error, match="locked"):
                    await begin(other)
            else:
                assert await begin(other) == 3
            assert await other.fetchval("select count(*) from users") == 3
