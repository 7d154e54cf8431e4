"""Errors of the databases: each has our class and the library's, and tells what it knows."""

from __future__ import annotations

import pickle
import sqlite3
import traceback

import anyio
import asyncpg
import pytest

from aio_databases import (
    AuthenticationError,
    CheckViolation,
    CommitUncertainError,
    ConnectError,
    ConnectionLost,
    DatabaseError,
    DataError,
    DeadlockDetected,
    Error,
    ForeignKeyViolation,
    IntegrityError,
    InterfaceError,
    InternalError,
    LockTimeout,
    NotNullViolation,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    QueryTimeout,
    ReadOnlyError,
    SerializationFailure,
    TransactionState,
    UniqueViolation,
)

SECRET = "hunter2"  # a value that no message may show


@pytest.fixture
async def shop(db):
    """Give a database whose tables have a constraint of every kind."""
    async with db.connection():
        await db.execute("create table authors (id integer primary key, name varchar(20) not null unique)")
        await db.execute(
            "create table books (id integer primary key, price integer constraint positive check (price > 0), "
            "author integer references authors (id) deferrable initially immediate, "
            "other integer references authors (id) deferrable initially deferred, "
            "shelf integer, place integer, constraint spot unique (shelf, place))"
        )
        await db.execute("insert into authors (id, name) values (1, 'Ann')")
        await db.execute("insert into books (id, price, author, shelf, place) values (1, 5, 1, 1, 1)")
    return db


# What is wrong, the class, the library's classes, and the table, column and constraint that it tells.
VIOLATIONS = (
    (
        "insert into authors (id, name) values (1, 'Bob')",
        UniqueViolation,
        asyncpg.UniqueViolationError,
        {"sqlite": ("authors", "id", None), "postgresql": ("authors", None, "authors_pkey")},
    ),
    (
        "insert into authors (id, name) values (2, 'Ann')",
        UniqueViolation,
        asyncpg.UniqueViolationError,
        {"sqlite": ("authors", "name", None), "postgresql": ("authors", None, "authors_name_key")},
    ),
    (
        "insert into books (id, shelf, place) values (2, 1, 1)",
        UniqueViolation,
        asyncpg.UniqueViolationError,
        {"sqlite": (None, None, None), "postgresql": ("books", None, "spot")},
    ),
    (
        "insert into authors (id) values (2)",
        NotNullViolation,
        asyncpg.NotNullViolationError,
        {"sqlite": ("authors", "name", None), "postgresql": ("authors", "name", None)},
    ),
    (
        "update books set price = -1",
        CheckViolation,
        asyncpg.CheckViolationError,
        {"sqlite": (None, None, "positive"), "postgresql": ("books", None, "positive")},
    ),
    (
        "insert into books (id, author) values (2, 9)",
        ForeignKeyViolation,
        asyncpg.ForeignKeyViolationError,
        {"sqlite": (None, None, None), "postgresql": ("books", None, "books_author_fkey")},
    ),
    (
        "delete from authors",
        ForeignKeyViolation,
        asyncpg.ForeignKeyViolationError,
        {"sqlite": (None, None, None), "postgresql": ("books", None, "books_author_fkey")},
    ),
)


async def test_a_violated_constraint_is_told(shop, target):
    for query, kind, class_of_asyncpg, details in VIOLATIONS:
        for verb, params in ((shop.execute, ()), (shop.fetchall, ()), (shop.executemany, [()])):
            with pytest.raises(sqlite3.IntegrityError if target.dialect == "sqlite" else class_of_asyncpg) as caught:
                await verb(query, *params)
            error = caught.value
            assert isinstance(error, kind), query
            assert isinstance(error, IntegrityError)
            assert details[target.dialect] == (error.table, error.column, error.constraint), query
            assert (None if target.dialect == "sqlite" else class_of_asyncpg.sqlstate) == error.sqlstate
            assert getattr(error, "sqlite_errorcode", None) == error.errno
            assert not error.retryable
    assert [(1, "Ann")] == await shop.fetchall("select * from authors")


WRONG = (
    ("selct 1", asyncpg.PostgresSyntaxError),
    ("select * from nowhere", asyncpg.UndefinedTableError),
    ("select nothing from authors", asyncpg.UndefinedColumnError),
    ("select nothing(1)", asyncpg.UndefinedFunctionError),
    ("create table authors (id integer)", asyncpg.DuplicateTableError),
    ("insert into authors (id) values (1, 2)", asyncpg.PostgresSyntaxError),
)


