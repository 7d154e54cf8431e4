"""MySQL's statements go on when their client leaves: here they are cancelled, frozen and killed, and nothing is left.

The sweeps cancel every scenario at every await; the fuzz cancels at random moments, while the server works.
"""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aio_databases import ConnectError, ConnectionLost, Database, TransactionError, TransactionState
from aio_databases.concurrency.loops import runs_on_trio
from faults.sites import SIZE
from faults.test_cancellation import SCENARIOS, lease, sweep, transaction_by_hand
from servers import MariaDBServer

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPS = [("asyncmy", "asyncio"), ("aiomysql", "asyncio"), ("pymysql", "asyncio"), ("pymysql", "trio")]
LOOPS.append(("trio-mysql", "trio"))
on_every_driver = pytest.mark.parametrize(("scheme", "anyio_backend"), LOOPS)

RUNNING = "select info from information_schema.processlist where db = %s and command <> 'Sleep'"
OPEN = "select count(*) from information_schema.processlist where db = %s"
ENDLESS = "select max(a.seq + b.seq) from seq_1_to_1000000000 as a, seq_1_to_1000000000 as b"


@pytest.fixture
def place(mysql):
    """Give the name of an empty database, and make sure that no statement is left running in it."""
    name = mysql.create_database()
    yield name
    mysql.drop_database(name)


@pytest.fixture
def make(mysql, place, scheme):
    """Give a function that makes a `Database`."""
    return lambda **options: Database(mysql.url(database=place).replace("mysql", scheme, 1), **options)


@pytest.fixture
def nothing_runs(mysql, place):
    """Give a function that waits until no statement runs in the database."""

    async def wait():
        with anyio.fail_after(5):
            while True:
                if not mysql.execute(RUNNING, place):
                    return
                await anyio.sleep(0.01)

    return wait


# Every await


class MySQLSite:
    """A server."""

    def __init__(self, mysql: Any, place: str, make: Callable[..., Database]) -> None:
        self.make = lambda: make(max_size=SIZE)
        self._mysql = mysql
        self._place = place
        mysql.execute("create table t (x integer)", database=place)

    def check(self, db: Database) -> None:
        """Do nothing: `recovered` asks the server."""

    def close(self, db: Database) -> None:
        """Fail if a row is locked by a transaction, or half of one was committed."""
        del db
        self._mysql.execute("update t set x = x + 1", database=self._place)
        assert self._mysql.execute("select count(*) % 2 from t", database=self._place) == [(0,)]


@pytest.fixture
def site(mysql, place, make):
    return MySQLSite(mysql, place, make)


async def mysql_lease(db: Database) -> None:
    """Acquire and release without a block."""
    connection = await db.connection().acquire()
    try:
        assert await connection.fetchval("select 'mine'") == "mine"
        await connection.execute("set @mine = 1")
    finally:
        await connection.release()


async def mysql_transaction_by_hand(db: Database) -> None:
    """Start and commit without a block; its connection may be lost with a cancelled statement."""
    transaction = await db.transaction().start()
    try:
        await db.execute("insert into t (x) values (1), (2)")
        await transaction.commit()
    finally:
        if transaction.state is not TransactionState.COMMITTED:
            await transaction.rollback(silent=True)


OWN = {lease: mysql_lease, transaction_by_hand: mysql_transaction_by_hand}


@pytest.mark.parametrize(
    ("scheme", "anyio_backend", "way"),
    [("asyncmy", "asyncio", "task-twice"), ("pymysql", "trio", "scope"), ("trio-mysql", "trio", "scope")],
)
@pytest.mark.parametrize("scenario", [OWN.get(scenario, scenario) for scenario in SCENARIOS])
async def test_mysql_recovers_from_a_cancellation_at_every_await(site, scenario, way, anyio_backend):
    await sweep(site, scenario, way)


# Any moment


