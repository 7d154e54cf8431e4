"""Every kind of error, provoked on real databases: all drivers tell the same, and go on working."""

from __future__ import annotations

import os
import signal

import anyio
import psycopg
import pytest

from aio_databases import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    DataError,
    InternalError,
    LockTimeout,
    NotSupportedError,
    OperationalError,
    QueryTimeout,
    ReadOnlyError,
    SerializationFailure,
    TransactionState,
)
from conformance.addresses import placed
from conformance.libraries import library_error
from servers import MariaDBServer, PostgresServer

pytestmark = pytest.mark.targets(pooled=True)
NETWORK = {"postgresql", "mysql"}


def code_of(error, target):
    """Return what the server calls an error: SQLSTATE or number; ODBC's numbers for SQLite are the short ones."""
    return error.sqlstate if target.dialect == "postgresql" else error.errno


# Statements that are stopped


async def test_a_statement_that_takes_too_long_is_told(make_database, target, words):
    if target.odbc and target.dialect == "sqlite":
        with pytest.raises(ConfigurationError, match="statement_timeout"):
            await make_database(statement_timeout=0.1)
        return
    database = await make_database(statement_timeout=0.1)
    async with database.connection():
        with anyio.fail_after(10), pytest.raises(QueryTimeout) as caught:
            await database.fetchval(words.endless)
        assert await database.fetchval("select 1") == 1
    assert {"postgresql": "57014", "mysql": 1969, "sqlite": 9}[target.dialect] == code_of(caught.value, target)
    assert isinstance(caught.value, library_error(target, "OperationalError", "57014"))
    assert not caught.value.retryable


@pytest.mark.targets(dialect=NETWORK)
async def test_a_statement_that_the_administrator_stops_is_told(db, server, target, words, running):
    stop = {"postgresql": "select pg_cancel_backend({})", "mysql": "kill query {}"}[target.dialect]

    async def run():
        with pytest.raises(QueryTimeout) as caught:
            await db.fetchval(words.endless)
        assert {"postgresql": "57014", "mysql": 1317}[target.dialect] == code_of(caught.value, target)

    async with db.connection():
        number = await db.fetchval(words.own_id)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await running(1)
                server.execute(stop.format(number))
        assert await db.fetchval("select 1") == 1


# Other users


@pytest.mark.targets(dialect=NETWORK)
async def test_a_lock_that_is_not_waited_for_is_told(shop, make_database, target):
    other = await make_database()
    async with other.connection(), shop.transaction():
        await shop.execute("update authors set name = 'Eve'")
        with pytest.raises(LockTimeout) as caught:
            await other.fetchall("select * from authors for update nowait")
        assert await other.fetchval("select 1") == 1
    assert {"postgresql": "55P03", "mysql": 1205}[target.dialect] == code_of(caught.value, target)
    assert caught.value.retryable


@pytest.mark.targets(dialect=NETWORK)
async def test_a_snapshot_that_is_out_of_date_is_told(shop, make_database, target):
    other = await make_database()
    async with shop.connection(), other.connection():
        if target.dialect == "mysql":
            await shop.execute("set session innodb_snapshot_isolation = on")
        with pytest.raises(SerializationFailure) as caught:
            async with shop.transaction(isolation="repeatable read"):
                assert await shop.fetchval("select name from authors") == "Ann"
                await other.execute("update authors set name = 'Eve'")
                await shop.execute("update authors set name = 'Bob'")
        assert await shop.fetchval("select name from authors") == "Eve"
    assert {"postgresql": "40001", "mysql": 1020}[target.dialect] == code_of(caught.value, target)
    assert caught.value.retryable


@pytest.mark.targets(dialect="postgresql")
async def test_a_transaction_that_cannot_be_committed_beside_another_is_told(shop):
    async with shop.connection() as one, shop.connection() as two:
        first, second = [await each.transaction(isolation="serializable").start() for each in (one, two)]
        for number, each in ((2, one), (3, two)):
            assert await each.fetchval("select count(*) from authors") == 1
            await each.execute("insert into authors (id, name) values (?, ?)", number, f"Author {number}")
        await first.commit()
        with pytest.raises(SerializationFailure) as caught:
            await second.commit()
        assert (caught.value.sqlstate, caught.value.retryable) == ("40001", True)
        assert TransactionState.ROLLED_BACK is second.state
        assert await two.fetchval("select count(*) from authors") == 2


@pytest.mark.targets(dialect="sqlite", memory=False, odbc=False)  # through ODBC it waits for the lock first
async def test_a_transaction_of_sqlite_that_began_to_write_too_late_is_told(shop, make_database):
    other = await make_database()
    with pytest.raises(LockTimeout) as caught:
        async with shop.transaction(mode="deferred"):
            assert await shop.fetchval("select name from authors") == "Ann"
            await other.execute("update authors set name = 'Eve'")
            await shop.execute("update authors set name = 'Bob'")
    assert caught.value.errno == 517  # SQLITE_BUSY_SNAPSHOT
    assert caught.value.retryable
    assert await shop.fetchval("select name from authors") == "Eve"


@pytest.fixture(scope="module")
def replica(require_server):
    """Give a MariaDB server that writes for its administrator only, as a replica does."""
    with require_server("mysql"), MariaDBServer({"read-only": "1"}) as server:
        yield server


@pytest.mark.targets(dialect="mysql")
async def test_a_server_that_only_reads_is_told(replica, make_database, as_target):
    database = await make_database(as_target(replica.url(database=replica.create_database())))
    async with database.connection():
        with pytest.raises(ReadOnlyError) as caught:
            await database.execute("create table t (i integer)")
        assert await database.fetchval("select 1") == 1
    assert caught.value.errno == 1290
    assert not caught.value.retryable


