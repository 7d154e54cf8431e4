"""A connection that is cut while a statement waits for it gives its file descriptor back, and harms no later owner.

The next socket of the process gets the number of a file descriptor that was closed.  An event loop that still watches
that number takes the events of the one for those of the other: asyncio refuses the new socket, uvloop ends the process.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from aio_databases import ConnectError, Database, Error
from conformance.addresses import placed, with_option
from servers.proxy import BLACKHOLE

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.targets(
        pooled=True,
        dialect={"postgresql", "mysql"},
        scheme={"psycopg", "aiopg", "asyncpg", "asyncmy", "aiomysql", "pymysql", "trio-mysql", "aioodbc"},
    ),
]

SECONDS = 10.0
SLEEP = {"postgresql": "select pg_sleep(20)", "mysql": "select sleep(20)"}


def open_files():
    """Count the file descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def talk(port):
    """Send something to a server that repeats it, and wait for the answer."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        for _ in range(3):
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"


async def repeat(stream):
    """Be a server that repeats what it hears."""
    async with stream:
        async for data in stream:
            await stream.send(data)


@asynccontextmanager
async def others():
    """Give a function that fails unless new sockets of all kinds work, the numbers of which were in use before."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    async with await anyio.abc.SocketListener.from_socket(server) as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, repeat)

        async def work():
            with anyio.fail_after(SECONDS):
                async with anyio.create_task_group() as talks:
                    for _ in range(4):
                        talks.start_soon(talk, port)

        await work()  # what an event loop opens once is not counted
        with anyio.fail_after(2 * SECONDS):
            yield work
        group.cancel_scope.cancel()


@asynccontextmanager
async def nothing_left():
    """Fail unless all file descriptors are given back in the end."""
    before = open_files()
    yield
    with anyio.fail_after(SECONDS):
        while open_files() > before:  # noqa: ASYNC110 - nobody announces it
            await anyio.sleep(0.01)


@pytest.fixture
async def warm(target, url):
    """Connect once, so that what a library keeps open from then on is not counted."""
    async with Database(url) as db:
        assert await db.fetchval("select 1") == 1


async def lose(function, *args):
    """Run what is to be cut."""
    with pytest.raises(Error):
        await function(*args)


async def works(url):
    """Fail unless a new connection of the same library works."""
    async with Database(url, connect_timeout=5) as db:
        assert await db.fetchval("select 42") == 42


SLOW_COMMIT = (
    "create table slow (i integer primary key)",
    "create function doze() returns trigger language plpgsql as $$ begin perform pg_sleep(20); return null; end $$",
    "create constraint trigger doze after insert on slow initially deferred for each row execute function doze()",
)


async def commit(db):
    """Commit what takes long to commit."""
    async with db.transaction():
        await db.execute("insert into slow values (1)")


@pytest.mark.parametrize("verb", ["fetchval", "executemany"])
async def test_a_shutdown_in_a_statement(target, warm, url, running, verb):
    """Hostile test."""
    async with others() as work, nothing_left():
        db = await Database(url).connect()
        async with anyio.create_task_group() as group:
            group.start_soon(lose, getattr(db, verb), SLEEP[target.dialect], *[(), ()] * (verb == "executemany"))
            await running(1)
            await db.disconnect(timeout=0)
            group.start_soon(work)
            await works(url)


@pytest.mark.targets(dialect="postgresql")
async def test_a_shutdown_in_a_commit(warm, url, running):
    """Hostile test."""
    async with others() as work, nothing_left():
        db = await Database(url).connect()
        for statement in SLOW_COMMIT:
            await db.execute(statement)
        async with anyio.create_task_group() as group:
            group.start_soon(lose, commit, db)
            await running(1)
            await db.disconnect(timeout=0)
            group.start_soon(work)
            await works(url)


async def test_the_end_of_a_block_with_a_child_that_still_reads(target, warm, url, running):
    """Hostile test."""
    async with others() as work, nothing_left(), Database(url, cleanup_timeout=0.1) as db:
        async with anyio.create_task_group() as group:
            async with db.connection() as connection:
                group.start_soon(lose, connection.fetchval, SLEEP[target.dialect])
                await running(1)
            await work()
        assert await db.fetchval("select 42") == 42


async def test_a_cancelled_statement_on_a_silent_link(target, warm, url, proxy):
    """Hostile test."""
    address = proxy.through(url)
    if target.dialect == "postgresql" and not target.odbc:
        address = with_option(address, "ssl=disable")
    async with (
        others() as work,
        Database(address, cleanup_timeout=0.1) as db,
        Database(url) as other,
        anyio.create_task_group() as group,
    ):
        async with db.connection():
            assert await db.fetchval("select 1") == 1
            proxy.mode = BLACKHOLE
            with anyio.move_on_after(0.1):
                await db.fetchval(SLEEP[target.dialect])
            await other.disconnect()
            await other.connect()  # gets the number
            group.start_soon(other.fetchval, SLEEP[target.dialect].replace("20", "0.3"))
            await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(SECONDS):
            await work()
            await other.fetchval("select 1")


async def test_connecting_that_is_given_up(target, warm, url):
    """Hostile test."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = placed(url, port=silent.getsockname()[1])
        async with others() as work, nothing_left():
            db = Database(address, connect_timeout=0.1)
            with pytest.raises(ConnectError):
                await db.connect()
            await work()
            with anyio.move_on_after(0.05):
                await db.connect()
            await work()
            await works(url)
            await db.disconnect()
