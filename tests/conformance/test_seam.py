"""What every driver promises at the seam: the invariants at the top of drivers/base.py, tested below the pool."""

from __future__ import annotations

import logging
import subprocess
import sys

import anyio
import pytest

from aio_databases import ConnectionLost, Database, Error, ReadOnlyError
from aio_databases.drivers.base import Driver, TransactionOptions

pytestmark = pytest.mark.targets(pooled=False)  # there is no pool below the pool

NUMBERS = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 10) select i from n"
ENDLESS = "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n"
COUNT = "select count(*) from numbers"


@pytest.fixture
def driver(url):
    """Give the driver of the target."""
    return Database(url).backend


@pytest.fixture
async def connection(driver):
    """Give a connection of the driver's to a database with the table `numbers`, which has the row 0."""
    connection = await driver.connect()
    await connection.execute("create table numbers (i integer primary key)", ())
    await connection.execute("insert into numbers values (0)", ())
    yield connection
    await connection.close()


def mark(driver, number=1):
    return f"${number}" if driver.paramstyle == "numeric_dollar" else "?"


async def value(connection, sql, *params):
    return (await connection.fetch(sql, params, 1))[0][0]


def verbs(connection, sql):
    """Return each verb of a connection with arguments to call it."""
    return (
        (connection.execute, (sql, ())),
        (connection.executemany, (sql, [(), ()])),
        (connection.fetch, (sql, (), None)),
        (connection.fetch, (sql, (), 1)),
        (connection.fetch, (sql, (), 5)),
        (connection.cursor(sql, ()).fetch, (5,)),
    )


# After `connect`


async def test_a_connection_is_in_autocommit_mode(connection, driver, target):
    assert not connection.in_transaction
    await connection.execute(f"insert into numbers values ({mark(driver)})", (1,))
    await connection.executemany(f"insert into numbers values ({mark(driver)})", [(2,), (3,)])
    await connection.fetch("insert into numbers values (4) returning i", (), None)
    assert not connection.in_transaction
    with pytest.raises(Exception, match=r"(?i)unique"):
        await connection.execute("insert into numbers values (0)", ())
    assert not connection.in_transaction
    if not target.memory:
        other = await driver.connect()
        assert 5 == await value(other, COUNT)
        await other.close()


async def test_a_read_only_connection_is_kept_so_by_the_database(connection, driver):
    reader = connection.read_only_view() if driver.shared else await driver.connect(read_only=True)
    for sql in (
        "insert into numbers values (1)",
        "delete from numbers",
        "create table a (i int)",
        "drop table numbers",
    ):
        with pytest.raises(Exception, match=r"(?i)read.?only") as caught:
            await reader.execute(sql, ())
        assert ReadOnlyError is driver.diagnose(caught.value).kind
    assert 1 == await value(reader, COUNT)
    await reader.close()
    await connection.execute("insert into numbers values (1)", ())
    assert 2 == await value(connection, COUNT)


async def test_each_connection_is_one_of_its_own(connection, driver):
    other = await driver.connect()
    assert other is not connection
    assert other.raw is not connection.raw
    await other.close()
    assert other.is_closed
    assert not connection.is_closed
    assert 1 == await value(connection, COUNT)


# What a driver does not do


async def test_sql_is_passed_on_as_it_is(connection, driver):
    for literal in ("?", ":a", "%s", "$1", "%(a)s", "%%", "--", "/*"):
        assert literal == await value(connection, f"select '{literal}'")
    one, two = mark(driver), mark(driver, 2)
    condition = f"1 = cast({one} as integer) and 2 = cast({two} as integer)"
    assert "?:a$1" == await value(connection, f"select '?:a$1' where {condition}", 1, 2)
    with pytest.raises(Exception, match=r"(?i)syntax error"):
        await connection.execute("select %s %s", ())


