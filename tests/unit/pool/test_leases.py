"""Who has the connections: what those are told who wait in vain, statistics, and warnings of long leases."""

from __future__ import annotations

import logging
import re

import anyio
import pytest

from aio_databases import ConfigurationError, ConnectionBusy, LockTimeout, PoolTimeout
from aio_databases.testing.fake_driver import connected, make_database

HERE = f'File "{__file__}", line '


async def hold(db, until):
    async with db.connection():
        await until.wait()


async def forget(db, left):
    left.append(await db.connection().acquire())


# In vain


async def test_who_waits_in_vain_is_told_who_has_the_connections():
    async with connected(max_size=4, timeout=0.05) as (db, fake), anyio.create_task_group() as tasks:
        query, until = fake.wait("select 1"), anyio.Event()
        tasks.start_soon(db.fetchval, "select 1")
        await query.reached()
        tasks.start_soon(hold, db, until, name="worker-1")
        async with db.transaction():
            opening = fake.wait("connect")
            tasks.start_soon(hold, db, until, name="worker-2")
            await opening.reached()
            with pytest.raises(PoolTimeout) as caught:
                await db.connection().acquire()
        holders = re.search(r"all 4 are in use \((.*)\); hold them for a shorter time", str(caught.value))[1]
        mine, *others = holders.split(", ")
        assert mine.startswith("1 by the very task that waits (")
        assert others == ["1 by task 'worker-1'", "1 by single statements", "1 being opened"]
        assert getattr(caught.value, "__notes__", []) == []
        until.set()
        query.open()
        opening.open()


async def test_who_waits_in_vain_is_told_of_tasks_that_ended_without_a_release():
    async with connected(max_size=1, timeout=0.01) as (db, _):
        left = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forget, db, left, name="careless")
        with pytest.raises(PoolTimeout, match=r"\(1 by task 'careless', which has ended\)"):
            await db.fetchval("select 1")
        await left[0].release()


async def test_of_many_tasks_only_some_are_named():
    async with connected(max_size=8, timeout=0.05) as (db, _), anyio.create_task_group() as tasks:
        until = anyio.Event()
        for number in range(8):
            tasks.start_soon(hold, db, until, name=f"worker-{number}")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(PoolTimeout, match=r"(1 by task 'worker-\d', ){5}3 by other tasks\)"):
            await db.fetchval("select 1")
        until.set()


async def test_with_debug_the_error_shows_where_connections_were_taken():
    async with connected(max_size=2, timeout=0.01, debug=True) as (db, fake), anyio.create_task_group() as tasks:
        query = fake.wait("select 1")
        tasks.start_soon(db.fetchval, "select 1", name="reader")
        await query.reached()
        async with db.connection():
            with pytest.raises(PoolTimeout) as caught:
                await db.connection().acquire()
        query.open()
    reader, here = sorted(caught.value.__notes__, key=lambda note: "reader" not in note)
    assert "in use by task 'reader' for 0.0 s, taken at:" in reader
    assert HERE in here
    assert "async with db.connection():" in here
    assert "aio_databases/" not in here.replace(__file__, "")


async def test_with_debug_the_error_shows_where_the_transaction_was_opened():
    async with connected(timeout=0.01, debug=True) as (db, _), db.connection() as connection:

        async def count(caught):
            with pytest.raises(ConnectionBusy) as raised:
                await connection.fetchval("select 1")
            caught.append(raised.value)

        caught = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count, caught)
            async with db.transaction():
                await anyio.wait_all_tasks_blocked()
                await anyio.sleep(0.05)
    assert "for a transaction, opened by task" in str(caught[0])
    (note,) = caught[0].__notes__
    assert note.startswith("a transaction was opened at:\n")
    assert "async with db.transaction():" in note


@pytest.mark.parametrize("debug", [False, True])
async def test_a_writer_that_waits_in_vain_is_told_who_writes(debug):
    async with connected(single_writer=True, timeout=0.01, debug=debug) as (db, _), db.transaction():
        with pytest.raises(LockTimeout, match=r"for a transaction, opened by the very task that waits, to end") as lock:
            async with db.transaction(create=True):
                raise AssertionError
        assert debug == ("as (db, _), db.transaction():" in "".join(getattr(lock.value, "__notes__", [])))


