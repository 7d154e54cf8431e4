"""Drivers without a server: which one a scheme means, the worker thread, stopping SQLite, and asyncpg's pure parts."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from uuid import UUID

import anyio
import asyncpg
import pytest
from anyio.lowlevel import checkpoint

import aio_databases
from aio_databases import (
    ConfigurationError,
    ConnectionLost,
    Database,
    DriverNotInstalled,
    NotSupportedError,
    UnknownDriver,
    errors,
)
from aio_databases.concurrency import Outbox
from aio_databases.drivers import ENTRY_POINTS, driver_class
from aio_databases.drivers.asyncpg import AsyncpgConnection, AsyncpgCursor, _affected
from aio_databases.drivers.base import TransactionOptions, begin_statement
from aio_databases.drivers.sqlite import SQLiteConnection
from aio_databases.drivers.thread import ThreadConnection
from unit.fake import FakeDriver, verify_closed

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
NUMBERS = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 500) select i from n"
ON_BOTH_LOOPS = [("sqlite", "asyncio"), ("sqlite", "trio"), ("aiosqlite", "asyncio")]
on_both_loops = pytest.mark.parametrize(("scheme", "anyio_backend"), ON_BOTH_LOOPS, scope="function")


@pytest.fixture
def anyio_backend(request):
    """Run on the event loop that the test names, else on asyncio."""
    return getattr(request, "param", "asyncio")


@asynccontextmanager
async def opened(url="sqlite://", *, read_only=False, **options):
    connection = await Database(url, **options).backend.connect(read_only=read_only)
    try:
        yield connection
    finally:
        await connection.close()


def new_threads(before):
    ours = ("SQLiteConnection", "PlainConnection", "_connection_worker_thread")  # not those of the event loops
    news = [thread for thread in threading.enumerate() if thread not in before]
    return [thread for thread in news if any(name in thread.name for name in ours)]


def verify_ended(threads):
    assert 1 == len(threads)
    deadline = time.monotonic() + 5
    while threads[0].is_alive() and time.monotonic() < deadline:
        gc.collect()  # the thread may have held the connection the last time
        threads[0].join(0.05)
    assert not threads[0].is_alive()


# Which driver serves a scheme


@pytest.mark.parametrize(
    ("scheme", "name", "dialect"),
    [
        ("sqlite", "sqlite", "sqlite"),
        ("sqllite", "sqlite", "sqlite"),
        ("sqlite+pool", "sqlite", "sqlite"),
        ("sqlite+aiosqlite", "aiosqlite", "sqlite"),
        ("sqllite+aiosqlite", "aiosqlite", "sqlite"),
        ("aiosqlite", "aiosqlite", "sqlite"),
        ("aiosqlite+pool", "aiosqlite", "sqlite"),
        ("aiosqlite+aiosqlite", "aiosqlite", "sqlite"),
        ("postgresql", "asyncpg", "postgresql"),
        ("postgres", "asyncpg", "postgresql"),
        ("postgressql", "asyncpg", "postgresql"),
        ("postgresql+asyncpg", "asyncpg", "postgresql"),
        ("postgres+asyncpg", "asyncpg", "postgresql"),
        ("asyncpg", "asyncpg", "postgresql"),
        ("asyncpg+pool", "asyncpg", "postgresql"),
        ("dummy", "dummy", "dummy"),
    ],
)
def test_a_scheme_is_an_alias_a_dialect_a_library_or_both(scheme, name, dialect):
    driver = driver_class(scheme, f"{scheme}://")
    assert (name, dialect) == (driver.name, driver.dialect)


@pytest.mark.parametrize(
    ("scheme", "name", "is_for", "dialect"),
    [
        ("sqlite+asyncpg", "asyncpg", "postgresql", "sqlite"),
        ("postgres+aiosqlite", "aiosqlite", "sqlite", "postgresql"),
        ("mysql+asyncpg", "asyncpg", "postgresql", "mysql"),
    ],
)
def test_a_driver_for_another_dialect_is_refused(scheme, name, is_for, dialect):
    with pytest.raises(UnknownDriver) as caught:
        Database(f"{scheme}://u:secret@server/db")
    shown = f"{scheme}://u:***@server/db"
    assert f"the driver {name!r} of the URL {shown!r} is for {is_for}, not for {dialect}" == str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "hint"),
    [
        ("sqlit", "; did you mean 'sqlite'"),
        ("postgresq", "; did you mean 'postgresql'"),
        ("asyncpq", "; did you mean 'asyncpg'"),
        ("oracle", "; known are "),
        ("sqlite+aiosqllite", "; did you mean 'aiosqlite'"),
    ],
)
def test_an_unknown_scheme_is_refused_with_near_misses_and_what_is_known(scheme, hint):
    with pytest.raises(UnknownDriver) as caught:
        Database(f"{scheme}://u:secret@server/db")
    message = str(caught.value)
    assert message.startswith(f"no driver for the scheme {scheme!r} of the URL '{scheme}://u:***@server/db'{hint}")
    assert message.endswith("; known are aiosqlite, asyncpg, postgres, postgresql, sqlite")


@pytest.fixture
def offer(monkeypatch):
    """Give a function that has other packages offer drivers, as `name="module:Class"`."""

    def offer(**drivers):
        points = EntryPoints(EntryPoint(name, value, ENTRY_POINTS) for name, value in drivers.items())
        monkeypatch.setattr("aio_databases.drivers.entry_points", lambda group: points.select(group=group))

    return offer


async def test_other_packages_offer_drivers_by_entry_points(offer):
    offer(fake="unit.fake:FakeDriver", other="nowhere:Driver")
    db = Database("fake://server/db")
    async with db:
        assert FakeDriver is type(db.backend)
        assert "select 1" == await db.fetchval("select 1")
    verify_closed(db)


def test_drivers_of_other_packages_take_a_dialect_in_front_and_are_known(offer):
    offer(fake="unit.fake:FakeDriver")
    assert FakeDriver is driver_class("postgresql+fake", "")
    with pytest.raises(UnknownDriver, match=r"did you mean 'fake'.*; known are aiosqlite, asyncpg, fake, postgres"):
        driver_class("fakee", "")


def test_other_packages_cannot_replace_our_drivers(offer):
    offer(sqlite="nowhere:Driver")
    assert "sqlite" == driver_class("sqlite", "").name


def test_a_driver_of_another_package_that_is_broken_shows_its_own_error(offer):
    offer(fake="not_a_module:Driver")
    with pytest.raises(ModuleNotFoundError, match="No module named 'not_a_module'"):
        driver_class("fake", "")


@pytest.mark.parametrize(("scheme", "library"), [("postgresql", "asyncpg"), ("aiosqlite", "aiosqlite")])
def test_a_library_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch, scheme, library):
    monkeypatch.delitem(sys.modules, f"aio_databases.drivers.{library}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DriverNotInstalled) as caught:
        Database(f"{scheme}://u:secret@/db")
    expected = f"the URL '{scheme}://u:***@/db' needs the library {library}: pip install 'aio-databases[{library}]'"
    assert expected == str(caught.value)
    assert isinstance(caught.value, ImportError)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import missing_dependency", "No module named 'missing_dependency'"),
        ("from os import not_there", "cannot import name 'not_there'"),
        ("raise ImportError('wrong architecture')", "wrong architecture"),
    ],
)
def test_a_broken_install_shows_its_own_error(monkeypatch, tmp_path, source, error):
    (tmp_path / "asyncpg.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("asyncpg", "aio_databases.drivers.asyncpg"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ImportError, match=error) as caught:
        driver_class("asyncpg", "")
    assert not isinstance(caught.value, DriverNotInstalled)


# The worker thread


class Inbox:
    """Counts what is put into the inbox of a thread."""

    def __init__(self, inbox):
        self.inbox = inbox
        self.count = 0

    def put(self, call):
        self.count += 1
        self.inbox.put(call)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_every_verb_is_one_hop():
    async with opened() as connection:
        connection._inbox = inbox = Inbox(connection._inbox)
        cursor = connection.cursor(NUMBERS, ())
        for verb in (
            connection.execute("create table t (x)", ()),
            connection.executemany("insert into t values (?)", [(1,), (2,)]),
            connection.fetch("select x from t", (), None),
            connection.fetch("select x from t", (), 1),
            connection.ping(),
            connection.begin(TransactionOptions()),
            connection.savepoint("s"),
            connection.release_savepoint("s"),
            connection.commit(),
            cursor.fetch(10),
            cursor.close(),
        ):
            inbox.count = 0
            await verb
            assert 1 == inbox.count
        await cursor.close()
        assert 1 == inbox.count


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_calls_that_finish_together_wake_the_loop_once(monkeypatch):
    wakes = []
    wake_loop = Outbox._wake_loop
    monkeypatch.setattr(Outbox, "_wake_loop", lambda outbox: (wakes.append(outbox), wake_loop(outbox)))
    go, answers = threading.Event(), []

    async def wait(connection):
        answers.append(await connection.run(go.wait, 5))

    async with opened() as one, opened() as two, opened() as three, anyio.create_task_group() as tasks:
        for connection in (one, two, three):
            tasks.start_soon(wait, connection)
        for _ in range(5):
            await checkpoint()
        wakes.clear()
        go.set()
        outbox, deadline = Outbox.of_running_loop(), time.monotonic() + 5
        while len(outbox._calls) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)  # noqa: ASYNC251 - the loop has to be busy meanwhile
        await anyio.sleep(0.05)
        assert ([True] * 3, [outbox]) == (answers, wakes)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_a_sqlite_connection_can_be_settled_twice():
    async with opened() as connection:
        for _ in range(2):
            assert await connection.settle()
        with anyio.move_on_after(0.03):
            await connection.execute(ENDLESS, ())
        with anyio.fail_after(3):
            for _ in range(2):
                assert await connection.settle()
        assert [(1,)] == await connection.fetch("select 1", (), None)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_a_call_that_is_cancelled_before_the_thread_begins_it_is_never_made():
    go, made = threading.Event(), []
    async with opened() as connection:
        connection._inbox.put(go.wait)
        with anyio.move_on_after(0.01):
            await connection.run(made.append, 1)
        with anyio.fail_after(3):
            assert [True, True] == [await connection.settle(), await connection.settle()]
        go.set()
        await connection.run(made.append, 2)
    assert [2] == made


async def test_a_closed_connection_says_so_and_closes_again():
    async with opened() as connection:
        await connection.close()
        await connection.close()
        connection.terminate()
        assert (True, False, False) == (connection.is_closed, connection.in_transaction, await connection.settle())
        with pytest.raises(ConnectionLost, match="the connection was closed while it was in use"):
            await connection.execute("select 1", ())


async def test_a_database_that_cannot_be_opened_leaves_no_thread(tmp_path):
    before = threading.enumerate()
    with pytest.raises(sqlite3.OperationalError, match="unable to open database file"):
        async with opened(f"sqlite:///{tmp_path}/no/where.db"):
            pass
    for thread in new_threads(before):
        thread.join(5)
    assert [] == new_threads(before)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_connection_can_be_cut_when_its_loop_has_ended(loop):
    before = threading.enumerate()
    connection = anyio.run(Database("sqlite://").backend.connect, backend=loop)
    threads = new_threads(before)
    connection.terminate()
    connection.terminate()
    verify_ended(threads)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.db.execute("select 1")


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_connection_that_is_forgotten_closes_when_its_loop_has_ended(loop):
    before = threading.enumerate()
    connection = anyio.run(Database("sqlite://").backend.connect, backend=loop)
    db, threads = connection.db, new_threads(before)
    del connection
    gc.collect()
    verify_ended(threads)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        db.execute("select 1")


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_forgotten_sqlite_pool_closes_after_its_loop_has_ended(loop, tmp_path):
    before = threading.enumerate()
    db = Database(f"sqlite:///{tmp_path}/x.db")
    anyio.run(db.connect, backend=loop)
    threads = new_threads(before)
    with pytest.warns(ResourceWarning, match="was never disconnected"):  # noqa: PT031 - forgetting takes two steps
        del db
        gc.collect()
    verify_ended(threads)


@pytest.mark.parametrize(("scheme", "loop"), ON_BOTH_LOOPS)
def test_an_open_connection_does_not_keep_the_interpreter_alive(scheme, loop, tmp_path):
    program = f"""
