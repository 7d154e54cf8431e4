"""The promises that stand at the top of `aio_databases.drivers.base`, kept by every driver."""

from __future__ import annotations

import ast
import inspect
import logging
import subprocess
import sys
from time import monotonic

import anyio
import pytest

from aio_databases import Error, ReadOnlyError
from aio_databases.drivers import driver_class
from aio_databases.drivers.base import Capabilities, Cursor, Driver, DriverConnection, TransactionOptions
from aio_databases.errors import Diagnosis
from aio_databases.record import Record, Result

INSERT = "insert into users (id) values (4)"
COUNT = "select count(*) from users"
ENDLESS = {
    "sqlite": "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n",
    "postgresql": "select cast(pg_sleep(600) as text)",
}

pytestmark = pytest.mark.targets(pooled=True)  # there is no pool at this level


@pytest.fixture
async def connect(users):
    """Give a function that opens connections of the driver, beside any pool."""
    opened = []

    async def open_one(*, read_only=False):
        opened.append(await users.backend.connect(read_only=read_only))
        return opened[-1]

    yield open_one
    for connection in opened:
        await connection.close()


@pytest.fixture
async def connection(users, connect):
    """Give a connection of the driver to a database of three users."""
    connection = await connect()
    if users.backend.shared:  # every connection is a database of its own
        await connection.execute("create table users (id integer primary key, name text)", ())
        await connection.execute("insert into users (id, name) values (1, 'Ann'), (2, 'Bob'), (3, 'Cid')", ())
    return connection


async def value(connection, query):
    return (await connection.fetch(query, (), 1))[0][0]


# Autocommit and read-only


async def test_a_new_connection_is_in_autocommit_mode(connection):
    assert not connection.in_transaction
    await connection.execute(INSERT, ())
    assert not connection.in_transaction
    await connection.fetch(COUNT, (), None)
    await connection.executemany("update users set name = 'x'", [()])
    assert not connection.in_transaction


@pytest.mark.targets(memory=False)
async def test_what_one_connection_wrote_the_next_one_sees(connection, connect):
    await connection.execute(INSERT, ())
    assert 4 == await value(await connect(), COUNT)


@pytest.mark.targets(memory=False)
@pytest.mark.parametrize("verb", ["execute", "fetch", "executemany", "cursor"])
async def test_the_database_refuses_writes_on_a_read_only_connection(users, connect, verb):
    reader = await connect(read_only=True)
    calls = {
        "execute": lambda: reader.execute(INSERT, ()),
        "fetch": lambda: reader.fetch(f"{INSERT} returning id", (), None),
        "executemany": lambda: reader.executemany(INSERT, [()]),
        "cursor": lambda: reader.cursor(f"{INSERT} returning id", ()).fetch(1),
    }
    assert 3 == await value(reader, COUNT)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the library's own, whatever it is
        await calls[verb]()
    assert ReadOnlyError is users.backend.diagnose(caught.value).kind


# Verbs


async def test_verbs_return_our_records_and_results(connection):
    result = await connection.execute("update users set name = 'x'", ())
    assert isinstance(result, Result)
    assert 3 == result.rowcount
    assert isinstance(await connection.executemany("update users set name = 'y'", [()]), Result)
    rows = await connection.fetch("select id, name from users order by id", (), None)
    assert [(1, "y"), (2, "y"), (3, "y")] == rows
    assert all(isinstance(row, Record) for row in rows)


@pytest.mark.parametrize(("limit", "found"), [(None, 3), (1, 1), (2, 2), (9, 3)])
async def test_a_limit_is_kept(connection, limit, found):
    assert found == len(await connection.fetch("select id from users", (), limit))


@pytest.mark.parametrize("limit", [None, 1, 2])
async def test_no_result_is_left_open_after_a_verb(connection, limit):
    """A table that is still being read could not be dropped."""
    await connection.fetch("select id from users", (), limit)
    await connection.execute("select id from users", ())
    assert not connection.in_transaction
    await connection.execute("drop table users", ())


