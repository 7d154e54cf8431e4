"""What is particular to SQLite: stopping it, reading only, values, the ends of transactions."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import anyio
import pytest

from aio_databases import ConfigurationError, Database, LockTimeout, NotSupportedError, ReadOnlyError, errors
from aio_databases.drivers.base import TransactionOptions
from aio_databases.drivers.sqlite.driver import SQLiteConnection
from unit.threads import ENDLESS, NUMBERS, new_threads, on_both_loops, opened, verify_ended


@pytest.fixture
def anyio_backend(request):
    """Run on the event loop that the test names, else on asyncio."""
    return getattr(request, "param", "asyncio")


# Stopping SQLite


@on_both_loops
async def test_cancelling_a_long_query_stops_it(scheme):
    async with Database(f"{scheme}://") as db:
        with anyio.move_on_after(0.05) as scope:
            await db.fetchval(ENDLESS)
        with anyio.fail_after(3):
            assert await db.fetchval("select 1") == 1
        assert (scope.cancelled_caught, db.stats()["primary"].opened) == (True, 1)


@on_both_loops
async def test_cutting_a_connection_stops_its_query(scheme):
    before = threading.enumerate()
    async with opened(f"{scheme}://") as connection:
        threads = new_threads(before)
        with anyio.move_on_after(0.05):
            await connection.execute(ENDLESS, ())
        connection.terminate()
        await anyio.to_thread.run_sync(verify_ended, threads)


@on_both_loops
async def test_cancelling_a_statement_leaves_an_open_stream_alone(scheme, tmp_path):
    async with Database(f"{scheme}:///{tmp_path}/x.db") as db, db.connection():
        async with db.iterate(NUMBERS, chunk_size=10) as stream:
            first = await anext(stream)
            with anyio.move_on_after(0.05) as scope:
                await db.fetchval(ENDLESS)
            rest = [row["i"] async for row in stream]
        assert (True, 1, list(range(2, 501))) == (scope.cancelled_caught, first["i"], rest)


async def test_aiosqlite_on_trio_is_refused_with_what_runs_there():
    async def connect():
        with pytest.raises(NotSupportedError, match="asyncio only, not on trio; the scheme sqlite:// runs on both"):
            await Database("aiosqlite://").connect()

    await anyio.to_thread.run_sync(lambda: anyio.run(connect, backend="trio"))


# What else is particular to SQLite


@pytest.mark.parametrize("scheme", ["sqlite", "aiosqlite"])
def test_a_host_in_an_sqlite_url_is_refused_with_how_to_write_a_path(scheme):
    with pytest.raises(ConfigurationError, match="has a host; a relative path takes three slashes"):
        Database(f"{scheme}://file.db")


@on_both_loops
async def test_a_view_of_a_shared_connection_refuses_writes_and_leaves_it_open(scheme):
    async with opened(f"{scheme}://") as connection:
        await connection.execute("create table t (x)", ())
        view = connection.read_only_view()
        with pytest.raises(sqlite3.OperationalError, match="attempt to write a readonly database"):
            await view.execute("insert into t values (1)", ())
        await view.close()
        view.terminate()
        assert (view.is_closed, await view.settle()) == (False, True)
        await connection.execute("insert into t values (1)", ())
        assert await view.fetch("select x from t", (), None) == [(1,)]


async def test_an_init_gets_the_connection_in_its_thread_or_one_whose_methods_are_awaited():
    seen = []

    async def init(db):
        cursor = await db.execute("pragma user_version = 7")
        seen.append(cursor.fetchall())

    async with opened() as connection:
        await connection.initialise(lambda db: seen.append((db, threading.current_thread())))
        await connection.initialise(init)
        assert await connection.fetch("pragma user_version", (), None) == [(7,)]
        (db, thread), rows = seen
        assert (db is connection.db, thread is not threading.current_thread(), rows) == (True, True, [])


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (OverflowError("int too large"), errors.DataError),
        (sqlite3.ProgrammingError("closed"), errors.ProgrammingError),
        (ValueError("not a database's"), None),
    ],
)
def test_errors_of_sqlite3_without_a_code_are_told_by_their_class(exc, kind):
    diagnosis = Database("sqlite://").backend.diagnose(exc)
    assert kind is (diagnosis and diagnosis.kind)


async def test_a_statement_is_stopped_only_while_that_is_asked_for():
    async with opened() as connection:
        assert isinstance(connection, SQLiteConnection)
        connection.interrupt()
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            await connection.execute(ENDLESS, ())
        connection.resume()
        assert await connection.fetch(f"select max(i) from ({NUMBERS})", (), None) == [(500,)]


@on_both_loops
@pytest.mark.parametrize("uri", [False, True])
async def test_a_read_only_connection_is_refused_writes_by_sqlite(scheme, uri, tmp_path):
    path = f"{tmp_path}/x.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table t (x)")
    url = f"{scheme}:///file:{path}?mode=rw" if uri else f"{scheme}:///{path}"
    async with opened(url, uri=uri, read_only=True) as connection:
        with pytest.raises(sqlite3.OperationalError, match="attempt to write a readonly database"):
            await connection.execute("insert into t values (1)", ())
        assert await connection.fetch("select x from t", (), None) == []


async def test_functions_and_pragmas_are_set_on_every_connection():
    functions, pragmas = [("twice", 1, lambda value: 2 * value)], {"user_version": 5, "foreign_keys": "OFF"}
    async with opened(functions=functions, pragmas=pragmas) as connection:
        sql = "select twice(21), user_version, foreign_keys from pragma_user_version, pragma_foreign_keys"
        assert await connection.fetch(sql, (), None) == [(42, 5, 0)]


async def test_a_bad_pragma_is_told_when_the_connection_is_opened():
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        async with opened(pragmas={"user_version": "(("}):
            pass


@pytest.mark.parametrize("nested", [False, True])
async def test_executemany_is_all_or_nothing(nested):
    async with opened() as connection:
        await connection.execute("create table t (x unique)", ())
        if nested:
            await connection.begin(TransactionOptions())
        with pytest.raises(sqlite3.IntegrityError):
            await connection.executemany("insert into t values (?)", [(1,), (1,)])
        assert nested is connection.in_transaction
        assert (await connection.executemany("insert into t values (?)", [(2,), (3,)])).rowcount == 2
        assert await connection.fetch("select x from t", (), None) == [(2,), (3,)]


async def test_a_read_only_transaction_refuses_writes_until_it_ends():
    async with opened() as connection:
        await connection.execute("create table t (x)", ())
        await connection.begin(TransactionOptions(readonly=True))
        with pytest.raises(sqlite3.OperationalError, match="attempt to write a readonly database"):
            await connection.execute("insert into t values (1)", ())
        await connection.rollback()
        await connection.rollback()
        assert (await connection.execute("insert into t values (1)", ())).rowcount == 1


async def test_a_connection_that_is_read_only_stays_so_behind_a_read_only_transaction():
    async with opened() as connection:
        await connection.execute("create table t (x)", ())
        connection.raw.execute("PRAGMA query_only = ON")
        await connection.begin(TransactionOptions(readonly=True))
        assert await connection.fetch("select x from t", (), None) == []
        await connection.commit()
        with pytest.raises(sqlite3.OperationalError, match="attempt to write a readonly database"):
            await connection.execute("insert into t values (1)", ())


async def test_a_transaction_whose_beginning_fails_under_the_librarys_connection_stays_due(tmp_path):
    path = tmp_path / "test.db"
    async with Database(f"sqlite:///{path}", pragmas={"busy_timeout": 0}) as db:
        await db.execute("create table t (x)")
        with closing(sqlite3.connect(path, isolation_level=None)) as other, suppress(ZeroDivisionError):
            other.execute("begin immediate")
            async with db.transaction() as transaction:
                with pytest.raises(LockTimeout):
                    _ = transaction.connection.raw
                other.execute("rollback")
                await db.execute("insert into t values (1)")
                raise ZeroDivisionError
        assert await db.fetchval("select count(*) from t") == 0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_beginning_that_is_cancelled_leaves_nothing_due(anyio_backend):
    async with Database("sqlite:///:memory:") as db, db.replica() as connection:

        async def begin():
            async with connection.transaction(readonly=True):
                await anyio.sleep(10)

        for passes in range(20):
            task = asyncio.create_task(begin())
            for _ in range(passes % 5):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            async with connection.transaction(readonly=True):
                assert await connection.fetchval("select 1") == 1


async def test_rows_that_a_statement_returns_or_changes_behind_with_are_counted():
    async with opened() as connection:
        await connection.execute("create table t (x)", ())
        assert (await connection.execute("insert into t values (1), (2) returning x", ())).rowcount == 2
        assert (await connection.execute("with one as (select 1) delete from t", ())).rowcount == 2


async def test_values_that_sqlite3_does_not_take_are_sent_as_text():
    moment, number = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), UUID(int=7)
    sent = [moment, moment.date(), Decimal("0.12345678901234567"), number, {"a": 1}, [1], 5]
    expected = ("2026-01-02 03:04:05+00:00", "2026-01-02", "0.12345678901234567", str(number), '{"a": 1}', "[1]", 5)
    async with opened() as connection:
        assert await connection.fetch("select ?, ?, ?, ?, ?, ?, ?", sent, None) == [expected]
        assert [(str(number),)] == await connection.fetch("select :x", {"x": number}, None)


async def test_a_replica_block_beside_a_transaction_that_only_reads_leaves_it_so():
    async with Database("sqlite:///:memory:", child_tasks="isolate") as db:
        await db.execute("create table t (x)")

        async def read():
            async with db.replica():
                assert await db.fetchval("select count(*) from t") == 0

        with pytest.raises(ReadOnlyError):
            async with db.connection() as connection, connection.transaction(readonly=True):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    await anyio.lowlevel.checkpoint()
                    await connection.fetchval("select 1")
                await db.execute("insert into t values (1)")
        assert (await db.execute("insert into t values (1)")).rowcount == 1
