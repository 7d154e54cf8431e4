"""A driver of another package: examples/custom_driver, built as its users build it, and found by its entry point."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import anyio
import pytest

from aio_databases import (
    ConfigurationError,
    Database,
    NotSupportedError,
    ReadOnlyError,
    UniqueViolation,
    UnknownDriver,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_driver"
ENDLESS = "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n"


@pytest.fixture(scope="module")
def distribution(tmp_path_factory):
    """Give a folder with the installed example: its module, and the metadata that name the entry point."""
    work = tmp_path_factory.mktemp("custom_driver")
    shutil.copytree(EXAMPLE, work / "source")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(work)]
    subprocess.run(build, check=True, cwd=work / "source", capture_output=True)
    (wheel,) = work.glob("*.whl")
    with ZipFile(wheel) as packed:
        packed.extractall(work / "site")
    return work / "site"


@pytest.fixture
def installed(distribution, monkeypatch):
    """Have the example installed during the test."""
    monkeypatch.syspath_prepend(distribution)
    yield
    sys.modules.pop("plainsqlite", None)


@pytest.fixture
def url(installed, tmp_path):
    return f"plainsqlite:///{tmp_path}/test.db"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
async def db(url):
    async with Database(url) as database:
        await database.execute("create table users (id integer primary key, name text unique)")
        await database.executemany("insert into users (name) values (:name)", {"name": "Ann"}, {"name": "Bob"})
        yield database


async def test_without_its_package_the_scheme_is_unknown():
    with pytest.raises(UnknownDriver, match="no driver for the scheme 'plainsqlite'"):
        Database("plainsqlite:///test.db")


@pytest.mark.parametrize("scheme", ["plainsqlite", "sqlite+plainsqlite", "plainsqlite+pool"])
async def test_the_scheme_finds_the_driver(url, scheme):
    async with Database(url.replace("plainsqlite", scheme)) as db:
        assert (db.backend.name, db.backend.db_type) == ("plainsqlite", "sqlite")
        assert await db.fetchone("select $1 as a, $2 as b", 1, "one") == (1, "one")


async def test_its_options_are_checked_and_converted(url):
    assert Database(f"{url}?busy_timeout=2.5").backend.options["busy_timeout"] == 2.5
    with pytest.raises(ConfigurationError, match="did you mean 'busy_timeout'"):
        Database(url, busy_timeut=1)


async def test_the_verbs(db):
    result = await db.execute("insert into users (name) values (?)", "Cid")
    assert result == (1, 3)
    assert await db.fetchall("select name from users order by id", into=str) == ["Ann", "Bob", "Cid"]
    assert dict(await db.fetchone("select * from users where name = %s", "Bob")) == {"id": 2, "name": "Bob"}
    assert sum([1 async for _ in db.iterate("select * from users", chunk_size=2)]) == 3


async def test_executemany_is_all_or_nothing(db):
    for nested in (False, True):
        async with db.connection(), db.transaction() if nested else db.connection(create=False):
            with pytest.raises(UniqueViolation):
                await db.executemany("insert into users (name) values (?)", "Cid", "Ann")
            assert await db.fetchval("select count(*) from users") == 2


async def test_transactions(db):
    async with db.transaction():
        await db.execute("insert into users (name) values ('Cid')")
        async with db.transaction() as nested:
            await db.execute("delete from users")
            await nested.rollback()
    assert await db.fetchval("select count(*) from users") == 3
    for options in ({"readonly": True}, {"isolation": "serializable"}, {"mode": "deferred"}):
        with pytest.raises(NotSupportedError):
            async with db.transaction(**options):
                pass


async def test_replicas_are_read_only(db):
    async with db.replica() as connection:
        assert await db.fetchval("select count(*) from users") == 2
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.raw.execute("delete from users")
        with pytest.raises(ReadOnlyError):
            await db.execute("delete from users")


async def test_errors_are_translated(db):
    with pytest.raises(UniqueViolation) as caught:
        await db.execute("insert into users (name) values ('Ann')")
    assert isinstance(caught.value, sqlite3.IntegrityError)


async def test_a_cancelled_statement_is_stopped_and_its_connection_used_again(db):
    async with db.connection() as connection:
        raw = connection.raw
        with anyio.move_on_after(0.1):
            await db.fetchval(ENDLESS)
        assert await db.fetchval("select count(*) from users") == 2
        assert raw is connection.raw
