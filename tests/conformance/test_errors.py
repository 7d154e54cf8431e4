"""Errors of the databases are ours and the library's at once, and tell what they know but no value."""

from __future__ import annotations

import importlib
import pickle
import traceback
from typing import NamedTuple

import anyio
import pytest

import aio_databases as a

SECRET = "hunter2"  # a value that no message may show

TABLES = (
    "create table parents (id integer primary key, name text not null, age integer constraint adult check (age >= 18), "
    "email text unique)",
    "create table children (parent_id integer references parents (id))",
    "insert into parents (id, name, age, email) values (1, 'Ann', 40, 'ann@example')",
)


class Case(NamedTuple):
    kind: type[a.Error]
    sql: str
    sqlstate: str
    library: dict[str, str]
    """The class of the library's own error, for each dialect."""
    table: str | None = None
    column: str | None = None


def both(sqlite, postgresql):
    return {"sqlite": f"sqlite3.{sqlite}", "postgresql": f"asyncpg.{postgresql}"}


CASES = {
    "unique": Case(
        a.UniqueViolation,
        "insert into parents (id, name, email) values (2, 'Bob', 'ann@example')",
        "23505",
        both("IntegrityError", "UniqueViolationError"),
        "parents",
    ),
    "primary key": Case(
        a.UniqueViolation,
        "insert into parents (id, name) values (1, 'Bob')",
        "23505",
        both("IntegrityError", "UniqueViolationError"),
        "parents",
    ),
    "not null": Case(
        a.NotNullViolation,
        "insert into parents (id) values (2)",
        "23502",
        both("IntegrityError", "NotNullViolationError"),
        "parents",
        "name",
    ),
    "check": Case(
        a.CheckViolation,
        "insert into parents (id, name, age) values (2, 'Bob', 3)",
        "23514",
        both("IntegrityError", "CheckViolationError"),
    ),
    "foreign key": Case(
        a.ForeignKeyViolation,
        "insert into children (parent_id) values (9)",
        "23503",
        both("IntegrityError", "ForeignKeyViolationError"),
    ),
    "still referenced": Case(
        a.ForeignKeyViolation,
        "with new as (select 1) delete from parents where id = 1",
        "23503",
        both("IntegrityError", "ForeignKeyViolationError"),
    ),
    "no table": Case(
        a.ProgrammingError, "select * from nowhere", "42P01", both("OperationalError", "UndefinedTableError")
    ),
    "no column": Case(
        a.ProgrammingError, "select nope from parents", "42703", both("OperationalError", "UndefinedColumnError")
    ),
    "no function": Case(
        a.ProgrammingError, "select nope(1)", "42883", both("OperationalError", "UndefinedFunctionError")
    ),
    "no SQL": Case(a.ProgrammingError, "selec 1", "42601", both("OperationalError", "PostgresSyntaxError")),
    "table is there": Case(
        a.ProgrammingError,
        "create table parents (id integer)",
        "42P07",
        both("OperationalError", "DuplicateTableError"),
    ),
}


@pytest.fixture
async def family(db):
    async with db.connection() as connection:
        for statement in TABLES:
            await connection.execute(statement)
        await connection.execute("insert into children (parent_id) values (1)")
    return db


def library_class(name):
    module, _, cls = name.partition(".")
    return getattr(importlib.import_module(module), cls)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_an_error_of_the_database_is_caught_by_our_class_and_by_the_librarys(family, target, case):
    for verb in ("execute", "fetchall", "fetchone", "fetchval"):
        with pytest.raises(case.kind) as caught:
            await getattr(family, verb)(case.sql)
        error = caught.value
        assert isinstance(error, library_class(case.library[target.dialect]))
        assert (case.sqlstate if target.dialect == "postgresql" else None) == error.sqlstate
        assert (error.errno is not None) is (target.dialect == "sqlite")
        assert not error.retryable


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.table], ids=str)
@pytest.mark.targets(pooled=True)
async def test_an_error_tells_what_was_violated(family, case):
    with pytest.raises(case.kind) as caught:
        await family.execute(case.sql)
    assert case.table == caught.value.table
    if case.column is not None:
        assert case.column == caught.value.column


@pytest.mark.targets(pooled=True)
async def test_an_error_names_the_check_that_failed(family):
    with pytest.raises(a.CheckViolation) as caught:
        await family.execute(CASES["check"].sql)
    assert "adult" == caught.value.constraint


@pytest.mark.targets(dialect="postgresql", pooled=True)
async def test_postgresql_names_the_constraints(family):
    for name, constraint in (("unique", "parents_email_key"), ("foreign key", "children_parent_id_fkey")):
        with pytest.raises(a.IntegrityError) as caught:
            await family.execute(CASES[name].sql)
        assert constraint == caught.value.constraint


@pytest.mark.parametrize(
    "case", [CASES["unique"], CASES["not null"], CASES["no table"]], ids=["unique", "null", "table"]
)
@pytest.mark.targets(pooled=True)
async def test_errors_can_be_pickled(family, target, case):
    with pytest.raises(case.kind) as caught:
        await family.execute(case.sql)
    twin = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - pickled here
    assert isinstance(twin, case.kind)
    assert isinstance(twin, library_class(case.library[target.dialect]))
    assert str(caught.value) == str(twin)
    for name in ("sqlstate", "errno", "constraint", "table", "column"):
        assert getattr(caught.value, name) == getattr(twin, name)


