"""However a connection was used, what was changed in its session does not reach the next lease."""

from __future__ import annotations

import gc

import anyio
import pytest

from aio_databases import Error, InterfaceError
from conformance.libraries import run_raw
from conformance.session_changes import LASTING, STREAMS

SERVERS = pytest.mark.targets(dialect={"postgresql", "mysql"}, pooled=True)
POSTGRES = pytest.mark.targets(dialect="postgresql", pooled=True)

pytestmark = pytest.mark.targets(memory=False, pooled=True)


@pytest.fixture
async def single(make_database):
    """Give a pool of one connection, so that every lease gets the same one."""
    return await make_database(max_size=1, timeout=5)


async def alone(database, change):
    await database.execute(change)


async def in_a_block(database, change):
    async with database.connection(), database.connection(create=False) as connection:
        await connection.execute(change)
        await connection.fetchval("select 1")


async def in_a_block_that_fails(database, change):
    with pytest.raises(ZeroDivisionError):
        async with database.connection() as connection:
            await connection.execute(change)
            raise ZeroDivisionError


async def by_hand(database, change):
    connection = await database.connection().acquire()
    await connection.execute(change)
    await connection.release()


async def in_a_transaction(database, change):
    async with database.transaction(), database.transaction():
        await database.execute(change)


async def in_a_transaction_that_fails(database, change):
    with pytest.raises(ZeroDivisionError):
        async with database.transaction():
            await database.execute(change)
            raise ZeroDivisionError


async def in_a_transaction_that_takes_too_long(database, change):
    with pytest.raises(Error):
        async with database.transaction(timeout=0.05):
            await database.execute(change)
            await anyio.sleep(5)


async def in_a_transaction_that_is_run_again(database, change):
    await database.run_transaction(lambda: database.execute(change))


async def in_a_task_that_is_cancelled(database, change):
    async def work():
        async with database.connection():
            await database.execute(change)
            changed.set()
            await anyio.sleep(5)

    changed = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await changed.wait()
        tasks.cancel_scope.cancel()


async def before_a_statement_that_is_cancelled(database, change):
    async with database.connection():
        await database.execute(change)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await database.fetchval("select 1")


async def before_a_statement_that_fails(database, change):
    async with database.connection():
        await database.execute(change)
        with pytest.raises(Error):
            await database.execute("select nonsense from nowhere")


async def in_a_child_task(database, change):
    async with database.connection(), anyio.create_task_group() as tasks:
        tasks.start_soon(database.execute, change)


async def around_a_stream_left_early(database, change):
    async with database.connection():
        await database.execute(change)
        async for _ in database.iterate("select 1 union all select 2", chunk_size=1):
            break


async def in_a_lease_that_is_forgotten(database, change):
    async def change_and_wait():
        async with database.connection():
            await database.execute(change)
            await _Pause()

    coroutine = change_and_wait()
    await _Until(coroutine)
    coroutine.close()


async def with_the_librarys_own_connection(database, change):
    async with database.connection() as connection:
        await run_raw(connection.raw, change)


class _Pause:
    """Stops a coroutine where it stands, for whoever drives it to see."""

    def __await__(self):
        yield _Pause


class _Until:
    """Drives a coroutine as part of this task until it pauses."""

    def __init__(self, coroutine):
        self.coroutine = coroutine

    def __await__(self):
        answer = None
        while (asked := self.coroutine.send(answer)) is not _Pause:
            answer = yield asked


WAYS = (
    alone,
    in_a_block,
    in_a_block_that_fails,
    by_hand,
    in_a_transaction,
    in_a_transaction_that_fails,
    in_a_transaction_that_takes_too_long,
    in_a_transaction_that_is_run_again,
    in_a_task_that_is_cancelled,
    before_a_statement_that_is_cancelled,
    before_a_statement_that_fails,
    in_a_child_task,
    around_a_stream_left_early,
    in_a_lease_that_is_forgotten,
    with_the_librarys_own_connection,
)


@pytest.mark.parametrize("use", WAYS, ids=[way.__name__ for way in WAYS])
async def test_however_a_connection_was_used_the_next_lease_does_not_see_it(single, target, use):
    change, look = LASTING[target.dialect]
    before = await single.fetchval(look)
    await use(single, change)
    assert before == await single.fetchval(look)
    async with single.transaction():
        assert before == await single.fetchval(look)


@pytest.mark.targets(pooled=False)
async def test_without_a_pool_each_lease_has_a_session_of_its_own(db, words):
    change, look, before = words.session
    for use in (alone, in_a_block, in_a_transaction, with_the_librarys_own_connection):
        await use(db, change)
        assert before == await db.fetchval(look)


@SERVERS
async def test_a_statement_that_is_cancelled_after_it_has_changed_something_is_not_forgotten(single, target, running):
    change, look = {
        "postgresql": ("select pg_advisory_lock(42)::text || pg_sleep(60)::text", STREAMS["postgresql"][1]),
        "mysql": ("select get_lock('mine', 0) + sleep(60)", "select is_used_lock('mine') = connection_id()"),
    }[target.dialect]
    before = await single.fetchval(look)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(single.fetchval, change)
        await running(1)
        tasks.cancel_scope.cancel()
    assert before == await single.fetchval(look)


@SERVERS
@pytest.mark.parametrize("inside", [False, True])
async def test_a_stream_changes_the_session_no_matter_how_it_ends(single, target, inside):
    query, look = STREAMS[target.dialect]
    before = await single.fetchval(look)

    async def read(rows, *, close):
        async for _ in rows:
            if close is not None:
                break
        if close:
            await rows.aclose()

    for close in (None, False, True):
        if inside:
            async with single.transaction():
                await read(single.iterate(query, chunk_size=100), close=close)
        else:
            await read(single.iterate(query, chunk_size=100), close=close)
        gc.collect()  # what was left early gives its connection back when it is collected
        assert before == await single.fetchval(look)


@POSTGRES
async def test_a_batch_changes_the_session_as_a_single_statement_does(single):
    await single.executemany("select set_config('application_name', ?, false)", [("mine",), ("yours",)])
    assert await single.fetchval("show application_name") == ""


async def test_a_connection_cannot_be_used_to_change_the_session_of_the_next_lease(single, words):
    change, look, before = words.session
    async with single.connection() as connection:
        pass
    async with single.connection() as other:
        with pytest.raises(InterfaceError):
            await connection.execute(change)
        assert before == await other.fetchval(look)
