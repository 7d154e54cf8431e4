"""A replica that is behind is not asked several times for each block, nor waited for where that is in vain.

A hostile test: each block asked three connections of a replica that was behind, and the primary besides, which made it
later still; and after a failover each position from before had its block wait, and all others not.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from time import monotonic

import anyio
import pytest

from aio_databases.errors import ConnectError
from aio_databases.testing.fake_driver import FakeError, connected
from reports.test_reads_return_to_the_replica import ASK, ASK_PRIMARY, Told

pytestmark = pytest.mark.parametrize("loop", ["asyncio", "trio"])
BLOCKS = 10


@pytest.mark.parametrize("replica", ["fake://one/db", "fake://one,two,three/db?target=any"])
async def test_blocks_ask_little(replica, loop):
    started = monotonic()
    async with connected(replicas=[replica]) as (db, primary):
        primary.values = Told(monotonic)
        (fake,) = db.replica_backends
        hosts = [fake, *(fake.at(index) for index in range(3 * ("," in replica)))]
        for host in hosts:
            host.values = Told(lambda: started - 1)
        async with AsyncExitStack() as stack:
            for _ in range(6):
                await stack.enter_async_context(db.replica())
        position = await db.position()
        for wanted, most in (({"after": position, "wait": 0}, BLOCKS), ({"max_lag": 2}, 3)):
            for log in (host.log for host in (primary, *hosts)):
                log.clear()
            if "max_lag" in wanted:
                for host in hosts:
                    host.values = Told(lambda: started - 9)
            began = monotonic()
            for _ in range(BLOCKS):
                async with db.replica(**wanted) as connection:
                    assert connection.role == "primary"
            assert monotonic() - began < 0.2, "otherwise others may be asked again"
            assert sum(host.sent.count(ASK) for host in hosts) <= BLOCKS + 3
            assert primary.sent.count(ASK_PRIMARY) <= most


@pytest.mark.parametrize("position", ["5eed-1-0/7", "f00d-2-0/7", "0/7"])
async def test_a_position_of_another_history_is_not_waited_for(position, loop):
    async with connected(replicas=["fake://one/db"]) as (db, primary):
        (fake,) = db.replica_backends
        fake.values[ASK], primary.values[ASK_PRIMARY] = "5eed-2-0/9", "5eed-2-0/A-10-1.5"
        began = monotonic()
        async with db.replica(after=position, wait=5) as connection:
            assert connection.role == "primary"
        assert monotonic() - began < 2
        fake.rows[ASK], asked = 1, fake.sent.count(ASK)
        gate = fake.wait(ASK)
        gate.open()
        fake.values[ASK] = "5eed-2-0/9"
        async with db.replica(after="5eed-2-0/A", wait=0.1) as connection:
            assert connection.role == "primary"
        assert fake.sent.count(ASK) > asked + 2, "others wait as ever for a position that may come"


class Full(FakeError):
    """The server has no room for another connection."""

    sqlstate = "53300"


@pytest.mark.parametrize("failure", ["full", "lost"])
async def test_another_connection_that_fails_does_not_take_the_replica_out(failure, loop):
    """A hostile test: opened or asked out of curiosity only, it had the whole replica left alone."""
    async with connected(replicas=["fake://one,two/db?target=any"], max_size=2) as (db, primary):
        (fake,), pool = db.replica_backends, db._replicas.own[0].pool
        hosts = [fake.at(0), fake.at(1)]
        for host in hosts:
            host.values[ASK] = "5eed-2-0/9"
        primary.values[ASK_PRIMARY] = "5eed-2-0/A-10-1.5"
        async with AsyncExitStack() as stack:
            for host in hosts[: 1 if failure == "full" else 2]:
                host.fail("connect", Full("full", ConnectError), times=9)  # so that it is the other one
                await stack.enter_async_context(db.replica())
                host._rules.clear()
        for host in hosts:
            host.fail("connect", Full("full", ConnectError), times=9)
        if failure == "lost":
            hosts[pool._slots.idle[0].host].drop(ASK)
        served = []

        async def read():
            async with db.replica(after="5eed-2-0/A", wait=5) as connection:
                served.append(connection.role)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.sleep(0.05)
            for host in hosts:
                host.values[ASK] = "5eed-2-0/A"
        assert (served, pool.connector.breaker.failures) == (["replica"], 0)
