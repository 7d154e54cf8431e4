"""What one user of a pooled connection does to its session, the next one does not see."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

POSTGRES = pytest.mark.targets(dialect="postgresql", pooled=True)


@pytest.fixture
async def single(make_database):
    """Give a pool of one connection, so that every lease gets the same one."""
    return await make_database(max_size=1, timeout=1)


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
        assert await single.fetchval("show application_name") == "mine"
    assert await single.fetchval("show application_name") == ""


@pytest.mark.targets(memory=False, pooled=True)
async def test_a_session_lasts_as_long_as_its_block(single, words):
    change, look, before = words.session
    async with single.connection():
        await single.execute(change)
        await single.execute("create temporary table mine (i integer)")
        assert before != await single.fetchval(look)
        assert await single.fetchval("select count(*) from mine") == 0


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
    assert await database.fetchval("show application_name") == expected


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
    assert len(seen) == 2
    assert is_async or [raw, raw] == seen


@pytest.mark.parametrize("begin", ["begin", "BEGIN", "/* now */ begin"])
async def test_a_transaction_that_was_begun_with_sql_is_rolled_back_at_the_release(users, begin):
    async with users.connection() as connection:
        await connection.execute(begin)
        await connection.execute("insert into users (id) values (4)")
        assert await connection.fetchval("select count(*) from users") == 4
    async with users.connection() as connection:
        assert await connection.fetchval("select count(*) from users") == 3
        assert not connection.driver.in_transaction


async def test_a_transaction_that_was_begun_and_committed_with_sql_lasts(users):
    async with users.connection() as connection:
        await connection.execute("begin")
        await connection.execute("insert into users (id) values (4)")
        await connection.execute("commit")
    assert await users.fetchval("select count(*) from users") == 4


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_transaction_left_open_by_hand_is_rolled_back_when_its_connection_is_released(users, end):
    async with users.connection() as connection:
        transaction = await connection.transaction().start()
        await connection.execute("insert into users (id) values (4)")
    assert not transaction.is_active
    assert await users.fetchval("select count(*) from users") == 3
    await getattr(transaction, end)(silent=True)
