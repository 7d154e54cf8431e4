"""Options reach what they are meant for: the pool, the driver, its library, and each new connection."""

from __future__ import annotations

import sqlite3

import aiosqlite
import anyio.lowlevel
import asyncpg
import pytest

from aio_databases import ConfigurationError, Database, PoolTimeout, ProgrammingError

CONNECTION_TYPES = {"sqlite": sqlite3.Connection, "aiosqlite": aiosqlite.Connection, "asyncpg": asyncpg.Connection}


def with_query(url, query):
    return f"{url}{'&' if '?' in url else '?'}{query}"


def pool_options(database):
    return database._pool.options


# init


async def test_a_function_init_is_called_once_with_each_connection_of_the_library(make_database, target):
    made = []
    database = await make_database(init=made.append)
    for _ in range(3):
        await database.fetchval("select 1")
    assert all(isinstance(raw, CONNECTION_TYPES[target.scheme]) for raw in made)
    assert (1 if target.pooled or target.memory else 3) == len(made)
    async with database.connection(), database.connection(), database.connection():
        assert (1 if target.memory else 3 if target.pooled else 6) == len(made)
    assert database.stats()["primary"].opened == len(made)


async def test_a_coroutine_function_init_is_awaited_once_for_each_connection(make_database, target):
    made = []

    async def init(raw):
        await anyio.lowlevel.checkpoint()
        await raw.execute("create temporary table made (id integer)")
        made.append(raw)

    database = await make_database(init=init)
    for _ in range(3):
        assert 0 == await database.fetchval("select count(*) from made")
    async with database.connection(), database.connection():
        assert 0 == await database.fetchval("select count(*) from made")
    assert database.stats()["primary"].opened == len(made)
    assert (1 if target.memory else 2 if target.pooled else 5) == len(made)


@pytest.mark.targets(memory=False)
async def test_init_is_called_for_the_connections_of_replicas(make_database, url):
    made = []
    database = await make_database(url, replicas=[url], init=made.append)
    await database.execute("create table users (id integer)")
    before = len(made)
    async with database.replica():
        assert 0 == await database.fetchval("select count(*) from users")
    assert before + 1 == len(made)


@pytest.mark.parametrize("waits", [False, True], ids=["function", "coroutine function"])
async def test_what_init_raises_is_raised_unchanged_and_leaves_nothing_open(url, waits):
    reason = KeyError("mine")
    failing = [True]

    def init(raw):
        if failing:
            raise reason

    async def init_slowly(raw):
        await anyio.lowlevel.checkpoint()
        init(raw)

    database = Database(url, init=init_slowly if waits else init)
    for attempt in (database.connect, database.connection().acquire):
        with pytest.raises(KeyError) as caught:
            await attempt()
        assert reason is caught.value
        assert (False, 0) == (database.is_connected, database.stats()["primary"].size)
    failing.clear()
    async with database:
        assert 1 == await database.fetchval("select 1")


@pytest.mark.targets(dialect="postgresql", pooled=True)
async def test_what_init_set_up_is_there_after_a_reset(make_database):
    async def init(raw):
        await raw.execute("set work_mem = '77MB'")

    database = await make_database(init=init, max_size=1)
    for _ in range(2):
        assert "77MB" == await database.fetchval("show work_mem")
        await database.execute("set work_mem = '66MB'")


# json


@pytest.mark.targets(dialect="postgresql")
@pytest.mark.parametrize("kind", ["json", "jsonb"])
async def test_json_comes_and_goes_as_objects_if_asked_for(make_database, kind):
    document = {"a": [1, 2.5, None, True, {"b": "ü🐘"}]}
    database = await make_database(json=True)
    assert document == await database.fetchval(f"select $1::{kind}", document)
    assert [1] == await database.fetchval(f"select ?::{kind}", [1])
    assert {"b": 1} == await database.fetchval(f"""select '{{"b": 1}}'::{kind}""")
    plain = await make_database()
    assert '{"b": 1}' == await plain.fetchval(f"""select '{{"b": 1}}'::{kind}""")


