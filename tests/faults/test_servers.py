"""A server that is killed, stopped, frozen or started again, or that wants no more of its clients."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import anyio
import asyncpg
import psycopg
import pymysql
import pytest
import trio

from aio_databases import ConnectError, ConnectionLost, OperationalError, QueryTimeout
from faults.limits import IMPATIENT, soon, within_own_limit
from faults.outcomes import ONCE, OWN_LIMIT
from faults.stage import (
    INSERT,
    SECONDS,
    SIZE,
    administrator,
    fill,
    recovered,
    recovered_from_idleness,
    told_of_broken_connections,
    wait_until,
)
from servers import MariaDBServer, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import PrivateServer

WAYS: dict[str, Callable[[PrivateServer], None]] = {
    "killed": lambda server: server.kill(),
    "stopped": lambda server: server.stop(),
}
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def frail_postgres(require_server):
    """Give a server that only the tests of this module use, and find running, with room for few clients."""
    with require_server("postgres"):
        server = PostgresServer({"max_connections": "15", "superuser_reserved_connections": "3"})
    with server:
        yield server


@pytest.fixture(scope="module")
def frail_mysql(require_server):
    """Give such a server of MariaDB."""
    with require_server("mysql"):
        server = MariaDBServer({"max-connections": "12"})
    with server:
        yield server


@pytest.fixture
def server(client, request):
    """Give the server of this module instead of the one that all share."""
    server = request.getfixturevalue({"postgresql": "frail_postgres", "mysql": "frail_mysql"}[client.dialect])
    if not server.is_running:  # as a test has failed
        server.start()
    return server


@pytest.fixture
def address(server):
    return server.url()


@pytest.fixture
def ask(server):
    """Give an administrator who opens a connection each time, as they are lost with the server."""
    return lambda sql: server.execute(sql, database=server.default_database)


@every_way
async def test_a_restart_between_requests_is_told_once_or_not_at_all(stage, server, way, happened):
    pools = await stage.full_pools(stage.direct_url)
    WAYS[way](server)
    server.start()
    await recovered_from_idleness(pools)
    happened("server is restarted between requests", ONCE)


@every_way
async def test_a_server_that_goes_away_meanwhile(stage, server, way, tell):
    """It does so in a statement, in a transaction, and with a connection idle; and is back after a while."""
    db = await stage.database(stage.direct_url).connect()
    await fill(db)

    async def wait():
        async with db.connection() as other:
            with pytest.raises(ConnectionLost) as caught:
                await other.fetchval(stage.words.sleep)
        tell(f"server is {way} in a statement", caught.value)

    with anyio.fail_after(2 * SECONDS):
        with pytest.raises(ConnectionLost) as caught:
            async with db.transaction():
                await db.execute(INSERT)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(wait)
                    await stage.wait_until_asleep()
                    WAYS[way](server)
                await db.execute(INSERT)
        tell(f"server is {way} in a transaction", caught.value)
        for _ in range(SIZE):
            with pytest.raises((ConnectError, ConnectionLost)) as caught:
                await db.fetchval("select 1")
        tell("nobody listens at the port", caught.value)
        server.start()
    assert stage.count == 0
    await recovered(db)


async def test_a_server_that_is_frozen_keeps_nobody(stage, server, tell, happened):
    db = await stage.database(stage.direct_url, **IMPATIENT).connect()
    await fill(db)
    with frozen(server), soon():
        with pytest.raises((TimeoutError, trio.TooSlowError)):
            await within_own_limit(lambda: insert_in_a_transaction(db))
        with pytest.raises(ConnectError, match=r"no answer within 1 s") as caught:
            await stage.database(stage.direct_url, **IMPATIENT).connect()
        tell("nobody answers", caught.value)
    happened("server freezes in a statement", OWN_LIMIT)
    await stage.wait_until_settled()
    assert stage.count == 0
    await recovered(db)


@contextmanager
def frozen(server):
    """Have nobody answer for the length of a block."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


async def insert_in_a_transaction(db):
    async with db.transaction():
        await db.execute(INSERT)


