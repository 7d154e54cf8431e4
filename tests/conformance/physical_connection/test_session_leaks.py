"""Nothing that a statement changes in a session reaches the next lease."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import anyio
import pytest

from aio_databases import Error
from conformance.session_changes import CHANGES, LIBRARIES_ONLY, SETUP, SHOWN_BY_USE

LIBRARIES = {"asyncmy", "aiomysql", "pymysql", "trio-mysql"}
POSTGRES = pytest.mark.targets(dialect="postgresql", pooled=True)
MYSQL = pytest.mark.targets(dialect="mysql", pooled=True)

pytestmark = pytest.mark.targets(memory=False, pooled=True)


@pytest.fixture
async def single(make_database):
    """Give a pool of one connection, so that every lease gets the same one."""
    return await make_database(max_size=1, timeout=5)


@pytest.fixture
def address(url, server, as_target):
    """Give the URL of the target's database for its administrator."""
    return as_target(server.admin_url(unquote(urlsplit(url).path.lstrip("/"))))


# Statements


async def leaks(database, changes):
    """Return the changes that do nothing where they are made, and those that the next lease sees."""
    unmade, seen = [], []
    for change, look in changes:
        before = await database.fetchval(look)
        async with database.connection() as connection:
            await connection.execute(change)
            if before == await connection.fetchval(look):
                unmade.append(change)
        if before != await database.fetchval(look):
            seen.append(change)
    return unmade, seen


async def test_what_a_statement_changes_does_not_reach_the_next_lease(single, target):
    for sql in SETUP[target.dialect]:
        await single.execute(sql)
    opened = single.stats()["primary"].opened
    assert await leaks(single, CHANGES[target.dialect]) == ([], [])
    # The others go on with the session that they have, as good as new.
    assert (target.odbc or target.dialect == "sqlite") is (opened < single.stats()["primary"].opened)


@pytest.mark.targets(scheme=LIBRARIES, pooled=True)
async def test_nor_does_what_odbc_drivers_refuse(single):
    assert await leaks(single, LIBRARIES_ONLY) == ([], [])
    assert not await works_in_the_next_lease(single, "prepare mine from 'select 1'", "execute mine")


@MYSQL
async def test_nor_does_what_shows_when_it_is_used(single):
    await single.execute("create table users as select 1 as id")
    assert [change for change, use in SHOWN_BY_USE if await works_in_the_next_lease(single, change, use)] == []


async def works_in_the_next_lease(database, change, use):
    async with database.connection() as connection:
        await connection.execute(change)
        await connection.fetchall(use)
    try:
        await database.fetchall(use)
    except Error:
        return False
    return True


@MYSQL
async def test_nor_does_what_mysql_keeps_for_the_next_transaction(single, words, server):
    await single.execute("create table users (id integer)")
    level = "select trx_isolation_level from information_schema.innodb_trx where trx_mysql_thread_id = {}"
    await single.execute("set transaction read only")
    await single.execute("insert into users values (1)")
    await single.execute("set transaction isolation level serializable")
    async with single.transaction():
        await single.execute("insert into users values (2)")
        number = await single.fetchval(words.own_id)
        found = []
        with anyio.fail_after(5):
            while not found:  # InnoDB tells what it told before, until nobody has asked for a tenth of a second
                await anyio.sleep(0.15)
                found = server.execute(level.format(number))
        assert found == [("REPEATABLE READ",)]


@MYSQL
@pytest.mark.parametrize(
    "lock", ["lock tables users write", "flush tables with read lock", "backup stage start", "backup lock users"]
)
async def test_nor_does_a_lock_that_keeps_others_from_changing_a_table(make_database, address, lock):
    admin, other = await make_database(address, max_size=1), await make_database(address)
    await other.execute("create table users (id integer)")
    await admin.execute(lock)
    await admin.fetchval("select 1")
    with anyio.fail_after(5):
        async with other.connection() as connection:
            await connection.execute("alter table users add column name text")
            if lock == "backup stage start":
                await connection.execute(lock)  # as only one can at a time


