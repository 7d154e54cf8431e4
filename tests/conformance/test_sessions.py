"""What one user of a pooled connection does to its session, the next one does not see."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from conformance.libraries import run_raw

SQLITE = pytest.mark.targets(dialect="sqlite", memory=False, pooled=True)
POSTGRES = pytest.mark.targets(dialect="postgresql", pooled=True)


@pytest.fixture
async def single(make_database):
    """Give a pool of one connection, so that every lease gets the same one."""
    return await make_database(max_size=1, timeout=1)


@POSTGRES
@pytest.mark.parametrize(
    ("change", "look", "expected"),
    [
        ("set statement_timeout = 4321", "show statement_timeout", "0"),
        ("set application_name = 'mine'", "show application_name", ""),
        ("select set_config('application_name', 'mine', false)", "show application_name", ""),
        ("set session characteristics as transaction read only", "show default_transaction_read_only", "off"),
        ("create temporary table mine (i integer)", "select to_regclass('mine')::text", None),
        ("create temp table mine as select 1 as i", "select to_regclass('mine')::text", None),
        ("select 1 as i into temporary mine", "select to_regclass('mine')::text", None),
        ("select pg_advisory_lock(42)::text", "select count(*) from pg_locks where locktype = 'advisory'", 0),
        ("select pg_try_advisory_lock(42)", "select count(*) from pg_locks where locktype = 'advisory'", 0),
        ("listen news", "select count(*) from pg_listening_channels()", 0),
        ("prepare mine as select 1", "select count(*) from pg_prepared_statements where name = 'mine'", 0),
        ("declare mine cursor with hold for select 1", "select count(*) from pg_cursors where name = 'mine'", 0),
        ("do $$ begin set application_name = 'mine'; end $$", "show application_name", ""),
    ],
)
async def test_postgresql_forgets_what_a_statement_changed(single, change, look, expected):
    pid = await single.fetchval("select pg_backend_pid()")
    async with single.connection() as connection:
        await connection.fetchall(change)
    assert expected == await single.fetchval(look)
    assert pid == await single.fetchval("select pg_backend_pid()")


@pytest.mark.targets(dialect="mysql", pooled=True)
@pytest.mark.parametrize(
    ("change", "look", "expected"),
    [
        ("set @mine = 7", "select @mine", None),
        ("select 7 into @mine", "select @mine", None),
        ("set session sql_mode = 'ANSI'", "select @@session.sql_mode like 'STRICT%'", 1),
        ("set session transaction read only", "select @@session.tx_read_only", 0),
        ("set session transaction isolation level serializable", "select @@session.tx_isolation", "REPEATABLE-READ"),
        ("set autocommit = 0", "select @@session.autocommit", 1),
        ("create temporary table mine (i integer)", "show tables like 'mine'", None),
        ("select get_lock('mine', 0)", "select is_free_lock('mine')", 1),
        ("lock tables users write", "select count(*) from others", 0),
        ("use information_schema", "select database() like 'test%'", 1),
    ],
)
async def test_mysql_forgets_what_a_statement_changed(single, target, change, look, expected):
    for name in ("users", "others"):
        await single.execute(f"create table {name} (id integer)")
    number = await single.fetchval("select connection_id()")
    async with single.connection() as connection:
        await connection.fetchall(change)
    assert expected == await single.fetchval(look)
    assert target.odbc is (number != await single.fetchval("select connection_id()"))


@pytest.mark.targets(dialect={"postgresql", "mysql"}, pooled=True)
@pytest.mark.parametrize("verb", ["execute", "fetchall", "fetchone", "fetchval"])
async def test_every_verb_may_change_the_session_in_its_own_lease(single, words, verb):
    change, look, before = words.session
    await getattr(single, verb)(change)
    assert before == await single.fetchval(look)


@POSTGRES
async def test_what_a_transaction_sets_for_itself_needs_no_reset(single):
    async with single.transaction():
        await single.execute("set local application_name = 'mine'")
        assert "mine" == await single.fetchval("show application_name")
    assert "" == await single.fetchval("show application_name")


@pytest.mark.targets(memory=False, pooled=True)
async def test_a_session_lasts_as_long_as_its_block(single, words):
    change, look, before = words.session
    async with single.connection():
        await single.execute(change)
        await single.execute("create temporary table mine (i integer)")
        assert before != await single.fetchval(look)
        assert 0 == await single.fetchval("select count(*) from mine")


@pytest.mark.targets(dialect={"postgresql", "mysql"}, pooled=True)
async def test_what_was_done_with_the_librarys_own_connection_is_undone(single, words):
    change, look, before = words.session
    async with single.connection() as connection:
        await run_raw(connection.raw, change)
    assert before == await single.fetchval(look)


@pytest.mark.targets(dialect="postgresql", pooled=True)
@pytest.mark.parametrize(("reset", "expected"), [("always", ""), ("auto", "mine"), ("never", "mine")])
async def test_the_reset_can_be_chosen(make_database, reset, expected):
    """The change is hidden in a function, where no reading of SQL can find it."""
    database = await make_database(max_size=1, reset=reset)
    await database.execute(
        "create function change() returns text language sql "
        "as $$ select set_config('application_name', 'mine', false) $$"
    )
    await database.fetchval("select change()")
    assert expected == await database.fetchval("show application_name")


@pytest.mark.targets(pooled=True, memory=False)
@pytest.mark.parametrize("is_async", [True, False])
async def test_the_reset_can_be_a_function(make_database, is_async):
    seen = []

    async def later(raw):
        await anyio.lowlevel.checkpoint()
        seen.append(raw)

    database = await make_database(max_size=1, reset=later if is_async else seen.append)
    async with database.connection() as connection:
        raw = connection.raw
    await database.fetchval("select 1")
    assert 2 == len(seen)
    assert is_async or [raw, raw] == seen


@SQLITE
@pytest.mark.parametrize(
    ("change", "look"),
    [
        ("pragma foreign_keys = off", "pragma foreign_keys"),
        ("pragma query_only = on", "pragma query_only"),
        ("pragma busy_timeout(7)", "pragma busy_timeout"),
        ("create temporary table mine (i integer)", "select count(*) from temp.sqlite_master"),
        ("create temp view mine as select 1", "select count(*) from temp.sqlite_master"),
        ("attach ':memory:' as other", "select count(*) from pragma_database_list where name = 'other'"),
    ],
)
async def test_sqlite_forgets_what_a_statement_changed(single, change, look):
    before = await single.fetchval(look)
    async with single.connection() as connection:
        await connection.execute(change)
        assert before != await connection.fetchval(look)
    assert before == await single.fetchval(look)


@SQLITE
async def test_what_was_done_with_sqlites_own_connection_is_undone(single):
    async with single.connection() as connection:
        await run_raw(connection.raw, "pragma query_only = on")
    assert 0 == await single.fetchval("pragma query_only")


@pytest.mark.targets(pooled=True, memory=False)
async def test_statements_that_change_no_session_cost_no_reset(make_database):
    database = await make_database(max_size=1)
    async with database.connection() as connection:
        driver = connection.driver
        await connection.execute("create table t (i integer)")
        await connection.execute("insert into t (i) values (1)")
        await connection.fetchall("select i from t")
        async with connection.transaction():
            await connection.execute("delete from t")
        assert not connection.physical.session_changed
    async with database.connection() as connection:
        assert driver is connection.driver


@pytest.mark.parametrize("begin", ["begin", "BEGIN", "/* now */ begin"])
async def test_a_transaction_that_was_begun_with_sql_is_rolled_back_at_the_release(users, begin):
    async with users.connection() as connection:
        await connection.execute(begin)
        await connection.execute("insert into users (id) values (4)")
        assert 4 == await connection.fetchval("select count(*) from users")
    async with users.connection() as connection:
        assert 3 == await connection.fetchval("select count(*) from users")
        assert not connection.driver.in_transaction


async def test_a_transaction_that_was_begun_and_committed_with_sql_lasts(users):
    async with users.connection() as connection:
        await connection.execute("begin")
        await connection.execute("insert into users (id) values (4)")
        await connection.execute("commit")
    assert 4 == await users.fetchval("select count(*) from users")


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_transaction_left_open_by_hand_is_rolled_back_when_its_connection_is_released(users, end):
    async with users.connection() as connection:
        transaction = await connection.transaction().start()
        await connection.execute("insert into users (id) values (4)")
    assert not transaction.is_active
    assert 3 == await users.fetchval("select count(*) from users")
    await getattr(transaction, end)(silent=True)