async def test_a_writer_that_waits_for_a_single_statement_is_told_so():
    async with connected(single_writer=True, timeout=0.01) as (db, fake), anyio.create_task_group() as tasks:
        gate = fake.wait("insert 1")
        tasks.start_soon(db.execute, "insert 1")
        await gate.reached()
        with pytest.raises(LockTimeout, match="for other writers to end"):
            await db.execute("insert 2")
        gate.open()


# Statistics


async def test_statistics_tell_how_long_connections_were_waited_for_and_used():
    async with connected(max_size=1, timeout=0.02) as (db, _), anyio.create_task_group() as tasks:
        until = anyio.Event()
        tasks.start_soon(hold, db, until)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(PoolTimeout):
            await db.fetchval("select 1")
        tasks.start_soon(db.fetchval, "select 2")
        await anyio.wait_all_tasks_blocked()
        assert (db.stats()["primary"].timeouts, db.stats()["primary"].waiting) == (1, 1)
        until.set()
        await anyio.wait_all_tasks_blocked()
        stats = db.stats()["primary"]
        assert (stats.waits, stats.timeouts, stats.waiting) == (2, 1, 0)
        assert stats.wait_seconds >= 0.02
        assert stats.use_seconds >= 0.02


async def test_without_waiting_no_wait_is_counted():
    async with connected() as (db, _):
        await db.fetchval("select 1")
        stats = db.stats()["primary"]
        assert (stats.waits, stats.wait_seconds) == (0, 0.0)
        assert stats.use_seconds > 0.0


# Long leases


async def test_a_lease_that_lasts_too_long_is_warned_of_once_with_its_place(caplog):
    async with connected(leak_warning=0.01) as (db, _):
        left = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forget, db, left, name="careless")
        await db.fetchval("select 1")
        assert caplog.messages == []
        await anyio.sleep(0.02)
        for number in range(3):
            await db.fetchval(f"select {number}")
        (message,) = caplog.messages
        assert message.startswith(
            "a connection to fake://server/db has been in use by task 'careless', which has ended"
        )
        assert "left.append(await db.connection().acquire())" in message
        assert HERE in message
        await left[0].release()
        assert len(caplog.messages) == 1


async def test_long_leases_are_warned_of_when_they_leave_nothing_for_others(caplog):
    async with connected(max_size=1, timeout=0.02, leak_warning=0.01) as (db, _):
        left = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forget, db, left, name="careless")
        with pytest.raises(PoolTimeout):
            await db.fetchval("select 1")
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        await left[0].release()


async def test_a_long_lease_is_warned_of_when_it_ends(caplog):
    async with connected(leak_warning=0.01) as (db, _):
        async with db.transaction():
            await anyio.sleep(0.02)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "async with db.transaction():" in caplog.messages[0]


async def test_a_statement_that_takes_too_long_is_warned_of(caplog):
    async with connected(leak_warning=0.01) as (db, fake), anyio.create_task_group() as tasks:
        gate = fake.wait("select 1")
        tasks.start_soon(db.fetchval, "select 1", name="slow")
        await gate.reached()
        await anyio.sleep(0.02)
        gate.open()
        await anyio.wait_all_tasks_blocked()
        assert "in use by task 'slow'" in caplog.messages[0]


@pytest.mark.parametrize("options", [{}, {"leak_warning": None}, {"leak_warning": 0}], ids=str)
async def test_without_the_option_nothing_is_warned_of(caplog, options):
    caplog.set_level(logging.WARNING)
    async with connected(**options) as (db, _), db.connection():
        await anyio.sleep(0.01)
        await db.fetchval("select 1")
    assert caplog.messages == []


@pytest.mark.parametrize("value", [-1, "soon", True])
def test_a_wrong_leak_warning_is_refused(value):
    with pytest.raises(ConfigurationError, match="leak_warning"):
        make_database(leak_warning=value)