async def work(db: Database, number: int, choose: random.Random) -> None:
    """Do something whose answers tell whether they are the right ones."""
    kind = choose.randrange(6)
    if kind == 0:
        assert number == await db.fetchval("select ? from (select sleep(?)) as t", number, choose.random() * 0.005)
    elif kind == 1:
        async with db.transaction():
            await db.execute("insert into t values (?)", number)
            async with db.transaction():
                await db.execute("insert into t values (?)", number)
            assert await db.fetchval("select count(*) % 2 from t where i = ?", number) == 0
    elif kind == 2:
        async for row in db.iterate("select ? from seq_1_to_300", number, chunk_size=7):
            assert (number,) == row
    elif kind == 3:
        assert (await db.executemany("update t set i = 0 where i = -?", [(number,)] * 3)).rowcount == 0
    elif kind == 4:
        async with db.transaction():
            async for row in db.iterate("select ? from seq_1_to_4000", number, chunk_size=3):
                assert (number,) == row
                assert number + 1 == await db.fetchval("select ?", number + 1)
                if choose.random() < 0.3:
                    break
    else:
        async with db.connection() as connection:
            await connection.execute("set @mine = ?", number)
            assert number == await connection.fetchval("select @mine")


async def cancelled_soon(db: Database, number: int, choose: random.Random) -> bool:
    """Work until a random moment, and return whether the work was cancelled."""
    delay = choose.random() ** 2 * 0.02
    if choose.random() < 0.5 and not runs_on_trio():
        task = asyncio.create_task(work(db, number, choose))
        await asyncio.wait([task], timeout=delay)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        if not task.cancelled():
            task.result()
        return task.cancelled()
    with anyio.move_on_after(delay) as scope:
        await work(db, number, choose)
    return scope.cancelled_caught


@on_every_driver
async def test_at_whatever_moment_a_task_is_cancelled_every_answer_is_the_right_one(
    mysql, place, make, nothing_runs, anyio_backend
):
    choose = random.Random(7)  # noqa: S311 - so that it can be repeated
    numbers, cancelled = count(10), []
    mysql.execute("create table t (i integer)", database=place)

    async def run(db: Database, seed: float) -> None:
        own = random.Random(seed)  # noqa: S311 - as above
        cancelled.append(await cancelled_soon(db, next(numbers), own))

    async with make(max_size=4) as db:
        for _ in range(20):
            async with anyio.create_task_group() as tasks:
                for _ in range(6):
                    tasks.start_soon(run, db, choose.random())
            assert db.stats()["primary"].size <= 4
        assert sum(cancelled) > 10
        leases = [await db.connection().acquire() for _ in range(4)]
        for number, connection in enumerate(leases):
            assert number == await connection.fetchval("select ?", number)
            assert not connection.driver.in_transaction
            await connection.release()
        await nothing_runs()
        assert mysql.execute(OPEN, place) == [(4,)]
        assert await db.fetchval("select count(*) % 2 from t") == 0


# One moment


@on_every_driver
async def test_a_cancelled_statement_is_stopped_on_the_server(make, nothing_runs, anyio_backend):
    async with make() as db:
        for _ in range(2):
            with anyio.move_on_after(0.05) as scope:
                await db.fetchval(ENDLESS)
            assert scope.cancelled_caught
            await nothing_runs()
            assert await db.fetchval("select 1") == 1


@on_every_driver
async def test_a_cancelled_transaction_frees_its_locks(mysql, place, make, anyio_backend):
    mysql.execute("create table t (i integer primary key)", database=place)
    mysql.execute("insert into t values (1)", database=place)
    async with make() as db:
        with anyio.move_on_after(0.05) as scope:
            async with db.transaction():
                await db.execute("update t set i = 2")
                await db.fetchval(ENDLESS)
        assert scope.cancelled_caught
        async with db.connection() as connection:
            await connection.execute("set session innodb_lock_wait_timeout = 5")
            assert (await connection.execute("update t set i = 3 where i = 1")).rowcount == 1


@on_every_driver
async def test_a_cancelled_statement_loses_the_transaction_that_goes_on(make, anyio_backend):
    async with make() as db:
        with pytest.raises(TransactionError):
            async with db.transaction():
                with anyio.move_on_after(0.05):
                    await db.fetchval(ENDLESS)
                await db.fetchval("select 1")
        assert await db.fetchval("select 1") == 1