async def test_a_statement_is_run_once_even_if_it_fails(driver, target):
    calls = []
    if target.dialect == "sqlite":
        driver.options["functions"] = [("tick", 0, lambda: calls.append(1) or 1)]
        tick, ticks = "tick()", lambda: len(calls)
    connection = await driver.connect()
    if target.dialect == "postgresql":
        await connection.execute("create sequence ticks", ())  # what it counts is not rolled back
        tick = "nextval('ticks')"
    await connection.execute("create table ones (i integer primary key)", ())
    for _ in range(2):
        with pytest.raises(Exception, match=r"(?i)unique"):
            await connection.execute(f"insert into ones select 1 from (select {tick}) as t union all select 1", ())
    assert 2 == (ticks() if calls else await value(connection, "select last_value from ticks"))
    await connection.close()


async def test_answers_are_not_kept(connection):
    assert 1 == await value(connection, COUNT)
    await connection.execute("insert into numbers values (1)", ())
    assert 2 == await value(connection, COUNT)


async def test_a_driver_does_not_log(connection, driver, caplog):
    with caplog.at_level(logging.DEBUG, logger="aio_databases"):
        await (await driver.connect()).close()
        await value(connection, COUNT)
        with pytest.raises(Exception, match="nowhere"):
            await connection.execute("select * from nowhere", ())
    assert [] == [record for record in caplog.records if record.name.startswith("aio_databases")]


# Results


async def test_no_result_is_left_open_after_a_verb(connection, driver):
    await connection.executemany(f"insert into numbers values ({mark(driver)})", [(i,) for i in range(1, 10)])
    for limit in (None, 0, 1, 5, 10, 50):
        rows = await connection.fetch("select i from numbers order by i", (), limit)
        assert list(range(10))[:limit] == [row["i"] for row in rows]
        await connection.execute("alter table numbers rename to others", ())
        await connection.execute("alter table others rename to numbers", ())
    await connection.execute("select i from numbers", ())
    assert not connection.in_transaction
    await connection.execute("drop table numbers", ())


async def test_a_cursor_sends_nothing_before_its_first_fetch(connection):
    cursor = connection.cursor("insert into numbers values (1) returning i", ())
    assert 1 == await value(connection, COUNT)
    await cursor.close()
    assert 1 == await value(connection, COUNT)
    wrong = connection.cursor("select * from nowhere", ())
    with pytest.raises(Exception, match="nowhere"):
        await wrong.fetch(1)
    await wrong.close()


@pytest.mark.parametrize(
    ("size", "expected"), [(1, [1] * 10 + [0]), (4, [4, 4, 2]), (5, [5, 5, 0]), (10, [10, 0]), (50, [10])]
)
async def test_a_cursor_gives_fewer_rows_than_asked_for_only_at_the_end(connection, size, expected):
    cursor = connection.cursor(f"{NUMBERS} order by i", ())
    counts, rows = [], []
    while not counts or counts[-1] == size:
        chunk = await cursor.fetch(size)
        counts.append(len(chunk))
        rows += chunk
    assert expected == counts
    assert list(range(1, 11)) == [row["i"] for row in rows]
    await cursor.close()


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_cursor_that_is_closed_leaves_nothing_behind(connection, in_transaction):
    if in_transaction:
        await connection.begin(TransactionOptions())
    cursor = connection.cursor("select i from numbers", ())
    assert [(0,)] == await cursor.fetch(1)
    await cursor.close()
    await cursor.close()
    assert in_transaction is connection.in_transaction
    if in_transaction:
        await connection.rollback()
    assert not connection.in_transaction
    await connection.execute("drop table numbers", ())


async def test_many_rows_are_written_all_or_none(connection, driver):
    with pytest.raises(Exception, match=r"(?i)unique"):
        await connection.executemany(f"insert into numbers values ({mark(driver)})", [(1,), (2,), (0,)])
    assert 1 == await value(connection, COUNT)
    assert not connection.in_transaction


# Transactions


