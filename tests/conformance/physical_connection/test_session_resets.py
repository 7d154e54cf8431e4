"""What a reset costs, which statements need one, and what is the same after it as before."""

from __future__ import annotations

import gc
from typing import Any, NamedTuple

import pytest

from aio_databases import Error
from conformance.libraries import run_raw

POSTGRES = pytest.mark.targets(dialect="postgresql", pooled=True)

pytestmark = pytest.mark.targets(memory=False, pooled=True)


@pytest.fixture
async def resets(make_database, monkeypatch):
    """Give a pool of one connection, and a list that has an item for each reset since its last user looked."""
    database = await make_database(max_size=1)
    async with database.connection() as connection:
        kind = type(connection.driver)
    reset, counted = kind.reset, []

    async def count(self):
        counted.append(self)
        return await reset(self)

    monkeypatch.setattr(kind, "reset", count)
    return database, counted


# What a reset costs


PLAIN = (
    "select id from users",
    "SELECT name FROM users WHERE id = 1 -- set x = 1",
    "with u as (select id from users) select * from u",
    "/* set x = 1 */ select 'set x = 1', 'create temp table x', 'select pg_advisory_lock(1)'",
    "insert into users (id) values (4)",
    "insert into temp (id) values (1)",
    "insert into users (id) select id + 10 from users",
    "update users set name = 'set names latin1' where id = 1",
    "delete from users where id > 3",
    "create table others (id integer)",
    "create index on_id on others (id)",
    "alter table others add column name text",
    "drop table others",
    "explain select id from users",
)
PLAIN_TOO = {
    "postgresql": (
        "values (1), (2)",
        "table users",
        "show application_name",
        "explain analyze select id from users",
        "insert into users (id) values (5) returning id",
        "with gone as (delete from users where id = 5 returning id) select * from gone",
        "select pg_advisory_xact_lock(42)::text",
        "select pg_try_advisory_xact_lock_shared(42)",
        "select set_config('app.tenant', 'ann', true)",
        "select pg_notify('news', 'now')",
        "notify news",
        "set local statement_timeout = 4321",
        "set transaction isolation level serializable",
        "set constraints all deferred",
        "declare mine cursor for select 1",
        "create function one() returns integer language sql begin atomic select 1; end",
        "truncate users",
        "vacuum users",
    ),
    "mysql": (
        "insert into users (id) values (4) on duplicate key update name = 'Dan'",
        "replace into users (id) values (4)",
        "show tables",
        "show warnings",
        "describe users",
        "select @mine",
        "select is_free_lock('mine')",
        "truncate table users",
    ),
    "sqlite": (
        "insert or ignore into users (id) values (4)",
        "replace into users (id) values (4)",
        "explain query plan select id from users",
        "pragma user_version",
        "pragma table_info(users)",
        "create trigger noted after insert on users begin update users set name = 'x'; select 1; end",
        "vacuum",
    ),
}
IN_TRANSACTIONS = ("set local", "set transaction", "set constraints", "declare")


async def test_plain_statements_need_no_reset(resets, target):
    database, counted = resets
    for table in ("users", "temp"):
        await database.execute(f"create table {table} (id integer primary key, name text)")
    async with database.connection() as connection:
        driver = connection.driver
    counted.clear()
    needed = []
    for sql in (*PLAIN, *PLAIN_TOO[target.dialect]):
        if sql.startswith(IN_TRANSACTIONS):
            async with database.transaction():
                await database.execute(sql)
        else:
            await database.execute(sql)
        needed += [sql] * len(counted)
        counted.clear()
    assert needed == []
    async with database.connection() as connection:
        assert driver is connection.driver


async def test_neither_do_parameters_batches_streams_blocks_and_transactions(resets):
    database, counted = resets
    await database.execute("create table users (id integer primary key, name text)")
    await database.executemany("insert into users (id, name) values (?, ?)", [(n, "set x = 1") for n in range(2500)])
    assert await database.fetchval("select id from users where id = :id", {"id": 1}) == 1
    assert len([row async for row in database.iterate("select id from users")]) == 2500
    async for _ in database.iterate("select id from users"):
        break
    gc.collect()
    async with database.connection() as connection:
        await connection.fetchmany(5, "select id from users order by id")
    async with database.transaction(), database.transaction():
        await database.execute("delete from users where id = 1")
    with pytest.raises(ZeroDivisionError):
        async with database.transaction():
            raise ZeroDivisionError
    with pytest.raises(Error):
        await database.execute("insert into users (id) values (2)")
    with pytest.raises(Error):
        await database.fetchval("select nonsense from users")
    await database.run_transaction(lambda: database.fetchval("select 1"))
    assert counted == []
    assert database.stats()["primary"].opened == 1


async def test_a_lease_needs_one_reset_however_much_was_changed_in_it(resets, words):
    database, counted = resets
    change, look, before = words.session
    async with database.connection() as connection:
        for _ in range(3):
            await connection.execute(change)
        await run_raw(connection.raw, change)
    assert len(counted) == 1
    assert before == await database.fetchval(look)
    async with database.connection() as connection:
        assert connection.raw is not None
    assert len(counted) == 2
    await database.execute(change)
    assert len(counted) == 3


# What is the same after it


class Given(NamedTuple):
    """How a session begins."""

    options: dict[str, Any]
    init: str
    """What the user's own function does."""
    changes: tuple[str, ...]
    """Statements after which nothing of it holds."""
    looks: dict[str, object]
    """Queries, and what they show at the beginning."""


