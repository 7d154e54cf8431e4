"""Nothing is written from a replica block: three fences, each of which is tested alone, too."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import product
from typing import TYPE_CHECKING

import pytest

from aio_databases import Error, ReadOnlyError
from conformance.libraries import run_raw
from conformance.tricks import INSERT, LIFTS, READS, WRITES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_databases import Connection, Database

OURS = "a replica only reads"
QUERY_VERBS = ("fetchall", "fetchone", "fetchval", "fetchmany", "iterate")
COUNT = "select count(*) from users"
PLACES = ("replica", "fallback", "transaction")
PREPARATIONS = {
    "sqlite": [],
    "postgresql": [
        "create sequence numbers",
        f"create function sneak() returns integer language sql as $$ {INSERT} returning id $$",
        (
            "create function lift() returns text language sql as "
            "$$ select set_config('default_transaction_' || 'read_only', 'off', false) $$"
        ),
        "create view lifting as select lift()",
    ],
    "mysql": [
        "create sequence numbers",
        f"create function sneak() returns integer modifies sql data begin {INSERT}; return 1; end",
        "create function lift() returns integer begin set session transaction read write; return 1; end",
    ],
}
STATES = {
    "sqlite": ["select name from sqlite_master order by name", "pragma user_version"],
    "postgresql": [
        (
            "select relname, relkind from pg_class join pg_namespace n on n.oid = relnamespace "
            "where nspname = 'public' or nspname like 'pg_temp%' order by 1"
        ),
        "select last_value, is_called from numbers",
        "select count(*) from pg_largeobject_metadata",
    ],
    "mysql": [
        "select table_name, table_type from information_schema.tables where table_schema = database() order by 1",
        "select next_not_cached_value from numbers",
        "select @@global.max_connections",
    ],
}


async def run(owner, verb, query):
    """Run a query by any of the query verbs."""
    if verb == "iterate":
        return [row async for row in owner.iterate(query)]
    if verb == "fetchmany":
        return await owner.fetchmany(5, query)
    return await getattr(owner, verb)(query)


@pytest.fixture
async def prepared(replicated, users, target):
    """Give two databases, with a replica and without, and what tricks need in them."""
    for statement in PREPARATIONS[target.dialect]:
        await users.execute(statement)
    return {"replica": replicated, "fallback": users, "transaction": replicated}


@asynccontextmanager
async def block(prepared: dict[str, Database], place: str) -> AsyncIterator[tuple[Database, Connection]]:
    """Enter a replica block that may be served by a replica or the primary, or be a transaction inside of one."""
    database = prepared[place]
    async with database.replica() as connection:
        if place == "transaction":
            async with database.transaction(readonly=True):
                yield database, connection
        else:
            yield database, connection


@pytest.fixture
def state(users, target):
    """Give a function that tells what is in the database."""

    async def tell():
        queries = ["select id, name from users order by id", *STATES[target.dialect]]
        return [await users.fetchall(query) for query in queries]

    return tell


# The first fence: verbs that write


async def test_a_verb_that_writes_is_refused_at_once(replicated):
    async with replicated.replica() as connection:
        for owner, query in product((replicated, connection), (INSERT, "select 1")):
            with pytest.raises(ReadOnlyError, match=OURS):
                await owner.execute(query)
            with pytest.raises(ReadOnlyError, match=OURS):
                await owner.executemany(query)
        assert await replicated.fetchval(COUNT) == 3


async def test_a_transaction_that_may_write_is_refused(replicated):
    async with replicated.replica() as connection:
        for owner, readonly in product((replicated, connection), (None, False)):
            with pytest.raises(ReadOnlyError, match=r"transaction\(readonly=True\)"):
                await owner.transaction(readonly=readonly).start()
        assert await replicated.fetchval(COUNT) == 3


# The second fence: queries that write


@pytest.mark.parametrize("place", PLACES)
async def test_no_trick_is_sent(prepared, place, target, state):
    before = await state()
    with pytest.raises(ReadOnlyError) as caught:
        async with block(prepared, place) as (database, connection):
            for table, dialect in product((WRITES, LIFTS), ("any", target.dialect)):
                for query, verb, owner in product(table[dialect], QUERY_VERBS, (database, connection)):
                    with pytest.raises(ReadOnlyError, match=OURS):
                        await run(owner, verb, query)
            assert await database.fetchval(COUNT) == 3
            connection.read_only = False  # our own fences are down, but the database's still stands
            await connection.execute(INSERT)
    assert OURS not in str(caught.value)
    assert before == await state()


@pytest.mark.parametrize("place", PLACES)
async def test_what_only_reads_is_read(prepared, place, target):
    async with block(prepared, place) as (database, _):
        for query in READS[target.dialect]:
            await database.fetchall(query)
        for query in READS["any"]:
            for verb in QUERY_VERBS:
                assert await run(database, verb, query) is not None, (verb, query)


# The third fence: the database


async def test_the_database_itself_refuses_writes(replicated):
    writes = (INSERT, "update users set id = 9", "delete from users", "create table a (id integer)", "drop table users")
    async with replicated.replica() as connection:
        connection.read_only = False  # our own fences are down
        for query, verb in product(writes, ("execute", *QUERY_VERBS[:-1])):
            with pytest.raises(ReadOnlyError) as caught:
                await run(connection, verb, query)
            assert OURS not in str(caught.value)
        assert await connection.fetchval(COUNT) == 3


async def test_the_database_itself_refuses_many_writes(replicated):
    async with replicated.replica() as connection:
        connection.read_only = False  # our own fences are down
        with pytest.raises(ReadOnlyError):
            await connection.executemany("insert into users (id) values (?)", (4,), (5,))
        assert await connection.fetchval(COUNT) == 3


async def outcome(connection, query):
    """Return the error that a query fails with, if it does."""
    try:
        await connection.fetchall(query)
    except Error as error:
        return error
    return None


@pytest.mark.parametrize("place", PLACES[:2])
async def test_no_trick_gets_past_the_database(prepared, place, target, state):
    before = await state()
    for query in [*WRITES["any"], *WRITES[target.dialect]]:
        async with block(prepared, place) as (_, connection):
            connection.read_only = False  # our own fences are down
            error = await outcome(connection, query)
        assert before == await state(), (query, error)


@pytest.mark.targets(dialect="sqlite")
async def test_sqlite_refuses_writes_although_the_pragma_was_lifted(replicated):
    async with replicated.replica() as connection:
        connection.read_only = False  # our own fences are down
        await connection.execute("pragma query_only = off")
        with pytest.raises(ReadOnlyError):
            await connection.execute(INSERT)
    assert await replicated.fetchval(COUNT) == 3


@pytest.mark.targets(scheme="sqlite", memory=False)
async def test_sqlite_does_so_for_uris_too(users, url, make_database):
    database = await make_database(f"{url.replace(':///', ':///file:', 1)}?uri=true")
    async with database.replica() as connection:
        connection.read_only = False  # our own fences are down
        await connection.execute("pragma query_only = off")
        with pytest.raises(ReadOnlyError):
            await connection.execute(INSERT)
    assert await users.fetchval(COUNT) == 3


@pytest.mark.targets(dialect={"postgresql", "mysql"})
@pytest.mark.parametrize("place", PLACES)
async def test_a_function_that_writes_is_refused_by_the_server(prepared, place, state):
    before = await state()
    for verb in QUERY_VERBS:
        with pytest.raises(ReadOnlyError) as caught:
            async with block(prepared, place) as (database, _):
                await run(database, verb, "select sneak()")
        assert OURS not in str(caught.value)
    assert before == await state()


@pytest.mark.targets(scheme={"asyncpg", "psycopg", "aiopg"})
@pytest.mark.parametrize("lifting", ["select lift()", "select * from lifting"])
@pytest.mark.parametrize("place", PLACES)
async def test_postgresql_refuses_writes_although_a_function_has_lifted_the_fence(prepared, place, lifting, state):
    before = await state()
    for verb in QUERY_VERBS:
        with pytest.raises(ReadOnlyError):
            async with block(prepared, place) as (database, _):
                assert await database.fetchall(lifting) == [("off",)]
                await run(database, verb, "select sneak()")
        with pytest.raises(ReadOnlyError):
            async with block(prepared, place) as (database, connection):  # the same connection, for its next user
                assert [row.id async for row in database.iterate("select id from users order by id")] == [1, 2, 3]
                await run(connection, verb, "select sneak()")
    assert before == await state()


@pytest.mark.targets(dialect={"postgresql", "mysql"})
async def test_a_transaction_cannot_be_lifted_at_all(prepared, state):
    before = await state()
    for verb in QUERY_VERBS:
        with pytest.raises(ReadOnlyError) as caught:
            async with block(prepared, "transaction") as (database, _):
                await database.fetchval("select lift()")
                await run(database, verb, "select sneak()")
        assert OURS not in str(caught.value)
    assert before == await state()


ARGUMENTS = {
    "asyncpg": {"server_settings": {"application_name": "mine"}},
    "psycopg": {"options": "-c application_name=mine"},
    "aiopg": {"options": "-c application_name=mine"},
}


@pytest.mark.targets(scheme=set(ARGUMENTS))
async def test_arguments_of_the_library_lift_nothing(prepared, make_database, target, state):
    before = await state()
    database = await make_database(connect_args=ARGUMENTS[target.scheme])
    for verb in QUERY_VERBS:
        async with database.replica():
            assert await database.fetchval("show application_name") == "mine"
            with pytest.raises(ReadOnlyError):
                await run(database, verb, "select sneak()")
    assert before == await state()


async def test_a_fence_that_was_lifted_by_hand_stands_again_in_the_next_block(replicated, words):
    async with replicated.replica() as connection:
        await run_raw(connection.raw, words.lift_fence)
    async with replicated.replica() as connection:
        connection.read_only = False  # our own fences are down
        with pytest.raises(ReadOnlyError):
            await connection.execute(INSERT)