async def test_a_cursor_reads_in_chunks_and_may_be_closed_twice(connection):
    cursor = connection.cursor("select id from users order by id", ())
    assert isinstance(cursor, Cursor)
    assert [(1,), (2,)] == await cursor.fetch(2)
    assert [(3,)] == await cursor.fetch(2)
    await cursor.close()
    await cursor.close()
    unused = connection.cursor("this is no SQL", ())
    await unused.close()
    assert not connection.in_transaction
    await connection.execute("drop table users", ())


async def test_a_driver_never_reads_sql(connection, users):
    """Text with a placeholder of another style goes to the database as it is."""
    foreign = "select %s" if users.backend.dialect == "sqlite" else "select ?"
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the library's own, whatever it is
        await connection.fetch(foreign, (), None)
    assert not isinstance(caught.value, Error)


@pytest.mark.parametrize("call", ["execute", "fetch", "executemany", "cursor"])
async def test_errors_of_the_library_pass_unchanged_and_are_diagnosed(connection, users, call):
    calls = {
        "execute": lambda: connection.execute("selec", ()),
        "fetch": lambda: connection.fetch("selec", (), None),
        "executemany": lambda: connection.executemany("selec", [()]),
        "cursor": lambda: connection.cursor("selec", ()).fetch(1),
    }
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the library's own, whatever it is
        await calls[call]()
    assert not isinstance(caught.value, Error)
    diagnosis = users.backend.diagnose(caught.value)
    assert isinstance(diagnosis, Diagnosis)
    assert issubclass(diagnosis.kind, Error)
    assert users.backend.diagnose(ZeroDivisionError()) is None
    assert users.backend.diagnose(LookupError("closed")) is None


async def test_executemany_is_all_or_nothing(connection):
    with pytest.raises(Exception, match=r"(?i)unique"):
        await connection.executemany(INSERT, [(), ()])
    assert 3 == await value(connection, COUNT)
    assert not connection.in_transaction


# Transactions


@pytest.mark.parametrize(("end", "count"), [("commit", 4), ("rollback", 3)])
async def test_a_transaction_begins_and_ends(connection, end, count):
    await connection.begin(TransactionOptions())
    assert connection.in_transaction
    await connection.execute(INSERT, ())
    await getattr(connection, end)()
    assert not connection.in_transaction
    assert count == await value(connection, COUNT)


@pytest.mark.parametrize(("end", "count"), [("release_savepoint", 4), ("rollback_to_savepoint", 3)])
async def test_a_savepoint_begins_and_ends(connection, end, count):
    await connection.begin(TransactionOptions())
    await connection.savepoint("a")
    await connection.execute(INSERT, ())
    await getattr(connection, end)("a")
    assert connection.in_transaction
    with pytest.raises(Exception):  # noqa: B017, PT011 - the savepoint is gone
        await getattr(connection, end)("a")
    await connection.rollback()
    await connection.begin(TransactionOptions())
    await connection.savepoint("a")
    await connection.execute(INSERT, ())
    await getattr(connection, end)("a")
    await connection.commit()
    assert count == await value(connection, COUNT)


async def test_a_cursor_in_a_transaction_does_not_end_it(connection):
    await connection.begin(TransactionOptions())
    cursor = connection.cursor("select id from users order by id", ())
    await cursor.fetch(1)
    await cursor.close()
    assert connection.in_transaction
    await connection.rollback()


# Life and death


async def test_a_living_connection_answers(connection):
    assert not connection.is_closed
    for _ in range(2):
        await connection.ping()
    assert 3 == await value(connection, COUNT)


async def test_a_connection_may_be_closed_twice(connection):
    await connection.close()
    assert connection.is_closed
    assert not connection.in_transaction
    await connection.close()
    connection.terminate()
    connection.terminate()


async def test_a_connection_that_was_cut_says_so(connection):
    connection.terminate()
    connection.terminate()
    with anyio.fail_after(2):
        for call in (connection.execute, connection.ping):
            with pytest.raises(Exception) as caught:  # noqa: PT011 - the library's own, whatever it is
                await (call("select 1", ()) if call == connection.execute else call())
            assert not isinstance(caught.value, TimeoutError)
    assert connection.is_closed
    await connection.close()


