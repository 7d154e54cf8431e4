"""What a replica block wants holds for all that is read in it, whichever connection that takes.

A hostile test: of a pool whose connections lead to several servers, streams and reconnects took any of them.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from clusters.followers import clients
from clusters.several import PORT, connected, in_thread, one_url
from conformance.addresses import with_option

READ = "select number from notes"


async def stale_on_top(db, port, lagging, **wanted):
    """Leave idle connections to both servers in the pool of the replica, those to the lagging one to be lent first."""
    async with AsyncExitStack() as stack:
        held, ports = [], []
        while len(set(ports)) < 2 or min(map(ports.count, ports)) < 2:  # which host is taken is up to chance
            held.append(await stack.enter_async_context(db.replica(**wanted)))
            ports.append(await held[-1].fetchval(port))
        last = [each for each, found in zip(held, ports, strict=True) if found == lagging]
        for each in [*(each for each in held if each not in last), *last]:
            await each.release()


@pytest.fixture
def several(followers):
    """Give the URL of the primary and a replica that is behind, and a function that lets the replica lag."""
    primary, replica, *_ = followers.urls
    return with_option(one_url(replica, primary), "target=any")


@pytest.mark.parametrize("wanted", ["after", "max_lag"])
async def test_streams_and_reconnects_of_a_block_read_what_it_wants(followers, client, several, wanted):
    async with connected(followers, followers.urls[0], replicas=[several], max_size=30) as db:
        await db.execute("insert into notes values (1, 0)")
        await in_thread(followers.wait_until_caught_up)
        followers.stop(followers.replicas[0])
        lagging = followers.replicas[0].port
        await stale_on_top(db, PORT[client.dialect], lagging)
        await db.execute("update notes set number = 1")
        wish = {"after": await db.position()} if wanted == "after" else {"max_lag": 0.001}
        for _ in range(2):
            async with db.replica(**wish, wait=0, fallback=wanted == "max_lag") as connection:
                assert await db.fetchval(READ) == 1
                assert [row.number async for row in db.iterate(READ)] == [1]
                assert [row.number async for row in connection.iterate(READ)] == [1]
                await connection.reconnect()
                assert await db.fetchval(READ) == 1
            await stale_on_top(db, PORT[client.dialect], lagging)
        for name, stats in db.stats().items():
            assert stats.size == stats.idle, name


ONE_OF_EACH = pytest.mark.parametrize(
    "client", [each for each in clients() if each.scheme in {"asyncpg", "asyncmy"}], ids=str
)


@ONE_OF_EACH
async def test_one_host_that_lags_does_not_take_the_others_of_its_url_out(followers, client, several):
    """A hostile test: the connection on top was asked, and for its answer the whole pool was passed over."""
    async with connected(followers, followers.urls[0], replicas=[several], max_size=30) as db:
        followers.stop(followers.replicas[0])
        lagging = followers.replicas[0].port
        await db.execute("insert into notes values (1, 1)")
        position = await db.position()
        for _ in range(4):
            await stale_on_top(db, PORT[client.dialect], lagging)
            for wish in ({"after": position, "wait": 0.2}, {"max_lag": 60}):
                async with db.replica(**wish, fallback=False) as connection:
                    assert await connection.fetchval(READ) == 1