async def test_wrong_sql_is_a_programming_error(shop, target):
    for query, class_of_asyncpg in WRONG:
        for verb in (shop.execute, shop.fetchall, shop.fetchone):
            with pytest.raises(sqlite3.OperationalError if target.dialect == "sqlite" else class_of_asyncpg) as caught:
                await verb(query)
            assert isinstance(caught.value, ProgrammingError), query
        with pytest.raises(ProgrammingError):
            await anext(shop.iterate(query))
    assert 1 == await shop.fetchval("select count(*) from authors")


async def test_a_value_out_of_range_is_a_data_error(shop, target):
    with pytest.raises(DataError) as caught:
        await shop.execute("update books set price = ?", 2**70)
    assert isinstance(caught.value, OverflowError if target.dialect == "sqlite" else asyncpg.DataError)
    assert 5 == await shop.fetchval("select price from books")


async def test_a_value_of_a_wrong_type_is_an_error_of_ours(shop):
    with pytest.raises((DataError, InterfaceError, ProgrammingError)):
        await shop.execute("update books set price = ?", object())
    assert 5 == await shop.fetchval("select price from books")


@pytest.mark.targets(dialect="postgresql")
@pytest.mark.parametrize(
    "query", ["select 1 / 0", "select 'x'::integer", "select repeat('x', 30)::date", "select 2000000000 * 2"]
)
async def test_a_value_that_cannot_be_computed_is_a_data_error(db, query):
    with pytest.raises(DataError) as caught:
        await db.fetchval(query)
    assert isinstance(caught.value, asyncpg.DataError)


async def test_a_constraint_that_is_checked_at_commit_rolls_back(shop):
    with pytest.raises(ForeignKeyViolation):
        async with shop.transaction() as transaction:
            await shop.execute("insert into books (id, other) values (2, 9)")
    assert TransactionState.ROLLED_BACK is transaction.state
    assert 1 == await shop.fetchval("select count(*) from books")


async def test_an_error_leaves_the_connection_usable(shop):
    async with shop.connection() as connection:
        with pytest.raises(UniqueViolation):
            await connection.execute("insert into authors (id, name) values (1, 'Bob')")
        assert "Ann" == await connection.fetchval("select name from authors")
        assert connection.is_ready


async def test_an_error_in_a_stream_has_both_classes(shop, target):
    with pytest.raises(sqlite3.OperationalError if target.dialect == "sqlite" else asyncpg.PostgresError) as caught:
        await anext(shop.iterate("select * from nowhere"))
    assert isinstance(caught.value, ProgrammingError)


@pytest.mark.targets(pooled=True)
async def test_an_error_is_named_after_ours_and_keeps_its_text(shop):
    with pytest.raises(UniqueViolation) as caught:
        await shop.execute("insert into authors (id, name) values (1, 'Bob')")
    assert "aio_databases.UniqueViolation" in "".join(traceback.format_exception_only(caught.value))
    assert "unique" in str(caught.value).lower()


@pytest.mark.targets(pooled=True)
async def test_errors_are_pickled_with_both_classes(shop):
    for query, *_ in (*VIOLATIONS, ("select * from nowhere",)):
        with pytest.raises(Error) as caught:
            await shop.execute(query)
        error = caught.value
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own pickle
        assert type(error) is type(copy)
        assert str(error) == str(copy)
        for name in ("sqlstate", "errno", "constraint", "table", "column"):
            assert getattr(error, name) == getattr(copy, name)


@pytest.mark.targets(pooled=True, dialect="sqlite")
async def test_an_error_does_not_show_the_parameters(shop):
    for query, params in (
        ("insert into authors (id, name) values (1, ?)", (SECRET,)),
        ("insert into nowhere (name) values (?)", (SECRET,)),
        ("select name from authors where id = :id", ({"id": 1, "extra": SECRET},)),
        ("select name from authors where id = ?", (1, SECRET)),
    ):
        with pytest.raises(Error) as caught:
            await shop.execute(query, *params)
        assert SECRET not in "".join(traceback.format_exception(caught.value))


# Each SQLSTATE has its class

