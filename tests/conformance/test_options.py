"""Options, as keywords and in the URL, do what they say."""

from __future__ import annotations

import json
import logging
import sqlite3

import anyio
import anyio.lowlevel
import pytest

from aio_databases import Database, Error

ONE = "select cast(1 as integer)"


# init


@pytest.mark.targets(memory=False)
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_init_is_called_once_for_each_connection(make_database, target, is_async):
    calls = []

    async def later(raw):
        await anyio.lowlevel.checkpoint()
        calls.append(raw)

    database = await make_database(init=later if is_async else calls.append)
    for _ in range(3):
        assert 1 == await database.fetchval(ONE)
    async with database.connection(), database.connection():
        pass
    assert database.stats()["primary"].opened == len(calls) == (2 if target.pooled else 5)


async def test_a_database_in_memory_or_not_is_initialised_before_its_first_statement(make_database, target):
    async def init(raw):
        await raw.execute("create temporary table mine (i integer)")

    database = await make_database(init=init)
    assert 0 == await database.fetchval("select count(*) from mine")


async def test_an_init_that_fails_is_raised_unchanged_and_leaves_no_connection(target, url):
    reason = ZeroDivisionError("mine")

    async def init(_raw):
        raise reason

    database = Database(url, init=init)
    for use in (database.connect, lambda: database.fetchval(ONE)):
        with pytest.raises(ZeroDivisionError) as caught:
            await use()
        assert reason is caught.value
    assert not database.is_connected
    assert 0 == database.stats()["primary"].size
    await database.disconnect()


@pytest.mark.targets(memory=False)
async def test_init_runs_on_connections_to_replicas_too(users, make_database, url):
    calls = []
    database = await make_database(replicas=[url], init=calls.append)
    before = len(calls)
    async with database.replica():
        assert 1 == await database.fetchval(ONE)
    assert before + 1 == len(calls)


# Of every driver


async def test_options_may_stand_in_the_url(make_database, url):
    database = await make_database(f"{url}?max_size=3&timeout=0.5&convert_params=no")
    assert (3, 0.5) == (database._pool.options.max_size, database._pool.options.timeout) or database.backend.shared
    assert database.backend.options["convert_params"] is False
    assert 1 == await database.fetchval(ONE)


async def test_keywords_win_over_the_url(make_database, url):
    database = await make_database(f"{url}?timeout=7&convert_params=no", timeout=3, convert_params=True)
    assert 3 == database._pool.options.timeout
    assert database.backend.options["convert_params"] is True


@pytest.mark.parametrize(
    ("alias", "name"), [("minsize", "min_size"), ("maxsize", "max_size"), ("pool_recycle", "max_lifetime")]
)
@pytest.mark.targets(pooled=False, memory=False)
async def test_the_option_names_of_1x_work(make_database, url, alias, name):
    for database in (await make_database(**{alias: 4}), await make_database(f"{url}?{alias}=4")):
        assert 4 == getattr(database._pool.options, name)


async def test_statements_go_to_the_logger_that_was_given(make_database, caplog):
    logger = logging.getLogger("of.the.user")
    caplog.set_level(logging.DEBUG, logger="of.the.user")
    database = await make_database(logger=logger)
    assert "hunter2" == await database.fetchval("select cast(:secret as text) as found", {"secret": "hunter2"})
    messages = [record.getMessage() for record in caplog.records]
    assert any("as found" in message for message in messages)
    assert not any("hunter2" in message for message in messages)


# PostgreSQL


@pytest.mark.targets(dialect="postgresql")
@pytest.mark.parametrize("kind", ["json", "jsonb"])
async def test_json_comes_and_goes_as_objects_where_asked_for(make_database, kind):
    value = {"a": [1, None, "ü"], "b": {}}
    database = await make_database(json=True)
    await database.execute(f"create table t (value {kind})")
    await database.execute("insert into t (value) values (:value)", {"value": value})
    assert value == await database.fetchval("select value from t")
    assert [value] == [row.value async for row in database.iterate("select value from t")]
    plain = await make_database()
    assert value == json.loads(await plain.fetchval("select value from t"))


@pytest.mark.targets(dialect="postgresql")
async def test_settings_of_the_server_can_be_given(make_database, url):
    for database in (
        await make_database(application_name="mine", server_settings={"search_path": "elsewhere"}),
        await make_database(
            f"{url}?application_name=mine", connect_args={"server_settings": {"application_name": "mine"}}
        ),
    ):
        assert "mine" == await database.fetchval("show application_name")
        await database.execute("set application_name = 'changed'")
        assert "mine" == await database.fetchval("show application_name")


@pytest.mark.targets(dialect="postgresql")
async def test_parts_of_the_url_can_be_given_as_options(url, make_database):
    user, _, rest = url.removeprefix("asyncpg://").partition("@")
    name, _, password = user.partition(":")
    address, _, path = rest.partition("/")
    host, _, port = address.partition(":")
    parts = {"host": host, "port": int(port), "user": name, "password": "p@ss:w/rd%" if name == "app" else password}
    database = await make_database("asyncpg://", database=path, **parts)
    assert path == await database.fetchval("select current_database()")
    query = f"?host={host}&port={port}"
    assert 1 == await (await make_database(f"asyncpg://{user}@/{path}{query}")).fetchval(ONE)


