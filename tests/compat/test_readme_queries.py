"""What the pages of aio-databases 1.6 and 2.0 show of queries and connections works as it is shown there."""

from __future__ import annotations

import logging

import pytest

import aio_databases
import aio_databases.database
from aio_databases import Database, ReadOnlyError, current_conn

ON_POSTGRES = pytest.mark.parametrize(
    "target", [pytest.param("asyncpg-asyncio", marks=pytest.mark.server)], indirect=True
)
NUMBER = "select cast($1 as integer) as number"


# Making a database


def test_a_database_is_made_without_a_pool_with_a_pool_and_with_options():
    assert Database("sqlite:///:memory:").backend.db_type == "sqlite"
    pooled = Database("asyncpg+pool://test:test@localhost:5432/tests", maxsize=10)
    assert (pooled.backend.name, pooled.backend.db_type) == ("asyncpg", "postgresql")


@pytest.mark.parametrize("scheme", ["asyncpg", "asyncpg+pool", "aiosqlite", "sqlite", "postgresql", "postgres"])
def test_every_scheme_of_the_present_drivers_is_taken(scheme):
    assert Database(f"{scheme}://").backend.db_type in {"sqlite", "postgresql"}


def test_the_names_of_1x_are_where_they_were():
    assert aio_databases.Database is aio_databases.database.Database
    assert aio_databases.current_conn is aio_databases.database.current_conn
    assert issubclass(ReadOnlyError, RuntimeError)


# The pool


async def test_connect_and_disconnect_open_and_close_the_pool(make_database):
    db = make_database()
    assert not db.is_connected
    assert db is await db.connect()
    assert db.is_connected
    assert db is await db.connect()
    await db.disconnect()
    assert not db.is_connected
    await db.disconnect()


async def test_the_database_is_a_context_manager(make_database):
    db = make_database()
    async with db as entered:
        assert entered is db
        assert db.is_connected
    assert not db.is_connected


async def test_a_logger_is_taken_and_told_of_connecting_without_the_password(make_database, caplog):
    caplog.set_level(logging.INFO)
    db = make_database(logger=logging.getLogger("app"))
    async with db:
        pass
    assert db.logger.name == "app"
    assert {"app"} == {record.name for record in caplog.records if "connecting" in record.getMessage()}
    assert "p@ss" not in caplog.text
    assert "p%40ss" not in caplog.text


# Queries


async def test_queries_run_without_connect(make_database):
    db = make_database()
    assert await db.fetchval(NUMBER, 42) == 42
    assert await db.fetchval(NUMBER, 77) == 77
    assert not db.is_connected


async def test_rows_equal_tuples_and_know_their_columns(db):
    records = await db.fetchall("select (2 * $1) res", 2)
    assert records == [(4,)]
    record = await db.fetchone("select (2 * $1) res", 2)
    assert record == (4,)
    assert record["res"] == 4
    assert record[0] == 4
    assert list(record.keys()) == ["res"]
    assert dict(record.items()) == {"res": 4}
    assert "res" in record
    assert hash(record) == hash((4,))


async def test_fetchval_returns_the_first_column_or_the_one_that_is_named(db):
    assert await db.fetchval("select 2 * $1", 2) == 4
    query = "select id, name from users order by id"
    assert await db.fetchval(query) == 1
    assert await db.fetchval(query, column=1) == "Ann"
    assert await db.fetchval(query, column="name") == "Ann"
    assert await db.fetchval("select id from users where id = $1", 99) is None


async def test_fetchone_without_rows_is_none(db):
    assert await db.fetchone("select * from users where id = $1", 99) is None


async def test_fetchmany_takes_the_size_first(db):
    assert await db.fetchmany(1, "select id from users where id > $1 order by id", 0) == [(1,)]


async def test_execute_takes_a_bare_query_and_positional_values(db):
    await db.execute("select cast($1 as text)", "1")
    result = await db.execute("update users set name = $1", "Eve")
    assert result[0] == 2


async def test_execute_tells_the_id_of_an_inserted_row_where_the_database_does(db, target):
    result = await db.execute("insert into users (id, name) values ($1, $2)", 7, "Cid")
    assert (1, 7 if target.is_sqlite else None) == result


async def test_executemany_takes_rows_one_by_one(db):
    await db.executemany("insert into users (id, name) values ($1, $2)", (3, "Cid"), (4, "Dan"))
    assert await db.fetchval("select count(*) from users") == 4


async def test_executemany_takes_bare_values(db):
    await db.executemany("insert into users (id) values ($1)", 3, 4, 5)
    assert await db.fetchall("select id from users where name is null order by id") == [(3,), (4,), (5,)]


