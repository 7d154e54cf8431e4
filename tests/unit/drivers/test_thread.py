"""Synchronous libraries in worker threads: hops, cancellation, the ends of threads and connections."""

from __future__ import annotations

import gc
import sqlite3
import threading
import time

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import ConnectionLost, Database
from aio_databases.concurrency.loop_callbacks import LoopCallbacks
from aio_databases.drivers.base import TransactionOptions
from aio_databases.drivers.thread import ThreadConnection
from unit.threads import ENDLESS, NUMBERS, new_threads, on_both_loops, opened, verify_ended


@pytest.fixture
def anyio_backend(request):
    """Run on the event loop that the test names, else on asyncio."""
    return getattr(request, "param", "asyncio")


class Inbox:
    """Counts what is put into the inbox of a thread."""

    def __init__(self, inbox):
        self.inbox = inbox
        self.count = 0

    def put(self, call):
        self.count += 1
        self.inbox.put(call)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_neither_results_nor_errors_outlive_their_use():
    async with opened() as connection:
        await connection.fetch("select 1", (), None)
        assert connection._call is None
        gc.collect()
        gc.disable()
        try:
            with pytest.raises(sqlite3.OperationalError):
                await connection.execute("select * from nowhere", ())
            await connection.ping()  # so that the thread is done with the one before
            assert [each for each in gc.get_objects() if isinstance(each, sqlite3.OperationalError)] == []
        finally:
            gc.enable()


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
            connection.begin(TransactionOptions(mode="immediate")),
            connection.savepoint("s"),
            connection.release_savepoint("s"),
            connection.commit(),
            cursor.fetch(10),
            cursor.close(),
        ):
            inbox.count = 0
            await verb
            assert inbox.count == 1
        await cursor.close()
        assert inbox.count == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_a_transaction_begins_in_the_hop_of_its_first_statement():
    async with opened() as connection:
        await connection.execute("create table t (x)", ())
        connection._inbox = inbox = Inbox(connection._inbox)
        for statements, hops in ((0, 0), (1, 2), (2, 3)):
            inbox.count = 0
            await connection.begin(TransactionOptions())
            assert connection.in_transaction
            for _ in range(statements):
                await connection.execute("insert into t values (1)", ())
                assert connection.db.in_transaction
            await connection.commit()
            assert not connection.in_transaction
            assert hops == inbox.count


async def test_what_is_done_with_the_librarys_connection_is_in_the_transaction_that_is_due():
    async with opened() as connection:
        await connection.execute("create table t (x)", ())
        await connection.begin(TransactionOptions())
        connection.raw.execute("insert into t values (1)")
        await connection.rollback()
        assert await connection.fetch("select * from t", (), None) == []


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_calls_that_finish_together_wake_the_loop_once(monkeypatch):
    wakes = []
    wake_loop = LoopCallbacks._wake_loop
    monkeypatch.setattr(LoopCallbacks, "_wake_loop", lambda outbox: (wakes.append(outbox), wake_loop(outbox)))
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
        outbox, deadline = LoopCallbacks.of_running_loop(), time.monotonic() + 5
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
        assert await connection.fetch("select 1", (), None) == [(1,)]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_a_call_that_is_cancelled_before_the_thread_begins_it_is_never_made():
    go, made = threading.Event(), []
    async with opened() as connection:
        connection._inbox.put(go.wait)
        with anyio.move_on_after(0.01):
            await connection.run(made.append, 1)
        with anyio.fail_after(3):
            assert [await connection.settle(), await connection.settle()] == [True, True]
        go.set()
        await connection.run(made.append, 2)
    assert made == [2]


async def test_a_closed_connection_says_so_and_closes_again():
    async with opened() as connection:
        await connection.close()
        await connection.close()
        connection.terminate()
        assert (connection.is_closed, connection.in_transaction, await connection.settle()) == (True, False, False)
        with pytest.raises(ConnectionLost, match="the connection was closed while it was in use"):
            await connection.execute("select 1", ())


async def test_a_database_that_cannot_be_opened_leaves_no_thread(tmp_path):
    before = threading.enumerate()
    with pytest.raises(sqlite3.OperationalError, match="unable to open database file"):
        async with opened(f"sqlite:///{tmp_path}/no/where.db"):
            pass
    for thread in new_threads(before):
        thread.join(5)
    assert new_threads(before) == []


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


@on_both_loops
async def test_the_threads_are_daemons(scheme):
    before = threading.enumerate()
    async with opened(f"{scheme}://"):
        assert [thread.daemon for thread in new_threads(before)] == [True]


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
    assert await connection.execute("insert into t values (?)", (5,)) == (1, 1)
    assert await connection.fetch("insert into t values (6)", (), None) == []
    assert await connection.fetch("select x from t", (), 1) == [(5,)]
    assert await connection.fetch("select x from t", (), 0) == []
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await connection.execute("select * from nowhere", ())
    assert await connection.settle()
    await connection.close()