@POSTGRES
@pytest.mark.parametrize("change", ["set role {}", "set session authorization {}", "set local role {}"])
async def test_nor_does_a_role_of_postgresql(make_database, address, server, change):
    database = await make_database(address, max_size=1)
    look = "select current_user::text || ' ' || session_user::text"
    before = await database.fetchval(look)
    server.execute("create role test_borrowed")
    try:
        async with database.transaction():
            await database.execute(change.format("test_borrowed"))
            assert "test_borrowed" in await database.fetchval(look)
        assert before == await database.fetchval(look)
    finally:
        server.execute("drop role test_borrowed")


@MYSQL
@pytest.mark.parametrize("default", [None, "test_usual"])
async def test_nor_does_a_role_of_mysql(make_database, url, server, default):
    user = f"`{server.app_user}`@'%'"
    for role in ("test_borrowed", "test_usual"):
        server.execute(f"create or replace role {role}")
        server.execute(f"grant {role} to {user}")
    server.execute(f"set default role {default or 'none'} for {user}")
    try:
        database = await make_database(url, max_size=1)
        await database.execute("set @mine = 7")
        assert default == await database.fetchval("select current_role()")
        await database.execute("set role test_borrowed")
        assert default == await database.fetchval("select current_role()")
    finally:
        server.execute(f"set default role none for {user}")
        server.execute("drop role test_borrowed, test_usual")


@POSTGRES
async def test_nor_does_the_seed_of_random_numbers(single):
    drawn = []
    for _ in range(3):
        await single.fetchval("select setseed(0.5)")
        drawn.append(await single.fetchval("select random()::text"))
    assert len(set(drawn)) == 3


@POSTGRES
async def test_nor_does_a_setting_of_a_transaction(single):
    look = "select nullif(current_setting('app.tenant', true), '')"
    for change in ("set local app.tenant = 1", "select set_config('app.tenant', '1', true)"):
        async with single.connection() as connection:
            async with connection.transaction():
                await connection.fetchall(change)
                assert await connection.fetchval(look) == "1"
            assert await connection.fetchval(look) is None
        assert await single.fetchval(look) is None


# The library's own object


@pytest.mark.targets(scheme="psycopg", pooled=True)
@pytest.mark.parametrize("change", ["transactions", "rows"])
async def test_how_psycopg_deals_with_statements_is_as_it_was(single, change):
    from psycopg.rows import dict_row  # noqa: PLC0415 - it may not be installed where other drivers are tested

    await single.execute("create table users (id integer)")
    async with single.connection() as connection:
        if change == "rows":
            connection.raw.row_factory = dict_row
        else:
            done = connection.raw.set_autocommit(False)
            if done is not None:
                await done
    await single.execute("insert into users values (1)")
    assert await single.fetchall("select id from users") == [(1,)]


@pytest.mark.targets(scheme={"aiomysql", "pymysql", "trio-mysql"}, pooled=True)  # asyncmy's own method is broken
async def test_texts_are_read_as_before_by_the_libraries_of_mysql(single):
    async with single.connection() as connection:
        raw = connection.raw
        done = getattr(raw, "set_character_set", raw.set_charset)("latin1")
        if done is not None:
            await done
    assert await single.fetchval("select 'ü€🐘'") == "ü€🐘"


@pytest.mark.targets(scheme="asyncpg", pooled=True)
async def test_nobody_listens_any_more_with_asyncpg(single):
    heard = []
    async with single.connection() as connection:
        await connection.raw.add_listener("news", lambda *news: heard.append(news))
    async with single.connection():
        await single.execute("listen news")
        await single.execute("notify news")
        assert await single.fetchval("select count(*) from pg_listening_channels()") == 1
    assert heard == []


@pytest.mark.targets(scheme={"sqlite", "aiosqlite"}, memory=False, pooled=True)
async def test_functions_given_to_sqlites_own_connection_are_gone(single):
    async with single.connection() as connection:
        created = connection.raw.create_function("mine", 0, lambda: 7)
        if created is not None:
            await created
        assert await connection.fetchval("select mine()") == 7
    with pytest.raises(Error, match="no such function"):
        await single.fetchval("select mine()")