@pytest.mark.clients(dialect="postgresql")
async def test_a_server_that_shuts_down_takes_nobody_new(stage, server, tell):
    db = await stage.database(stage.direct_url).connect()
    try:
        async with db.connection() as connection:
            os.kill(server.pid, signal.SIGTERM)  # it waits for those who are there
            await wait_until(lambda: refuses(server))
            with anyio.fail_after(SECONDS), pytest.raises(ConnectError) as caught:
                await db.connection().acquire()
            assert await connection.fetchval("select 1") == 1
        tell("server shuts down", caught.value)
    finally:
        server.restart()
    assert len(await told_of_broken_connections(db)) <= 1
    await recovered(db)


def refuses(server):
    """Return whether a server takes no new clients."""
    try:
        server.execute("select 1")
    except asyncpg.CannotConnectNowError:
        return True
    return False


async def test_a_server_that_is_full(stage, server, tell):
    db = await stage.database(stage.direct_url).connect()
    with ExitStack() as others:
        with pytest.raises((psycopg.OperationalError, pymysql.err.OperationalError), match=r"(?i)connection"):
            while True:
                others.enter_context(closing(administrator(server.url())))
        async with db.connection() as connection:
            with pytest.raises(ConnectError, match=r"(?i)too many|slots are reserved") as caught:
                await db.connection().acquire()
            assert await connection.fetchval("select 1") == 1
        tell("server is full", caught.value)
    await wait_until(lambda: len(stage.ask(stage.words.sessions)) == 1)
    await recovered(db)


@contextmanager
def new_sessions_with(stage, change, undo):
    """Have sessions that begin in the block begin with a setting."""
    stage.ask(change)
    try:
        yield
    finally:
        stage.ask(undo)


IMPATIENCE = {
    "postgresql": ("alter role app set idle_session_timeout = '1s'", "alter role app reset idle_session_timeout"),
    "mysql": ("set global wait_timeout = 1", "set global wait_timeout = 28800"),
}


async def test_sessions_that_the_server_ends_as_they_are_idle_are_told_once_or_not_at_all(stage, client, happened):
    with new_sessions_with(stage, *IMPATIENCE[client.dialect]):
        pools = await stage.full_pools(stage.direct_url)
    await wait_until(lambda: not stage.ask(stage.words.sessions))
    await recovered_from_idleness(pools)
    happened("server ends sessions that were idle for too long", ONCE)


IMPATIENCE_IN_A_TRANSACTION = {
    "postgresql": "set idle_in_transaction_session_timeout = '50ms'",
    "mysql": "set session idle_transaction_timeout = 1",
}


async def test_a_transaction_that_is_idle_for_too_long(stage, client, tell):
    db = await stage.database(stage.direct_url).connect()
    with anyio.fail_after(SECONDS), pytest.raises(ConnectionLost) as caught:
        async with db.transaction():
            await db.execute(IMPATIENCE_IN_A_TRANSACTION[client.dialect])
            await db.execute(INSERT)
            await wait_until(lambda: not stage.ask(stage.words.sessions))
            await db.execute(INSERT)
    tell("server ends a transaction that was idle for too long", caught.value)
    assert stage.count == 0
    await recovered(db)


LITTLE_ROOM = {
    "postgresql": ("alter role app set temp_file_limit = '100kB'", "alter role app reset temp_file_limit"),
    "mysql": ("set global max_heap_table_size = 16384", "set global max_heap_table_size = 16777216"),
}
TOO_BIG = {
    "postgresql": "select count(*) from (select i from generate_series(1, 300000) as s (i) order by i desc) as sorted",
    "mysql": "create temporary table big (x char(200)) engine = memory select 'x' as x from seq_1_to_10000",
}


async def test_a_statement_for_which_the_server_has_no_room(stage, client, tell):
    with new_sessions_with(stage, *LITTLE_ROOM[client.dialect]):
        db = await stage.database(stage.direct_url, max_size=1).connect()
    async with db.connection() as connection:
        with pytest.raises(OperationalError) as caught:
            await connection.execute(TOO_BIG[client.dialect])
        assert await connection.fetchval("select 1") == 1
    assert not isinstance(caught.value, ConnectionLost)
    tell("server has no room for a statement", caught.value)
    await recovered(db, size=1)


async def test_a_statement_that_takes_too_long(stage, tell):
    db = await stage.database(stage.direct_url, statement_timeout=0.2).connect()
    with soon(), pytest.raises(QueryTimeout) as caught:
        async with db.transaction():
            await db.execute(INSERT)
            await db.fetchval(stage.words.sleep)
    tell("statement takes longer than statement_timeout", caught.value)
    assert stage.count == 0
    await recovered(db)
