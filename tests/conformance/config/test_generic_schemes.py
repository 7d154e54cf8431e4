"""The schemes `postgresql` and `mysql` pick the library that is best for the running event loop."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import AuthenticationError, Database, UniqueViolation
from conformance.addresses import placed

SCHEMES = {
    "postgresql": ("asyncpg", "psycopg"),
    "postgres": ("asyncpg", "psycopg"),
    "mysql": ("asyncmy", "pymysql"),
    "mariadb": ("asyncmy", "pymysql"),
}
"""What serves each of them on asyncio and on trio, where everything is installed."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Run on both event loops."""
    return request.param


@pytest.fixture(params=SCHEMES)
def address(request):
    """Give the URL of an empty database, with each of the schemes."""
    dialect = "postgresql" if request.param.startswith("postgres") else "mysql"
    url = request.getfixturevalue("postgres_url" if dialect == "postgresql" else "mysql_url")
    return url.replace(dialect, request.param, 1)


@pytest.fixture
def expected(address, anyio_backend):
    """Give the name of the driver that must have been picked."""
    return SCHEMES[address.partition(":")[0]][anyio_backend == "trio"]


async def test_the_best_library_is_picked_at_the_first_connect(address, expected):
    database = Database(address, replicas=[address], max_size=3)
    assert database.backend.dialect == database.backend.name in {"postgresql", "mysql"}
    async with database:
        assert database.backend.name == expected
        assert [driver.name for driver in database.replica_backends] == [expected]
        await everything(database)
    assert database.backend.name == expected


async def everything(database):
    """Use every verb and block."""
    await database.execute("create table t (id integer primary key, name text)")
    try:
        await database.executemany("insert into t (id, name) values (?, ?)", (1, "Ann"), (2, "Bob"))
        with pytest.raises(UniqueViolation):
            async with database.transaction():
                await database.execute("insert into t (id) values (3)")
                await database.execute("insert into t (id) values (:id)", {"id": 1})
        assert [row async for row in database.iterate("select id, name from t order by id")] == [(1, "Ann"), (2, "Bob")]
        async with database.replica():
            assert await database.fetchval("select name from t where id = $1", 2) == "Bob"
    finally:
        await database.execute("drop table t")


async def test_without_connect_the_best_library_is_picked_at_the_first_statement(address, expected):
    database = Database(address)
    assert await database.fetchval("select 1") == 1
    assert database.backend.name == expected


async def test_a_wrong_password_is_told(address):
    with pytest.raises(AuthenticationError):
        await Database(placed(address, password="wrong")).connect()


def test_one_database_runs_on_each_event_loop_in_turn(postgres_url):
    database = Database(postgres_url)

    async def run():
        async with database:
            assert await database.fetchval("select 1") == 1
            return database.backend.name

    picked = [anyio.run(run, backend=loop) for loop in ("asyncio", "trio", "asyncio")]
    assert picked == ["asyncpg", "psycopg", "asyncpg"]
