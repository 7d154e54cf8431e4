"""PgBouncer in transaction mode: before a primary, and before one of its standbys."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest

from aio_databases import Database, ReadOnlyError
from clusters.followers import clients
from clusters.ledger import Ledger, until
from conformance.addresses import on_hosts
from servers import PgBouncer

if TYPE_CHECKING:
    from collections.abc import Callable

DRIVERS = [client for client in clients("postgresql") if not client.scheme.endswith("odbc")]
pytestmark = pytest.mark.parametrize("client", DRIVERS, ids=str)

TASKS = 200
CONNECTIONS = 40
"""To each PgBouncer, which has two sessions for them."""


class Bounced(NamedTuple):
    """A primary and a standby, a PgBouncer before each, and the URLs of a database through these."""

    cluster: Any
    primary: PgBouncer
    standby: PgBouncer
    as_url: Callable[[PgBouncer], str]

    @asynccontextmanager
    async def database(self, **options):
        """Give the database, with an empty table that the standby has as well."""
        url, replica = self.as_url(self.primary), self.as_url(self.standby)
        async with Database(url, replicas=[replica], pgbouncer=True, **options) as db:
            await db.execute("create table notes (id serial primary key, owner int not null, number int not null)")
            await anyio.to_thread.run_sync(self.cluster.wait_until_caught_up)
            yield db


@pytest.fixture
def bounced(standbys, as_client, require_server):
    name = standbys.create_database()
    with ExitStack() as stack:
        with require_server("pgbouncer"):
            proxies = [PgBouncer(server) for server in (standbys.primary, standbys.standbys[0])]
        for proxy in proxies:
            stack.callback(proxy.remove)
            proxy.start()
        yield Bounced(standbys, *proxies, lambda proxy: as_client(proxy.url(name)))


INSERT = "insert into notes (owner, number) values (:owner, :number)"
MINE = "select owner, number from notes where owner = :owner order by number"


async def test_hundreds_of_tasks_on_few_sessions_get_their_own_rows(bounced):
    async with bounced.database(max_size=CONNECTIONS) as db:

        async def use(owner):
            assert owner == await db.fetchval("select :owner::int", {"owner": owner})
            async with db.transaction():
                for number in range(3):
                    await db.execute(INSERT, {"owner": owner, "number": number})
                with pytest.raises(ZeroDivisionError):
                    async with db.transaction():
                        await db.execute(INSERT, {"owner": owner, "number": 7})
                        raise ZeroDivisionError
                mine = [tuple(row) async for row in db.iterate(MINE, {"owner": owner})]
                assert [(owner, number) for number in range(3)] == mine
            assert [(owner, 0), (owner, 1), (owner, 2)] == [
                tuple(row) async for row in db.iterate(MINE, {"owner": owner})
            ]
            async with db.replica() as connection:
                assert {owner} >= {row.owner for row in await connection.fetchall(MINE, {"owner": owner})}
                assert (connection.role == "replica") == await connection.fetchval("select pg_is_in_recovery()")

        async with anyio.create_task_group() as tasks:
            for owner in range(TASKS):
                tasks.start_soon(use, owner)
        assert await db.fetchval("select count(*) from notes") == 3 * TASKS
        assert db.stats()["primary"].opened <= CONNECTIONS


async def test_what_was_written_is_read_from_the_standby_after_its_position(bounced):
    rounds, roles, is_over = 40, {"primary": 0, "replica": 0}, anyio.Event()
    standby = bounced.cluster.standbys[0]
    async with bounced.database(max_size=8, cool_down=0.1) as db:

        async def use(owner):
            for number in range(1, rounds + 1):
                await db.execute(INSERT, {"owner": owner, "number": number})
                async with db.replica(after=await db.position(), wait=0.05) as connection:
                    found = await connection.fetchall(MINE, {"owner": owner})
                    roles[connection.role] += 1
                assert number == len(found), f"of a {connection.role}"

        async def disturb():
            while not is_over.is_set():
                await anyio.to_thread.run_sync(standby.pause_replay)
                await anyio.sleep(0.05)
                await anyio.to_thread.run_sync(standby.resume_replay)
                await anyio.sleep(0.1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(disturb)
            async with anyio.create_task_group() as users:
                for owner in range(6):
                    users.start_soon(use, owner)
            is_over.set()
        assert roles["replica"], roles
        async with db.replica(max_lag=10) as connection:
            assert (connection.role == "replica") == await connection.fetchval("select pg_is_in_recovery()")


async def test_without_the_standby_reads_go_to_the_primary_and_cannot_write(bounced):
    async with bounced.database() as db:
        bounced.cluster.primary.execute(
            "create function sneak() returns int language sql as 'insert into notes values (1, 1, 1) returning id'",
            database=db.url.rpartition("/")[2],
        )
        bounced.cluster.standbys[0].kill()
        for _ in range(3):
            async with db.replica() as connection:
                assert connection.role == "primary"
                assert await connection.fetchval("select count(*) from notes") == 0
                with pytest.raises(ReadOnlyError):
                    await connection.fetchval("select sneak()")


async def test_of_several_the_one_before_the_server_in_the_role_is_found(bounced):
    places = [f"{proxy.host}:{proxy.port}" for proxy in (bounced.standby, bounced.primary)]
    url = on_hosts(bounced.as_url(bounced.primary), *places)
    async with Database(url, pgbouncer=True) as db:
        await db.execute("create table notes (id int)")
    async with Database(url, pgbouncer=True, target="read-only") as db:
        assert await db.fetchval("select pg_is_in_recovery()")


async def test_statements_wait_while_it_is_paused(bounced):
    async with bounced.database() as db:
        await anyio.to_thread.run_sync(bounced.primary.tell, "PAUSE")
        done = []

        async def write(number):
            async with db.transaction():
                await db.execute(INSERT, {"owner": 1, "number": number})
            done.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(write, number)
            await until(lambda: any(int(pool["cl_waiting"]) for pool in bounced.primary.tell("SHOW POOLS")))
            assert done == []
            await anyio.to_thread.run_sync(bounced.primary.tell, "RESUME")
        assert list(range(30)) == [row.number for row in await db.fetchall(MINE, {"owner": 1})]


async def test_while_the_server_behind_it_is_restarted_no_write_is_lost_or_doubled(bounced, client, measured):
    async with bounced.database(max_size=10, commit_timeout=5) as db:
        await db.execute("create table ledger (id serial primary key, entry int not null)")
        ledger = Ledger(db, patience=10)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(ledger.write)
            await until(lambda: len(ledger.written) > 100)
            await anyio.to_thread.run_sync(bounced.cluster.primary.kill)
            await until(lambda: ledger.failures > 9)
            bounced.cluster.primary.start()
            enough = len(ledger.written) + 100
            await until(lambda: len(ledger.written) > enough)
            ledger.is_over.set()
        told = await ledger.check()
    measured(f"PgBouncer, {client.scheme}, the server behind it is killed and started: {told}")