SQLSTATES = {
    "08000": ConnectionLost,
    "0A000": NotSupportedError,
    "21000": ProgrammingError,
    "22012": DataError,
    "23000": IntegrityError,
    "23001": IntegrityError,
    "23502": NotNullViolation,
    "23503": ForeignKeyViolation,
    "23505": UniqueViolation,
    "23514": CheckViolation,
    "23P01": IntegrityError,
    "25001": InternalError,
    "25006": ReadOnlyError,
    "28000": AuthenticationError,
    "3D000": ConnectError,
    "40001": SerializationFailure,
    "40P01": DeadlockDetected,
    "42601": ProgrammingError,
    "42P01": ProgrammingError,
    "53100": OperationalError,
    "55P03": LockTimeout,
    "57014": QueryTimeout,
    "57P03": ConnectError,
    "P0001": DatabaseError,
    "XX000": InternalError,
}


@pytest.mark.targets(dialect="postgresql", pooled=True)
async def test_the_sqlstate_decides_the_class(db):
    for sqlstate, kind in SQLSTATES.items():
        with pytest.raises(DatabaseError) as caught:
            await db.execute(f"do $$ begin raise exception 'made up' using errcode = '{sqlstate}'; end $$")
        error = caught.value
        assert isinstance(error, kind), sqlstate
        assert kind.__qualname__ == type(error).__qualname__, sqlstate
        assert isinstance(error, asyncpg.PostgresError.get_message_class_for_sqlstate(sqlstate))
        assert sqlstate == error.sqlstate
        assert "made up" == str(error)
        assert issubclass(kind, SerializationFailure | DeadlockDetected | LockTimeout) is error.retryable


# What other users of the database do


@pytest.mark.targets(memory=False)
async def test_a_lock_that_is_not_free_in_time_is_told(shop, make_database, target):
    is_sqlite = target.dialect == "sqlite"
    impatient = {"pragmas": {"busy_timeout": 50}} if is_sqlite else {"server_settings": {"lock_timeout": "50"}}
    other = await make_database(**impatient)
    async with shop.transaction():
        await shop.execute("update authors set name = 'Eve'")
        with pytest.raises(LockTimeout) as caught:
            await other.execute("update authors set name = 'Bob'")
    assert isinstance(caught.value, sqlite3.OperationalError if is_sqlite else asyncpg.LockNotAvailableError)
    assert caught.value.retryable
    assert "Eve" == await other.fetchval("select name from authors")


@pytest.mark.targets(dialect="postgresql", pooled=True)
async def test_transactions_that_meet_have_to_be_run_again(shop):
    async with shop.connection() as one, shop.connection() as two:
        transaction = await one.transaction(isolation="repeatable read").start()
        await one.fetchall("select * from authors")
        await two.execute("update authors set name = 'Eve'")
        with pytest.raises(SerializationFailure) as caught:
            await one.execute("update authors set name = 'Bob'")
        await transaction.rollback()
    assert isinstance(caught.value, asyncpg.SerializationError)
    assert caught.value.retryable


@pytest.mark.targets(dialect="postgresql", pooled=True)
async def test_a_deadlock_is_told_to_one_of_the_two(shop, make_database, postgres):
    postgres.execute(f"alter role {postgres.app_user} set deadlock_timeout = '50ms'")
    outcomes = []
    both_began = anyio.Event()

    async def update(database, first, second):
        try:
            async with database.transaction():
                await database.execute(f"update {first} set id = id")
                outcomes.append("began")
                if 2 == len(outcomes):
                    both_began.set()
                await both_began.wait()
                await database.execute(f"update {second} set id = id")
                outcomes.append("done")
        except DeadlockDetected as error:
            outcomes.append((isinstance(error, asyncpg.DeadlockDetectedError), error.retryable))

    try:
        other = await make_database()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(update, other, "authors", "books")
            tasks.start_soon(update, other, "books", "authors")
    finally:
        postgres.execute(f"alter role {postgres.app_user} reset deadlock_timeout")
    assert {"began", "done", (True, True)} == set(outcomes)


