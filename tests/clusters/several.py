"""One database on several servers, and one URL for all of them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import pytest

from aio_databases import Database
from clusters.followers import clients
from conformance.addresses import on_hosts

INSERT = "insert into notes values (?, ?)"
PORT = {"postgresql": "select inet_server_port()", "mysql": "select @@port"}
ONE_OF_EACH = ("asyncpg-asyncio", "psycopg-trio", "asyncmy-asyncio", "trio-mysql-trio")

in_thread = anyio.to_thread.run_sync


def drivers(*names, dialects=("postgresql", "mysql")):
    """Run a test with the drivers of these names, by default with one of each event loop and database."""
    some = [each for each in clients(*dialects) if f"{each.scheme}-{each.loop}" in (names or ONE_OF_EACH)]
    return pytest.mark.parametrize("client", some, ids=str)


def place(url):
    """Return the `host:port` of a URL."""
    return urlsplit(url).netloc.rpartition("@")[2]


def one_url(*urls):
    """Return one URL of several servers."""
    return on_hosts(urls[0], *map(place, urls))


@asynccontextmanager
async def connected(followers, url, **options):
    """Give the database behind a URL, and on all servers an empty table."""
    async with Database(followers.urls[0]) as db:
        await db.execute("create table notes (owner integer primary key, number integer)")
    await in_thread(followers.wait_until_caught_up)
    async with Database(url, **options) as db:
        yield db
