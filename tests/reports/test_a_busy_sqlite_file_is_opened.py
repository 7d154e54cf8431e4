"""A file of SQLite can be used, or is waited for, while another process writes, and where it may not be written.

Hostile test: with a file in its default journal mode each connect failed at once with "database is locked; check that
its folder exists" while another process wrote, and 19 of 840 first starts at the same time did; a file without
permission to write could not be read.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from aio_databases import ConnectError, Database, LockTimeout, ReadOnlyError

FILES = {"sqlite", "aiosqlite"}
NOT_ROOT = 65534

pytestmark = pytest.mark.targets(dialect="sqlite", memory=False, pooled=True)


@pytest.fixture
def file(tmp_path):
    """Give the path of a database in the default journal mode, with one row."""
    with closing(sqlite3.connect(tmp_path / "test.db")) as db, db:
        db.execute("create table t (x)")
        db.execute("insert into t values (1)")
    return tmp_path / "test.db"


@contextmanager
def locked(file, how):
    """Hold a lock, as another process does."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute(f"begin {how}")
        other.execute("insert into t values (2)")
        yield
        other.execute("rollback")


async def test_reading_works_while_another_process_writes(file, url):
    with locked(file, "immediate"):
        async with Database(url) as db:
            assert await db.fetchval("select count(*) from t") == 1
    async with Database(url) as db:
        await db.execute("insert into t values (3)")
        assert await db.fetchval("pragma journal_mode") == "wal"


@pytest.mark.targets(scheme=FILES)
@pytest.mark.parametrize("how", ["immediate", "exclusive"])
async def test_writing_waits_for_as_long_as_it_is_told_to(file, url, how):
    with locked(file, how):
        db = Database(url, connect_args={"timeout": 0.05})
        with pytest.raises(LockTimeout, match="database is locked") as caught:
            await db.execute("insert into t values (3)")
        await db.disconnect()
    assert caught.value.retryable
    assert "folder" not in str(caught.value)


STARTS = """
import asyncio, sys
from aio_databases import Database
async def main():
    sys.stdin.read(1)
    async with Database(sys.argv[1]) as db:
        await db.execute("insert into t values (2)")
asyncio.run(main())
"""


@pytest.mark.targets(scheme={"sqlite"}, loop="asyncio")
def test_several_processes_that_start_together_all_start(file, url):
    command = [sys.executable, "-c", STARTS, url]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for process in processes:
        process.stdin.write(b".")
        process.stdin.flush()
    assert [b""] * len(processes) == [process.communicate()[1] for process in processes]
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("select count(*) from t").fetchall() == [(5,)]


@pytest.mark.targets(scheme=FILES, loop="asyncio")
async def test_several_databases_that_open_a_file_together_all_open_it(tmp_path, target):
    databases = [Database(f"{target.scheme}:///{tmp_path}/new.db") for _ in range(8)]
    assert await asyncio.gather(*(db.fetchval("select 1") for db in databases)) == [1] * 8
    for db in databases:
        await db.disconnect()


@contextmanager
def without_permission(journal):
    """Give the path of a database that may not be written, in a folder of which the same holds."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "test.db")
        with closing(sqlite3.connect(file)) as db:
            db.execute(f"pragma journal_mode = {journal}")
            db.execute("create table t (x)")
        file.chmod(0o444)
        file.parent.chmod(0o555)
        is_root = os.geteuid() == 0  # who may write everything
        try:
            if is_root:
                os.seteuid(NOT_ROOT)
            yield file
        finally:
            if is_root:
                os.seteuid(0)
            file.parent.chmod(0o755)


@pytest.mark.targets(scheme=FILES, loop="asyncio")
@pytest.mark.parametrize("query", ["", "?uri=true&mode=ro", "?uri=true&immutable=1"])
async def test_a_file_that_may_not_be_written_can_be_read(target, query):
    with without_permission("delete") as file:
        async with Database(f"{target.scheme}:///{file}{query}") as db:
            assert await db.fetchval("select count(*) from t") == 0
            with pytest.raises(ReadOnlyError):
                await db.execute("insert into t values (2)")


@pytest.mark.targets(scheme=FILES, loop="asyncio")
async def test_a_file_in_wal_mode_that_may_not_be_written_can_be_read_as_the_error_says(target):
    with without_permission("wal") as file:
        url = f"{target.scheme}:///{file}"
        with pytest.raises(ConnectError, match=r"can be read with '\?uri=true&mode=ro'.*&immutable=1'"):
            await Database(url).connect()
        async with Database(f"{url}?uri=true&mode=ro&immutable=1") as db:
            assert await db.fetchval("select count(*) from t") == 0


@pytest.mark.targets(scheme=FILES, loop={"asyncio", "trio"})
async def test_pragmas_that_a_new_file_takes_before_its_first_page_come_first(make_database, url):
    wanted = {"synchronous": 2, "page_size": 8192, "AUTO_VACUUM": 2, "encoding": "'UTF-16le'"}
    db = await make_database(url, pragmas=wanted)
    await db.execute("create table t (x)")
    told = [await db.fetchval(f"pragma {name}") for name in (*wanted, "journal_mode")]
    assert told == [2, 8192, 2, "UTF-16le", "wal"]
