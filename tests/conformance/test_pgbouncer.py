"""`pgbouncer=True`: many clients share few sessions of PostgreSQL, which change hands after every transaction."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import ConfigurationError, Database, ReadOnlyError

DRIVERS = [("asyncpg", "asyncio"), ("psycopg", "asyncio"), ("psycopg", "trio"), ("aiopg", "asyncio")]
CLIENTS = 6
ROUNDS = 20


@pytest.fixture(params=DRIVERS, ids="-".join)
def driver(request):
    return request.param


@pytest.fixture
def anyio_backend(driver):
    return driver[1]


@pytest.fixture
async def database(driver, pgbouncer, postgres_url):
    url = pgbouncer.url(postgres_url.rpartition("/")[2]).replace("postgresql:", f"{driver[0]}:")
    async with Database(url, max_size=CLIENTS, pgbouncer=True, application_name="shop") as database:
        await database.execute("drop table if exists numbers")
        await database.execute("create table numbers (client int, n int)")
        yield database


async def test_clients_that_share_sessions_get_their_own_answers(database):
    async def client(number):
        for n in range(ROUNDS):
            assert number + n == await database.fetchval("select :a::int + :b::int", {"a": number, "b": n})
            async with database.transaction():
                await database.execute("insert into numbers values (:client, :n)", {"client": number, "n": n})
                count = "select count(*) from numbers where client = :client"
                assert n + 1 == await database.fetchval(count, {"client": number})

    async with anyio.create_task_group() as clients:
        for number in range(CLIENTS):
            clients.start_soon(client, number)
    assert CLIENTS * ROUNDS == await database.fetchval("select count(*) from numbers")
    assert CLIENTS == database.stats()["primary"].opened


async def test_what_changes_the_session_costs_no_connection(database):
    await database.execute("set application_name = 'other'")
    await database.fetchval("select 1")
    assert 1 == database.stats()["primary"].opened


async def test_replicas_read_in_read_only_transactions(database):
    await database.executemany("insert into numbers values (1, :n)", [{"n": n} for n in range(2500)])
    async with database.replica():
        assert 2500 == await database.fetchval("select count(*) from numbers")
        assert list(range(2500)) == [row.n async for row in database.iterate("select n from numbers order by n")]
        async with database.transaction(readonly=True):
            assert "on" == await database.fetchval("show transaction_read_only")
    # Whatever session a writer gets now, nothing of that has stayed behind.
    for _ in range(CLIENTS):
        await database.execute("insert into numbers values (2, 0)")


async def test_the_server_refuses_what_slips_through(database):
    await database.execute(
        "create or replace function sneak() returns int language sql as $$ "
        "insert into numbers values (3, 3) returning n $$"
    )
    async with database.replica():
        with pytest.raises(ReadOnlyError):
            await database.fetchval("select sneak()")
        with pytest.raises(ReadOnlyError):
            async with database.transaction(readonly=True):
                await database.fetchval("select sneak()")
    assert 0 == await database.fetchval("select count(*) from numbers")


@pytest.mark.parametrize("option", [{"statement_timeout": 3}, {"server_settings": {"work_mem": "8MB"}}])
def test_options_of_the_session_are_refused(driver, option):
    with pytest.raises(ConfigurationError, match="does not go with pgbouncer=True"):
        Database(f"{driver[0]}://localhost/shop", pgbouncer=True, **option)