import anyio
from aio_databases import Database
db = Database("{scheme}:///{tmp_path}/x.db")
async def main():
    await db.connect()
    print(await db.fetchval("select 7"))
anyio.run(main, backend="{loop}")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        cwd=Path(aio_databases.__file__).parents[1],
        text=True,
        timeout=10,
    )
    assert (0, "7\n", "") == (done.returncode, done.stdout, done.stderr)


@on_both_loops
async def test_the_threads_are_daemons(scheme):
    before = threading.enumerate()
    async with opened(f"{scheme}://"):
        assert [True] == [thread.daemon for thread in new_threads(before)]


class PlainConnection(ThreadConnection):
    """A synchronous library that has nothing particular."""

    in_transaction = False

    def interrupt(self):
        """Do nothing: the library cannot."""

    def _executemany(self, sql, rows):
        raise NotImplementedError


async def test_any_synchronous_library_has_the_verbs():
    connection = PlainConnection()
    await connection.open(lambda: sqlite3.connect(":memory:", check_same_thread=False))
    assert connection.db is connection.raw
    await connection.execute("create table t (x)", ())
    assert (1, 1) == await connection.execute("insert into t values (?)", (5,))
    assert [] == await connection.fetch("insert into t values (6)", (), None)
    assert [(5,)] == await connection.fetch("select x from t", (), 1)
    assert [] == await connection.fetch("select x from t", (), 0)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await connection.execute("select * from nowhere", ())
    assert await connection.settle()
    await connection.close()


