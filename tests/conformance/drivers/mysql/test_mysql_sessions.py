"""How sessions of MySQL and MariaDB begin, what they forget, and over which ways they are reached."""

from __future__ import annotations

import gc
import ssl
import sys
import warnings
from urllib.parse import quote

import anyio
import pytest

from aio_databases import AuthenticationError, ConnectError, Database, PoolTimeout, ProgrammingError, QueryTimeout
from aio_databases.drivers.mysql import connection as mysql_verbs
from conformance.addresses import placed
from loops import run
from servers import MariaDBServer

LIBRARIES = {"asyncmy", "aiomysql", "pymysql", "trio-mysql"}
pytestmark = pytest.mark.targets(scheme=LIBRARIES, pooled=True)

STATE = """
select @@character_set_client, @@character_set_results, @@collation_connection like 'utf8mb4%', @@autocommit,
    @@net_write_timeout, @@session.tx_read_only, @@sql_mode, @given, database()
"""


@pytest.fixture(scope="module")
def plain_mysql(require_server):
    """Give a server that cannot encrypt and has little room."""
    with require_server("mysql"):
        server = MariaDBServer({"skip-ssl": "1", "max-connections": "30"})
    with server:
        yield server


@pytest.fixture
def plain_url(plain_mysql, target):
    return plain_mysql.url().replace("mysql", target.scheme, 1)


# Sessions


async def test_a_session_begins_as_the_options_say_and_again_after_a_reset(make_database, url):
    options = {"sql_mode": "ANSI_QUOTES", "init_command": "set @given = 5", "statement_timeout": 7, "max_size": 1}
    database = await make_database(url, **options)
    expected = ("utf8mb4", "utf8mb4", 1, 1, 600, 0, "ANSI_QUOTES", 5, url.rpartition("/")[2])
    number = await database.fetchval("select connection_id()")
    assert await database.fetchone(STATE) == expected
    async with database.connection() as connection:
        for change in ("@given = 6", "autocommit = 0", "sql_mode = ''", "max_statement_time = 0"):
            await connection.execute(f"set {change}")
        await connection.execute("use information_schema")
    assert await database.fetchone(STATE) == expected
    assert await database.fetchval("select @@max_statement_time") == 7
    assert number == await database.fetchval("select connection_id()")


async def test_the_level_of_a_transaction_that_did_not_begin_is_not_that_of_the_next(
    make_database, url, db, monkeypatch
):
    async with db.connection():
        await db.execute("create table t (i integer)")
        await db.execute("insert into t values (1)")
        monkeypatch.setitem(mysql_verbs._BEGIN, False, b"start nothing")  # noqa: FBT003 - what it asks for
        with pytest.raises(ProgrammingError):
            await db.transaction(isolation="serializable", readonly=False).start()
        other = await make_database(url, init_command="set innodb_lock_wait_timeout = 1")
        async with db.transaction():
            assert await db.fetchval("select count(*) from t") == 1
            # At the level of the first one, what was read would be locked.
            assert (await other.execute("update t set i = 2")).rowcount == 1


async def test_what_a_session_holds_is_gone_after_its_release(make_database, url, users):
    single, other = await make_database(url, max_size=1), await make_database(url)
    async with single.connection() as connection:
        await connection.execute("create temporary table mine (i integer)")
        await connection.execute("prepare mine from 'select 1'")
        await connection.fetchval("select get_lock('mine', 0)")
        await connection.execute("lock tables users write")
    async with single.connection() as connection:
        for sql in ("select * from mine", "execute mine"):
            with pytest.raises(ProgrammingError):
                await connection.execute(sql)
        with anyio.fail_after(5):
            assert await other.fetchval("select get_lock('mine', 0)") == 1
            assert (await other.execute("update users set name = 'x'")).rowcount == 3


async def test_a_session_that_began_without_a_database_cannot_return_to_none(make_database, url):
    database = await make_database(placed(url, database=""), max_size=1)
    number = await database.fetchval("select connection_id()")
    await database.execute("set @mine = 1")
    assert (None, number, None) == await database.fetchone("select @mine, connection_id(), database()")
    async with database.connection() as connection:
        await connection.execute(f"use {url.rpartition('/')[2]}")
    assert await database.fetchval("select database()") is None
    assert number != await database.fetchval("select connection_id()")


async def test_a_statement_that_takes_too_long_is_stopped(make_database, words):
    database = await make_database(statement_timeout=0.05)
    async with database.connection():
        with anyio.fail_after(5), pytest.raises(QueryTimeout) as caught:
            await database.fetchval(words.endless)
        assert caught.value.errno == 1969
        assert await database.fetchval("select 1") == 1


async def test_the_name_of_an_application_may_be_long(make_database):
    assert await (await make_database(application_name="shop 🐘" * 50)).fetchval("select 1") == 1


# Ways to the server


async def test_a_unix_socket_is_used(make_database, plain_mysql, plain_url):
    nowhere = placed(plain_url, host="", port="")
    path = str(plain_mysql.socket)
    for address in (f"{nowhere}?unix_socket={quote(path, safe='')}", placed(plain_url, host=path, port="")):
        database = await make_database(address, ssl="verify-full")  # there is no network to encrypt
        assert (await database.fetchval("select user()")).rpartition("@")[2] == "localhost"
    with pytest.raises(ConnectError):
        await (await make_database(placed(plain_url, host=f"{path}.not", port=""))).fetchval("select 1")