@pytest.mark.targets(dialect="sqlite", pooled=True)
async def test_json_is_taken_by_sqlite_and_stays_text(make_database):
    database = await make_database(json=True)
    assert '{"b": 1}' == await database.fetchval("select ?", {"b": 1})
    assert 1 == await database.fetchval("select ? ->> 'b'", {"b": 1})


# functions and pragmas


@pytest.mark.targets(dialect="sqlite")
async def test_functions_are_there_on_every_connection(make_database, url, target):
    functions = [("twice", 1, lambda value: 2 * value), ("total", -1, lambda *values: sum(values))]
    database = await make_database(functions=functions, replicas=[] if target.memory else [url])
    await database.execute("create table users (id integer)")
    async with database.connection(), database.connection(), database.replica():
        assert 42 == await database.fetchval("select twice(?)", 21)
    assert 6 == await database.fetchval("select total(1, 2, 3)")


@pytest.mark.targets(dialect="sqlite")
@pytest.mark.parametrize("kind", [dict, list, tuple])
async def test_pragmas_are_set_on_every_connection_and_have_the_last_word(make_database, kind):
    pragmas = kind({"cache_size": -4321, "foreign_keys": "OFF", "synchronous": "FULL"}.items())
    database = await make_database(pragmas=pragmas)
    async with database.connection(), database.connection():
        for name, expected in (("cache_size", -4321), ("foreign_keys", 0), ("synchronous", 2)):
            assert expected == await database.fetchval(f"pragma {name}")


@pytest.mark.targets(dialect="sqlite", memory=False)
async def test_sqlite_is_set_up_sensibly_unless_told_otherwise(make_database, target, tmp_path):
    sensible = {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 1, "busy_timeout": 5000}
    database = await make_database()
    assert sensible == {name: await database.fetchval(f"pragma {name}") for name in sensible}
    database = await make_database(f"{target.scheme}:///{tmp_path}/other.db", pragmas={"journal_mode": "delete"})
    assert "delete" == await database.fetchval("pragma journal_mode")


# convert_params


async def test_without_conversion_the_text_is_sent_as_it_is(make_database, target):
    database = await make_database(convert_params=False)
    native = "?" if target.dialect == "sqlite" else "$1"
    assert "a" == await database.fetchval(f"select cast({native} as varchar)", "a")
    with pytest.raises(ProgrammingError):
        await database.fetchval("select cast(%s as varchar)", "a")
    assert "%s ? :a" == await database.fetchval("select '%s ? :a'")


async def test_with_conversion_percent_s_works(make_database):
    database = await make_database(convert_params=True)
    assert ("a", "%s") == await database.fetchone("select cast(%s as varchar), '%s'", "a")


# Where options come from


def test_the_names_of_1x_are_taken(url):
    old = Database(url, minsize=2, maxsize=7, pool_recycle=99)
    new = Database(url, min_size=2, max_size=7, max_lifetime=99)
    assert pool_options(new) == pool_options(old)
    assert 99.0 == pool_options(old).max_lifetime
    assert 99.0 == pool_options(Database(with_query(url, "pool_recycle=99"))).max_lifetime


@pytest.mark.targets(memory=False, pooled=True)
async def test_the_names_of_1x_do_what_they_say(make_database):
    database = await make_database(minsize=2, maxsize=3, timeout=0.05)
    assert 2 == database.stats()["primary"].size
    async with database.connection(), database.connection(), database.connection():
        assert 3 == database.stats()["primary"].size
        with pytest.raises(PoolTimeout):
            await database.connection().acquire()


@pytest.mark.targets(memory=False, pooled=True)
async def test_options_in_the_url_get_their_types(url):
    query = "min_size=1&max_size=4&timeout=0.5&max_idle=7&check_after=1.5&reset=always&json=true&convert_params=no"
    database = Database(with_query(url, query))
    expected = {"min_size": 1, "max_size": 4, "timeout": 0.5, "max_idle": 7.0, "check_after": 1.5, "reset": "always"}
    options = pool_options(database)
    assert expected == {name: getattr(options, name) for name in expected}
    assert (int, float, float) == (type(options.max_size), type(options.timeout), type(options.max_idle))
    assert database.backend.options["json"] is True
    assert database.backend.options["convert_params"] is False