# Stopping SQLite


@on_both_loops
async def test_cancelling_a_long_query_stops_it(scheme):
    async with Database(f"{scheme}://") as db:
        with anyio.move_on_after(0.05) as scope:
            await db.fetchval(ENDLESS)
        with anyio.fail_after(3):
            assert 1 == await db.fetchval("select 1")
        assert (True, 1) == (scope.cancelled_caught, db.stats()["primary"].opened)


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
        assert (False, True) == (view.is_closed, await view.settle())
        await connection.execute("insert into t values (1)", ())
        assert [(1,)] == await view.fetch("select x from t", (), None)


async def test_an_init_gets_the_connection_in_its_thread_or_one_whose_methods_are_awaited():
    seen = []

    async def init(db):
        cursor = await db.execute("pragma user_version = 7")
        seen.append(cursor.fetchall())

    async with opened() as connection:
        await connection.initialise(lambda db: seen.append((db, threading.current_thread())))
        await connection.initialise(init)
        assert [(7,)] == await connection.fetch("pragma user_version", (), None)
        (db, thread), rows = seen
        assert (True, True, []) == (db is connection.db, thread is not threading.current_thread(), rows)


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
        assert [(500,)] == await connection.fetch(f"select max(i) from ({NUMBERS})", (), None)


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
        assert [] == await connection.fetch("select x from t", (), None)


