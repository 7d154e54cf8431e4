"""The schema changes while connections are open: at most one transaction of the pool has to be run again.

Hostile tests, MagicStack/asyncpg#458 (transactions and cursors fail, once for each connection), MagicStack/asyncpg#72
(types and a search_path that change).
"""

from __future__ import annotations

import anyio
import pytest

from aio_databases import DataError, ProgrammingError, SerializationFailure
from aio_databases.errors import DatabaseError

pytestmark = pytest.mark.targets(dialect="postgresql", odbc=False, pooled=True, loop={"asyncio", "trio"})

TEXT = "select * from users order by id"
UUID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
async def warm(make_database, users):
    """Give a pool of three connections that all have read the table."""
    del users
    database = await make_database(max_size=3)
    inside, all_in = [], anyio.Event()

    async def read():
        async with database.connection() as connection:
            await connection.fetchall(TEXT)
            await connection.fetchmany(9, TEXT)
            inside.append(1)
            if len(inside) == 3:
                all_in.set()
            await all_in.wait()

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(read)
    return database


async def test_plain_statements_and_cursors_go_on(warm):
    await warm.execute("alter table users add column age int")
    for _ in range(2):
        assert list((await warm.fetchmany(9, TEXT))[0].keys()) == ["id", "name", "age"]
        assert [len(row) async for row in warm.iterate(TEXT)] == [3] * 3
        assert [len(row) for row in await warm.fetchall(TEXT)] == [3] * 3


async def test_one_transaction_of_the_pool_fails_and_is_worth_another_try(warm):
    await warm.execute("alter table users add column age int")
    failures = []
    try:
        async with warm.transaction():
            await warm.fetchall(TEXT)
    except SerializationFailure as error:
        failures.append((error.retryable, error.sqlstate))
    inside, all_in = [], anyio.Event()

    async def read():
        async with warm.transaction():  # three at once, so each on another connection
            assert [len(row) for row in await warm.fetchall(TEXT)] == [3] * 3
            inside.append(1)
            if len(inside) == 3:
                all_in.set()
            await all_in.wait()

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(read)
    assert failures in ([], [(True, "0A000")])


async def test_run_transaction_does_not_show_it(warm):
    async def read(verb):
        return await verb()

    async def iterate():
        return [row async for row in warm.iterate(TEXT)]

    verbs = [lambda: warm.fetchall(TEXT), lambda: warm.fetchmany(9, TEXT), iterate]
    for number, verb in enumerate(verbs):
        await warm.execute(f"alter table users add column c{number} int")
        assert [number + 3] * 3 == [len(row) for row in await warm.run_transaction(read, verb)]


async def test_types_that_were_made_anew(users):
    async with users.connection() as connection:
        for _ in range(3):
            await connection.execute("drop type if exists mood")
            await connection.execute("create type mood as enum ('ok', 'bad')")
            assert await connection.fetchval("select cast(:v as mood)", {"v": "ok"}) == "ok"
            assert [tuple(row) async for row in connection.iterate("select 'bad'::mood")] == [("bad",)]
            await connection.execute("create temp table moods (m mood) on commit drop")
            await connection.executemany("select cast(:v as mood)", [{"v": "ok"}, {"v": "bad"}])


@pytest.mark.targets(scheme="asyncpg")
async def test_composite_types_that_have_got_other_attributes(users):
    async with users.connection() as connection:
        await connection.execute("create type pair as (a int, b text)")
        text = "select a from unnest(cast(:rows as pair[]))"
        assert await connection.fetchval(text, {"rows": [(1, "x")]}) == 1
        await connection.execute("alter type pair add attribute c int")
        async with connection.transaction():
            assert await connection.fetchval(text, {"rows": [(1, "x", 3)]}) == 1
        await connection.execute("alter type pair add attribute d int")
        assert await connection.fetchval("select d from unnest(cast(:r as pair[]))", {"r": [{"a": 1, "d": 4}]}) == 4
        for _ in range(2):  # a mistake stays one
            with pytest.raises(DatabaseError, match="wrong number of columns"):
                await connection.fetchval(text, {"rows": [(1, "x")]})
            with pytest.raises(DataError):
                await connection.fetchval(text, {"rows": [(1, "x", 3, 4, 5)]})


@pytest.mark.targets(scheme="asyncpg")
async def test_an_answer_that_cannot_be_read_for_a_changed_type(users):
    async with users.connection() as connection:
        await connection.execute("create type pair as (a int, b text)")
        await connection.fetchval("select cast((1, 'x') as pair)")
        await connection.execute("alter type pair add attribute c int")
        with pytest.raises(DataError, match="was run, but its answer cannot be read"):
            await connection.fetchval("select cast((1, 'x', 3) as pair)")
        assert tuple(await connection.fetchval("select cast((1, 'x', 3) as pair)")) == (1, "x", 3)
        await connection.execute("alter type pair drop attribute b")

        async def read():
            await connection.execute("insert into users (id, name) values (4, 'Dee')")
            return tuple(await connection.fetchval("select cast((1, 3) as pair)"))

        assert await users.run_transaction(read) == (1, 3)
        assert await connection.fetchval("select count(*) from users") == 4


