"""Blocks choose the connection that statements use; connections are acquired and released."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from aio_databases import Connection, ConnectionLost, InterfaceError, TransactionError, current_conn
from aio_databases.drivers.base import DriverConnection
from conformance.libraries import LIBRARIES

ONE = "select 1"


async def test_a_block_gives_a_connection_that_its_statements_share(users):
    assert users.current_conn is None
    async with users.connection() as connection:
        assert isinstance(connection, Connection)
        assert connection.is_ready
        assert connection is users.current_conn is current_conn.get()
        lent = users.stats()["primary"]
        assert await users.fetchval("select count(*) from users") == 3
        assert await connection.fetchval("select count(*) from users") == 3
        assert lent == users.stats()["primary"]
    assert not connection.is_ready
    assert users.current_conn is current_conn.get() is None


@pytest.mark.parametrize("arguments", [((False,), {}), ((), {"create": False})], ids=["positional", "keyword"])
async def test_a_block_that_creates_nothing_takes_the_connection_in_use(db, arguments):
    positional, keyword = arguments
    async with db.connection() as outer:
        async with db.connection(*positional, **keyword) as inner:
            assert outer is inner
        assert outer.is_ready
    async with db.connection(*positional, **keyword) as own:
        assert own is db.current_conn
        assert await db.fetchval(ONE) == 1
    assert not own.is_ready


@pytest.mark.parametrize(
    "arguments", [((), {}), ((True,), {}), ((), {"create": True})], ids=["", "positional", "keyword"]
)
async def test_a_block_inside_a_block_has_a_connection_of_its_own(db, arguments):
    positional, keyword = arguments
    async with db.connection() as outer:
        async with db.connection(*positional, **keyword) as inner:
            assert outer is not inner is db.current_conn
            assert db.backend.shared is (outer.raw is inner.raw)
        assert not inner.is_ready
        assert outer is db.current_conn
        assert await db.fetchval(ONE) == 1


async def test_an_exception_leaves_the_block_and_releases_the_connection(db):
    with pytest.raises(ZeroDivisionError):
        async with db.connection() as connection:
            raise ZeroDivisionError
    assert not connection.is_ready
    assert db.current_conn is None


async def test_acquire_and_release_are_idempotent(db):
    connection = await db.connection().acquire()
    assert connection is await connection.acquire()
    assert db.current_conn is None
    assert await connection.fetchval(ONE) == 1
    await connection.release()
    await connection.release()
    assert connection is await connection.acquire()
    assert await connection.fetchval(ONE) == 1
    await connection.release()


async def test_a_block_that_was_acquired_by_hand_is_released_by_hand(db):
    block = db.connection()
    connection = await block.acquire()
    assert connection is await block.acquire()
    assert await connection.fetchval(ONE) == 1
    await block.release()
    await block.release()
    assert not connection.is_ready


async def test_acquiring_at_the_same_time_leases_one_connection(make_database):
    database = await make_database(max_size=5, timeout=1)
    block = database.connection()
    found = []

    async def acquire():
        found.append(await block.acquire())

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(acquire)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert database.stats()["primary"].size == 1
    await block.release()


async def test_releasing_at_the_same_time_releases_once(db):
    connection = await db.connection().acquire()
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(connection.release)
    assert not connection.is_ready


@pytest.mark.parametrize("verb", ["execute", "executemany", "fetchall", "fetchone", "fetchval"])
async def test_use_after_the_release_is_an_interface_error_that_says_what_to_do(db, verb):
    async with db.connection() as connection:
        pass
    with pytest.raises(InterfaceError, match=r"used after its release.*acquire"):
        await getattr(connection, verb)(ONE)
    with pytest.raises(InterfaceError, match="used after its release"):
        await anext(connection.iterate(ONE))
    with pytest.raises(InterfaceError, match="used after its release"):
        _ = connection.raw
    with pytest.raises(InterfaceError, match="used after its release"):
        await connection.transaction().start()


async def test_statements_of_the_database_go_on_when_the_connection_of_the_block_was_released(db):
    async with db.connection() as connection:
        await connection.release()
        assert db.current_conn is None
        assert await db.fetchval(ONE) == 1


@pytest.mark.targets(memory=False)
async def test_reconnect_takes_another_connection(make_database):
    database = await make_database(reset="always")
    async with database.connection() as connection:
        before = connection.driver
        connection.driver.terminate()
        assert not connection.is_ready
        await connection.reconnect()
        assert connection.is_ready
        assert before is not connection.driver
        assert connection is database.current_conn
        assert await connection.fetchval(ONE) == 1


async def test_reconnect_loses_the_open_transaction_and_says_so(users):
    with pytest.raises(TransactionError):
        async with users.connection() as connection, users.transaction():
            await users.execute("delete from users")
            await connection.reconnect()
            await users.fetchall("select * from users")
    assert await users.fetchval("select count(*) from users") == 3


@pytest.mark.targets(memory=False)
async def test_a_connection_that_reconnects_runs_the_statement_after_the_one_that_met_the_loss(db):
    async with db.connection(reconnect=True) as connection:
        assert await db.fetchval(ONE) == 1
        connection.driver.terminate()
        with pytest.raises(ConnectionLost):
            await connection.fetchval(ONE)
        assert await connection.fetchval(ONE) == 1
        assert await db.fetchval(ONE) == 1


@pytest.mark.targets(dialect={"postgresql", "mysql"})
@pytest.mark.parametrize("reconnect", [False, True])
async def test_a_connection_that_the_server_ends_is_lost_and_replaced_if_asked(db, server, words, reconnect):
    async with db.connection(reconnect=reconnect) as connection:
        number = await connection.fetchval(words.own_id)
        server.execute(words.kill.format(number))
        with pytest.raises(ConnectionLost):
            await connection.fetchval(ONE)
        if reconnect:
            assert number != await connection.fetchval(words.own_id)
        else:
            with pytest.raises(InterfaceError if connection.is_ready else (ConnectionLost, InterfaceError)):
                await connection.fetchval(ONE)
    assert await db.fetchval(ONE) == 1


# Several databases


async def test_two_databases_never_use_each_others_connection(make_database, url):
    one, two = await make_database(), await make_database(url.replace("test.db", "other.db"))
    async with one.connection() as first:
        assert two.current_conn is None
        assert await two.fetchval(ONE) == 1
        async with two.connection() as second:
            assert first is one.current_conn
            assert second is two.current_conn is current_conn.get()
            async with one.transaction() as transaction:
                assert first is transaction.connection
                assert second is two.current_conn
            assert second is two.current_conn
        assert first is one.current_conn is current_conn.get()
        await two.disconnect()
        assert first.is_ready
        assert await one.fetchval(ONE) == 1


async def test_disconnecting_in_a_block_releases_its_connection_only(make_database):
    one, two = await make_database(), await make_database()
    async with one.connection() as first, two.connection() as second:
        await two.disconnect()
        assert first.is_ready
        assert not second.is_ready
        assert await one.fetchval(ONE) == 1


# Tasks


async def test_child_tasks_share_the_connection_of_their_block_by_turns(users):
    seen = []

    async def work(number):
        seen.append(users.current_conn)
        async with users.transaction():
            await users.execute("insert into users (id, name) values (?, 'child')", number)
            await anyio.lowlevel.checkpoint()
            assert await users.fetchval("select count(*) from users where id = ?", number) == 1

    async with users.connection() as connection, users.transaction(), anyio.create_task_group() as tasks:
        for number in range(10, 15):
            tasks.start_soon(work, number)
    assert [connection] * 5 == seen
    assert await users.fetchval("select count(*) from users") == 8


async def test_one_failing_nested_transaction_spares_its_siblings(users):
    async def work(number):
        async with users.transaction() as transaction:
            await users.execute("insert into users (id, name) values (?, 'child')", number)
            await anyio.lowlevel.checkpoint()
            if number % 2:
                await transaction.rollback()

    async with users.transaction(), anyio.create_task_group() as tasks:
        for number in range(10, 16):
            tasks.start_soon(work, number)
    assert await users.fetchall("select id from users where id > 3 order by id", into=int) == [10, 12, 14]


async def test_a_task_beside_a_transaction_does_not_slip_into_it(users):
    started, done = anyio.Event(), anyio.Event()

    async def beside():
        await started.wait()
        async with users.transaction(readonly=True):
            assert await users.fetchval("select count(*) from users") == 3
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beside)
        async with users.transaction():
            await users.execute("insert into users (id) values (4)")
            started.set()
            if not users.backend.shared:
                await done.wait()
            await users.execute("delete from users where id = 4")
    assert done.is_set()


@pytest.mark.parametrize(("policy", "shares"), [("share", True), ("isolate", False)])
async def test_child_tasks_see_what_the_policy_allows(make_database, policy, shares):
    database = await make_database(child_tasks=policy)
    seen = []

    async def child():
        seen.append(database.current_conn)

    async with database.connection() as connection, anyio.create_task_group() as tasks:
        tasks.start_soon(child)
    assert [connection if shares else None] == seen


async def test_a_policy_may_forbid_the_transactions_of_others(make_database):
    database = await make_database(child_tasks="forbid")
    caught = []

    async def child():
        with pytest.raises(TransactionError, match="child_tasks='forbid'") as error:
            await database.fetchval(ONE)
        caught.append(error)
        async with database.connection():
            pass

    async with database.transaction(readonly=True), anyio.create_task_group() as tasks:
        tasks.start_soon(child)
    assert len(caught) == 1


async def test_the_connection_of_the_library_is_there(db, target):
    async with db.connection() as connection:
        assert isinstance(connection.driver, DriverConnection)
        assert connection.raw is connection.driver.raw
        modules = {cls.__module__.partition(".")[0].lstrip("_") for cls in type(connection.raw).__mro__}
        assert not modules.isdisjoint(LIBRARIES[target.scheme].modules)
