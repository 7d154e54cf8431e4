"""A network that swallows everything: each wait ends by the option that bounds it, while the silence lasts."""

from __future__ import annotations

import anyio
import pytest
import trio

from aio_databases import ConnectError, ConnectionLost, PoolTimeout
from faults.limits import BOUND, IMPATIENT, soon, within_own_limit
from faults.outcomes import OWN_LIMIT
from faults.stage import INSERT, SIZE, fill, recovered
from servers.proxy import BLACKHOLE, UNPLUGGED


@pytest.fixture
async def db(stage):
    """Give a database whose pool is full, and that has little patience."""
    db = await stage.database(**IMPATIENT).connect()
    await fill(db)
    return db


async def statement(stage, db):
    """Run a statement."""
    stage.proxy.mode = BLACKHOLE
    await db.fetchval("select 1")


async def stream(stage, db):
    """Read a result that ceases to come."""
    async for _ in db.iterate(f"{stage.words.rows} limit 20", chunk_size=10):
        stage.proxy.mode = BLACKHOLE
    await db.fetchval("select 1")  # where the library had read all rows before it gave the first


async def statement_in_a_transaction(stage, db):
    """Run a statement in a transaction, which cannot be rolled back either."""
    async with db.transaction():
        await db.execute(INSERT)
        stage.proxy.mode = BLACKHOLE
        await db.execute(INSERT)


@pytest.mark.parametrize("verb", [statement, stream, statement_in_a_transaction], ids=lambda verb: verb.__name__)
async def test_the_callers_own_time_limit_ends_a_call(stage, db, verb, happened):
    with soon(), pytest.raises((TimeoutError, trio.TooSlowError)):
        await within_own_limit(lambda: verb(stage, db))
    happened("network falls silent in a statement", OWN_LIMIT)
    stage.heal()
    await stage.wait_until_settled()
    assert stage.count == 0
    await recovered(db)


async def test_connect_timeout_ends_connecting(stage, tell):
    db = stage.database(**IMPATIENT)
    stage.proxy.mode = BLACKHOLE
    with soon(), pytest.raises(ConnectError, match=r"no answer within 1 s") as caught:
        await db.connect()
    tell("nobody answers", caught.value)
    stage.heal()
    await db.connect()
    await recovered(db)


async def test_connect_timeout_ends_the_check_of_idle_connections(stage):
    db = await stage.database(**IMPATIENT, check_after=0).connect()
    await fill(db)
    stage.proxy.mode = BLACKHOLE
    with soon(), pytest.raises(ConnectError, match=r"no answer within 1 s"):
        await db.fetchval("select 1")
    stage.heal()
    await recovered(db)


async def test_cleanup_timeout_ends_a_rollback_and_the_callers_error_stays(stage, db):
    with soon(), pytest.raises(ZeroDivisionError):
        async with db.transaction():
            await db.execute(INSERT)
            stage.proxy.mode = BLACKHOLE
            raise ZeroDivisionError
    stage.heal()
    await stage.wait_until_settled()
    assert stage.count == 0
    await recovered(db)


async def test_cleanup_timeout_ends_the_release_of_a_connection(stage, db):
    connection = await db.connection().acquire()
    await connection.execute(stage.words.change)
    stage.proxy.mode = BLACKHOLE
    with soon():
        await connection.release()
    stage.heal()
    await recovered(db)


async def test_cleanup_timeout_ends_disconnecting(stage, db):
    stage.proxy.mode = BLACKHOLE
    with soon():
        await db.disconnect()
    stage.heal()
    await db.connect()
    await recovered(db)


async def test_timeout_ends_waiting_for_connections_that_hang(stage, tell):
    db = await stage.database(**IMPATIENT, timeout=0.2).connect()
    async with anyio.create_task_group() as tasks:
        for _ in range(SIZE):
            await tasks.start(hang, stage, db)
        with soon(), pytest.raises(PoolTimeout) as caught:
            await db.fetchval("select 1")
        tasks.cancel_scope.cancel()
    tell("all connections wait for a silent network", caught.value)
    stage.heal()
    await recovered(db)


async def hang(stage, db, *, task_status):
    """Wait on a connection for what does not come."""
    async with db.connection() as connection:
        for each in stage.proxy.connections:
            each.mode = BLACKHOLE
        task_status.started()
        await connection.fetchval("select 1")


@pytest.mark.clients(keeps_alive=True)
async def test_keepalive_ends_statements_that_nobody_limits(stage, tell):
    db = await stage.database(keepalive=1).connect()
    await fill(db)
    unplugged = anyio.Event()

    async def wait_for_an_answer():
        async with db.connection() as connection:
            with pytest.raises(ConnectionLost) as caught:
                await connection.fetchval(stage.words.sleep)
        tell("network is dead in a statement", caught.value)

    async def send_a_statement():
        async with db.connection() as connection:
            await unplugged.wait()
            with pytest.raises(ConnectionLost):
                await connection.fetchval("select 1")

    with soon(2 * BOUND):  # the system looks up once a second, at the soonest
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_an_answer)
            tasks.start_soon(send_a_statement)
            await stage.wait_until_asleep()
            stage.proxy.strike(UNPLUGGED)
            unplugged.set()
    stage.heal()
    await recovered(db)
