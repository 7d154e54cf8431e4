"""A transaction that failed says so, once, and is out of the way of what comes after it."""

from __future__ import annotations

import anyio
import pytest

import aio_databases

ON_SQLITE = pytest.mark.parametrize(
    "target",
    [
        "sqlite-file-asyncio",
        "sqlite-file-trio",
        "sqlite-memory-asyncio",
        "aiosqlite-file-asyncio",
        "aiosqlite-memory-asyncio",
    ],
    indirect=True,
)
ON_POSTGRES = pytest.mark.parametrize(
    "target", [pytest.param("asyncpg-asyncio", marks=pytest.mark.server)], indirect=True
)
NUMBER = "select cast($1 as integer) as number"


async def test_a_connection_survives_a_query_that_was_cancelled(db, target):
    endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n"
    query = endless if target.is_sqlite else "select cast(pg_sleep(60) as text)"
    async with db.connection() as conn:
        with anyio.move_on_after(0.1) as scope:
            await conn.fetchval(query)
        assert scope.cancelled_caught
        assert conn.is_ready
        assert await conn.fetchval(NUMBER, 1) == 1


@ON_POSTGRES
async def test_a_transaction_that_the_database_rolled_back_does_not_pretend_to_commit(db):
    """PostgreSQL answers COMMIT with ROLLBACK, and no error, when a statement of the transaction had failed."""
    transaction = await db.transaction().start()
    with pytest.raises(aio_databases.UniqueViolation):
        await db.execute("insert into users (id) values (1)")
    with pytest.raises(aio_databases.Error):
        await transaction.commit()
    assert not transaction.is_active
    assert await db.fetchval("select count(*) from users") == 2


@ON_SQLITE
async def test_a_transaction_whose_cancelled_statement_rolled_it_back_says_so(db):
    """SQLite rolls the whole transaction back when a statement that writes is interrupted."""
    endless = (
        "with recursive n (i) as (select 100 union all select i + 1 from n) insert into users (id) select i from n"
    )
    transaction = await db.transaction().start()
    with anyio.move_on_after(0.1) as scope:
        await db.execute(endless)
    assert scope.cancelled_caught
    with pytest.raises(aio_databases.TransactionError):
        await db.execute("insert into users (id) values (3)")
    await transaction.rollback(silent=True)
    assert await db.fetchval("select count(*) from users") == 2


async def test_a_transaction_without_a_block_that_lost_its_connection_is_left_by_rollback(db):
    transaction = await db.transaction().start()
    await transaction.connection.release()
    with pytest.raises(aio_databases.TransactionError):
        await db.fetchval(NUMBER, 1)
    await transaction.rollback(silent=True)
    assert await db.fetchval(NUMBER, 1) == 1


async def test_disconnect_works_in_spite_of_a_transaction_that_lost_its_connection(db):
    async with db.transaction(silent=True) as transaction:
        await transaction.connection.release()
        await db.disconnect()
        assert not db.is_connected