def test_the_words_for_true_and_false_are_taken():
    for expected, words in ((True, ("1", "true", "Yes", "ON")), (False, ("0", "false", "No", "off"))):
        for word in words:
            assert expected is Database(f"sqlite:///test.db?json={word}").backend.options["json"]
            assert expected is Database("sqlite:///test.db", json=word).backend.options["json"]


def test_a_keyword_wins_over_the_url(url):
    database = Database(with_query(url, "timeout=1&json=true&check_after=2"), timeout=3, json=False)
    assert (3.0, 2.0) == (pool_options(database).timeout, pool_options(database).check_after)
    assert database.backend.options["json"] is False


@pytest.mark.targets(memory=False)
def test_keywords_hold_for_replicas_and_a_query_for_its_own_url(url):
    database = Database(with_query(url, "max_idle=1"), replicas=[with_query(url, "max_idle=2"), url], timeout=3)
    pools = [database._pool, *database._replicas.own, database._replicas.fallback]
    assert [1.0, 2.0, 600.0, 1.0] == [pool.options.max_idle for pool in pools]
    assert {3.0} == {pool.options.timeout for pool in pools}


def test_the_options_of_the_caller_are_left_as_they_are(url):
    arguments = {"a": 1}
    options = {"timeout": 3, "connect_args": arguments, "minsize": 1}
    Database(url, **options)
    assert {"timeout": 3, "connect_args": {"a": 1}, "minsize": 1} == options
    assert options["connect_args"] is arguments


@pytest.mark.targets(dialect="postgresql")
async def test_options_of_asyncpg_in_the_url_arrive_with_their_types(make_database, url):
    query = "application_name=a%20test&statement_cache_size=0&command_timeout=2.5"
    database = await make_database(with_query(url, query))
    assert "a test" == await database.fetchval("show application_name")
    assert {"application_name": "a test", "statement_cache_size": 0, "command_timeout": 2.5} == database.backend.options
    async with database.connection() as connection:
        settings = connection.raw._config
        assert (0, 2.5) == (settings.statement_cache_size, settings.command_timeout)


@pytest.mark.targets(dialect="sqlite", memory=False)
async def test_the_parameters_of_an_sqlite_uri_go_to_sqlite(users, make_database, target, tmp_path):
    address = f"{target.scheme}:///file:{tmp_path}/test.db?mode=ro&max_size=3"
    database = await make_database(address, uri=True)
    assert 3 == await database.fetchval("select count(*) from users")
    assert 3 == pool_options(database).max_size
    with pytest.raises(ConfigurationError, match="'mode'"):
        Database(address)


async def test_connect_args_reach_the_library(make_database, target):
    if target.dialect == "postgresql":
        database = await make_database(connect_args={"server_settings": {"application_name": "mine"}})
        assert "mine" == await database.fetchval("show application_name")
        return
    database = await make_database(connect_args={"timeout": 1.25})
    assert 1250 == await database.fetchval("pragma busy_timeout")


@pytest.mark.targets(pooled=True, memory=False)
async def test_the_other_spellings_of_a_scheme_reach_the_same_database(users, make_database, url, target):
    spellings = {
        "sqlite": ("sqllite", "sqlite+pool", "sqlite+aiosqlite" if target.loop == "asyncio" else "sqlite"),
        "aiosqlite": ("aiosqlite+pool", "sqlite+aiosqlite"),
        "asyncpg": ("postgres", "postgresql", "postgressql", "asyncpg+pool", "postgresql+asyncpg", "postgres+pool"),
    }
    for spelling in spellings[target.scheme]:
        database = await make_database(url.replace(target.scheme, spelling, 1))
        assert 3 == await database.fetchval("select count(*) from users")