async def test_statements_that_the_server_has_forgotten(users):
    async with users.connection() as connection:
        for _ in range(2):
            assert len(await connection.fetchall(TEXT)) == 3
            assert len(await connection.fetchmany(9, TEXT)) == 3
            await connection.execute("deallocate all")


async def test_a_search_path_for_each_tenant(make_database, users):
    database = await make_database(max_size=1)
    for name, columns in {"one": "a int, b int", "two": "a text"}.items():
        await users.execute(f"drop schema if exists {name} cascade")
        await users.execute(f"create schema {name}")
        await users.execute(f"create table {name}.things ({columns})")
        await users.execute(f"insert into {name}.things (a) values ('1')")
    text = "select * from things where a is not null and :v = 1"
    failed = 0
    for turn in range(10):
        try:
            async with database.transaction():
                await database.execute(f"set local search_path to {('one', 'two')[turn % 2]}")
                assert 2 - turn % 2 == len(await database.fetchone(text, {"v": 1}))
                assert 2 - turn % 2 == len((await database.fetchall(text, {"v": 1}))[0])
                assert [2 - turn % 2] == [len(row) async for row in database.iterate(text, {"v": 1})]
        except SerializationFailure:
            failed += 1
    assert failed <= 2


@pytest.mark.targets(scheme="asyncpg")
async def test_no_row_of_a_batch_is_written_twice(users):
    async with users.connection() as connection:
        await connection.execute("create type pair as (a int, b text)")
        await connection.execute("drop table if exists pairs")
        await connection.execute("create table pairs (p pair)")
        text = "insert into pairs values (:p)"
        await connection.executemany(text, [{"p": (1, "x")}])
        await connection.execute("alter type pair add attribute c int")
        rows = [{"p": (number, "x", 3)} for number in range(3)]
        await connection.executemany(text, rows)
        assert await connection.fetchval("select count(*) from pairs") == 4
        await connection.execute("alter type pair add attribute d int")
        async with connection.transaction() as transaction:
            with pytest.raises(DataError):
                await connection.executemany(text, [{"p": (9, "x", 3)}, {"p": (9, "x", 3, 4)}])
            await transaction.rollback()
        assert await connection.fetchval("select count(*) from pairs") == 4


CHANGES = [
    ("text", "jsonb using v::jsonb", "insert into t values (:v) returning v", "[1]", [1]),
    ("jsonb", "text", "insert into t values (:v) returning v", "[1]", "[1]"),
    ("varchar", "uuid using v::uuid", "update t set v = :v returning v::text", UUID, UUID),
    ("varchar", "uuid using v::uuid", "select v::text from t where v = :v limit 1", UUID, UUID),
]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_column_of_another_type_is_met_once(make_database, change):
    """The server refused each statement that was prepared with the old type, until asyncpg forgot it by itself."""
    before, after, statement, value, answer = change
    db, other = await make_database(), await make_database()
    await db.execute(f"create table t (v {before})")
    await db.execute("insert into t values (:v)", {"v": value})
    for verb in (db.fetchval, db.fetchall, db.execute):
        await verb(statement, {"v": value})
    await other.execute(f"/* by another program */ alter table t alter v type {after}")
    assert [answer] * 2 == [await db.fetchval(statement, {"v": value}) for _ in range(2)]
    assert [answer] == await db.fetchmany(9, statement, {"v": value}, into=lambda v: v)
    written = await db.fetchval("select count(*) from t")
    assert written == (7 if statement.startswith("insert") else 1)


async def test_in_a_transaction_a_column_of_another_type_is_worth_another_try(make_database):
    db, other = await make_database(), await make_database()
    await db.execute("create table t (v text)")
    statement = "insert into t values (:v) returning v"
    await db.fetchval(statement, {"v": "1"})
    await other.execute("/* by another program */ alter table t alter v type jsonb using v::jsonb")

    async def insert():
        return await db.fetchval(statement, {"v": "[1]"})

    assert await db.run_transaction(insert) == [1]


async def test_a_type_that_never_fits_is_the_callers_mistake(db):
    await db.execute("create table t (v int)")
    for _ in range(3):
        with pytest.raises(ProgrammingError):
            await db.execute("insert into t values (:v::jsonb)", {"v": "1"})
    async with db.transaction():
        with pytest.raises(ProgrammingError):
            async with db.transaction():
                await db.execute("insert into t values (:v::jsonb)", {"v": "1"})
