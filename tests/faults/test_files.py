"""What can happen to a file of SQLite's: no room, a process that is killed while it writes, another that holds it."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from urllib.parse import quote

import pytest

from aio_databases import Database, LockTimeout, OperationalError
from faults.limits import soon
from faults.stage import wait_until

pytestmark = pytest.mark.clients(dialect="sqlite")

PAGE = "x" * 4096
WRITER = """
import sys
import anyio
from aio_databases import Database

async def main():
    async with Database(sys.argv[1]) as db:
        while True:
            async with db.transaction():
                await db.execute("insert into t (x) values ('one')")
                await db.execute("insert into t (x) values ('two')")

anyio.run(main, backend=sys.argv[2])
"""


@pytest.fixture
def file(tmp_path):
    """Give the path of a database with the empty table `t`."""
    path = tmp_path / "test.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table t (x text)")
    return path


@pytest.fixture
def url(client, file, request):
    """Give its URL for the driver."""
    driver = f"?driver={quote(request.getfixturevalue('odbc')('sqlite'), safe='')}" if client.odbc else ""
    return f"{client.scheme}:///{file}{driver}"


async def fill_the_disk(db):
    """Write more than there is room for, in one transaction."""
    with pytest.raises(OperationalError) as caught:
        async with db.transaction():
            for _ in range(1000):
                await db.execute("insert into t (x) values (?)", PAGE)
    return caught.value


async def is_intact(db):
    """Return whether nothing of a transaction that failed is there, and another one succeeds."""
    async with db.transaction():
        before = await db.fetchval("select count(*) from t")
        await db.execute("insert into t (x) values (?)", PAGE)
    return (before, await db.fetchval("select count(*) from t")) == (0, 1)


async def test_a_quota_that_is_used_up(url, tell):
    async with Database(url) as db, db.connection():
        await db.execute("pragma max_page_count = 20")
        tell("file has reached max_page_count", await fill_the_disk(db))
        await db.execute("pragma max_page_count = 2000")
        assert await is_intact(db)


async def test_a_file_that_cannot_grow(url, tell):
    async with Database(url) as db:
        async with db.connection():
            with no_big_files():
                error = await fill_the_disk(db)
        tell("disk takes no more", error)
        assert await is_intact(db)


@contextmanager
def no_big_files():
    """Have the system refuse this process to make a file bigger than half a megabyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.clients(odbc=False)  # whose driver waits as long as it was told when it connected
async def test_a_file_that_another_process_holds(url, file, tell):
    async with Database(url, timeout=0.2) as db:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("begin immediate")
            async with db.connection() as connection:
                await connection.execute("pragma busy_timeout = 50")
                with soon(), pytest.raises(LockTimeout) as caught:
                    await connection.execute("insert into t (x) values ('one')")
            tell("file is locked by another process", caught.value)
        assert await is_intact(db)


@pytest.mark.clients(odbc=False)
async def test_a_process_that_is_killed_while_it_writes_leaves_whole_transactions(url, client, file):
    with writing(url, client.loop):
        await wait_until(lambda: rows(file) > 10)
    async with Database(url) as db:
        assert await db.fetchval("pragma integrity_check") == "ok"
        assert await db.fetchval("select count(*) % 2 from t") == 0
        await db.execute("delete from t")
        assert await is_intact(db)


@contextmanager
def writing(url, loop):
    """Have another process write until the end of the block, at which it is killed."""
    with subprocess.Popen([sys.executable, "-c", WRITER, url, loop]) as writer:
        try:
            yield
        finally:
            writer.kill()


def rows(file):
    """Count the rows of `t`."""
    with closing(sqlite3.connect(file)) as db:
        return db.execute("select count(*) from t").fetchone()[0]
