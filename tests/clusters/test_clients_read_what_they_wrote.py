"""The middleware's promise holds whichever process serves, and whatever its URL leads to.

A hostile test: what it called the primary was never checked to be one, nor to be up to date; a cookie counted only
where the URL was spelled alike; and a commit that came later was missed in a transaction begun by SQL or by `raw`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest

from aio_databases import Database, NotSupportedError, TargetNotFound
from aio_databases.contrib.asgi import ReadYourWrites
from clusters.several import drivers, in_thread, one_url
from conformance.addresses import with_option
from unit.browser import Browser

SECRET = "the tests' own secret"
COUNT = "select count(*) from t"


def browser(db, write=None, **options):
    """Return a client of an application whose GET tells how many rows there are, and whose POST writes one."""

    async def insert(start):
        await db.execute("insert into t values (1)")
        await start()

    async def app(scope, receive, send):
        async def start():
            await send({"type": "http.response.start", "status": 200, "headers": []})

        body = b""
        if scope["method"] == "POST" or scope["path"] == "/write":
            await (write or insert)(start)
        else:
            body = f"{db.current_conn and db.current_conn.role} {await db.fetchval(COUNT)}".encode()
            await start()
        await send({"type": "http.response.body", "body": body})

    return Browser(ReadYourWrites(app, db, secret=SECRET, **{"wait": 0.05, **options}))


def share(one, *others):
    """Have several processes serve one client."""
    for other in others:
        other.cookies = one.cookies


@asynccontextmanager
async def held_back(followers, url, **options):
    """Give a database with an empty table, whose replicas have that and nothing later."""
    followers.primary.execute("create table t (n int)", database=followers.name)
    if hasattr(followers.replicas[0], "pause_replay"):
        followers.primary.execute("grant all on t to public", database=followers.name)
    await in_thread(followers.wait_until_caught_up)
    for replica in followers.replicas:
        followers.stop(replica)
    async with Database(url, **options) as db:
        yield db


@drivers()
async def test_processes_whose_urls_differ_serve_one_client(followers):
    primary, replica, *_ = followers.urls
    urls = [with_option(primary, "application_name=web-1"), with_option(primary, "max_size=3")]
    async with held_back(followers, urls[0], replicas=[replica]) as one, Database(urls[1], replicas=[replica]) as two:
        first, second = browser(one), browser(two)
        share(first, second)
        await first.post()
        assert (await second.get()).body == "primary 1"
        await second.post()
        assert (await first.get()).body == "primary 2"
        assert len(first.cookies) == 1
        other = browser(two, name="another database")
        share(first, other)
        assert (await other.get()).body == "replica 0"


@drivers(dialects=["postgresql"])
async def test_a_url_that_leads_to_a_standby_by_now_is_an_error_and_not_an_old_answer(followers):
    """As of a load balancer or a name: the replicas have not what the client wrote, and no primary is there."""
    primary, replica, *_ = followers.urls
    async with (
        held_back(followers, primary, replicas=[replica]) as db,
        Database(replica, replicas=[replica]) as moved,
    ):
        client, later = browser(db), browser(moved)
        share(client, later)
        assert (await later.get()).body == "replica 0"
        await client.post()
        for _ in range(2):
            with pytest.raises(TargetNotFound):
                await later.get()
        await client.post(keep=False)
        for response in [await client.post(keep=False) for _ in range(2)]:
            client.receive(response)
        with pytest.raises(TargetNotFound):
            await later.get()
        assert (await client.get()).body == "primary 4"


@drivers("asyncpg-asyncio", "psycopg-trio", "aioodbc-asyncio", dialects=["postgresql"])
async def test_where_a_user_may_not_ask_for_the_history_reads_go_on(followers):
    """A hostile test: each request of a client that had written was an error, of the driver's own."""
    functions = "pg_control_system(), pg_control_checkpoint(), pg_control_recovery()"
    followers.primary.execute(f"revoke execute on function {functions} from public", database=followers.name)
    primary, replica, *_ = followers.urls
    async with held_back(followers, primary, replicas=[replica]) as db:
        for refused in (db.position(), db.replica(max_lag=1).__aenter__(), db.replica(max_lag=0).__aenter__()):
            with pytest.raises(NotSupportedError, match="grant execute on"):
                await refused
        user = browser(db)
        await user.post()
        assert (await user.get()).body == "None 1", "the pool of the primary"


BEGIN = {"postgresql": "begin", "mysql": "start transaction"}


@drivers("asyncpg-asyncio", "psycopg-asyncio", "asyncmy-asyncio", "trio-mysql-trio")
@pytest.mark.parametrize("way", ["sql", "raw"])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_commit_that_comes_after_the_response_in_a_transaction_that_is_not_ours(followers, client, way, method):
    """The response is started by another task, as by Starlette's BaseHTTPMiddleware."""

    async def run(connection, sql):
        if way == "sql":
            await connection.execute(sql)
        elif client.scheme in {"asyncpg", "psycopg"}:
            await connection.raw.execute(sql)
        elif client.scheme == "asyncmy":
            async with connection.raw.cursor() as cursor:
                await cursor.execute(sql)
        else:
            cursor = connection.raw.cursor()
            await cursor.execute(sql)
            await cursor.aclose()

    async def write(start):
        wrote, started = anyio.Event(), anyio.Event()

        async def answer():
            await wrote.wait()
            await start()
            started.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            async with db.connection() as connection:
                await run(connection, BEGIN[client.dialect])
                await run(connection, "insert into t values (1)")
                wrote.set()
                await started.wait()
                await run(connection, "commit")

    primary, replica, *_ = followers.urls
    async with held_back(followers, primary, replicas=[replica]) as db:
        user = browser(db, write)
        await user.request(method, "/write")
        (value,) = user.cookies.values()
        assert value.endswith("~primary")
        assert (await user.get()).body == "primary 1"


@drivers("asyncpg-asyncio", dialects=["postgresql"])
async def test_a_get_that_writes_by_raw_sets_a_cookie(followers):
    async def write(start):
        async with db.connection() as connection:
            await connection.raw.execute("insert into t values (1)")
        await start()

    primary, replica, *_ = followers.urls
    async with held_back(followers, primary, replicas=[replica]) as db:
        user = browser(db, write)
        await user.get("/write")
        assert (await user.get()).body == "primary 1"


@pytest.mark.parametrize("scheme", ["asyncmy"])
async def test_another_node_of_galera_shows_what_a_client_wrote(galera, scheme, anyio_backend):
    """A process that stays with another node than the one that was written to."""
    name = galera.create_database()
    one, other, _ = galera.nodes
    one.execute(f"create table {name}.t (id int primary key, n int)")
    one.execute(f"insert into {name}.t select seq, 0 from seq_1_to_20000")  # so that to apply a write takes a while
    galera.wait_until_caught_up()
    urls = [f"{scheme}://{url.partition('://')[2]}" for url in (each.url(database=name) for each in (one, other))]

    async def late(start):
        async with db.transaction():
            await db.execute("update t set n = n + 1")
            await start()

    async with Database(urls[0], replicas=urls) as db, Database(one_url(urls[1]), replicas=urls) as elsewhere:
        user, served = browser(db, late), browser(elsewhere)
        share(user, served)
        for number in range(1, 4):
            await user.post()
            body = (await served.get()).body
            assert body == "primary 20000"
            async with elsewhere.replica(max_lag=0):
                assert number == await elsewhere.fetchval("select max(n) from t")
