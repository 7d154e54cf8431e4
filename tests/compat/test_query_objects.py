"""Query builders hand over objects whose `str()` is SQL, and other code looks at the driver behind a `Database`."""

from __future__ import annotations

import logging
from urllib.parse import SplitResult

import pytest
from pypika import Parameter, PostgreSQLQuery, SQLLiteQuery, Table

from aio_databases import Database


class Raw:
    """The smallest query builder there is."""

    def __init__(self, sql):
        self.sql = sql

    def __str__(self):
        return self.sql


@pytest.fixture
def builder(target):
    return SQLLiteQuery if target.is_sqlite else PostgreSQLQuery


async def test_every_verb_takes_an_object_whose_str_is_sql(db):
    one = Raw("select id from users where id = $1")
    assert (await db.execute(Raw("update users set name = name"))).rowcount == 2
    await db.executemany(Raw("insert into users (id) values ($1)"), [(3,), (4,)])
    assert await db.fetchall(one, 1) == [(1,)]
    assert await db.fetchmany(1, one, 1) == [(1,)]
    assert await db.fetchone(one, 1) == (1,)
    assert await db.fetchval(one, 1) == 1
    assert [row async for row in db.iterate(one, 1)] == [(1,)]
    async with db.connection() as conn:
        assert await conn.fetchval(one, 1) == 1


async def test_queries_of_pypika_run(db, builder):
    users = Table("users")
    await db.execute(builder.into(users).columns("id", "name").insert(3, "O'Hara"))
    query = builder.from_(users).select(users.id, users.name).where(users.id > 1).orderby(users.id)
    assert await db.fetchall(query) == [(2, "Bob"), (3, "O'Hara")]
    await db.execute(builder.update(users).set(users.name, "Eve").where(users.id == 3))
    assert await db.fetchval(builder.from_(users).select(users.name).where(users.id == 3)) == "Eve"
    await db.execute(builder.from_(users).delete().where(users.id == 3))
    assert len([row async for row in db.iterate(builder.from_(users).select("*"))]) == 2


@pytest.mark.parametrize("placeholder", ["?", "%s", "$1"])
async def test_parameters_of_pypika_are_bound(db, builder, placeholder):
    users = Table("users")
    query = builder.from_(users).select(users.name).where(users.id == Parameter(placeholder))
    assert await db.fetchval(query, 2) == "Bob"


async def test_percent_s_works_on_every_driver_with_convert_params(make_database):
    db = make_database(convert_params=True)
    async with db:
        await db.execute("create table t (a integer, b text)")
        await db.execute("insert into t (a, b) values (%s,%s)", 1, "100%")
        await db.executemany("insert into t (a, b) values (%s, %s)", (2, "%s"), (3, None))
        assert await db.fetchone("select a, b from t where a = %s", 1) == (1, "100%")
        assert await db.fetchall("select a from t where b = %s and b <> '%s%s'", "%s") == [(2,)]


async def test_the_driver_tells_its_name_kind_url_and_options(make_database, target):
    backend = make_database(convert_params=True, max_size=3).backend
    assert (("sqlite" if target.is_sqlite else "postgresql"), True) == (
        backend.db_type,
        backend.options["convert_params"],
    )
    assert target.scheme == backend.name  # until there is a connection, when it is the library's
    assert isinstance(backend.url, SplitResult)
    assert target.scheme == backend.url.scheme
    assert backend.db_type == str(backend)


async def test_an_isolation_level_among_the_options_leaves_sqlite_in_autocommit(make_database):
    """The libraries built on 2.0 set it, so that each statement commits."""
    db = make_database()
    db.backend.options.setdefault("isolation_level", None)
    await db.connect()
    await db.execute("create table t (a integer)")
    async with db.connection() as conn:
        await conn.execute("insert into t (a) values (1)")
        await conn.reconnect()
        assert await conn.fetchval("select count(*) from t") == 1


def test_the_url_of_the_driver_is_complete_and_does_not_show_its_password():
    url = Database("asyncpg://app:sec%40ret@host:5433/shop").backend.url
    assert (url.username, url.password, url.hostname, url.port, url.path) == ("app", "sec%40ret", "host", 5433, "/shop")
    assert url.geturl() == "asyncpg://app:sec%40ret@host:5433/shop"
    assert "sec" not in repr(url)
    assert "sec" not in f"{url}"


def test_the_drivers_of_replicas_can_be_looked_at():
    db = Database("asyncpg://one/shop", replicas=["asyncpg://two/shop", "asyncpg://three/shop"])
    assert [backend.url.hostname for backend in db.replica_backends] == ["two", "three"]
    assert Database("asyncpg://one/shop").replica_backends == []


async def test_statements_are_logged_to_the_given_logger_without_their_values(make_database, caplog):
    caplog.set_level(logging.DEBUG)
    db = make_database(logger=logging.getLogger("app"))
    await db.fetchval("select cast($1 as text)", "a secret")
    logged = [record.getMessage() for record in caplog.records if record.name == "app"]
    assert any("select cast(" in message for message in logged)
    assert "a secret" not in caplog.text


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///:memory:", "sqlite:///relative.db", "sqlite:////absolute.db"])
def test_the_url_of_a_database_is_the_one_that_was_given(text):
    assert text == Database(text).url


def test_the_url_of_a_database_does_not_show_its_password():
    assert Database("asyncpg://app:sec%40ret@host/shop").url == "asyncpg://app:***@host/shop"
