"""What is left of a transaction when a lease ends, by whatever end, is not what the next user of the connection meets.

A hostile test: after a deadlock in a transaction that was begun by `start()`, and whose connection was then released,
each later user of that connection got the TransactionError of the first.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

from aio_databases import DatabaseError, Error, TransactionError
from aio_databases.testing.fake_driver import FakeError, connected

SHARED = pytest.mark.parametrize("shared", [False, True], ids=["pool", "memory"])


@SHARED
@pytest.mark.parametrize("end", ["block", "nowait", "release", "abandon"])
async def test_a_transaction_that_the_database_ended_is_its_owners_alone(shared, end):
    async with connected(shared=shared, max_size=1) as (db, fake):
        connection = await db.connection().acquire()
        transaction = await connection.transaction().start()
        fake.fail("insert 1", FakeError("deadlock"), ends_transaction=True)
        with pytest.raises(DatabaseError):
            await connection.execute("insert 1")
        if end == "block":
            await connection.release()
        elif end == "nowait":
            assert connection.release_nowait()
        elif end == "release":
            await connection.reconnect()
            await connection.release()
        else:
            connection.abandon()
        for _ in range(2):
            assert await db.fetchval("select 5") == "select 5"
        async with db.connection() as other:
            await other.execute("insert 2")
        with pytest.raises(TransactionError, match="the database rolled it back"):
            await transaction.commit()


@SHARED
async def test_a_lease_that_is_given_up_takes_its_open_transaction_along(shared):
    """Its COMMIT would commit what the next user has begun."""
    async with connected(shared=shared, max_size=1) as (db, fake):
        connection = await db.connection().acquire()
        transaction = await connection.transaction().start()
        await connection.execute("insert 1")
        connection.abandon()
        await db.execute("insert 2")
        async with db.transaction():
            with pytest.raises(TransactionError, match="cannot be used any more"):
                await transaction.commit()
            assert "COMMIT" not in fake.sent
        begun = [text for text in fake.sent if text in {"BEGIN", "ROLLBACK", "insert 2"}]
    assert (["BEGIN", "ROLLBACK", "insert 2", "BEGIN"] if shared else ["BEGIN", "insert 2", "BEGIN"]) == begun


async def test_other_users_of_the_same_connection_go_on_while_the_owner_of_a_lost_transaction_has_not_ended_it():
    async with connected(shared=True) as (db, fake):
        connection = await db.connection().acquire()
        transaction = await connection.transaction().start()
        fake.fail("insert 1", FakeError("deadlock"), ends_transaction=True)
        with pytest.raises(DatabaseError):
            await connection.execute("insert 1")
        await db.execute("insert 2")
        with pytest.raises(TransactionError, match="the database rolled it back"):
            await connection.execute("insert 3")
        with pytest.raises(TransactionError, match="the database rolled it back"):
            await transaction.rollback()
        await connection.execute("insert 4")
        await connection.release()
        assert {"insert 2", "insert 4"} <= set(fake.sent)
        assert "insert 3" not in fake.sent


async def test_a_transaction_started_in_a_nested_block_that_has_ended_is_in_the_way_of_no_statement():
    async with connected() as (db, fake), db.connection() as connection:
        with suppress(Error):
            async with db.transaction():
                await db.transaction().start()
                fake.fail("insert 1", FakeError("deadlock"), ends_transaction=True)
                await db.execute("insert 1")
        await connection.execute("insert 2")
        assert fake.sent[-1] == "insert 2"


@pytest.mark.targets(pooled=True, loop="asyncio")
async def test_a_transaction_lost_in_one_lease_is_no_error_in_the_next(make_database, words, target):
    db = await make_database(max_size=1)
    await db.execute("create table u (a integer unique)")
    end = {"sqlite": "insert or rollback into u values (1)", "mysql": "create table v (a integer)"}
    with suppress(Error):
        async with db.connection():
            await db.transaction().start()
            await db.execute("insert into u values (1)")
            await db.execute(end.get(target.dialect, "rollback"))
    for _ in range(3):
        assert await db.fetchval("select 5") == 5
    async with db.transaction():
        assert await db.fetchval("select 5") == 5


@pytest.mark.targets(memory=True, pooled=True)
async def test_a_transaction_begun_with_sql_in_memory_is_as_long_as_its_own_lease(make_database):
    """The end of any other lease, as that of each single statement, rolled it back."""
    db = await make_database()
    await db.execute("create table u (a integer)")
    async with db.connection() as connection:
        await connection.execute("begin")
        await connection.execute("insert into u values (1)")
        async with db.connection() as other:
            await other.fetchval("select 1")
        await connection.execute("commit")
        await connection.execute("begin")
        await connection.execute("insert into u values (2)")
    assert [row.a for row in await db.fetchall("select a from u")] == [1]
