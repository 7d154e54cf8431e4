"""What does reach the next lease, as the documentation says."""

from __future__ import annotations

import pytest

from aio_databases import Database, Error

SERVERS = pytest.mark.targets(dialect={"postgresql", "mysql"}, pooled=True)
SQLITE = pytest.mark.targets(dialect="sqlite", memory=False, pooled=True)
SHARED = pytest.mark.targets(memory=True, pooled=True)

pytestmark = pytest.mark.targets(memory=False, pooled=True)

HIDDEN = {
    "postgresql": """
        create function change_it() returns text language sql
            as $$ select set_config('application_name', 'mine', false) $$;
        create function changes_it() returns trigger language plpgsql
            as $$ begin perform change_it(); return new; end $$;
        create trigger change_it before insert on users for each row execute function changes_it()
    """,
    "mysql": """
        create function change_it() returns integer return (@mine := 7);
        create trigger change_it before insert on users for each row set @mine = 7
    """,
}
"""A function and a trigger that change what `Words.session` shows."""


@pytest.fixture
async def single(make_database):
    """Give a pool of one connection, so that every lease gets the same one."""
    return await make_database(max_size=1, timeout=5)


@pytest.mark.parametrize("reset", ["always", "auto"])
@pytest.mark.parametrize("hidden", ["select change_it()", "insert into users values (1)"])
@SERVERS
async def test_what_functions_and_triggers_change_is_seen_unless_every_session_is_reset(
    make_database, target, reset, hidden
):
    database = await make_database(max_size=1, reset=reset)
    _, look, before = target.words.session
    await database.execute("create table users (id integer)")
    for sql in filter(str.strip, HIDDEN[target.dialect].split(";\n")):
        await database.execute(sql)
    await database.execute(hidden)
    assert (reset == "always") is (before == await database.fetchval(look))


@pytest.mark.parametrize("reset", ["always", "auto"])
async def test_the_last_id_of_a_plain_insert_is_seen_unless_every_session_is_reset(make_database, words, target, reset):
    look = {"postgresql": "lastval()", "mysql": "last_insert_id()", "sqlite": "last_insert_rowid()"}[target.dialect]
    database = await make_database(max_size=1, reset=reset)
    await database.execute(f"create table users (id {words.types['counted']}, name text)")
    await database.execute("insert into users (name) values ('Ann')")
    try:
        seen = await database.fetchval(f"select {look}")
    except Error:
        assert target.dialect == "postgresql"  # "lastval is not yet defined in this session"
        seen = 0
    assert int(reset == "auto") == seen


@pytest.mark.targets(scheme="asyncpg", pooled=True)
async def test_types_registered_with_the_librarys_own_connection_stay(single):
    async with single.connection() as connection:
        await connection.raw.set_type_codec("int4", schema="pg_catalog", encoder=str, decoder=lambda text: -int(text))
    assert await single.fetchval("select 7") == -7


@SHARED
async def test_the_one_connection_of_a_database_in_memory_keeps_what_is_changed(single, words):
    change, look, before = words.session
    await single.execute(change)
    assert before != await single.fetchval(look)


@SQLITE
async def test_what_pragmas_write_into_the_file_of_sqlite_stays_but_for_its_journal(single):
    await single.execute("pragma user_version = 7")
    await single.execute("pragma journal_mode = delete")
    assert await single.fetchval("pragma user_version") == 7
    assert await single.fetchval("pragma journal_mode") == "wal"  # as each new connection says


@pytest.mark.targets(scheme={"asyncpg", "psycopg", "aiopg"}, pooled=True)
async def test_behind_pgbouncer_settings_of_transactions_reach_nobody(as_target, pgbouncer, postgres_url):
    look = "select nullif(current_setting('app.tenant', true), '')"
    async with Database(as_target(pgbouncer.url(postgres_url.rpartition("/")[2])), pgbouncer=True) as database:
        for change in ("set local app.tenant = 1", "select set_config('app.tenant', '1', true)"):
            async with database.transaction():
                await database.fetchall(change)
                assert await database.fetchval(look) == "1"
            assert {None} == {await database.fetchval(look) for _ in range(10)}