async def test_transactions_and_savepoints_are_begun_and_ended(connection):
    await connection.begin(TransactionOptions())
    assert connection.in_transaction
    await connection.execute("insert into numbers values (1)", ())
    await connection.savepoint("inner_one")
    await connection.execute("insert into numbers values (2)", ())
    await connection.rollback_to_savepoint("inner_one")
    await connection.savepoint("inner_two")
    await connection.execute("insert into numbers values (3)", ())
    await connection.release_savepoint("inner_two")
    await connection.commit()
    assert not connection.in_transaction
    assert [0, 1, 3] == [row["i"] for row in await connection.fetch("select i from numbers order by i", (), None)]
    await connection.begin(TransactionOptions())
    await connection.execute("delete from numbers", ())
    await connection.rollback()
    assert not connection.in_transaction
    assert 3 == await value(connection, COUNT)


async def test_every_option_that_the_capabilities_name_works(connection, driver):
    can = driver.capabilities
    tried = [TransactionOptions(isolation=level) for level in sorted(can.isolation_levels)]
    tried += [TransactionOptions(mode=mode) for mode in sorted(can.modes)]
    tried += [TransactionOptions(deferrable=value) for value in (True, False) if can.deferrable]
    for options in [*tried, TransactionOptions(readonly=False)]:
        await connection.begin(options)
        await connection.execute("insert into numbers values (1)", ())
        await connection.rollback()
    await connection.begin(TransactionOptions(readonly=True))
    with pytest.raises(Exception, match=r"(?i)read.?only"):
        await connection.execute("insert into numbers values (1)", ())
    await connection.rollback()
    await connection.execute("insert into numbers values (1)", ())


async def test_the_id_of_an_inserted_row_is_told_if_the_capabilities_say_so(connection, driver):
    result = await connection.execute("insert into numbers values (42)", ())
    assert (42 if driver.capabilities.lastrowid else None) == result.lastrowid
    assert 1 == result.rowcount


async def test_a_reset_undoes_what_was_changed_or_says_that_it_cannot(connection, target):
    if target.dialect == "sqlite":
        assert await connection.reset() is False
        return
    before = await value(connection, "show work_mem")
    await connection.execute("set work_mem = '77MB'", ())
    assert await connection.reset() is True
    assert before == await value(connection, "show work_mem")


# Errors


async def test_errors_of_the_library_pass_unchanged(connection, driver, target):
    library = {"sqlite": ("sqlite3",), "aiosqlite": ("sqlite3",), "asyncpg": ("asyncpg.exceptions",)}[target.scheme]
    for verb, arguments in verbs(connection, "select * from nowhere"):
        with pytest.raises(Exception, match="nowhere") as caught:
            await verb(*arguments)
        assert not isinstance(caught.value, Error)
        assert type(caught.value).__module__ in library
        assert "ProgrammingError" == driver.diagnose(caught.value).kind.__name__
    if driver.capabilities.exclusive_cursor:
        await connection.rollback()  # of the cursor that was not closed
    assert 1 == await value(connection, COUNT)


def test_what_is_no_error_of_the_library_means_nothing(driver):
    for strange in (ValueError("x"), KeyError("x"), RuntimeError("x"), ZeroDivisionError()):
        assert driver.diagnose(strange) is None


# The end of a connection


@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_a_connection_that_was_ended_says_so(driver, end):
    connection = await driver.connect()
    for _ in range(2):
        with anyio.fail_after(5):
            ended = getattr(connection, end)()
            if end == "close":
                await ended
    assert connection.is_closed
    assert not connection.in_transaction
    for verb, arguments in (*verbs(connection, "select 1"), (connection.ping, ())):
        with anyio.fail_after(5), pytest.raises(Exception, match=r"(?i)clos|lost|released") as caught:
            await verb(*arguments)
        assert not isinstance(caught.value, TimeoutError)
        error = caught.value
        kind = type(error) if isinstance(error, Error) else driver.diagnose(error).kind
        assert issubclass(kind, ConnectionLost)
    with anyio.fail_after(5):
        assert await connection.settle() is False


@pytest.mark.parametrize(("first", "second"), [("close", "terminate"), ("terminate", "close")])
async def test_a_connection_may_be_closed_and_cut(driver, first, second):
    connection = await driver.connect()
    for end in (first, second):
        with anyio.fail_after(5):
            ended = getattr(connection, end)()
            if end == "close":
                await ended
    assert connection.is_closed