async def test_functions_and_pragmas_are_set_on_every_connection():
    functions, pragmas = [("twice", 1, lambda value: 2 * value)], {"user_version": 5, "foreign_keys": "OFF"}
    async with opened(functions=functions, pragmas=pragmas) as connection:
        sql = "select twice(21), user_version, foreign_keys from pragma_user_version, pragma_foreign_keys"
        assert [(42, 5, 0)] == await connection.fetch(sql, (), None)


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
        assert 2 == (await connection.executemany("insert into t values (?)", [(2,), (3,)])).rowcount
        assert [(2,), (3,)] == await connection.fetch("select x from t", (), None)


async def test_a_read_only_transaction_refuses_writes_until_it_ends():
    async with opened() as connection:
        await connection.execute("create table t (x)", ())
        await connection.begin(TransactionOptions(readonly=True))
        with pytest.raises(sqlite3.OperationalError, match="attempt to write a readonly database"):
            await connection.execute("insert into t values (1)", ())
        await connection.rollback()
        await connection.rollback()
        assert 1 == (await connection.execute("insert into t values (1)", ())).rowcount


async def test_rows_that_a_statement_returns_or_changes_behind_with_are_counted():
    async with opened() as connection:
        await connection.execute("create table t (x)", ())
        assert 2 == (await connection.execute("insert into t values (1), (2) returning x", ())).rowcount
        assert 2 == (await connection.execute("with one as (select 1) delete from t", ())).rowcount


