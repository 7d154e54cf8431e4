"""What the pages of aio-databases 1.6 and 2.0 show of transactions, replicas and options works as it is shown there."""

from __future__ import annotations

import pytest

from aio_databases import Database, ReadOnlyError

ON_SQLITE = pytest.mark.parametrize(
    "target",
    [
        "sqlite-file-asyncio",
        "sqlite-file-trio",
        "sqlite-memory-asyncio",
        "aiosqlite-file-asyncio",
        "aiosqlite-memory-asyncio",
    ],
    indirect=True,
)
IN_MEMORY = pytest.mark.parametrize(
    "target", ["sqlite-memory-asyncio", "sqlite-memory-trio", "aiosqlite-memory-asyncio"], indirect=True
)
ON_POSTGRES = pytest.mark.parametrize(
    "target", [pytest.param("asyncpg-asyncio", marks=pytest.mark.server)], indirect=True
)
OUT_OF_MEMORY = pytest.mark.parametrize(
    "target",
    [
        "sqlite-file-asyncio",
        "sqlite-file-trio",
        "aiosqlite-file-asyncio",
        pytest.param("asyncpg-asyncio", marks=pytest.mark.server),
    ],
    indirect=True,
)
NUMBER = "select cast($1 as integer) as number"


# Transactions


async def test_a_transaction_commits_and_a_nested_one_rolls_back(db):
    async with db.transaction() as trans1:
        await db.execute("insert into users (id) values (3)")
        async with db.transaction() as trans2:
            await db.execute("insert into users (id) values (4)")
            await trans2.rollback()
        await trans1.commit()
    assert await db.fetchall("select id from users order by id") == [(1,), (2,), (3,)]


async def test_a_transaction_commits_at_the_end_of_its_block(db):
    async with db.transaction():
        await db.execute("insert into users (id) values (3)")
    assert await db.fetchval("select count(*) from users") == 3


async def test_a_transaction_rolls_back_on_an_exception(db):
    with pytest.raises(LookupError):
        async with db.transaction():
            await db.execute("insert into users (id) values (3)")
            raise LookupError
    assert await db.fetchval("select count(*) from users") == 2


@pytest.mark.parametrize("spelling", ["positional", "keyword"])
async def test_a_transaction_gets_a_connection_of_its_own_if_the_flag_says_so(db, spelling):
    def transaction(create):
        return db.transaction(create) if spelling == "positional" else db.transaction(create=create)

    async with db.connection() as outer:
        async with transaction(create=True) as trans:
            assert trans.connection is not outer
            await db.execute("insert into users (id) values (3)")
        async with transaction(create=False) as trans:
            assert trans.connection is outer
    assert await db.fetchval("select count(*) from users") == 3


async def test_a_connection_begins_transactions(db):
    async with db.connection() as conn:
        async with conn.transaction() as trans:
            assert trans.connection is conn
            await conn.execute("insert into users (id) values (3)")
            await trans.rollback()
        assert await conn.fetchval("select count(*) from users") == 2


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_silent_transaction_may_be_ended_after_its_connection_is_gone(db, end):
    async with db.connection() as conn, conn.transaction(silent=True) as trans:
        await conn.release()
        await getattr(trans, end)()


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_transaction_whose_connection_is_gone_says_so_unless_silenced(db, end):
    async with db.connection() as conn:
        trans = await conn.transaction().start()
        await conn.release()
        with pytest.raises(RuntimeError):
            await getattr(trans, end)()
        await getattr(trans, end)(silent=True)


async def test_a_silent_transaction_of_the_database_commits(db):
    async with db.transaction(silent=True):
        await db.execute("insert into users (id) values (3)")
    assert await db.fetchval("select count(*) from users") == 3


# Replicas


@pytest.fixture
async def replicated(make_database, url):
    db = make_database(replicas=[url, url])
    await db.connect()
    await db.execute("create table users (id integer primary key, name text)")
    return db


@OUT_OF_MEMORY
async def test_a_replica_reads_and_refuses_to_write(replicated):
    async with replicated.replica():
        assert await replicated.fetchall("select * from users") == []
        with pytest.raises(ReadOnlyError):
            await replicated.execute("insert into users (id) values (1)")
        with pytest.raises(ReadOnlyError):
            await replicated.executemany("insert into users (id) values ($1)", 1, 2)
        with pytest.raises(ReadOnlyError):
            async with replicated.transaction():
                pass


@OUT_OF_MEMORY
async def test_a_connection_to_the_primary_may_be_nested_in_a_replica_block(replicated):
    async with replicated.replica():
        assert len(await replicated.fetchall("select * from users")) == 0
        async with replicated.connection():
            await replicated.execute("insert into users (id) values (1)")
        assert len(await replicated.fetchall("select * from users")) == 1


@OUT_OF_MEMORY
async def test_the_drivers_of_the_replicas_are_listed(replicated):
    assert len(replicated.replica_backends) == 2
    assert {replicated.backend.db_type} == {backend.db_type for backend in replicated.replica_backends}


# Options


async def test_init_is_called_with_the_connection_of_the_library(make_database):
    seen = []

    async def init(conn):
        seen.append(conn)
        await conn.execute("select 1")
        return conn

    db = make_database(init=init)
    assert await db.fetchval(NUMBER, 1) == 1
    assert len(seen) == 1


@ON_SQLITE
async def test_pragmas_and_functions_are_set_on_every_connection(make_database):
    options = {"pragmas": (("cache_size", "-1234"),), "functions": (("twice", 1, lambda value: 2 * value),)}
    db = make_database(**options)
    for _ in range(2):
        assert await db.fetchval("pragma cache_size") == -1234
        assert await db.fetchval("select twice(21)") == 42


@ON_POSTGRES
async def test_json_columns_come_as_objects_if_asked_for(make_database):
    db = make_database(json=True)
    assert await db.fetchval("""select '{"a": [1, null]}'::jsonb""") == {"a": [1, None]}
    assert await db.fetchval("select $1::json", [1, {"b": 2}]) == [1, {"b": 2}]


@IN_MEMORY
async def test_a_uri_names_a_database_in_memory(target):
    """SQLite itself reads the query of the URL then."""
    url = f"{target.scheme}:///file:{target.scheme}_{target.loop}?mode=memory&cache=shared"
    async with Database(url, uri=True) as db, db.connection():
        await db.execute("create table t (a)")
        async with db.connection():
            assert await db.fetchval("select count(*) from t") == 0
