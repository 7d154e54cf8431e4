"""A connection whose user is gone takes no transaction along that was begun, nested or ended at that moment (review).

A BEGIN under way left its transaction open on an idle connection, or on one that others shared; a SAVEPOINT met an
IndexError, a ROLLBACK a ValueError, and the owner of a transaction waited for `cleanup_timeout` to roll it back.
"""

from __future__ import annotations

import logging

import anyio
import pytest

from aio_databases import CommitUncertainError, Error, InterfaceError, TransactionError, TransactionState
from aio_databases.testing.fake_driver import connected

RELEASED = "transaction cannot be used any more: its connection was released, and nothing of it was committed"
POOLS = [{}, {"shared": True}, {"single_writer": True}]
LONG = 100.0  # seconds, of which no test waits one

pools = pytest.mark.parametrize("options", POOLS, ids=["pool", "shared", "writers"])


async def leave(connection, how):
    """End a lease as its user does who is gone, or another task."""
    if how == "abandon":
        connection.abandon()
    else:
        await getattr(connection, how)()


async def use_elsewhere(db, log):
    async with db.connection() as other:
        await other.execute("insert 2")
        log.append("insert 2")


async def give_up_while_another_waits(connection, options, tasks, db, log):
    """Abandon a connection that the next in line then gets; alone it would be cut.  One that is shared has no line."""
    if "shared" not in options:
        tasks.start_soon(use_elsewhere, db, log)
        await anyio.wait_all_tasks_blocked()
    connection.abandon()


@pools
@pytest.mark.parametrize("how", ["abandon", "release", "reconnect"])
@pytest.mark.parametrize("next_user", ["waits", "comes", "comes late"])
@pytest.mark.parametrize("runs", ["a statement", "nothing", "no block"])
async def test_a_begin_is_taken_back(options, how, next_user, runs, caplog):
    async with connected(max_size=1, cleanup_timeout=LONG, **options) as (db, fake):
        gate, log = fake.wait("BEGIN"), []
        connection = await db.connection().acquire()

        async def begin() -> None:
            with pytest.raises(TransactionError, match=RELEASED):
                if runs == "no block":
                    await connection.transaction().start()
                else:
                    async with connection.transaction():
                        if runs == "a statement":
                            await connection.execute("insert 1")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin)
            await gate.reached()
            if next_user == "waits":
                tasks.start_soon(use_elsewhere, db, log)
                await anyio.wait_all_tasks_blocked()
            tasks.start_soon(leave, connection, how)
            await anyio.wait_all_tasks_blocked()
            if next_user == "comes":
                tasks.start_soon(use_elsewhere, db, log)
                await anyio.wait_all_tasks_blocked()
            gate.open()
            await anyio.wait_all_tasks_blocked()
            assert not fake.connections[0].in_transaction
            await connection.release()
        if next_user == "comes late":
            await use_elsewhere(db, log)
        assert log == ["insert 2"]
        assert [text for text in fake.sent if text != "ping"] == ["BEGIN", "ROLLBACK", "insert 2"]
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pools
async def test_a_savepoint_says_what_became_of_the_transaction_around_it(options):
    async with connected(max_size=1, cleanup_timeout=LONG, **options) as (db, fake):
        gate, log = fake.wait("SAVEPOINT"), []
        connection = await db.connection().acquire()
        outer = await connection.transaction().start()

        async def nest() -> None:
            with pytest.raises(TransactionError, match="the coroutine that used its connection was closed"):
                await connection.transaction().start()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(nest)
            await gate.reached()
            await give_up_while_another_waits(connection, options, tasks, db, log)
            gate.open()
        assert TransactionState.FAILED is outer.state
        if "shared" in options:
            await use_elsewhere(db, log)
        assert [text for text in fake.sent if text not in {"settle", "ping"}][2:] == ["ROLLBACK", "insert 2"]


async def test_a_savepoint_of_a_lease_that_ends_is_taken_back_and_the_transaction_around_it_goes_on():
    async with connected(shared=True) as (db, fake), db.transaction():
        gate = fake.wait("SAVEPOINT")
        other = await db.connection().acquire()

        async def nest() -> None:
            with pytest.raises(TransactionError, match=RELEASED):
                await other.transaction().start()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(nest)
            await gate.reached()
            other.abandon()
            gate.open()
        await db.execute("insert 1")
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "ROLLBACK TO aiodb_1", "insert 1"]


