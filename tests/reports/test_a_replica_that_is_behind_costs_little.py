"""A replica that is behind is not asked several times for each block, nor waited for where that is in vain.

A hostile test: each block asked three connections of a replica that was behind, and the primary besides, which made it
later still; and after a failover each position from before had its block wait, and all others not.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from time import monotonic

import pytest

from reports.test_reads_return_to_the_replica import ASK, ASK_PRIMARY, Told
from unit.fake import connected

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
                    assert "primary" == connection.role
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
            assert "primary" == connection.role
        assert monotonic() - began < 2
        fake.rows[ASK], asked = 1, fake.sent.count(ASK)
        gate = fake.wait(ASK)
        gate.open()
        fake.values[ASK] = "5eed-2-0/9"
        async with db.replica(after="5eed-2-0/A", wait=0.1) as connection:
            assert "primary" == connection.role
        assert fake.sent.count(ASK) > asked + 2, "others wait as ever for a position that may come"
