"""Options that only SQLite has, and the ways to write where its databases are."""

from __future__ import annotations

import sqlite3

import pytest

from aio_databases import Error

SCHEMES = {"sqlite", "aiosqlite"}
ONE = "select 1"

pytestmark = pytest.mark.targets(scheme=SCHEMES)


async def test_pragmas_can_be_given(make_database):
    wanted = {"cache_size": -123, "foreign_keys": "off", "synchronous": "full", "user_version": 7}
    for pragmas in (wanted, list(wanted.items())):
        database = await make_database(pragmas=pragmas)
        assert [await database.fetchval(f"pragma {name}") for name in wanted] == [-123, 0, 2, 7]


async def test_sqlite_starts_with_sound_pragmas(db, target):
    wanted = {
        "foreign_keys": 1,
        "journal_mode": "memory" if target.memory else "wal",
        "synchronous": 1,
        "busy_timeout": 5000,
    }
    assert wanted == {name: await db.fetchval(f"pragma {name}") for name in wanted}


async def test_functions_can_be_given(make_database):
    database = await make_database(
        functions=[("twice", 1, lambda value: 2 * value), ("total", -1, lambda *values: sum(values))]
    )
    assert await database.fetchone("select twice(21), total(1, 2, 3)") == (42, 6)
    async with database.connection(), database.connection():
        assert await database.fetchval("select twice(2)") == 4
    async with database.replica():
        assert await database.fetchval("select twice(2)") == 4


async def test_a_function_that_fails_is_an_error_of_the_statement(make_database):
    database = await make_database(functions=[("broken", 0, lambda: 1 / 0)])
    with pytest.raises(Error, match="user-defined function"):
        await database.fetchval("select broken()")
    assert await database.fetchval(ONE) == 1


@pytest.mark.parametrize("scheme", ["{0}", "{0}+pool", "sqlite+{0}"])
async def test_every_scheme_of_sqlite_works(make_database, target, url, scheme):
    database = await make_database(url.replace(target.scheme, scheme.format(target.scheme), 1))
    assert target.scheme == database.backend.name
    assert await database.fetchval(ONE) == 1


@pytest.mark.targets(scheme=SCHEMES, memory=True)
@pytest.mark.parametrize("path", ["", "/", "/:memory:"])
async def test_every_way_to_write_a_database_in_memory_works(make_database, target, path):
    database = await make_database(f"{target.scheme}://{path}")
    await database.execute("create table t (i integer)")
    async with database.connection(), database.connection():
        assert await database.fetchval("select count(*) from t") == 0
    other = await make_database(f"{target.scheme}://{path}")
    with pytest.raises(Error):
        await other.fetchval("select count(*) from t")


@pytest.mark.targets(scheme=SCHEMES, memory=False, pooled=False)
async def test_relative_paths_have_three_slashes_and_absolute_ones_four(make_database, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, file in (("/my%20file.db", "my file.db"), (f"/{tmp_path}/absolute.db", "absolute.db")):
        database = await make_database(f"{target.scheme}://{path}")
        await database.execute("create table t (i integer)")
        with sqlite3.connect(tmp_path / file) as raw:
            assert raw.execute("select name from sqlite_master").fetchall() == [("t",)]
        raw.close()


@pytest.mark.targets(scheme=SCHEMES, memory=False)
async def test_sqlites_own_uris_work(make_database, target, tmp_path, url):
    await (await make_database(url)).execute("create table t (i integer)")
    reader = await make_database(f"{target.scheme}:///file:{tmp_path}/test.db?mode=ro", uri=True)
    assert await reader.fetchval("select count(*) from t") == 0
    with pytest.raises(Error, match="readonly"):
        await reader.execute("insert into t (i) values (1)")


@pytest.mark.targets(scheme=SCHEMES, memory=False)
async def test_arguments_of_the_library_go_to_the_library(make_database):
    database = await make_database(connect_args={"cached_statements": 0, "timeout": 0.25})
    assert await database.fetchval("pragma busy_timeout") == 250
