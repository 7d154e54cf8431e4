"""A URL of SQLite means the file that it names, whatever characters it has, opened as it says.

Hostile test: `sqlite:///shop.db?uri=true&mode=ro`, as the docs write it, made a writable file `shop.db?mode=ro`;
absolute paths lost their first slash; percent signs were decoded twice.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from aio_databases import ConfigurationError, ConnectError, Database, ReadOnlyError
from aio_databases.drivers.sqlite.files import Place

FILES = {"sqlite", "aiosqlite"}
NAMES = ["c#.db", "a?mode=ro.db", "p%23.db", "50% off+.db", "sp ace/ü.db", "x:memory:.db", "file:x.db"]

pytestmark = pytest.mark.targets(dialect="sqlite", memory=False, pooled=True, loop={"asyncio", "trio"})


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Give the working directory, which is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(path):
    """Make a database with the table `t`."""
    path = Path(path)
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(f"file:{quote(str(path))}", uri=True)) as raw:
        raw.execute("create table t (i integer)")


def files(folder):
    """List the files in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.targets(scheme=FILES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("written", ["{path}", "{here}/{path}", "file:{path}", "file:{here}/{path}"])
async def test_a_uri_with_mode_ro_reads_the_file(make_database, target, here, name, written):
    make(name)
    path = written.format(here=quote(str(here)), path=quote(name))
    db = await make_database(f"{target.scheme}:///{path}?uri=true&mode=ro")
    assert await db.fetchval("select count(*) from t") == 0
    with pytest.raises(ReadOnlyError):
        await db.execute("insert into t values (1)")
    async with db.replica():
        assert await db.fetchval("select count(*) from t") == 0
    assert {name} == files(here)


@pytest.mark.parametrize("name", NAMES)
async def test_a_path_is_decoded_once(make_database, as_target, here, name):
    make(name)
    db = await make_database(as_target(f"sqlite:///{here}/{quote(name)}"))
    await db.execute("insert into t values (1)")
    async with db.replica():
        assert await db.fetchval("select count(*) from t") == 1
    await db.disconnect()
    assert {name} == files(here)


@pytest.mark.targets(scheme=FILES)
@pytest.mark.parametrize("written", ["file://{}", "file://localhost{}", "file:{}", "{}"])
@pytest.mark.parametrize("parameter", ["immutable=1", "mode=ro", "nolock=1&mode=ro", "cache=private&mode=ro"])
async def test_every_parameter_is_sqlites_with_and_without_file(make_database, target, here, written, parameter):
    make("x.db")
    db = await make_database(f"{target.scheme}:///{written.format(here / 'x.db')}?{parameter}", uri=True)
    assert await db.fetchval("select count(*) from t") == 0
    with pytest.raises(ReadOnlyError):
        await db.execute("insert into t values (1)")
    assert {"x.db"} == files(here)


@pytest.mark.targets(scheme=FILES)
async def test_mode_rw_makes_no_file(target, here):
    with pytest.raises(ConnectError, match="check that its folder exists"):
        await Database(f"{target.scheme}:///x.db?uri=true&mode=rw").connect()
    assert set() == files(here)


@pytest.mark.targets(scheme=FILES)
@pytest.mark.parametrize("name", ["x.db?mode=memory", "file:x.db?mode=memory&cache=shared", ":memory:?cache=shared"])
async def test_a_uri_in_memory_is_in_memory(make_database, target, here, name):
    db = await make_database(f"{target.scheme}:///{name}&uri=true")
    await db.execute("create table t (i integer)")
    async with db.connection(), db.connection():
        assert await db.fetchval("select count(*) from t") == 0
    async with db.replica():
        assert await db.fetchval("select count(*) from t") == 0
    assert set() == files(here)


@pytest.mark.targets(scheme=FILES)
def test_a_uri_with_a_host_is_refused(target):
    with pytest.raises(ConfigurationError, match="has a host; an absolute path begins with file:/"):
        Database(f"{target.scheme}:///file://elsewhere/x.db?uri=true")


@pytest.mark.targets(scheme={"sqlite"}, loop="asyncio")
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Place("//tmp/x.db", {}, is_uri=True), "file:/tmp/x.db"),
        (Place("a b+.db", {"vfs": "a b+c"}, is_uri=True), "file:a%20b%2B.db?vfs=a%20b%2Bc"),
        (Place("C:/x.db", {}, is_uri=True), "file:C%3A/x.db"),
    ],
)
def test_sqlite_is_told_by_percent_encoding(target, place, expected):
    assert place.name(read_only=False) == (expected, True)


@pytest.mark.targets(scheme=FILES)
@pytest.mark.parametrize("query", ["", "?uri=true"])
@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on posix")
async def test_a_name_that_is_no_utf_8_is_that_of_its_file(make_database, target, here, query):
    db = await make_database(f"{target.scheme}:///%FFa.db{query}")
    await db.execute("create table t (i integer)")
    assert here.joinpath(os.fsdecode(b"\xffa.db")) in set(here.iterdir())
    async with Database(Path(os.fsdecode(b"\xffa.db"))) as same, same.replica():
        assert await same.fetchval("select count(*) from t") == 0


@pytest.mark.parametrize("path", ["file:x.db", "file:/x.db", "file:///x.db", "file::memory:"])
async def test_a_uri_that_is_not_said_to_be_one_is_refused(as_target, target, here, path):
    """Use: it made a file of the name "file:x.db"; one that is to have this name is written so that it is no URI."""
    with pytest.raises(ConfigurationError) as caught:
        await Database(as_target(f"sqlite:///{path}")).connect()
    remedy = "leave 'file:' out, as ODBC takes the path alone" if target.odbc else "take it as one with '?uri=true', or"
    assert f"begins with 'file:', as an SQLite URI does: {remedy}" in str(caught.value)
    assert set() == files(here)
    async with Database(as_target("sqlite:///file%3Ax.db")) as db:
        await db.execute("create table t (i integer)")
    assert {"file:x.db"} == files(here)


def test_a_path_object_is_no_uri(here):
    assert Database(Path("file:x.db")).backend
    assert Database("sqlite:///./file:x.db").backend
    del here