async def test_values_that_sqlite3_does_not_take_are_sent_as_text():
    moment, number = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), UUID(int=7)
    sent = [moment, moment.date(), Decimal("1.50"), number, {"a": 1}, [1], 5]
    expected = ("2026-01-02 03:04:05+00:00", "2026-01-02", "1.50", str(number), '{"a": 1}', "[1]", 5)
    async with opened() as connection:
        assert [expected] == await connection.fetch("select ?, ?, ?, ?, ?, ?, ?", sent, None)
        assert [("1.50",)] == await connection.fetch("select :x", {"x": Decimal("1.50")}, None)


# asyncpg without a server


class Raw:
    """Plays a connection of asyncpg: answers each statement with the next of `answers`."""

    def __init__(self, *answers, closed=False, in_transaction=False):
        self.answers = list(answers)
        self.closed = closed
        self.in_transaction = in_transaction
        self.sent = []

    async def execute(self, sql, *params):
        self.sent.append((sql, *params))
        answer = self.answers.pop(0) if self.answers else ""
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def is_closed(self):
        return self.closed

    def is_in_transaction(self):
        return self.in_transaction


@pytest.mark.parametrize(
    ("status", "affected"),
    [("INSERT 0 3", 3), ("UPDATE 12", 12), ("SELECT 0", 0), ("CREATE TABLE", -1), ("BEGIN", -1), ("", -1)],
)
async def test_a_command_tag_tells_how_many_rows_were_changed(status, affected):
    assert affected == _affected(status)
    raw = Raw(status)
    assert affected == (await AsyncpgConnection(raw).execute("sql", (1, 2))).rowcount
    assert [("sql", 1, 2)] == raw.sent


async def test_an_empty_statement_over_which_asyncpg_stumbles_changes_nothing():
    assert -1 == (await AsyncpgConnection(Raw(AttributeError("decode"))).execute("", ())).rowcount


async def test_no_rows_are_not_sent():
    raw = Raw()
    assert 0 == (await AsyncpgConnection(raw).executemany("sql", [])).rowcount
    assert [] == raw.sent


async def test_a_commit_that_postgresql_answers_with_rollback_is_an_error():
    with pytest.raises(errors.TransactionError, match="was rolled back instead of committed"):
        await AsyncpgConnection(Raw("ROLLBACK")).commit()
    await AsyncpgConnection(Raw("COMMIT")).commit()


@pytest.mark.parametrize(
    ("answers", "pings"),
    [
        (["SELECT 1"], 1),
        ([asyncpg.QueryCanceledError("late"), "SELECT 1"], 2),
        ([asyncpg.InFailedSQLTransactionError("x")], 1),
    ],
)
async def test_settling_takes_one_ping_more_when_a_cancel_request_comes_late(answers, pings):
    raw = Raw(*answers)
    assert await AsyncpgConnection(raw).settle()
    assert [("SELECT 1",)] * pings == raw.sent


async def test_a_closed_connection_is_not_settled():
    raw = Raw(closed=True)
    connection = AsyncpgConnection(raw)
    assert (False, False, True) == (await connection.settle(), connection.in_transaction, connection.is_closed)
    assert [] == raw.sent


def test_a_connection_whose_loop_is_closed_is_cut_in_silence():
    cut = []

    def terminate():
        cut.append(1)
        raise RuntimeError("Event loop is closed")

    raw = Raw()
    raw.terminate = terminate
    AsyncpgConnection(raw).terminate()
    assert [1] == cut


@pytest.mark.parametrize(
    ("closed", "in_transaction", "sent"), [(False, True, [("COMMIT",)]), (True, True, []), (False, False, [])]
)
async def test_a_cursor_commits_only_what_it_began_and_what_is_still_open(closed, in_transaction, sent):
    raw = Raw(closed=closed, in_transaction=in_transaction)
    cursor = AsyncpgCursor(raw, "sql", ())
    await cursor.close()
    assert [] == raw.sent
    cursor._began = True
    await cursor.close()
    await cursor.close()
    assert sent == raw.sent


