"""Transactions on the scripted driver: what is sent, which state they end in, and what survives which failure."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import (
    Error,
    LockTimeout,
    NotSupportedError,
    ReadOnlyError,
    TransactionError,
    TransactionState,
)
from aio_databases.drivers.base import TransactionOptions, begin_statement
from aio_databases.testing.fake_driver import connected


class Boom(Exception):
    """The user's own exception."""


# What is sent


async def test_a_block_commits_and_a_nested_one_is_a_savepoint():
    async with connected() as (db, fake):
        async with db.transaction() as outer:
            assert repr(outer) == "<Transaction open>"
            async with db.transaction() as inner:
                await db.execute("insert 1")
                assert repr(inner) == "<Transaction open nested>"
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "insert 1", "RELEASE aiodb_1", "COMMIT"]
        assert [outer.state, inner.state] == [TransactionState.COMMITTED] * 2


async def test_an_exception_rolls_back_only_the_blocks_it_leaves():
    async with connected() as (db, fake):
        async with db.transaction() as outer:
            with pytest.raises(Boom):
                async with db.transaction() as inner:
                    raise Boom
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "ROLLBACK TO aiodb_1", "COMMIT"]
        assert [outer.state, inner.state] == [TransactionState.COMMITTED, TransactionState.ROLLED_BACK]


async def test_ending_the_outer_one_ends_those_inside_first():
    async with connected() as (db, fake):
        outer = await db.transaction().start()
        inner = await db.transaction().start()
        await outer.commit()
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "COMMIT"]
        assert [outer.state, inner.state] == [TransactionState.COMMITTED] * 2
        assert (db._pool.lent, db.current_conn) == (0, None)


async def test_the_exit_after_an_end_by_hand_does_nothing():
    async with connected() as (db, fake):
        async with db.transaction() as transaction:
            await transaction.rollback()
            await db.execute("insert 1")
        assert fake.sent == ["BEGIN", "ROLLBACK", "insert 1"]


async def test_options_are_sent_with_the_outermost_and_refused_for_nested_ones():
    async with connected() as (db, fake):
        async with db.transaction(isolation="serializable", deferrable=False, readonly=False):
            with pytest.raises(NotSupportedError, match="belong to the outermost"):
                await db.transaction(readonly=True).start()
        assert fake.sent == ["BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE NOT DEFERRABLE", "COMMIT"]


def test_sqlite_modes_are_a_word_of_begin():
    assert begin_statement(TransactionOptions(mode="immediate")) == "BEGIN IMMEDIATE"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"isolation": "chaos"}, "no isolation level 'chaos'; it has: serializable"),
        ({"mode": "exclusive"}, "no transaction mode 'exclusive'; it has: deferred, immediate"),
        ({"deferrable": True}, "no deferrable transactions"),
    ],
)
async def test_options_that_the_database_lacks_are_refused_before_anything_is_leased(options, message):
    async with connected(deferrable=False) as (db, fake):
        with pytest.raises(NotSupportedError, match=message):
            await db.transaction(**options).start()
        assert (fake.sent, db._pool.lent) == ([], 0)


async def test_create_leases_a_connection_of_its_own():
    async with connected() as (db, fake):
        async with db.transaction(), db.transaction(create=True):
            await db.execute("insert 1")
        assert [x for x in fake.log if "c" not in x[2:]] == ["1 BEGIN", "2 BEGIN", "2 insert 1", "2 COMMIT", "1 COMMIT"]


# Bad use


async def test_a_transaction_cannot_be_started_twice():
    async with connected() as (db, _), db.transaction() as transaction:
        with pytest.raises(TransactionError, match="is open and cannot be started again"):
            await transaction.start()


@pytest.mark.parametrize("verb", ["commit", "rollback"])
async def test_a_transaction_cannot_be_ended_twice(verb):
    async with connected() as (db, fake):
        transaction = await db.transaction().start()
        await transaction.commit()
        with pytest.raises(TransactionError, match=r"cannot .* a transaction that is committed"):
            await getattr(transaction, verb)()
        assert fake.sent == ["BEGIN", "COMMIT"]


async def test_a_transaction_that_was_not_started_cannot_be_ended():
    async with connected() as (db, _):
        with pytest.raises(TransactionError, match="not started"):
            await db.transaction().commit()


async def test_a_replica_refuses_a_transaction_that_may_write():
    async with connected() as (db, _), db.replica():
        with pytest.raises(ReadOnlyError, match=r"transaction\(readonly=True\)"):
            await db.transaction().start()
        async with db.transaction(readonly=True):
            await db.fetchval("select 1")


# Writers of a database that has one at a time


async def test_writers_queue_up_before_they_begin():
    async with connected(single_writer=True) as (db, fake):
        order = []

        async def writer(name, started):
            started.set()
            async with db.transaction(create=True):
                order.append(name)
                await db.execute(f"insert {name}")

        async with anyio.create_task_group() as tasks, db.transaction():
            for name in "xyz":
                started = anyio.Event()
                tasks.start_soon(writer, name, started)
                await started.wait()
            await db.execute("insert a")
            assert order == []
            async with db.transaction(create=True, mode="deferred"):
                await db.fetchval("select 1")
        assert order == ["x", "y", "z"]
        assert fake.sent.count("COMMIT") - 1 == 4


async def test_a_writer_waits_no_longer_than_the_timeout():
    async with connected(single_writer=True, timeout=0.02) as (db, fake):
        holder = await db.transaction().start()
        with pytest.raises(LockTimeout, match="one writer at a time"):
            await db.transaction(create=True).start()
        async with db.connection():
            with pytest.raises(LockTimeout, match=r"waited 0.02 s for a transaction, opened by"):
                await db.execute("insert 1")
        await holder.commit()
        assert fake.sent == ["BEGIN", "COMMIT"]


async def test_a_writer_that_cannot_get_its_turn_frees_the_lock():
    async with connected(single_writer=True, timeout=0.02) as (db, fake), db.connection() as connection:
        gate = fake.wait("select slow")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.fetchval, "select slow")
            await gate.reached()
            with pytest.raises(Error, match="another task's statement"):
                await connection.execute("insert 1")
            gate.open()
        await connection.execute("insert 2")


async def test_a_transaction_that_another_task_is_starting_is_refused():
    async with connected() as (db, fake):
        transaction, gate = db.transaction(), fake.wait("BEGIN")

        async def use():
            async with transaction:
                await db.execute("insert 1")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use)
            await gate.reached()
            with pytest.raises(TransactionError, match="another task is starting this transaction"):
                await use()
            gate.open()
        assert fake.sent == ["BEGIN", "insert 1", "COMMIT"]
