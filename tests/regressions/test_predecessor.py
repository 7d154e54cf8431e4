"""The defects of aio-databases 1.x and 2.0, one test each."""

from __future__ import annotations

import gc
import sys

import anyio
import anyio.lowlevel
import pytest

from aio_databases import (
    ConnectError,
    Database,
    DatabaseError,
    DriverNotInstalled,
    Error,
    IntegrityError,
    ReadOnlyError,
    Result,
    TransactionError,
    TransactionState,
    UnknownDriver,
)
from aio_databases.testing.fake_driver import FakeError, connected, make_database, script_of, verify_closed


@pytest.fixture
async def memory():
    async with Database("sqlite:///:memory:") as db:
        await db.execute("create table t (id integer primary key, name text)")
        yield db


@pytest.fixture
def file_url(tmp_path):
    return f"sqlite:///{tmp_path}/test.db"


async def test_k01_a_database_never_uses_the_connection_of_another():
    async with connected() as (one, first), connected() as (two, second), one.connection():
        await two.fetchval("select two")
        assert two.current_conn is None
        await two.disconnect()
        assert await one.fetchval("select one") == "select one"
        assert (first.sent, second.sent) == (["select one"], ["select two"])


async def test_k02_nested_transactions_of_sibling_tasks_never_interleave():
    async with connected() as (db, fake):

        async def child(name):
            async with db.transaction():
                await db.execute(f"insert {name}")

        async with db.transaction(), anyio.create_task_group() as tasks:
            tasks.start_soon(child, "x")
            tasks.start_soon(child, "y")
        expected = ["BEGIN", *2 * ["SAVEPOINT aiodb_1", "insert", "RELEASE aiodb_1"], "COMMIT"]
        assert [text[:6] if text.startswith("insert") else text for text in fake.sent] == expected


async def test_k03_failed_begin_releases_the_connection():
    async with connected(max_size=1) as (db, fake):
        fake.fail("BEGIN")
        with pytest.raises(DatabaseError, match="refused"):
            async with db.transaction():
                pytest.fail("the block must not run")
        assert (db._pool.lent, db.current_conn) == (0, None)
        assert await db.fetchval("select 1") == "select 1"


async def test_k04_failed_commit_rolls_back_and_releases_the_connection():
    async with connected(max_size=1) as (db, fake):
        fake.fail("COMMIT", FakeError("deferred", IntegrityError))
        with pytest.raises(IntegrityError, match="deferred"):
            async with db.transaction() as transaction:
                await db.execute("insert 1")
        assert TransactionState.ROLLED_BACK is transaction.state
        assert fake.sent == ["BEGIN", "insert 1", "COMMIT", "ROLLBACK"]
        assert (db._pool.lent, db.current_conn) == (0, None)


async def test_k04_failed_commit_by_hand_releases_the_connection():
    async with connected(max_size=1) as (db, fake):
        fake.fail("COMMIT")
        transaction = await db.transaction().start()
        with pytest.raises(DatabaseError, match="refused"):
            await transaction.commit()
        assert (db._pool.lent, db.current_conn) == (0, None)


async def test_k05_statements_inside_of_an_iteration_do_not_deadlock():
    async with connected(max_size=1) as (db, fake):
        fake.rows["select 3"] = 3
        seen = []
        async with db.connection():
            async for row in db.iterate("select 3", chunk_size=1):
                await db.execute("insert 1")
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(db.execute, "insert 2")
                seen.append(row["value"])
        assert seen == ["select 3"] * 3


async def test_k06_concurrent_acquires_of_one_connection_lease_one():
    async with connected() as (db, fake):
        connection = await db.connection().acquire()
        await connection.release()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(connection.acquire)
        physical = connection.physical
        await connection.acquire()
        assert physical is connection.physical
        assert (db._pool.lent, fake.opens) == (1, 1)
        await connection.release()
        await connection.release()
        assert db._pool.lent == 0