@pools
@pytest.mark.parametrize("waits", [False, True])
async def test_a_commit_under_way_tells_its_answer_or_that_it_is_unknown(options, waits):
    async with connected(max_size=1, cleanup_timeout=LONG, **options) as (db, fake):
        gate, log = fake.wait("COMMIT"), []
        connection = await db.connection().acquire()
        transaction = await connection.transaction().start()
        is_kept = waits or "shared" in options

        async def commit() -> None:
            if is_kept:
                await transaction.commit()
            else:
                with pytest.raises(CommitUncertainError):
                    await transaction.commit()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(commit)
            await gate.reached()
            if waits:
                await give_up_while_another_waits(connection, options, tasks, db, log)
            else:
                connection.abandon()
            gate.open()
        assert transaction.may_be_committed
        assert is_kept == (transaction.state is TransactionState.COMMITTED)


@pools
@pytest.mark.parametrize("end", ["RELEASE", "ROLLBACK TO", "ROLLBACK"])
async def test_other_ends_under_way_say_what_has_become_of_them(options, end, caplog):
    async with connected(max_size=1, cleanup_timeout=LONG, **options) as (db, fake):
        gate, log = fake.wait(end), []
        connection = await db.connection().acquire()
        outer = await connection.transaction().start()
        transaction = outer if end == "ROLLBACK" else await connection.transaction().start()

        async def finish() -> None:
            if end == "RELEASE":
                with pytest.raises(TransactionError, match="nothing of it was committed"):
                    await transaction.commit()
            else:
                await transaction.rollback()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(finish)
            await gate.reached()
            await give_up_while_another_waits(connection, options, tasks, db, log)
            gate.open()
        if "shared" in options:
            await use_elsewhere(db, log)
        assert log == ["insert 2"]
        assert "COMMIT" not in fake.sent
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pools
@pytest.mark.parametrize("how", ["abandon", "release"])
async def test_a_begin_of_the_users_own_is_taken_back(options, how):
    async with connected(max_size=1, cleanup_timeout=LONG, **options) as (db, fake):
        gate = fake.wait("begin")
        connection = await db.connection().acquire()

        def begin() -> None:
            fake.connections[0].note_cursor(is_open=True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.execute, "begin")
            await gate.reached()
            tasks.start_soon(leave, connection, how)
            await anyio.wait_all_tasks_blocked()
            begin()
            gate.open()
        await anyio.wait_all_tasks_blocked()
        assert not fake.connections[0].in_transaction
        await db.execute("insert 2")
        assert fake.sent.index("ROLLBACK") < fake.sent.index("insert 2")


async def test_a_begin_that_waits_for_the_writers_is_not_sent_on_another_lease():
    async with connected(max_size=2, single_writer=True) as (db, fake):
        connection = await db.connection().acquire()
        async with anyio.create_task_group() as tasks:

            async def begin() -> None:
                with pytest.raises(InterfaceError, match="was used after its release"):
                    await connection.transaction().start()

            async with db.transaction(create=True):
                tasks.start_soon(begin)
                await anyio.wait_all_tasks_blocked()
                await connection.reconnect()
        await connection.execute("insert 1")
        await connection.release()
        assert fake.sent == ["BEGIN", "COMMIT", "insert 1"]


async def test_a_stream_does_not_go_on_on_another_lease():
    async with connected(max_size=1) as (db, fake), db.connection() as connection:
        fake.rows["select 1"] = 5
        stream = connection.iterate("select 1", chunk_size=2)
        await anext(stream)
        await anext(stream)
        await connection.reconnect()
        with pytest.raises(Error, match="was used after its release"):
            await anext(stream)
        await connection.execute("insert 1")
        assert [text for text in fake.sent if text != "ping"] == ["cursor select 1", "close cursor", "insert 1"]


@pytest.mark.targets(pooled=True)
@pytest.mark.parametrize("how", ["abandon", "release"])
async def test_a_begin_is_taken_back_on_every_driver(users, how, monkeypatch):
    connection = await users.connection().acquire()
    await connection.fetchval("select 1")
    driver, reached, gate = connection.driver, anyio.Event(), anyio.Event()
    begin = type(driver).begin

    async def wait_and_begin(self, options):
        reached.set()
        await gate.wait()
        await begin(self, options)

    async def begin_in_vain() -> None:
        with pytest.raises(TransactionError, match=RELEASED):
            await connection.transaction().start()

    async with anyio.create_task_group() as tasks:
        monkeypatch.setattr(type(driver), "begin", wait_and_begin)
        tasks.start_soon(begin_in_vain)
        await reached.wait()
        monkeypatch.undo()
        tasks.start_soon(leave, connection, how)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert not driver.is_closed
    assert not driver.in_transaction
    async with users.connection(), users.transaction():
        await users.execute("insert into users (id, name) values (7, 'Ann')")
    assert await users.fetchval("select name from users where id = 7") == "Ann"