@on_every_driver
async def test_a_call_that_was_not_begun_costs_no_connection(make, anyio_backend):
    connection = await make().backend.connect()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await connection.execute("select 1", ())
    usable = await connection.settle()
    assert usable is not connection.is_closed
    if usable:
        assert await connection.fetch("select 7", (), None) == [(7,)]
    await connection.close()


@on_every_driver
async def test_a_connection_that_is_killed_is_lost(mysql, make, anyio_backend):
    async with make(max_size=1) as db:
        number = await db.fetchval("select connection_id()")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, kill_soon, mysql, number)
            with pytest.raises(ConnectionLost):
                await db.fetchval(ENDLESS)
        assert await db.fetchval("select 1") == 1
        number = await db.fetchval("select connection_id()")
        mysql.execute(f"kill {number}")
        with pytest.raises(ConnectionLost):
            while number == await db.fetchval("select connection_id()"):
                pass
        assert await db.fetchval("select 1") == 1


def kill_soon(mysql: Any, number: int) -> None:
    """Kill a connection once it runs a statement."""
    running = f"select info from information_schema.processlist where id = {number} and info like '%%seq_1_to%%'"
    while not mysql.execute(running):
        pass
    mysql.execute(f"kill {number}")


# A server that does not answer


@pytest.fixture(scope="module")
def frail_mysql(require_server):
    """Give a server that only the tests of this module use."""
    with require_server("mysql"):
        server = MariaDBServer()
    with server:
        yield server


@pytest.fixture
def frail_url(frail_mysql, scheme):
    return frail_mysql.url().replace("mysql", scheme, 1)


@pytest.fixture
def freeze(frail_mysql):
    """Give a function that freezes the server for the rest of a test, once nobody says hello any more."""

    def pause():
        frail_mysql.pause()
        while True:
            with socket.create_connection((frail_mysql.host, frail_mysql.port)) as probe:
                probe.settimeout(0.02)
                try:
                    probe.recv(1)
                except TimeoutError:
                    return

    yield pause
    frail_mysql.resume()


@on_every_driver
@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_frozen_server_keeps_nobody(frail_mysql, frail_url, freeze, encrypted, anyio_backend):
    options: dict[str, Any] = {"cleanup_timeout": 0.1, "connect_timeout": 1}
    if encrypted:
        options |= {"ssl": "verify-full", "sslrootcert": str(frail_mysql.certificate_authority)}
    db = await Database(frail_url, **options).connect()
    async with db.connection(), db.connection(), db.connection():
        assert await db.fetchval("select 1") == 1
    freeze()
    with anyio.fail_after(5):
        for parameter in ("", "x" * 20_000_000):
            with anyio.move_on_after(0.05) as scope:
                await db.fetchval("select length(?)", parameter)
            assert scope.cancelled_caught
        with pytest.raises(ConnectError, match=r"no answer within 0\.1 s"):
            await Database(frail_url, **options | {"connect_timeout": 0.1}).fetchval("select 1")
        await db.disconnect()


@on_every_driver
async def test_a_connect_to_a_frozen_server_can_be_cancelled(frail_url, freeze, anyio_backend):
    driver = Database(frail_url).backend
    freeze()
    with anyio.fail_after(5):
        with anyio.move_on_after(0.05) as scope:
            await driver.connect()
        assert scope.cancelled_caught


@on_every_driver
async def test_a_connection_can_be_cut_while_the_server_is_frozen(frail_url, freeze, anyio_backend):
    connection = await Database(frail_url).backend.connect()
    freeze()

    async def wait_for_an_answer() -> None:
        with pytest.raises(Exception, match=r"(?i)lost|closed|gone"):
            await connection.fetch("select 1", (), None)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_an_answer)
            await anyio.sleep(0.05)
            connection.terminate()


@on_every_driver
async def test_a_server_that_was_restarted_is_served_again(frail_mysql, frail_url, anyio_backend):
    async with Database(frail_url, max_size=2) as db:
        async with db.connection() as one, db.connection() as two:
            assert [await one.fetchval("select 1"), await two.fetchval("select 2")] == [1, 2]
        frail_mysql.kill()
        frail_mysql.restart()
        with suppress(ConnectionLost):  # unless the library has noticed it already
            await db.fetchval("select 1")
        assert await db.fetchval("select 1") == 1