async def test_a_password_may_be_any_text(make_database, url, mysql):
    password = "pä'ss\\wörd€ 🐘"
    mysql.execute("create or replace user test_words@'%%' identified by %s", password)
    address = placed(url, user="test_words", password=password, database="")
    assert await (await make_database(address)).fetchval("select 1") == 1
    with pytest.raises(AuthenticationError):
        await (await make_database(placed(address, password="päss"))).fetchval("select 1")
    mysql.execute("drop user test_words@'%'")


async def test_a_server_may_have_no_room_left(plain_mysql, plain_url):
    database = Database(plain_url, max_size=40, timeout=0.2)
    leases = []
    with pytest.raises(PoolTimeout, match="raise the limit of the server") as caught:
        while True:
            leases.append(await database.connection().acquire())
    assert "Too many connections" in str(caught.value.__cause__)
    assert len(leases) > 20
    # Nothing can be killed now, as that takes another connection.
    async with leases[0].transaction():
        async for row in leases[0].iterate("select seq from seq_1_to_9000", chunk_size=10):
            assert row.seq == 1
            break
        assert await leases[0].fetchval("select 1") == 1
    with anyio.move_on_after(0.05) as scope:
        await leases[1].fetchval("select sleep(1)")
    assert scope.cancelled_caught
    for lease in leases:
        await lease.release()
    await database.disconnect()
    with anyio.fail_after(5):  # the server takes its time to make room for the next test
        while True:
            if plain_mysql.execute("select count(*) < 5 from information_schema.processlist")[0][0]:
                return
            await anyio.sleep(0.01)


# Encryption


async def cipher(database):
    return (await database.fetchone("show session status like 'Ssl_cipher'")).Value


@pytest.mark.parametrize("mode", ["allow", "prefer", "require", "verify-ca", "verify-full", True])
async def test_a_connection_is_encrypted(make_database, url, mysql_authority, mode):
    database = await make_database(url, ssl=mode, sslrootcert=str(mysql_authority))
    assert await cipher(database)
    assert await database.fetchval("select ?", "🐘" * 50_000) == "🐘" * 50_000


@pytest.mark.parametrize("options", [{}, {"ssl": "disable"}, {"ssl": False}], ids=str)
async def test_a_connection_is_not_encrypted(make_database, url, options):
    assert not await cipher(await make_database(url, **options))


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full", "context"])
async def test_a_server_that_nobody_vouches_for_is_refused(make_database, url, mysql_authority, mode):
    given = {"ssl": ssl.create_default_context() if mode == "context" else mode}
    with pytest.raises(ConnectError, match=r"(?i)certificate"):
        await (await make_database(url, **given)).fetchval("select 1")


async def test_a_server_by_another_name_is_refused_by_the_full_verification(make_database, url, mysql_authority):
    alias = placed(url, host="127.1")  # of 127.0.0.1, but not in the certificate
    options = {"sslrootcert": str(mysql_authority)}
    assert await cipher(await make_database(alias, ssl="verify-ca", **options))
    with pytest.raises(ConnectError, match=r"(?i)certificate"):
        await (await make_database(alias, ssl="verify-full", **options)).fetchval("select 1")


async def test_encryption_that_is_demanded_is_not_done_without(make_database, plain_url):
    assert not await cipher(await make_database(plain_url, ssl="prefer"))
    for mode in ("require", "verify-ca", "verify-full", ssl.create_default_context()):
        with pytest.raises(ConnectError, match="no TLS"):
            await (await make_database(plain_url, ssl=mode)).fetchval("select 1")


# Libraries


@pytest.mark.parametrize("cut", [False, True])
def test_a_connection_that_outlives_its_event_loop_raises_nothing(url, target, cut, monkeypatch):
    async def leave_open():
        connection = await Database(url).backend.connect()
        await connection.cursor("select seq from seq_1_to_5000", ()).fetch(1)
        return connection

    raised = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    with warnings.catch_warnings(record=True):
        # Event loops warn of what was left open, and rightly so; uvloop never ends where the warning is an error.
        warnings.simplefilter("always")
        connection = run(target.loop, leave_open)
        if cut:
            connection.terminate()
        del connection
        gc.collect()
    assert raised == []


@pytest.mark.targets(scheme="trio-mysql")
async def test_trio_mysql_reads_off_the_results_that_its_cursors_leave(db):
    """It would never await the next one, and keep the event loop busy for ever."""
    await db.execute("create procedure several() begin select 1; select 2; end")
    async with db.connection() as connection:
        cursor = connection.raw.cursor()
        with anyio.fail_after(5):
            await cursor.execute("call several()")
            assert await connection.fetchval("select 3") == 3
            unfinished = connection.raw.cursor()
            await unfinished.execute("call several()")
            await connection.raw.ping(reconnect=False)


@pytest.mark.targets(scheme="trio-mysql")
async def test_trio_mysql_reads_decimals(db):
    assert str(await db.fetchval("select 1.50")) == "1.50"
