"""What every driver promises at the seam: the invariants at the top of drivers/base.py, tested below the pool."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from aio_databases import Database, ReadOnlyError, UniqueViolation
from aio_databases.drivers import driver_class
from aio_databases.drivers.base import Driver, TransactionOptions
from conformance.conftest import ALL, LOOPS
from conformance.libraries import LIBRARIES
from conformance.seam import COUNT, mark, value
from loops import backend

pytestmark = pytest.mark.targets(pooled=False)  # there is no pool below the pool


# After `connect`


async def test_a_connection_is_in_autocommit_mode(connection, driver, target):
    assert not connection.in_transaction
    await connection.execute(f"insert into numbers values ({mark(driver)})", (1,))
    await connection.executemany(f"insert into numbers values ({mark(driver)})", [(2,), (3,)])
    await connection.fetch("insert into numbers values (4)", (), None)
    assert not connection.in_transaction
    with pytest.raises(Exception, match=r"\b0\b|(?i:unique)") as caught:
        await connection.execute("insert into numbers values (0)", ())
    assert UniqueViolation is driver.diagnose(caught.value).kind
    assert not connection.in_transaction
    if not target.memory:
        other = await driver.connect()
        assert await value(other, COUNT) == 5
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
    assert await value(reader, COUNT) == 1
    await reader.close()
    await connection.execute("insert into numbers values (1)", ())
    assert await value(connection, COUNT) == 2


async def test_each_connection_is_one_of_its_own(connection, driver):
    other = await driver.connect()
    assert other is not connection
    assert other.raw is not connection.raw
    await other.close()
    assert other.is_closed
    assert not connection.is_closed
    assert await value(connection, COUNT) == 1


# What a driver does not do


async def test_sql_is_passed_on_as_it_is(connection, driver):
    for literal in ("?", ":a", "%s", "$1", "%(a)s", "%%", "--", "/*"):
        assert literal == await value(connection, f"select '{literal}'")
    condition = f"1 = cast({mark(driver)} as decimal) and 2 = cast({mark(driver, 2)} as decimal)"
    query = f"select '?:a$1' from numbers where {condition}"
    assert await value(connection, query, 1, 2) == "?:a$1"
    with pytest.raises(Exception, match=r"(?i)syntax"):
        await connection.execute("select %s %s", ())


TICKS = {
    "postgresql": ("nextval('ticks')", "select last_value from ticks"),
    "mysql": ("nextval(ticks)", "select lastval(ticks)"),
}


@pytest.mark.targets(dialect={"postgresql", "mysql"})
async def test_a_statement_is_run_once_even_if_it_fails(connection, target):
    tick, ticks = TICKS[target.dialect]
    await connection.execute("create sequence ticks", ())  # what it counts is not rolled back
    for _ in range(2):
        with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
            await connection.execute(f"insert into numbers select 1 from (select {tick}) as t union all select 1", ())
    assert await value(connection, ticks) == 2


@pytest.mark.targets(scheme={"sqlite", "aiosqlite"})
async def test_a_statement_of_sqlite_is_run_once_even_if_it_fails(driver):
    calls = []
    driver.options["functions"] = [("tick", 0, lambda: calls.append(1) or 1)]
    connection = await driver.connect()
    await connection.execute("create table ones (i integer primary key)", ())
    for _ in range(2):
        with pytest.raises(Exception, match=r"(?i)unique"):
            await connection.execute("insert into ones select 1 from (select tick()) as t union all select 1", ())
    assert len(calls) == 2
    await connection.close()


async def test_answers_are_not_kept(connection):
    assert await value(connection, COUNT) == 1
    await connection.execute("insert into numbers values (1)", ())
    assert await value(connection, COUNT) == 2


async def test_a_driver_does_not_log(connection, driver, caplog):
    with caplog.at_level(logging.DEBUG, logger="aio_databases"):
        await (await driver.connect()).close()
        await value(connection, COUNT)
        with pytest.raises(Exception, match="nowhere"):
            await connection.execute("select * from nowhere", ())
    assert [record for record in caplog.records if record.name.startswith("aio_databases")] == []


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
    cursor = connection.cursor("insert into numbers values (1)", ())
    assert await value(connection, COUNT) == 1
    await cursor.close()
    assert await value(connection, COUNT) == 1
    wrong = connection.cursor("select * from nowhere", ())
    with pytest.raises(Exception, match="nowhere"):
        await wrong.fetch(1)
    await wrong.close()


@pytest.mark.parametrize(
    ("size", "expected"), [(1, [1] * 10 + [0]), (4, [4, 4, 2]), (5, [5, 5, 0]), (10, [10, 0]), (50, [10])]
)
async def test_a_cursor_gives_fewer_rows_than_asked_for_only_at_the_end(connection, words, size, expected):
    cursor = connection.cursor(words.numbers.format(10), ())
    counts, rows = [], []
    while not counts or counts[-1] == size:
        chunk = await cursor.fetch(size)
        counts.append(len(chunk))
        rows += chunk
    assert counts == expected
    assert list(range(1, 11)) == [row["i"] for row in rows]
    await cursor.close()


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_cursor_that_is_closed_leaves_nothing_behind(connection, in_transaction):
    if in_transaction:
        await connection.begin(TransactionOptions())
    cursor = connection.cursor("select i from numbers", ())
    assert await cursor.fetch(1) == [(0,)]
    await cursor.close()
    await cursor.close()
    assert in_transaction is connection.in_transaction
    if in_transaction:
        await connection.rollback()
    assert not connection.in_transaction
    await connection.execute("drop table numbers", ())


async def test_many_rows_are_written_all_or_none(connection, driver):
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        await connection.executemany(f"insert into numbers values ({mark(driver)})", [(1,), (2,), (0,)])
    assert await value(connection, COUNT) == 1
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
    assert [row["i"] for row in await connection.fetch("select i from numbers order by i", (), None)] == [0, 1, 3]
    await connection.begin(TransactionOptions())
    await connection.execute("delete from numbers", ())
    await connection.rollback()
    assert not connection.in_transaction
    assert await value(connection, COUNT) == 3


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


async def test_the_id_of_an_inserted_row_is_told_if_the_capabilities_say_so(connection, driver, words):
    await connection.execute(f"create table counted (id {words.types['counted']}, x integer)", ())
    for number in (1, 2):
        result = await connection.execute("insert into counted (x) values (5)", ())
        assert (number if driver.capabilities.lastrowid else None) == result.lastrowid
        assert result.rowcount == 1


async def test_a_reset_undoes_what_was_changed_or_says_that_it_cannot(connection, words):
    change, look, expected = words.session
    assert await value(connection, look) == expected
    await connection.execute(change, ())
    assert expected != await value(connection, look)
    if await connection.reset():
        assert await value(connection, look) == expected
        assert await value(connection, COUNT) == 1


# The driver


def test_a_driver_tells_what_it_is(driver, target):
    assert isinstance(driver, Driver)
    assert (target.scheme, target.dialect) == (driver.name, driver.dialect)
    assert driver.dialect == driver.db_type == str(driver)
    assert target.odbc or driver.capabilities is type(driver).capabilities


def test_the_matrix_has_every_driver_on_the_event_loops_that_it_runs_on():
    for scheme, loops in LOOPS.items():
        can = driver_class(scheme, scheme).capabilities
        assert loops == tuple(loop for loop in ALL if getattr(can, backend(loop)[0])), scheme


@pytest.mark.parametrize("scheme", [*LIBRARIES, "dummy"])
def test_importing_a_driver_imports_its_library_alone_and_starts_nothing(scheme):
    every = frozenset().union(*(library.modules for library in LIBRARIES.values()))
    module = driver_class(scheme, scheme).__module__
    script = f"""
import sys, threading
import aio_databases
assert not {set(every)} & set(sys.modules), "the library alone brings a driver"
import {module}
print(*sorted({set(every)} & set(sys.modules)), threading.active_count())
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=".")
    modules = LIBRARIES[scheme].modules if scheme in LIBRARIES else ()
    assert [*sorted(modules), "1"] == answer.stdout.split()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_dummy_keeps_the_promises_that_it_can(anyio_backend):
    driver = Database("dummy://").backend
    connection = await driver.connect()
    assert await connection.fetch("anything", (), None) == [(1,)]
    assert await connection.fetch("anything", (), 0) == []
    assert not connection.in_transaction
    await connection.begin(TransactionOptions())
    assert connection.in_transaction
    await connection.rollback()
    assert not connection.in_transaction
    cursor = connection.cursor("anything", ())
    assert await cursor.fetch(5) == [(1,)]
    await cursor.close()
    assert driver.diagnose(ValueError()) is None
    await connection.close()
    await connection.close()
    connection.terminate()
    assert connection.is_closed
