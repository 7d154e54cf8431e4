"""URLs with several hosts, some of which are not there, on every driver of a server."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import anyio
import pytest

from aio_databases import AuthenticationError, ConfigurationError, ConnectError, Database, ReadOnlyError, TargetNotFound
from conformance.addresses import on_hosts, placed, with_option
from conformance.secrets_told import SECRET, everything_told

pytestmark = pytest.mark.targets(dialect={"postgresql", "mysql"})


@pytest.fixture
def closed():
    """Give a host and port where nobody listens."""
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{refusing.getsockname()[1]}"


@pytest.fixture
def silent():
    """Give a host and port where connections are taken, and nobody says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


async def test_a_host_that_is_not_there_is_passed_over(make_database, url, closed):
    database = await make_database(on_hosts(url, closed, None))
    async with database.connection() as connection, database.connection():
        assert await connection.fetchval("select 1") == 1
        await connection.execute("create table t (i integer)")
    assert await database.fetchval("select count(*) from t") == 0


@pytest.mark.targets(pooled=True)
async def test_a_host_that_does_not_answer_has_its_share_of_the_time_only(make_database, url, silent):
    began = time.monotonic()
    database = await make_database(on_hosts(url, silent, None), connect_timeout=1.5)
    assert await database.fetchval("select 1") == 1
    assert time.monotonic() - began < 1.5
    async with database.connection(), database.connection():  # now that it is known, nobody waits for it
        assert time.monotonic() - began < 1.5


@pytest.mark.targets(pooled=True)
async def test_where_no_host_answers_each_is_told(url, closed, silent):
    database = Database(placed_on(url, closed, silent), connect_timeout=0.4)
    with anyio.fail_after(5), pytest.raises(ConnectError) as caught:
        await database.connect()
    message = str(caught.value)
    assert message.startswith(f"cannot connect to {database.backend.address}: {closed} failed (")
    assert f"{silent} failed (no answer within 0." in message
    assert "check that the server runs" in message
    assert SECRET not in everything_told(caught.value)


def placed_on(url, *hosts):
    return on_hosts(placed(url, password=SECRET), *hosts)


async def test_a_refused_login_is_told_at_once(make_database, url, closed):
    with pytest.raises(AuthenticationError, match="check user and password") as caught:
        await (await make_database(placed_on(url, closed, None, closed))).fetchval("select 1")
    assert SECRET not in everything_told(caught.value)


async def test_a_primary_is_no_replica(make_database, url, closed):
    address = with_option(on_hosts(url, closed, None), "target=read-only&timeout=0.05")
    place = urlsplit(url).netloc.rpartition("@")[2]
    with pytest.raises(TargetNotFound, match=f"failed .*{place} is a primary; retry if a failover"):
        await (await make_database(address)).fetchval("select 1")


@pytest.mark.parametrize("role", ["read-write", "any", "prefer-read-only"])
async def test_a_primary_will_do_otherwise(make_database, url, role):
    database = await make_database(with_option(url, f"target={role}"), check_after=0)
    for _ in range(2):
        await database.execute("create table if not exists t (i integer)")


async def test_the_fallback_reads_from_the_primary(make_database, url, closed):
    database = await make_database(
        on_hosts(url, closed, None), replicas=[with_option(on_hosts(url, closed, None), "timeout=0.05")]
    )
    async with database.replica():
        assert await database.fetchval("select 1") == 1
        with pytest.raises(ReadOnlyError):
            await database.execute("create table t (i integer)")
    assert database.stats()["replica-1"].size == 0


async def test_several_hosts_as_an_option_are_refused(url, target):
    with pytest.raises(ConfigurationError, match="several stand in the URL"):
        Database(url, host="127.0.0.1,127.0.0.1")
    if target.odbc:
        with pytest.raises(ConfigurationError, match="has several hosts"):
            Database(f"{target.scheme}://a,b", dsn="Driver=x;Server=a")
