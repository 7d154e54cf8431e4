"""Errors that others cause: locks, deadlocks, timeouts, lost connections."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from aio_databases import (
    CommitUncertainError,
    ConnectionLost,
    DeadlockDetected,
    InternalError,
    LockTimeout,
    ProgrammingError,
    QueryTimeout,
    ReadOnlyError,
    SerializationFailure,
    TransactionError,
    TransactionState,
    UniqueViolation,
)
from conformance.libraries import library_error

NETWORK = pytest.mark.targets(dialect={"postgresql", "mysql"})


# What other users of the database do


@pytest.mark.targets(memory=False)
@pytest.mark.needs("busy_timeout")
async def test_a_lock_that_is_not_free_in_time_is_told(shop, make_database, target, words):
    other = await make_database()
    async with other.connection(), shop.transaction():
        await other.execute(words.impatience)
        await shop.execute("update authors set name = 'Eve'")
        with pytest.raises(LockTimeout) as caught:
            await other.execute("update authors set name = 'Bob'")
    assert isinstance(caught.value, library_error(target, "OperationalError", "55P03"))
    assert caught.value.retryable
    assert await other.fetchval("select name from authors") == "Eve"


@pytest.mark.targets(dialect="postgresql", pooled=True)
async def test_transactions_that_meet_have_to_be_run_again(shop, target):
    async with shop.connection() as one, shop.connection() as two:
        transaction = await one.transaction(isolation="repeatable read").start()
        await one.fetchall("select * from authors")
        await two.execute("update authors set name = 'Eve'")
        with pytest.raises(SerializationFailure) as caught:
            await one.execute("update authors set name = 'Bob'")
        await transaction.rollback()
    assert isinstance(caught.value, library_error(target, "OperationalError", "40001"))
    assert caught.value.retryable


@pytest.mark.targets(dialect={"postgresql", "mysql"}, pooled=True)
async def test_a_deadlock_is_told_to_one_of_the_two(shop, make_database, server, target):
    if target.dialect == "postgresql":
        server.execute(f"alter role {server.app_user} set deadlock_timeout = '50ms'")
    outcomes = []
    both_began = anyio.Event()

    async def update(database, first, second):
        try:
            async with database.transaction():
                await database.execute(f"update {first} set id = id")
                outcomes.append("began")
                if len(outcomes) == 2:
                    both_began.set()
                await both_began.wait()
                await database.execute(f"update {second} set id = id")
                outcomes.append("done")
        except DeadlockDetected as error:
            its_own = isinstance(error, library_error(target, "OperationalError", "40P01"))
            outcomes.append((its_own, error.retryable))

    try:
        other = await make_database()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(update, other, "authors", "books")
            tasks.start_soon(update, other, "books", "authors")
    finally:
        if target.dialect == "postgresql":
            server.execute(f"alter role {server.app_user} reset deadlock_timeout")
    assert {"began", "done", (True, True)} == set(outcomes)


@pytest.mark.targets(dialect="postgresql", odbc=False)
async def test_a_statement_that_the_server_stops_is_told(make_database, target):
    database = await make_database(server_settings={"statement_timeout": "50"})
    async with database.connection():
        with pytest.raises(QueryTimeout) as caught:
            await database.fetchval("select pg_sleep(5)")
        assert isinstance(caught.value, library_error(target, "OperationalError", "57014"))
        assert await database.fetchval("select 1") == 1


@pytest.mark.targets(scheme="asyncpg")
async def test_a_statement_that_asyncpg_stops_is_told(make_database):
    database = await make_database(command_timeout=0.05)
    async with database.connection():
        with pytest.raises(QueryTimeout) as caught:
            await database.fetchval("select pg_sleep(5)")
        assert isinstance(caught.value, TimeoutError)
        assert await database.fetchval("select 1") == 1


@pytest.mark.targets(scheme="sqlite")
async def test_a_statement_that_was_interrupted_is_told(make_database, target):
    made = []

    def interrupt():
        made[-1].interrupt()

    database = await make_database(init=made.append, functions=[("stop", 0, interrupt)])
    endless = (
        "with recursive n (i) as (select 1 union all select i + 1 from n where stop() is null) select max(i) from n"
    )
    async with database.connection():
        with pytest.raises(QueryTimeout) as caught:
            await database.fetchval(endless)
        assert isinstance(caught.value, library_error(target, "OperationalError"))
        assert await database.fetchval("select 1") == 1


# Lost connections


@NETWORK
async def test_a_connection_that_the_server_closed_is_told(shop, server, words):
    async with shop.connection() as connection:
        server.execute(words.kill.format(await connection.fetchval(words.own_id)))
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await connection.fetchval("select 1")
        assert not connection.is_ready
    assert await shop.fetchval("select 1") == 1


@NETWORK
async def test_a_connection_that_the_server_closes_meanwhile_is_told(shop, server, words, running):
    async def run():
        with pytest.raises(ConnectionLost):
            await connection.fetchval(words.endless)

    async with shop.connection() as connection:
        number = await connection.fetchval(words.own_id)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await running(1)
            server.execute(words.kill.format(number))
    assert await shop.fetchval("select 1") == 1


async def test_a_lost_connection_is_told(shop):
    async with shop.connection() as connection:
        connection.driver.terminate()
        for verb in (connection.execute, connection.fetchall, connection.executemany):
            with anyio.fail_after(5), pytest.raises(ConnectionLost):
                await verb("select 1", *([()] if verb == connection.executemany else []))
        with anyio.fail_after(5), pytest.raises(ConnectionLost):
            await connection.transaction().start()
        assert not connection.is_ready
    assert await shop.fetchval("select 1") == 1


@pytest.mark.targets(dialect="postgresql")
async def test_a_commit_without_an_answer_is_uncertain(shop):
    await shop.execute(
        "create function die() returns trigger language plpgsql as "
        "$$ begin perform pg_terminate_backend(pg_backend_pid()), pg_sleep(5); return null; end $$"
    )
    await shop.execute(
        "create constraint trigger late after update on authors deferrable initially deferred "
        "for each row execute function die()"
    )
    with pytest.raises(CommitUncertainError) as caught:
        async with shop.transaction() as transaction:
            await shop.execute("update authors set name = 'Eve'")
    assert isinstance(caught.value, ConnectionLost)
    assert not caught.value.retryable
    assert TransactionState.FAILED is transaction.state
    assert await shop.fetchval("select name from authors") == "Ann"


@pytest.mark.targets(dialect="postgresql")
async def test_a_statement_after_a_failed_one_is_refused_by_the_transaction(shop, target):
    transaction = await shop.transaction().start()
    with pytest.raises(ProgrammingError):
        await shop.execute("select * from nowhere")
    with pytest.raises(InternalError) as caught:
        await shop.execute("select 1")
    await transaction.rollback()
    assert isinstance(caught.value, library_error(target, "InternalError", "25P02"))


async def test_a_write_in_a_transaction_that_only_reads_is_told(shop, target):
    with pytest.raises(ReadOnlyError) as caught:
        async with shop.transaction(readonly=True):
            await shop.execute("update authors set name = 'Eve'")
    if not target.lacks("transactional_ddl"):  # else it was refused here, before DDL could end the transaction
        assert isinstance(caught.value, library_error(target, "OperationalError", "25006"))
    assert isinstance(caught.value, RuntimeError)
    assert await shop.fetchval("select name from authors") == "Ann"


async def ended_by_sqlite(caller, transaction):
    """Have SQLite end a transaction, and fail unless nothing runs from then on."""
    await caller.execute("insert into users (id) values (4)")
    with pytest.raises(UniqueViolation):
        await caller.execute("insert or rollback into users (id) values (1)")
    assert TransactionState.FAILED is transaction.state
    for statement in ("insert into users (id) values (5)", "select 1"):
        with pytest.raises(TransactionError):
            await caller.execute(statement)
    with pytest.raises(TransactionError):
        await anext(caller.iterate("select 1"))


SQLITE = pytest.mark.targets(dialect="sqlite", odbc=False)


@SQLITE
@pytest.mark.parametrize("by", ["database", "connection"])
async def test_in_the_block_of_a_transaction_that_the_database_has_ended_nothing_runs(users, by):
    async with users.connection() as connection:
        caller = users if by == "database" else connection
        with pytest.raises(TransactionError):
            async with caller.transaction() as transaction:
                await ended_by_sqlite(caller, transaction)
        assert await caller.fetchval("select count(*) from users") == 3


@SQLITE
@pytest.mark.parametrize("by", ["database", "connection"])
@pytest.mark.parametrize("held", [True, False])
async def test_until_a_transaction_that_the_database_has_ended_is_rolled_back_by_hand_nothing_runs(users, by, held):
    async with users.connection() if held else AsyncExitStack():
        transaction = await users.transaction().start()
        await ended_by_sqlite(users if by == "database" else transaction.connection, transaction)
        await transaction.rollback(silent=True)
        assert await users.fetchval("select count(*) from users") == 3
