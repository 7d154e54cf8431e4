"""Errors of the databases: each has our class and the library's, and tells what it knows."""

from __future__ import annotations

import pickle
import traceback

import pytest

from aio_databases import (
    AuthenticationError,
    CheckViolation,
    ConnectError,
    ConnectionLost,
    DatabaseError,
    DataError,
    DeadlockDetected,
    Error,
    ForeignKeyViolation,
    IntegrityError,
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
from conformance.libraries import library_error

SECRET = "hunter2"  # a value that no message may show


# What is wrong, the class, the SQLSTATE, the number in MySQL, and the table, column and constraint that each tells.
VIOLATIONS = (
    (
        "insert into authors (id, name) values (1, 'Bob')",
        UniqueViolation,
        ("23505", 1062),
        {
            "sqlite": ("authors", "id", None),
            "postgresql": ("authors", "id", "authors_pkey"),
            "mysql": (None, None, "PRIMARY"),
        },
    ),
    (
        "insert into authors (id, name) values (2, 'Ann')",
        UniqueViolation,
        ("23505", 1062),
        {
            "sqlite": ("authors", "name", None),
            "postgresql": ("authors", "name", "authors_name_key"),
            "mysql": (None, None, "name"),
        },
    ),
    (
        "insert into books (id, shelf, place) values (2, 1, 1)",
        UniqueViolation,
        ("23505", 1062),
        {"sqlite": ("books", None, None), "postgresql": ("books", None, "spot"), "mysql": (None, None, "spot")},
    ),
    (
        "insert into authors (id) values (2)",
        NotNullViolation,
        ("23502", 1364),
        {
            "sqlite": ("authors", "name", None),
            "postgresql": ("authors", "name", None),
            "mysql": (None, "name", None),
        },
    ),
    (
        "update books set price = -1",
        CheckViolation,
        ("23514", 4025),
        {
            "sqlite": (None, None, "positive"),
            "postgresql": ("books", None, "positive"),
            "mysql": ("books", None, "positive"),
        },
    ),
    (
        "insert into books (id, author) values (2, 9)",
        ForeignKeyViolation,
        ("23503", 1452),
        {
            "sqlite": (None, None, None),
            "postgresql": ("books", "author", "writer"),
            "mysql": ("books", "author", "writer"),
        },
    ),
    (
        "delete from authors",
        ForeignKeyViolation,
        ("23503", 1451),
        {
            "sqlite": (None, None, None),
            "postgresql": ("books", None, "writer"),
            "mysql": ("books", "author", "writer"),
        },
    ),
)


async def test_a_violated_constraint_is_told(shop, target):
    for query, kind, (sqlstate, errno), details in VIOLATIONS:
        its_own = library_error(target, "IntegrityError", sqlstate)
        for verb, params in ((shop.execute, ()), (shop.fetchall, ()), (shop.executemany, [()])):
            with pytest.raises(its_own) as caught:
                await verb(query, *params)
            error = caught.value
            assert isinstance(error, kind), query
            assert isinstance(error, IntegrityError)
            told = (error.table, error.column, error.constraint)
            assert details[target.dialect] == told or target.odbc, query
            if target.odbc:
                # ODBC has no fields for them: what the text of the message tells is right, or not found.
                assert all(a in {b, None} for a, b in zip(told, details[target.dialect], strict=True)), query
            elif target.dialect == "sqlite":
                assert (None, error.sqlite_errorcode) == (error.sqlstate, error.errno)
            elif target.dialect == "mysql":
                assert errno == error.errno
            else:
                assert (sqlstate, None) == (error.sqlstate, error.errno)
            assert not error.retryable
    assert await shop.fetchall("select * from authors") == [(1, "Ann")]


WRONG = (
    ("selct 1", "42601"),
    ("select * from nowhere", "42P01"),
    ("select nothing from authors", "42703"),
    ("select nothing(1)", "42883"),
    ("create table authors (id integer)", "42P07"),
    ("insert into authors (id) values (1, 2)", "42601"),
)


async def test_wrong_sql_is_a_programming_error(shop, target):
    for query, sqlstate in WRONG:
        for verb in (shop.execute, shop.fetchall, shop.fetchone):
            with pytest.raises(library_error(target, "OperationalError", sqlstate)) as caught:
                await verb(query)
            assert isinstance(caught.value, ProgrammingError), query
        with pytest.raises(ProgrammingError):
            await anext(shop.iterate(query))
    assert await shop.fetchval("select count(*) from authors") == 1


async def test_a_value_out_of_range_is_a_data_error(shop, target):
    with pytest.raises(DataError) as caught:
        await shop.execute("update books set price = ?", 2**70)
    assert isinstance(caught.value, (OverflowError, library_error(target, "DataError")))
    assert await shop.fetchval("select price from books") == 5


async def test_a_value_of_a_wrong_type_is_a_data_error(shop):
    with pytest.raises(DataError):
        await shop.execute("update books set price = ?", object())
    assert await shop.fetchval("select price from books") == 5


@pytest.mark.targets(dialect="postgresql")
@pytest.mark.parametrize(
    "query", ["select 1 / 0", "select 'x'::integer", "select repeat('x', 30)::date", "select 2000000000 * 2"]
)
async def test_a_value_that_cannot_be_computed_is_a_data_error(db, target, query):
    with pytest.raises(DataError) as caught:
        await db.fetchval(query)
    assert isinstance(caught.value, library_error(target, "DataError"))


async def test_a_constraint_that_is_checked_at_commit_rolls_back(shop):
    with pytest.raises(ForeignKeyViolation):
        async with shop.transaction() as transaction:
            await shop.execute("insert into books (id, other) values (2, 9)")
    assert TransactionState.ROLLED_BACK is transaction.state
    assert await shop.fetchval("select count(*) from books") == 1


async def test_an_error_leaves_the_connection_usable(shop):
    async with shop.connection() as connection:
        with pytest.raises(UniqueViolation):
            await connection.execute("insert into authors (id, name) values (1, 'Bob')")
        assert await connection.fetchval("select name from authors") == "Ann"
        assert connection.is_ready


async def test_an_error_in_a_stream_has_both_classes(shop, target):
    with pytest.raises(library_error(target, "OperationalError", "42P01")) as caught:
        await anext(shop.iterate("select * from nowhere"))
    assert isinstance(caught.value, ProgrammingError)


@pytest.mark.targets(pooled=True)
async def test_an_error_is_named_after_ours_and_keeps_its_text(shop):
    with pytest.raises(UniqueViolation) as caught:
        await shop.execute("insert into authors (id, name) values (1, 'Bob')")
    assert "aio_databases.UniqueViolation" in "".join(traceback.format_exception_only(caught.value))
    assert any(word in str(caught.value).lower() for word in ("unique", "duplicate"))


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


@pytest.mark.targets(pooled=True)
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
    "3D000": ProgrammingError,
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
async def test_the_sqlstate_decides_the_class(db, target):
    for sqlstate, kind in SQLSTATES.items():
        with pytest.raises(DatabaseError) as caught:
            await db.execute(f"do $$ begin raise exception 'made up' using errcode = '{sqlstate}'; end $$")
        error = caught.value
        assert isinstance(error, kind), sqlstate
        assert kind.__qualname__ == type(error).__qualname__, sqlstate
        assert isinstance(error, library_error(target, "Error", sqlstate))
        assert sqlstate == error.sqlstate
        assert "made up" in str(error)
        assert issubclass(kind, SerializationFailure | DeadlockDetected | LockTimeout) is error.retryable
