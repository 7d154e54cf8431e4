"""Functions that are run in a transaction, on the scripted driver: with what, where, and after which pauses again."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import (
    ConfigurationError,
    DeadlockDetected,
    Error,
    NotSupportedError,
    ReadOnlyError,
    SerializationFailure,
    TransactionError,
)
from aio_databases.testing.fake_driver import connected
from unit.attempts import again, insert

# What is run


async def test_the_result_comes_back_when_it_is_committed():
    async with connected() as (db, fake):
        assert await db.run_transaction(insert, db, 7) == 7
        assert fake.sent == ["BEGIN", "insert 7", "COMMIT"]


async def test_options_are_those_of_each_transaction():
    async with connected() as (db, fake):
        fake.fail("insert 1", again())
        await db.run_transaction(insert, db, isolation="serializable", readonly=False, deferrable=False, backoff=0)
        begin = "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE NOT DEFERRABLE"
        assert [begin, "insert 1", "ROLLBACK", begin, "insert 1", "COMMIT"] == fake.sent
        with pytest.raises(NotSupportedError, match="mode"):
            await db.run_transaction(insert, db, mode="nonsense")


async def test_any_function_that_gives_a_coroutine_will_do():
    async with connected() as (db, fake):
        assert await db.run_transaction(lambda: insert(db, number=3)) == 3
        with pytest.raises(TypeError, match=r"runs a coroutine function, which .* is not"):
            await db.run_transaction(lambda: 3)
        assert fake.sent == ["BEGIN", "insert 3", "COMMIT", "BEGIN", "ROLLBACK"]


async def test_in_a_connection_block_it_uses_that_connection():
    async with connected() as (db, _), db.connection() as connection:

        async def check():
            assert db.current_conn is connection

        await db.run_transaction(check)


async def test_in_a_replica_block_it_only_reads():
    async with connected() as (db, fake), db.replica():
        with pytest.raises(ReadOnlyError, match=r"transaction\(readonly=True\)"):
            await db.run_transaction(insert, db)
        assert fake.sent == []
        assert await db.run_transaction(db.fetchval, "select 1", readonly=True) == "select 1"


async def test_inside_of_a_transaction_it_is_refused():
    async with connected() as (db, fake), connected() as (other, _), db.transaction():
        with pytest.raises(TransactionError, match="call it outside of the one open here") as caught:
            await db.run_transaction(insert, db)
        assert not hasattr(caught.value, "__notes__")
        async with db.connection():
            await db.run_transaction(insert, db, 2)
        assert await other.run_transaction(insert, other, 3) == 3
        assert fake.sent == ["BEGIN", "BEGIN", "insert 2", "COMMIT"]
        await db.execute("insert 4")


async def test_inside_of_itself_it_is_refused():
    async with connected() as (db, fake):
        with pytest.raises(TransactionError, match="call it outside of the one open here"):
            await db.run_transaction(db.run_transaction, insert, db)
        assert fake.sent == ["BEGIN", "ROLLBACK"]


async def test_it_is_refused_inside_of_itself_though_a_deadlock_was_caught_there():
    async with connected() as (db, fake):
        fake.fail("insert 1", again())

        async def nest():
            with pytest.raises(SerializationFailure):
                await insert(db)
            await db.run_transaction(insert, db, 2)

        with pytest.raises(TransactionError):
            await db.run_transaction(nest)
        assert fake.sent == ["BEGIN", "insert 1", "ROLLBACK"]


async def test_inside_of_a_dead_transaction_it_is_refused_at_once():
    async with connected() as (db, fake):
        fake.fail("insert 1", again(DeadlockDetected), ends_transaction=True)
        with pytest.raises(TransactionError) as caught:
            async with db.transaction():
                with pytest.raises(DeadlockDetected):
                    await insert(db)
                await db.run_transaction(insert, db, 2)
        assert isinstance(caught.value.__cause__, DeadlockDetected)
        assert not hasattr(caught.value, "__notes__")
        assert fake.sent == ["BEGIN", "insert 1"]


# The pauses


@asynccontextmanager
async def pauses(monkeypatch):
    """Give the list of the longest pauses; the real ones are none."""
    longest = []

    def draw(low, high):
        assert low == 0
        longest.append(high)
        return 0.0

    monkeypatch.setattr(random, "uniform", draw)
    yield longest


async def test_pauses_are_drawn_from_a_range_that_doubles_up_to_ten_seconds(monkeypatch):
    async with connected() as (db, fake), db.connection():
        fake.fail("insert 1", again(), times=99)
        async with pauses(monkeypatch) as longest:
            with pytest.raises(Error):
                await db.run_transaction(insert, db, retries=9)
            assert longest == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
            del longest[:]
            with pytest.raises(Error):
                await db.run_transaction(insert, db, retries=3, backoff=2)
            assert longest == [2, 4, 8]


async def test_a_pause_holds_no_connection_and_can_be_cancelled(monkeypatch):
    async with connected() as (db, fake):
        fake.fail("insert 1", again())
        monkeypatch.setattr(random, "uniform", lambda _, high: high)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.run_transaction, insert, db)
            while "ROLLBACK" not in fake.sent or db._pool.lent:
                await checkpoint()
            tasks.cancel_scope.cancel()
        assert fake.sent == ["BEGIN", "insert 1", "ROLLBACK"]


# Bad use


@pytest.mark.parametrize("bad", [-1, True, "3", 1.0, None], ids=repr)
async def test_retries_are_a_number(bad):
    async with connected() as (db, fake):
        with pytest.raises(ConfigurationError, match="retries must be a number of times, 0 or more, not"):
            await db.run_transaction(insert, db, retries=bad)
        assert fake.sent == []


@pytest.mark.parametrize("bad", [-1, True, "3", None, float("nan")], ids=repr)
async def test_backoff_is_a_number_of_seconds(bad):
    async with connected() as (db, fake):
        with pytest.raises(ConfigurationError, match="backoff must be a number of seconds, 0 or more, not"):
            await db.run_transaction(insert, db, backoff=bad)
        assert fake.sent == []


async def test_a_coroutine_cannot_be_run_again():
    async with connected() as (db, fake):
        with pytest.raises(TypeError, match="give the function, then its arguments"):
            await db.run_transaction(insert(db))
        assert fake.sent == []