@pytest.mark.targets(dialect="postgresql")
@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "asyncpg", "postgresql+asyncpg", "asyncpg+pool", "postgressql"]
)
async def test_every_scheme_of_postgresql_works(make_database, url, scheme):
    assert 1 == await (await make_database(url.replace("asyncpg", scheme, 1))).fetchval(ONE)


@pytest.mark.targets(dialect="postgresql")
async def test_prepared_statements_can_be_switched_off(make_database):
    database = await make_database(statement_cache_size=0, max_size=1)
    for _ in range(2):
        assert 3 == await database.fetchval("select $1::int + 1", 2)
    assert 0 == await database.fetchval("select count(*) from pg_prepared_statements where not from_sql and name <> ''")


# SQLite


@pytest.mark.targets(dialect="sqlite")
async def test_pragmas_can_be_given(make_database):
    wanted = {"cache_size": -123, "foreign_keys": "off", "synchronous": "full", "user_version": 7}
    for pragmas in (wanted, list(wanted.items())):
        database = await make_database(pragmas=pragmas)
        assert [-123, 0, 2, 7] == [await database.fetchval(f"pragma {name}") for name in wanted]


@pytest.mark.targets(dialect="sqlite")
async def test_sqlite_starts_with_sound_pragmas(db, target):
    wanted = {
        "foreign_keys": 1,
        "journal_mode": "memory" if target.memory else "wal",
        "synchronous": 1,
        "busy_timeout": 5000,
    }
    assert wanted == {name: await db.fetchval(f"pragma {name}") for name in wanted}


@pytest.mark.targets(dialect="sqlite")
async def test_functions_can_be_given(make_database):
    database = await make_database(
        functions=[("twice", 1, lambda value: 2 * value), ("total", -1, lambda *values: sum(values))]
    )
    assert (42, 6) == await database.fetchone("select twice(21), total(1, 2, 3)")
    async with database.connection(), database.connection():
        assert 4 == await database.fetchval("select twice(2)")
    async with database.replica():
        assert 4 == await database.fetchval("select twice(2)")


@pytest.mark.targets(dialect="sqlite")
async def test_a_function_that_fails_is_an_error_of_the_statement(make_database):
    database = await make_database(functions=[("broken", 0, lambda: 1 / 0)])
    with pytest.raises(Error, match="user-defined function"):
        await database.fetchval("select broken()")
    assert 1 == await database.fetchval(ONE)


@pytest.mark.targets(dialect="sqlite")
@pytest.mark.parametrize("scheme", ["{0}", "{0}+pool", "sqlite+{0}"])
async def test_every_scheme_of_sqlite_works(make_database, target, url, scheme):
    database = await make_database(url.replace(target.scheme, scheme.format(target.scheme), 1))
    assert target.scheme == database.backend.name
    assert 1 == await database.fetchval(ONE)


@pytest.mark.targets(dialect="sqlite", memory=True)
@pytest.mark.parametrize("path", ["", "/", "/:memory:"])
async def test_every_way_to_write_a_database_in_memory_works(make_database, target, path):
    database = await make_database(f"{target.scheme}://{path}")
    await database.execute("create table t (i integer)")
    async with database.connection(), database.connection():
        assert 0 == await database.fetchval("select count(*) from t")
    other = await make_database(f"{target.scheme}://{path}")
    with pytest.raises(Error):
        await other.fetchval("select count(*) from t")


@pytest.mark.targets(dialect="sqlite", memory=False, pooled=False)
async def test_relative_paths_have_three_slashes_and_absolute_ones_four(make_database, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, file in (("/my%20file.db", "my file.db"), (f"/{tmp_path}/absolute.db", "absolute.db")):
        database = await make_database(f"{target.scheme}://{path}")
        await database.execute("create table t (i integer)")
        with sqlite3.connect(tmp_path / file) as raw:
            assert [("t",)] == raw.execute("select name from sqlite_master").fetchall()
        raw.close()


@pytest.mark.targets(dialect="sqlite", memory=False)
async def test_sqlites_own_uris_work(make_database, target, tmp_path, url):
    await (await make_database(url)).execute("create table t (i integer)")
    reader = await make_database(f"{target.scheme}:///file:{tmp_path}/test.db?mode=ro", uri=True)
    assert 0 == await reader.fetchval("select count(*) from t")
    with pytest.raises(Error, match="readonly"):
        await reader.execute("insert into t (i) values (1)")


@pytest.mark.targets(dialect="sqlite", memory=False)
async def test_arguments_of_the_library_go_to_the_library(make_database):
    database = await make_database(connect_args={"cached_statements": 0, "timeout": 0.25})
    assert 250 == await database.fetchval("pragma busy_timeout")