@pytest.mark.targets(dialect="postgresql")
@pytest.mark.parametrize(
    ("options", "classes"),
    [
        ({"server_settings": {"statement_timeout": "50"}}, asyncpg.QueryCanceledError),
        ({"command_timeout": 0.05}, TimeoutError),
    ],
    ids=["server", "client"],
)
async def test_a_statement_that_takes_too_long_is_told(make_database, options, classes):
    database = await make_database(**options)
    async with database.connection():
        with pytest.raises(QueryTimeout) as caught:
            await database.fetchval("select pg_sleep(5)")
        assert isinstance(caught.value, classes)
        assert 1 == await database.fetchval("select 1")


@pytest.mark.targets(scheme="sqlite")
async def test_a_statement_that_was_interrupted_is_told(make_database):
    made = []

    def interrupt():
        made[-1].interrupt()

    database = await make_database(init=made.append, functions=[("stop", 0, interrupt)])
    endless = (
        "with recursive n (i) as (select 1 union all select i + 1 from n where stop() is null) select max(i) from n"
    )
    async with database.connection():
        with pytest.raises(QueryTimeout) as caught:
            await database.fetchval(endless)
        assert isinstance(caught.value, sqlite3.OperationalError)
        assert 1 == await database.fetchval("select 1")


# Lost connections


@pytest.mark.targets(dialect="postgresql")
async def test_a_connection_that_the_server_closed_is_told(shop, postgres):
    async with shop.connection() as connection:
        number = await connection.fetchval("select pg_backend_pid()")
        postgres.execute("select pg_terminate_backend($1, 5000)", number)
        with pytest.raises(ConnectionLost) as caught:
            await connection.fetchval("select 1")
        assert isinstance(caught.value, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError))
        with pytest.raises(ConnectionLost):
            await connection.fetchval("select 1")
        assert not connection.is_ready
    assert 1 == await shop.fetchval("select 1")


@pytest.mark.targets(dialect="postgresql")
async def test_a_connection_that_the_server_closes_meanwhile_is_told(shop):
    with pytest.raises(ConnectionLost):
        await shop.fetchval("select pg_terminate_backend(pg_backend_pid()), pg_sleep(5)")
    assert 1 == await shop.fetchval("select 1")


async def test_a_lost_connection_is_told(shop, target):
    async with shop.connection() as connection:
        connection.driver.terminate()
        for verb in (connection.execute, connection.fetchall, connection.executemany):
            with anyio.fail_after(5), pytest.raises(ConnectionLost):
                await verb("select 1", *([()] if verb == connection.executemany else []))
        with anyio.fail_after(5), pytest.raises(ConnectionLost):
            await connection.transaction().start()
        assert not connection.is_ready
    assert 1 == await shop.fetchval("select 1")


@pytest.mark.targets(dialect="postgresql")
async def test_a_commit_without_an_answer_is_uncertain(shop):
    await shop.execute(
        "create function die() returns trigger language plpgsql as "
        "$$ begin perform pg_terminate_backend(pg_backend_pid()), pg_sleep(5); return null; end $$"
    )
    await shop.execute(
        "create constraint trigger late after update on authors deferrable initially deferred "
        "for each row execute function die()"
    )
    with pytest.raises(CommitUncertainError) as caught:
        async with shop.transaction() as transaction:
            await shop.execute("update authors set name = 'Eve'")
    assert isinstance(caught.value, ConnectionLost)
    assert not caught.value.retryable
    assert TransactionState.FAILED is transaction.state
    assert "Ann" == await shop.fetchval("select name from authors")


@pytest.mark.targets(dialect="postgresql")
async def test_a_statement_after_a_failed_one_is_refused_by_the_transaction(shop):
    transaction = await shop.transaction().start()
    with pytest.raises(ProgrammingError):
        await shop.execute("select * from nowhere")
    with pytest.raises(InternalError) as caught:
        await shop.execute("select 1")
    await transaction.rollback()
    assert isinstance(caught.value, asyncpg.InFailedSQLTransactionError)


async def test_a_write_in_a_transaction_that_only_reads_is_told(shop, target):
    with pytest.raises(ReadOnlyError) as caught:
        async with shop.transaction(readonly=True):
            await shop.execute("update authors set name = 'Eve'")
    its_own = sqlite3.OperationalError if target.dialect == "sqlite" else asyncpg.ReadOnlySQLTransactionError
    assert isinstance(caught.value, its_own)
    assert isinstance(caught.value, RuntimeError)
    assert "Ann" == await shop.fetchval("select name from authors")