def given(target):
    """Return how a session may begin, as far as the driver has options for it."""
    full = GIVEN[target.dialect]
    if not target.odbc:
        return full
    known = {"postgresql": ("application_name", "statement_timeout"), "mysql": ("statement_timeout",), "sqlite": ()}
    options = {name: full.options[name] for name in known[target.dialect]}
    shown = (*options, "init", "max_statement_time")
    looks = {look: value for look, value in full.looks.items() if any(name in look for name in shown)}
    return full._replace(options=options, looks=looks)


GIVEN = {
    "postgresql": Given(
        {
            "application_name": "shop",
            "json": True,
            "server_settings": {"timezone": "Asia/Tokyo", "work_mem": "77MB"},
            "statement_timeout": 7,
        },
        "set app.init = 5",
        (
            "set application_name = 'mine'",
            "set statement_timeout = 0",
            "set time zone 'UTC'",
            "set work_mem = '1MB'",
            "set app.init = 6",
        ),
        {
            "show application_name": "shop",
            "show statement_timeout": "7s",
            "show timezone": "Asia/Tokyo",
            "show work_mem": "77MB",
            "select current_setting('app.init')": "5",
            "select '{\"a\": 1}'::json": {"a": 1},
        },
    ),
    "mysql": Given(
        {"init_command": "set @given = 5", "sql_mode": "ANSI_QUOTES", "statement_timeout": 7},
        "set @init = 5",
        ("set @given = 6", "set @init = 6", "set sql_mode = ''", "set max_statement_time = 0"),
        {
            "select @given": 5,
            "select @init": 5,
            "select @@sql_mode": "ANSI_QUOTES",
            "select @@max_statement_time": 7,
            "select @@character_set_client": "utf8mb4",
        },
    ),
    "sqlite": Given(
        {"functions": [("five", 0, lambda: 5)], "pragmas": {"cache_size": -55, "foreign_keys": "off"}},
        "create temp view init as select 5 as i",
        ("pragma cache_size = -66", "pragma foreign_keys = on", "drop view init"),
        {
            "select five()": 5,
            "pragma cache_size": -55,
            "pragma foreign_keys": 0,
            "select i from init": 5,
        },
    ),
}


async def test_options_hold_again_after_a_reset(make_database, target):
    options, init, changes, looks = given(target)

    async def prepare(raw):
        await run_raw(raw, init)

    database = await make_database(max_size=1, init=prepare, **options)
    for _ in range(2):
        assert looks == {look: await database.fetchval(look) for look in looks}
        async with database.connection():
            for change in changes:
                await database.execute(change)
    assert await database.fetchval("select 'ü€🐘'") == "ü€🐘"


async def test_a_replica_still_refuses_writes_after_a_reset(make_database, url, words):
    database = await make_database(replicas=[url], max_size=1)
    await database.execute("create table users (id integer)")
    change, look, before = words.session
    async with database.replica() as connection:
        await run_raw(connection.raw, words.lift_fence)
    for _ in range(2):
        async with database.replica() as connection:
            assert before == await connection.fetchval(look)
            with pytest.raises(Exception, match=r"(?i)read.?only"):
                await run_raw(connection.raw, "insert into users values (1)")
            await run_raw(connection.raw, change)
    assert await database.fetchval("select count(*) from users") == 0


async def test_statements_that_were_run_before_a_reset_work_after_it(make_database, words):
    database = await make_database(max_size=1)
    await database.execute("create table users (id integer, name text)")
    await database.execute("insert into users values (1, 'Ann')")
    texts = ("select name from users where id = ?", "select name from users where id = ? or id = ?")
    for _ in range(3):
        for _ in range(6):
            assert [await database.fetchval(text, *[1] * text.count("?")) for text in texts] == ["Ann", "Ann"]
        async with database.transaction():
            assert await database.fetchall(texts[0], 1) == [("Ann",)]
        await database.execute(words.session[0])


@pytest.fixture(params=["as by default", "prepared early"])
async def preparing(request, make_database, target):
    """Give a pool of one connection, whose library may prepare statements sooner than by default."""
    early = request.param == "prepared early" and target.scheme == "psycopg"
    return await make_database(max_size=1, **({"connect_args": {"prepare_threshold": 0}} if early else {}))


@POSTGRES
@pytest.mark.parametrize("forget", ["discard all", "deallocate all", "DEALLOCATE PREPARE ALL", "discard plans"])
async def test_statements_work_although_the_user_made_the_server_forget_them(preparing, forget):
    for _ in range(3):
        for _ in range(3):
            assert await preparing.fetchval("select 1 + ?::integer", 7) == 8
        await preparing.execute(forget)


@POSTGRES
@pytest.mark.parametrize("change", ["create temp table users (name text, age integer)", "set search_path = other"])
async def test_statements_work_although_they_had_other_columns_before_the_reset(preparing, change):
    await preparing.execute("create table users (id integer)")
    await preparing.execute("create schema if not exists other")
    await preparing.execute("create table if not exists other.users (name text, age integer)")
    await preparing.execute("insert into users values (7)")
    query = "select * from users"
    async with preparing.connection():
        await preparing.execute(change)
        for _ in range(3):
            assert await preparing.fetchall(query) == []
    async with preparing.transaction():
        assert await preparing.fetchall(query) == [(7,)]