@ON_POSTGRES
async def test_executemany_runs_a_query_for_each_value(db):
    await db.executemany("select cast($1 as text)", "1", "2", "3")


async def test_iterate_yields_rows_one_by_one(db):
    names = [rec["name"] async for rec in db.iterate("select name from users order by id")]
    assert names == ["Ann", "Bob"]


async def test_the_connection_may_be_used_inside_of_iterate(db):
    async with db.connection():
        async for rec in db.iterate("select id from users order by id"):
            await db.execute("update users set name = $1 where id = $2", f"user {rec['id']}", rec["id"])
    assert await db.fetchall("select name from users order by id") == [("user 1",), ("user 2",)]


async def test_percent_s_stands_for_a_value(db):
    assert await db.fetchval("select cast(%s as integer)", 42) == 42
    assert await db.fetchone("select id, name from users where id = %s and name = %s", 1, "Ann") == (1, "Ann")


async def test_convert_params_takes_percent_s_and_leaves_literals_alone(make_database):
    db = make_database(convert_params=True)
    query = "select '%s' as literal, cast(%s as integer) as first, cast(%s as integer) as second"
    assert await db.fetchone(query, 1, 2) == ("%s", 1, 2)


# Connections


async def test_a_block_holds_one_connection_and_gives_it_back(db):
    assert db.current_conn is None
    async with db.connection() as conn:
        assert conn.is_ready
        assert db.current_conn is conn
        assert current_conn.get() is conn
        await db.fetchone(NUMBER, 42)
        await conn.fetchone(NUMBER, 77)
    assert db.current_conn is None
    assert current_conn.get() is None
    assert not conn.is_ready


@pytest.mark.parametrize("spelling", ["positional", "keyword"])
async def test_a_connection_is_created_unless_the_flag_says_no(db, spelling):
    def connection(create):
        return db.connection(create) if spelling == "positional" else db.connection(create=create)

    async with connection(create=False) as outer:
        async with connection(create=False) as same:
            assert same is outer
        assert outer.is_ready
        async with connection(create=True) as other:
            assert other is not outer
            assert db.current_conn is other
        assert db.current_conn is outer


async def test_a_connection_has_every_verb(db):
    async with db.connection() as conn:
        await conn.execute("insert into users (id, name) values ($1, $2)", 3, "Cid")
        await conn.executemany("insert into users (id) values ($1)", 4, 5)
        assert len(await conn.fetchall("select * from users")) == 5
        assert len(await conn.fetchmany(2, "select * from users")) == 2
        assert await conn.fetchone("select * from users where id = 3") == (3, "Cid")
        assert await conn.fetchval("select * from users where id = 3", column="name") == "Cid"
        assert [row[0] async for row in conn.iterate("select id from users order by id")] == [1, 2, 3, 4, 5]


async def test_acquire_and_release_without_a_block_may_be_repeated(db):
    conn = await db.connection().acquire()
    await conn.acquire()
    assert await conn.fetchval(NUMBER, 5) == 5
    await conn.release()
    await conn.release()
    assert not conn.is_ready
    with pytest.raises(RuntimeError):
        await conn.fetchval(NUMBER, 5)
    await conn.acquire()
    assert await conn.fetchval(NUMBER, 6) == 6
    await conn.release()


async def test_a_block_object_can_be_acquired_and_released(db):
    block = db.connection()
    conn = await block.acquire()
    assert conn.is_ready
    await block.release()
    await block.release()
    assert not conn.is_ready


async def test_a_connection_reconnects_on_demand(db):
    async with db.connection() as conn:
        assert await conn.fetchval(NUMBER, 1) == 1
        await conn.reconnect()
        assert conn.is_ready
        assert await conn.fetchval(NUMBER, 2) == 2
        assert db.current_conn is conn


async def test_the_option_reconnect_is_taken_and_changes_nothing_while_all_is_well(db):
    async with db.connection(reconnect=True):
        assert await db.fetchval(NUMBER, 42) == 42


@ON_POSTGRES
async def test_with_reconnect_the_failed_query_raises_and_the_next_one_runs(make_database, postgres):
    db = await make_database().connect()
    async with db.connection(reconnect=True) as conn:
        pid = await db.fetchval("select pg_backend_pid()")
        postgres.execute("select pg_terminate_backend($1, 5000)", pid)
        with pytest.raises(aio_databases.ConnectionLost):
            await db.fetchval(NUMBER, 1)
        assert conn.is_ready
        assert pid != await db.fetchval("select pg_backend_pid()")