def arguments(url, *, read_only=False, **options):
    return Database(url, **options).backend._arguments(read_only=read_only)


def test_the_url_and_the_options_become_arguments_of_asyncpg():
    found = arguments("asyncpg://me:pw@server:99/db?application_name=app&ssl=require", statement_cache_size=0)
    expected = {
        "host": "server",
        "port": 99,
        "user": "me",
        "password": "pw",
        "database": "db",
        "ssl": "require",
        "statement_cache_size": 0,
        "server_settings": {"application_name": "app"},
    }
    assert expected == found


def test_what_the_url_leaves_out_is_left_to_asyncpg():
    assert {"server_settings": {}} == arguments("asyncpg://")


def test_options_win_over_the_url_and_connect_args_over_both():
    found = arguments("asyncpg://a:b@c/d", user="e", database="f", connect_args={"database": "g", "loop": None})
    assert ("e", "b", "c", "g", None) == tuple(found[name] for name in ("user", "password", "host", "database", "loop"))


def test_a_replica_is_read_only_by_the_servers_own_means():
    found = arguments("asyncpg://s/d", read_only=True, server_settings={"jit": "off"})
    assert {"jit": "off", "default_transaction_read_only": "on"} == found["server_settings"]


class BadArgument(asyncpg.InterfaceError, ValueError):
    """A value that asyncpg cannot send."""


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (asyncpg.UniqueViolationError("x"), errors.UniqueViolation),
        (asyncpg.DeadlockDetectedError("x"), errors.DeadlockDetected),
        (asyncpg.InvalidPasswordError("x"), errors.AuthenticationError),
        (asyncpg.PostgresError("x"), errors.DatabaseError),
        (TimeoutError(), errors.QueryTimeout),
        (BadArgument("x"), errors.DataError),
        (asyncpg.InterfaceError("connection is closed"), errors.ConnectionLost),
        (asyncpg.InterfaceError("cannot call: connection has been released back"), errors.ConnectionLost),
        (asyncpg.InterfaceError("another operation is in progress"), errors.InterfaceError),
        (asyncpg.InternalClientError("x"), errors.InternalError),
        (ConnectionResetError(104, "reset"), errors.ConnectionLost),
        (KeyError("not asyncpg's"), None),
    ],
)
def test_errors_of_asyncpg_are_told_by_sqlstate_else_by_class(exc, kind):
    diagnosis = Database("asyncpg://").backend.diagnose(exc)
    assert kind is (diagnosis and diagnosis.kind)


def test_details_of_a_servers_error_are_kept():
    exc = asyncpg.UniqueViolationError("x")
    exc.constraint_name, exc.table_name = "users_pkey", "users"
    found = Database("asyncpg://").backend.diagnose(exc)
    assert (errors.UniqueViolation, "23505", None, "users_pkey", "users", None) == found


# The seam's own


@pytest.mark.parametrize(
    ("options", "statement"),
    [
        (TransactionOptions(), "BEGIN"),
        (TransactionOptions(mode="immediate"), "BEGIN IMMEDIATE"),
        (TransactionOptions("serializable", readonly=True), "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"),
        (TransactionOptions(deferrable=True), "BEGIN DEFERRABLE"),
        (TransactionOptions(readonly=False, deferrable=False), "BEGIN READ WRITE NOT DEFERRABLE"),
    ],
)
def test_the_statement_that_begins_a_transaction(options, statement):
    assert statement == begin_statement(options)


async def test_the_dummy_does_nothing_at_once():
    async with Database("dummy://server/db") as db:
        async with db.transaction():
            assert (0, 3) == ((await db.execute("x")).rowcount, (await db.executemany("? x", [(1,)] * 3)).rowcount)
            assert [(1,)] == [row async for row in db.iterate("x")]
        assert ([], [(1,)], 1) == (await db.fetchmany(0, "x"), await db.fetchall("x"), await db.fetchval("x"))
        assert "dummy" == str(db.backend)