async def test_k07_cancelling_again_during_the_release_leaks_nothing():
    async with connected(max_size=1) as (db, fake):
        rollback = fake.wait("ROLLBACK")
        statement = fake.wait("insert 1")

        async def victim():
            async with db.transaction():
                await db.execute("insert 1")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(victim)
            await statement.reached()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await rollback.reached()
                tasks.cancel_scope.cancel()
                rollback.open()
        assert db._pool.lent == 0
        assert await db.fetchval("select 1") == "select 1"


@pytest.mark.parametrize("verb", ["execute", "executemany", "fetchall", "fetchone", "fetchval"])
async def test_k08_every_verb_is_refused_a_write_on_a_replica(file_url, verb):
    async with Database(file_url) as db:
        await db.execute("create table t (id integer)")
        async with db.replica() as replica:
            arguments = ([(1,)],) if verb == "executemany" else (1,)
            with pytest.raises(ReadOnlyError):
                await getattr(db, verb)("insert into t values (?) returning id", *arguments)
            with pytest.raises(ReadOnlyError):
                await db.transaction().start()
            async with db.transaction(readonly=True):
                assert await db.fetchval("select count(*) from t") == 0
            assert replica is db.current_conn


async def test_k09_a_connect_that_fails_leaves_nothing_open():
    db = make_database(min_size=2)
    fake = script_of(db)
    fake.fail("connect", FakeError("gone", ConnectError), skip=1)
    with pytest.raises(ConnectError, match="gone"):
        await db.connect()
    assert (db.is_connected, fake.opens, fake.open_now) == (False, 1, 0)
    verify_closed(db)


async def test_k10_user_and_password_are_decoded_and_options_are_typed():
    db = make_database(url="fake://me%40home:p%40ss@server/my%20db?maxsize=7&timeout=2.5")
    address = db.backend.address
    assert (address.user, address.password, address.database) == ("me@home", "p@ss", "my db")
    assert (db._pool.options.max_size, db._pool.options.timeout) == (7, 2.5)


MYSQL_DRIVERS = [
    *(("asyncio", scheme) for scheme in ("aiomysql", "asyncmy", "pymysql")),
    *(("trio", scheme) for scheme in ("trio-mysql", "pymysql")),
]


@pytest.mark.parametrize(("anyio_backend", "scheme"), MYSQL_DRIVERS)
async def test_k11_statements_of_mysql_are_committed_at_once_and_reads_are_fresh(mysql_url, scheme, anyio_backend):
    url = mysql_url.replace("mysql", scheme, 1)
    async with Database(url) as one, Database(url) as other, other.connection():
        await one.execute("create or replace table t (name varchar(20))")
        await one.execute("insert into t values ('Ann')")
        assert await other.fetchval("select name from t") == "Ann"
        await one.execute("update t set name = ?", "🐘")
        assert await other.fetchval("select name from t") == "🐘"


@pytest.mark.parametrize("scheme", ["aiomysql", "asyncmy", "pymysql", "trio-mysql"])
async def test_k11_what_the_url_of_mysql_leaves_out_is_left_to_the_library(scheme):
    arguments = await Database(f"{scheme}://server/db").backend.arguments()
    assert {"port", "user", "password", "unix_socket"}.isdisjoint(arguments)
    assert arguments["charset"] == "utf8mb4"


async def test_k12_memory_is_one_database_for_all_connections(memory):
    await memory.execute("insert into t (name) values ('Ann')")
    async with memory.connection(), anyio.create_task_group() as tasks:

        async def other():
            async with memory.connection(create=True):
                assert await memory.fetchval("select name from t") == "Ann"

        tasks.start_soon(other)


async def test_k13_transaction_options_are_sent_and_init_runs_once_per_connection():
    initialised = []
    async with connected(init=initialised.append) as (db, fake):
        for _ in range(3):
            async with db.transaction(isolation="serializable", readonly=True, deferrable=True):
                await db.fetchval("select 1")
        assert fake.sent[0] == "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE"
        assert fake.connections == initialised