@pytest.mark.parametrize("verb", ["execute", "fetchall", "fetchone", "fetchval"])
async def test_what_violates_a_constraint_does_not_stand_in_the_message(family, verb):
    insert = "insert into parents (id, name, email) values (:id, :name, :email)"
    await family.execute(insert, {"id": 2, "name": "Bob", "email": SECRET})
    with pytest.raises(a.UniqueViolation) as caught:
        await getattr(family, verb)(insert, {"id": 3, "name": SECRET, "email": SECRET})
    # What a server adds as a detail is its own affair: PostgreSQL names the value there.
    assert SECRET not in caught.value.args[0]


async def test_errors_come_out_of_executemany_and_iterate_as_well(family):
    insert = "insert into parents (id, name) values (?, ?)"
    with pytest.raises(a.UniqueViolation):
        await family.executemany(insert, (5, "Eve"), (1, "twice"))
    with pytest.raises(a.UniqueViolation):
        await anext(family.iterate("insert into parents (id, name) values (1, 'twice') returning id"))
    with pytest.raises(a.ProgrammingError):
        await anext(family.iterate("select * from nowhere"))
    assert 1 == await family.fetchval("select count(*) from parents")


async def test_the_traceback_leads_to_the_statement_of_the_user(family):
    with pytest.raises(a.ProgrammingError) as caught:
        await family.fetchall("select * from nowhere")
    text = "".join(traceback.format_exception(caught.value))
    assert __file__ in text
    assert "ProgrammingError" in text


@pytest.mark.targets(dialect="postgresql", pooled=True)
@pytest.mark.parametrize(
    ("kind", "sqlstate", "query"),
    [
        (a.DataError, "22012", "select 1 / 0"),
        (a.DataError, "22P02", "select 'x'::text::int"),
        (a.DataError, "22003", "select 2147483647 + 1"),
        (a.QueryTimeout, "57014", "set statement_timeout = 1"),
        (a.LockTimeout, "55P03", "raise 55P03"),
        (a.DeadlockDetected, "40P01", "raise 40P01"),
        (a.SerializationFailure, "40001", "raise 40001"),
        (a.NotSupportedError, "0A000", "raise 0A000"),
        (a.InternalError, "XX000", "raise XX000"),
        (a.OperationalError, "53200", "raise 53200"),
        (a.ProgrammingError, "42501", "raise 42501"),
        (a.IntegrityError, "23P01", "raise 23P01"),
        (a.DatabaseError, "P0001", "raise P0001"),
        (a.DatabaseError, "ZZ999", "raise ZZ999"),
    ],
    ids=str,
)
async def test_the_sqlstate_decides(db, kind, sqlstate, query):
    async with db.connection() as connection:
        if query.startswith("set "):
            await connection.execute(query)
            query = "select pg_sleep(9)"
        if query.startswith("raise "):
            query = f"do $$ begin raise exception 'no' using errcode = '{sqlstate}'; end $$"
        with pytest.raises(kind) as caught:
            await connection.execute(query)
        assert sqlstate == caught.value.sqlstate
        assert (kind in {a.DeadlockDetected, a.LockTimeout, a.SerializationFailure}) is caught.value.retryable


@pytest.mark.targets(dialect="postgresql", pooled=True)
async def test_the_time_limit_of_the_library_is_a_query_timeout(make_database):
    database = await make_database(command_timeout=0.05)
    with pytest.raises(a.QueryTimeout) as caught:
        await database.execute("select pg_sleep(9)")
    assert isinstance(caught.value, TimeoutError)
    assert 1 == await database.fetchval("select 1")


@pytest.mark.targets(dialect="postgresql", pooled=True)
async def test_a_deadlock_has_one_victim(users):
    caught = []

    async def update(first, second, mine, other):
        try:
            async with users.transaction(True):
                await users.execute("update users set name = 'x' where id = ?", first)
                mine.set()
                await other.wait()
                await users.execute("update users set name = 'y' where id = ?", second)
        except a.DeadlockDetected as error:
            caught.append(error)

    left, right = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(update, 1, 2, left, right)
        tasks.start_soon(update, 2, 1, right, left)
    assert ["40P01"] == [error.sqlstate for error in caught]
    assert caught[0].retryable


@pytest.mark.targets(dialect="sqlite", memory=False, pooled=True)
async def test_a_file_that_another_program_writes_is_a_lock_timeout(users, make_database):
    other = await make_database(pragmas={"busy_timeout": 10})
    async with users.transaction():
        with pytest.raises(a.LockTimeout) as caught:
            await other.execute("delete from users")
        assert caught.value.retryable
    await other.execute("delete from users")


@pytest.mark.targets(dialect="sqlite", memory=False)
async def test_writers_of_one_database_wait_for_each_other(users):
    async def write(number):
        async with users.transaction():
            await users.execute("insert into users (id) values (?)", number)
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as tasks:
        for number in range(10, 20):
            tasks.start_soon(write, number)
    assert 13 == await users.fetchval("select count(*) from users")


@pytest.mark.targets(dialect="sqlite", memory=False)
async def test_a_writer_that_waits_too_long_is_told_so(make_database):
    database = await make_database(timeout=0.05)
    await database.execute("create table t (i integer)")
    async with database.transaction():
        with pytest.raises(a.LockTimeout, match="one writer at a time"):
            async with database.transaction(True):
                pytest.fail("the block must not begin")
    await database.execute("insert into t (i) values (1)")
