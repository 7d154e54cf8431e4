"""`disconnect()` does not close a connection on which a BEGIN or COMMIT runs whose user is gone (review).

In memory, where all share one connection, what the library then said of the end of the transaction was that of a
connection which was closed at that moment.
"""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from aio_databases import CommitUncertainError, ConnectionLost, Error, TransactionError, TransactionState
from aio_databases.physical_connection.lock import ConnectionLock
from aio_databases.testing.fake_driver import connected

LONG = 100.0  # seconds, of which no test waits one

patience = pytest.mark.parametrize("timeout", [0.0, LONG], ids=["at once", "in time"])


async def meet(end, allowed, log):
    """Await the end or the beginning of a transaction, and note whether it went well."""
    try:
        await end()
    except allowed as exc:
        log.append(exc)
    else:
        log.append(None)


async def disconnect_while_it_runs(db, tasks, gate, timeout):
    """Disconnect, and open the gate when that waits; at once it has cut the connection by then."""
    ended = anyio.Event()

    async def disconnect() -> None:
        await db.disconnect(timeout=timeout)
        ended.set()

    tasks.start_soon(disconnect)
    await anyio.wait_all_tasks_blocked()
    assert ended.is_set() == (not timeout)
    gate.open()


@patience
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("how", ["abandon", "release"])
async def test_a_begin_is_over_before_its_connection_is_closed(timeout, shared, how):
    async with connected(shared=shared, cleanup_timeout=LONG) as (db, fake):
        gate, log = fake.wait("BEGIN"), []
        connection = await db.connection().acquire()
        transaction = connection.transaction()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(meet, transaction.start, (TransactionError, ConnectionLost), log)
            await gate.reached()
            if how == "abandon":
                connection.abandon()
            else:
                tasks.start_soon(connection.release)
            await anyio.wait_all_tasks_blocked()
            await disconnect_while_it_runs(db, tasks, gate, timeout)
        assert TransactionState.NEW is transaction.state
        assert isinstance(log[0], TransactionError if timeout else ConnectionLost)
        assert (["BEGIN", "ROLLBACK"] if timeout else ["BEGIN"]) == fake.sent


@patience
async def test_a_commit_is_over_before_its_connection_is_closed(timeout):
    async with connected(shared=True, cleanup_timeout=LONG) as (db, fake):
        gate, log = fake.wait("COMMIT"), []
        connection = await db.connection().acquire()
        transaction = await connection.transaction().start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(meet, transaction.commit, CommitUncertainError, log)
            await gate.reached()
            connection.abandon()
            await disconnect_while_it_runs(db, tasks, gate, timeout)
        assert transaction.may_be_committed
        assert (timeout > 0) == (transaction.state is TransactionState.COMMITTED)
        assert (timeout > 0) == (log == [None])


@patience
async def test_a_statement_is_over_before_its_connection_is_closed(timeout):
    async with connected(shared=True, cleanup_timeout=LONG) as (db, fake):
        gate, log = fake.wait("insert 1"), []
        connection = await db.connection().acquire()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(meet, lambda: connection.execute("insert 1"), Error, log)
            await gate.reached()
            connection.abandon()
            await disconnect_while_it_runs(db, tasks, gate, timeout)
        assert isinstance(log[0], type(None) if timeout else ConnectionLost)


async def test_what_does_not_end_in_the_time_for_good_byes_is_cut():
    async with connected(shared=True, cleanup_timeout=0.05) as (db, fake):
        gate, log = fake.wait("COMMIT"), []
        connection = await db.connection().acquire()
        transaction = await connection.transaction().start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(meet, transaction.commit, CommitUncertainError, log)
            await gate.reached()
            connection.abandon()
            await db.disconnect()
        assert isinstance(log[0], CommitUncertainError)
        assert transaction.may_be_committed


async def test_the_next_user_waits_once_for_a_statement_that_does_not_end(monkeypatch):
    take, waited = ConnectionLock.acquire_for_cleanup, []

    async def note_time(turns, timeout):
        waited.append(timeout)
        await take(turns, timeout)

    monkeypatch.setattr(ConnectionLock, "acquire_for_cleanup", note_time)
    async with connected(max_size=1, cleanup_timeout=0.05) as (db, fake), anyio.create_task_group() as tasks:
        gate, log = fake.wait("insert 1"), []
        connection = await db.connection().acquire()
        tasks.start_soon(meet, lambda: connection.execute("insert 1"), Error, log)
        await gate.reached()
        connection.abandon()
        await db.execute("insert 2")
        first, second = waited
        assert second < 0.2 * first  # a timer may be early by a thousandth of a second
        assert isinstance(log[0], ConnectionLost)


@pytest.mark.targets(memory=True, pooled=True)
@patience
@pytest.mark.parametrize("verb", ["begin", "commit"])
@pytest.mark.parametrize("is_sent", [False, True])
async def test_the_database_in_memory_is_told_the_truth_of(users, timeout, verb, is_sent, monkeypatch):
    connection = await users.connection().acquire()
    transaction = connection.transaction()
    if verb == "commit":
        await transaction.start()
        await connection.execute("insert into users (id, name) values (7, 'Ann')")
    driver, reached, go_on, log = connection.driver, anyio.Event(), anyio.Event(), []
    real, done = getattr(type(driver), verb), []

    async def held(self, *args) -> None:
        if is_sent:
            await real(self, *args)
            done.append(verb)
        reached.set()
        await go_on.wait()
        if not is_sent:
            await real(self, *args)
            done.append(verb)

    monkeypatch.setattr(type(driver), verb, held)
    refused = CommitUncertainError if verb == "commit" else (TransactionError, ConnectionLost)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(meet, transaction.start if verb == "begin" else transaction.commit, refused, log)
        await reached.wait()
        connection.abandon()
        tasks.start_soon(partial(users.disconnect, timeout=timeout))
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert driver.is_closed
    if verb == "begin":
        assert TransactionState.NEW is transaction.state
        assert log != [None]
    else:
        assert transaction.may_be_committed
        assert (transaction.state is TransactionState.COMMITTED) == (log == [None])
        assert log != [None] or done