@pytest.mark.parametrize(
    ("anyio_backend", "scheme"), [("asyncio", "odbc"), ("asyncio", "aioodbc"), ("trio", "odbc"), ("trio", "pyodbc")]
)
async def test_k14_odbc_works_without_a_pool_and_tells_what_it_leads_to(odbc, tmp_path, scheme, anyio_backend):
    dsn = f"Driver={odbc('sqlite')};Database={tmp_path}/test.db"
    db = Database(f"{scheme}://", dsn=dsn)
    await db.execute("create table t (name text)")
    async with db.connection() as connection:
        await connection.execute("insert into t values (?)", "Ann")
    async with db.transaction():
        assert await db.fetchval("select name from t") == "Ann"
    assert (db.backend.db_type, db.stats()["primary"].size) == ("sqlite", 0)


async def test_k15_placeholders_in_literals_and_comments_are_left_alone(memory):
    row = await memory.fetchone("select '%s', %s, %s -- %s", 1, 2)
    assert row == ("%s", 1, 2)


async def test_k16_records_find_values_by_name_and_say_which_names_there_are(memory):
    row = await memory.fetchone("select 1 as one, 2 as two")
    assert (row["one"], row[1], dict(row)) == (1, 2, {"one": 1, "two": 2})
    with pytest.raises(KeyError, match=r"three.*one, two"):
        row["three"]


async def test_k17_execute_returns_a_result_whatever_the_statement(memory):
    assert Result(1, 1) == await memory.execute("insert into t (name) values ('Ann')")
    assert isinstance(await memory.execute("pragma user_version = 1"), Result)
    assert (await memory.execute("update t set name = 'Bob'")).rowcount == 1


async def test_k18_is_connected_tells_the_truth_and_unknown_drivers_are_named():
    db = make_database()
    assert await db.fetchval("select 1") == "select 1"
    assert (db.is_connected, script_of(db).open_now) == (False, 0)
    with pytest.raises(UnknownDriver, match="did you mean 'postgresql'"):
        Database("postgrsql://server/db")


async def test_k18_a_driver_that_is_not_installed_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiosqlite", None)
    monkeypatch.delitem(sys.modules, "aio_databases.drivers.sqlite.aiosqlite", raising=False)
    with pytest.raises(DriverNotInstalled, match=r"pip install 'aio-databases\[aiosqlite\]'"):
        Database("aiosqlite:///x.db")


async def test_leaving_an_iteration_early_makes_no_noise_and_frees_the_cursor():
    async with connected() as (db, fake):
        fake.rows["select 3"] = 3

        async def reader():
            async for _ in db.iterate("select 3", chunk_size=1):
                break

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader)
        gc.collect()
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        assert db._pool.lent == 0


async def test_after_a_reconnect_statements_do_not_slip_out_of_a_lost_transaction():
    async with connected() as (db, fake), db.connection(reconnect=True):
        with pytest.raises(TransactionError):
            async with db.transaction():
                fake.drop("insert 1")
                with pytest.raises(Error):
                    await db.execute("insert 1")
                await db.execute("insert 2")
        assert "insert 2" not in fake.sent
        assert await db.fetchval("select 1") == "select 1"
        assert fake.opens == 2


async def test_sqlite_connections_never_begin_a_transaction_on_their_own(memory):
    async with memory.connection() as connection:
        await memory.execute("insert into t (name) values ('Ann')")
        assert connection.raw.isolation_level is None
        assert not connection.raw.in_transaction


def test_the_host_option_of_a_url_wins_over_its_empty_host():
    db = Database("postgresql:///shop?host=/socket/dir&port=5433")
    assert (db.backend.options["host"], db.backend.options["port"]) == ("/socket/dir", 5433)
