"""`pgbouncer=True`: many clients share few sessions of PostgreSQL, which change hands after every transaction."""

from __future__ import annotations

from itertools import product

import anyio
import pytest

from aio_databases import ConfigurationError, Database, Error, ReadOnlyError
from conformance.tricks import INSERT, LIFTS, WRITES

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
    assert await database.fetchval("select count(*) from numbers") == CLIENTS * ROUNDS
    assert database.stats()["primary"].opened == CLIENTS


async def test_what_changes_the_session_costs_no_connection(database):
    await database.execute("set application_name = 'other'")
    await database.fetchval("select 1")
    assert database.stats()["primary"].opened == 1


async def test_replicas_read_in_read_only_transactions(database):
    await database.executemany("insert into numbers values (1, :n)", [{"n": n} for n in range(2500)])
    async with database.replica():
        assert await database.fetchval("select count(*) from numbers") == 2500
        assert list(range(2500)) == [row.n async for row in database.iterate("select n from numbers order by n")]
        async with database.transaction(readonly=True):
            assert await database.fetchval("show transaction_read_only") == "on"
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
    assert await database.fetchval("select count(*) from numbers") == 0


BY_HAND = ("begin", "start transaction", "savepoint a", "commit", "commit and chain", "rollback", "abort", "end")


@pytest.fixture
async def users(database):
    await database.execute("drop table if exists users")
    await database.execute("create table users (id integer primary key, name text)")
    await database.execute("insert into users values (1, 'Ann'), (2, 'Bob'), (3, 'Cid')")
    body = f"$$ {INSERT} returning id $$"
    await database.execute(f"create or replace function sneak() returns integer language sql as {body}")
    return database


async def run(owner, verb, query):
    """Run a query by a query verb."""
    if verb == "iterate":
        return [row async for row in owner.iterate(query)]
    return await getattr(owner, verb)(query)


async def test_no_trick_is_sent(users):
    async with users.replica() as connection:
        for query in [*WRITES["any"], *WRITES["postgresql"], *LIFTS["postgresql"]]:
            for verb, owner in product(("fetchall", "iterate"), (users, connection)):
                with pytest.raises(ReadOnlyError, match="a replica only reads"):
                    await run(owner, verb, query)
    assert [row.id for row in await users.fetchall("select id from users order by id")] == [1, 2, 3]


async def test_no_trick_gets_past_the_server(users):
    for query, verb in product([*WRITES["any"], *WRITES["postgresql"]], ("fetchall", "iterate")):
        error = None
        try:
            async with users.replica() as connection:
                connection.read_only = False  # our own fences are down
                await run(connection, verb, query)
        except Error as exc:
            error = exc
        names = [row.name for row in await users.fetchall("select name from users order by id")]
        assert names == ["Ann", "Bob", "Cid"], (query, verb, error)


@pytest.mark.parametrize("statement", BY_HAND)
async def test_transactions_by_hand_open_no_gap(users, statement):
    for first, second in product(("fetchall", "iterate"), repeat=2):
        async with users.replica():
            await by_hand(users, first, statement)
            with pytest.raises(ReadOnlyError):
                await run(users, second, "select sneak()")
        with pytest.raises(Error) as caught:
            async with users.replica(), users.transaction(readonly=True):
                await by_hand(users, first, statement)
                await run(users, second, "select sneak()")
        assert "a replica only reads" not in str(caught.value)
    assert await users.fetchval("select count(*) from users") == 3


async def by_hand(database, verb, statement):
    """Run a statement that no cursor can be declared for, if so."""
    try:
        await run(database, verb, statement)
    except Error:
        assert verb == "iterate"


@pytest.mark.parametrize("option", [{"statement_timeout": 3}, {"server_settings": {"work_mem": "8MB"}}])
def test_options_of_the_session_are_refused(driver, option):
    with pytest.raises(ConfigurationError, match="does not go with pgbouncer=True"):
        Database(f"{driver[0]}://localhost/shop", pgbouncer=True, **option)