async def test_cutting_a_connection_does_not_wait_for_its_statement(connection, target):
    ended = anyio.Event()

    async def run():
        with pytest.raises(Exception):  # noqa: B017, PT011 - the library's own, whatever it is
            await connection.fetch(ENDLESS[target.dialect], (), None)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(0.05)
        before = monotonic()
        connection.terminate()
        assert monotonic() - before < 1
        with anyio.fail_after(5):
            await ended.wait()


@pytest.mark.parametrize("verb", ["execute", "fetch", "executemany", "cursor"])
async def test_after_a_cancelled_verb_a_connection_is_usable_or_closed(connection, users, target, verb):
    query = ENDLESS[target.dialect]
    calls = {
        "execute": lambda: connection.execute(query, ()),
        "fetch": lambda: connection.fetch(query, (), None),
        "executemany": lambda: connection.executemany(f"update users set name = ({query})", [()]),
        "cursor": lambda: connection.cursor(query, ()).fetch(1),
    }
    with anyio.move_on_after(0.05) as scope:
        await calls[verb]()
    assert scope.cancelled_caught
    with anyio.fail_after(5):
        settled = await connection.settle()
    assert users.backend.capabilities.reusable_after_cancel is settled is not connection.is_closed
    if settled:
        if connection.in_transaction:
            await connection.rollback()
        assert 3 == await value(connection, COUNT)
        assert 0 == await value(connection, "select count(*) from users where name not in ('Ann', 'Bob', 'Cid')")


CHANGES = {
    "sqlite": ("pragma foreign_keys = off", "pragma foreign_keys"),
    "postgresql": ("set application_name = 'x'", "show application_name"),
}


async def test_a_reset_connection_is_like_a_new_one_or_says_that_it_is_not(connection, target):
    change, look = CHANGES[target.dialect]
    before = await value(connection, look)
    await connection.execute(change, ())
    assert before != await value(connection, look)
    is_reset = await connection.reset()
    assert is_reset is (before == await value(connection, look))


# What a driver says of itself


@pytest.mark.parametrize("scheme", ["sqlite", "aiosqlite", "asyncpg", "dummy"])
def test_a_driver_declares_what_it_is(scheme):
    driver = driver_class(scheme, scheme)
    assert issubclass(driver, Driver)
    assert scheme == driver.name
    assert driver.dialect in {"sqlite", "postgresql", "dummy"}
    assert driver.paramstyle in {"qmark", "format", "pyformat", "numeric_dollar"}
    assert isinstance(driver.capabilities, Capabilities)
    assert driver.capabilities.asyncio or driver.capabilities.trio
    assert all(level == level.lower() for level in driver.capabilities.isolation_levels | driver.capabilities.modes)
    assert all(map(callable, driver.option_types.values()))


@pytest.mark.parametrize("scheme", ["sqlite", "aiosqlite", "asyncpg", "dummy"])
def test_a_driver_keeps_no_log(scheme):
    tree = ast.parse(inspect.getsource(sys.modules[driver_class(scheme, scheme).__module__]))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert "logging" not in imported


@pytest.mark.parametrize("module", ["sqlite", "aiosqlite", "asyncpg", "dummy"])
def test_importing_a_driver_starts_nothing(module):
    script = f"""
import threading, warnings
warnings.simplefilter("error")
import aio_databases.drivers.{module}
assert threading.active_count() == 1, threading.enumerate()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_nothing_but_the_driver_in_use_is_imported():
    script = """
import sys, aio_databases
aio_databases.Database("sqlite://")
assert not {"asyncpg", "aiosqlite", "trio", "sqlalchemy", "pydantic", "msgspec"} & sys.modules.keys(), sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


async def test_the_library_logs_nothing_by_itself_above_debug(users, caplog):
    caplog.set_level(logging.INFO, logger="aio_databases")
    async with users.transaction():
        await users.fetchall(COUNT)
    assert [] == [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


async def test_a_driver_is_known_by_the_names_that_1x_had(users, target):
    assert target.dialect == users.backend.db_type == str(users.backend)
    assert target.scheme == users.backend.name == users.backend.url.scheme
    assert isinstance(users.backend.options, dict)
    async with users.connection() as connection:
        assert isinstance(connection.driver, DriverConnection)