async def test_a_statement_that_runs_does_not_keep_a_connection_from_being_cut(driver):
    connection = await driver.connect()

    async def run():
        with pytest.raises(Exception, match=r"(?i)clos|lost|interrupt"):
            await connection.fetch(ENDLESS, (), None)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.sleep(0.05)
            connection.terminate()
    assert connection.is_closed


@pytest.mark.targets(dialect="postgresql")
async def test_a_connection_that_the_server_closed_says_so(connection, driver, postgres):
    postgres.execute("select pg_terminate_backend($1, 5000)", await value(connection, "select pg_backend_pid()"))
    with pytest.raises(Exception, match=r"(?i)terminat|clos|reset|lost") as caught:
        await connection.execute("select 1", ())
    assert issubclass(driver.diagnose(caught.value).kind, ConnectionLost)
    assert connection.is_closed


async def test_a_sign_of_life_is_given(connection):
    await connection.ping()
    await connection.ping()
    assert not connection.is_closed


# Cancellation


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_cancelled_verb_can_be_settled_or_the_connection_is_closed(connection, driver, in_transaction):
    for verb, arguments in (
        (connection.fetch, (ENDLESS, (), None)),
        (connection.execute, (ENDLESS, ())),
        (connection.cursor(ENDLESS, ()).fetch, (1,)),
    ):
        if in_transaction and not connection.in_transaction:
            await connection.begin(TransactionOptions())
        with anyio.move_on_after(0.05) as scope:
            await verb(*arguments)
        assert scope.cancelled_caught
        with anyio.fail_after(5):
            settled = await connection.settle()
        assert driver.capabilities.reusable_after_cancel is settled
        assert settled is not connection.is_closed
        if connection.in_transaction:
            await connection.rollback()
        assert 1 == await value(connection, COUNT)
        assert "right" == await value(connection, "select 'right'")


async def test_settling_when_there_is_nothing_to_settle_does_no_harm(connection):
    with anyio.fail_after(5):
        for _ in range(3):
            assert await connection.settle()
            assert 1 == await value(connection, COUNT)


# The driver


def test_a_driver_tells_what_it_is(driver, target):
    assert isinstance(driver, Driver)
    assert (target.scheme, target.dialect) == (driver.name, driver.dialect)
    assert driver.dialect == driver.db_type == str(driver)
    assert driver.capabilities is type(driver).capabilities


@pytest.mark.parametrize("module", ["sqlite", "aiosqlite", "asyncpg", "dummy"])
def test_importing_a_driver_imports_its_library_alone_and_starts_nothing(module):
    script = f"""
import sys, threading
import aio_databases
assert not {{"sqlite3", "aiosqlite", "asyncpg", "trio"}} & set(sys.modules), "the library alone brings a driver"
import aio_databases.drivers.{module}
print(*sorted({{"sqlite3", "aiosqlite", "asyncpg", "trio"}} & set(sys.modules)), threading.active_count())
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=".")
    libraries = {"sqlite": "sqlite3 ", "aiosqlite": "aiosqlite sqlite3 ", "asyncpg": "asyncpg ", "dummy": ""}[module]
    assert f"{libraries}1" == answer.stdout.strip()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_dummy_keeps_the_promises_that_it_can(anyio_backend):
    driver = Database("dummy://").backend
    connection = await driver.connect()
    assert [(1,)] == await connection.fetch("anything", (), None)
    assert [] == await connection.fetch("anything", (), 0)
    assert not connection.in_transaction
    await connection.begin(TransactionOptions())
    assert connection.in_transaction
    await connection.rollback()
    assert not connection.in_transaction
    cursor = connection.cursor("anything", ())
    assert [(1,)] == await cursor.fetch(5)
    await cursor.close()
    assert driver.diagnose(ValueError()) is None
    await connection.close()
    await connection.close()
    connection.terminate()
    assert connection.is_closed