# What a database cannot do, or has no room for


CANNOT = {
    "postgresql": ("select count(*) from authors for update", "0A000"),
    "mysql": ("select id from authors where id in (select id from books limit 1)", 1235),
}


@pytest.mark.targets(dialect=NETWORK)
async def test_what_a_database_cannot_do_is_told(shop, target):
    query, code = CANNOT[target.dialect]
    with pytest.raises(NotSupportedError) as caught:
        await shop.fetchall(query)
    assert code == code_of(caught.value, target)
    assert not isinstance(caught.value, ReadOnlyError)


FULL = {
    "sqlite": (("pragma max_page_count = 2", "create table a (i)", "create table b (i)"), 13),
    "postgresql": ((f"create table t ({', '.join(f'c{i} integer' for i in range(1601))})",), "54011"),
    "mysql": (
        (
            "set max_heap_table_size = 16384",
            "create table t (a varchar(1000)) engine = memory",
            "insert into t select seq from seq_1_to_1000",
        ),
        1114,
    ),
}


async def test_a_limit_that_is_reached_is_told(db, target):
    statements, code = FULL[target.dialect]
    async with db.connection():
        with pytest.raises(OperationalError) as caught:
            for statement in statements:
                await db.execute(statement)
        assert await db.fetchval("select 1") == 1
    assert code == code_of(caught.value, target)
    assert OperationalError.__qualname__ == type(caught.value).__qualname__
    assert not caught.value.retryable


@pytest.mark.targets(dialect="sqlite", memory=False)
async def test_a_file_that_is_damaged_is_told(make_database, tmp_path):
    database = await make_database()
    await database.execute("create table t (a text)")
    await database.executemany("insert into t values (?)", [("x" * 1000,)] * 100)
    await database.disconnect()
    path = tmp_path / "test.db"
    pages = path.read_bytes()
    path.write_bytes(pages[:4096] + b"\xff" * 4096 + pages[8192:])
    database = await make_database()
    with pytest.raises(InternalError) as caught:
        await database.fetchall("select * from t")
    assert caught.value.errno == 11


# Values that the server refuses


REFUSED = {
    "postgresql": (
        ("insert into t (n) values (99999999999999999999)", "22003"),
        ("insert into t (v) values ('too long')", "22001"),
        ("insert into t (d) values ('no date')", "22007"),
        ("select 1 / (n - n) from (select 1 as n) as s", "22012"),
        ("select cast('x' as integer)", "22P02"),
    ),
    "mysql": (
        ("insert into t (n) values (99999999999999999999)", 1264),
        ("insert into t (v) values ('too long')", 1406),
        ("insert into t (d) values ('no date')", 1292),
        ("insert into t (n) values ('x')", 1366),
        ("select 9223372036854775807 + n from (select 9 as n) as s", 1690),
    ),
    "sqlite": (("insert into t (id) values ('x')", 20), ("select zeroblob(2000000000)", 18)),
}


async def test_a_value_that_the_database_refuses_is_a_data_error(db, target, words):
    await db.execute(f"create table t (id {words.types['counted']}, n bigint, v varchar(3), d date)")
    async with db.connection():
        for query, code in REFUSED[target.dialect]:
            with pytest.raises(DataError) as caught:
                await db.execute(query)
            assert code == code_of(caught.value, target), query
        assert await db.fetchval("select count(*) from t") == 0


# Connecting


@pytest.mark.targets(dialect="postgresql")
@pytest.mark.parametrize("how", ["connection limit 0", "allow_connections false"])
async def test_a_database_that_takes_no_more_connections_is_told(make_database, url, server, how):
    name = url.partition("?")[0].rpartition("/")[2]
    server.execute(f'alter database "{name}" with {how}')
    try:
        with pytest.raises(ConnectError, match=r"too many connections|not currently accepting") as caught:
            await make_database()
    finally:
        server.execute(f'alter database "{name}" with connection limit -1 allow_connections true')
    assert not isinstance(caught.value, AuthenticationError)
    assert "\n" not in str(caught.value)


@pytest.mark.targets(dialect="mysql")
async def test_a_user_with_too_many_connections_is_told(make_database, server):
    server.execute(f"alter user {server.app_user} with max_user_connections 1")
    try:
        async with (await make_database()).connection():
            with pytest.raises(ConnectError, match="max_user_connections") as caught:
                await make_database()
    finally:
        server.execute(f"alter user {server.app_user} with max_user_connections 0")
    assert caught.value.errno == 1226
    assert not isinstance(caught.value, AuthenticationError)


@pytest.fixture(scope="module")
def closing(require_server):
    """Give a PostgreSQL server that shuts down, but waits for the last client to go."""
    with require_server("postgres"):
        server = PostgresServer()
    with server, psycopg.connect(server.admin_url()):
        os.kill(server.pid, signal.SIGTERM)
        while True:
            try:
                psycopg.connect(server.admin_url()).close()
            except psycopg.OperationalError:
                break
        yield server


@pytest.mark.targets(dialect="postgresql")
async def test_a_server_that_shuts_down_is_told(closing, make_database, as_target, target):
    with pytest.raises(ConnectError, match="the database system is shutting down") as caught:
        await make_database(as_target(closing.url()))
    assert not isinstance(caught.value, AuthenticationError)
    assert ({"asyncpg": "57P03"}.get(target.scheme) or ("08001" if target.odbc else None)) == caught.value.sqlstate


@pytest.mark.targets(dialect=NETWORK)
async def test_a_host_that_has_no_address_is_told(make_database, url):
    with pytest.raises(ConnectError, match=r"^cannot connect to .*nowhere\.invalid.*; check that the server runs"):
        await make_database(placed(url, host="nowhere.invalid"))
