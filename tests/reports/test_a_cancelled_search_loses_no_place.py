"""A block that is cancelled while it gives back the connections that are behind keeps none of them.

A hostile test: the others of that moment stayed in use for ever, so in the end the pool had no places left.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from aio_databases.testing.fake_driver import connected
from reports.test_reads_return_to_the_replica import ASK, ASK_PRIMARY

SEVERAL = "fake://one,two/db?target=any"


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize(
    ("replica", "fresh"), [("fake://one/db", False), (SEVERAL, False), (SEVERAL, True)], ids=["one", "several", "fresh"]
)
async def test_no_connection_stays_in_use(replica, fresh, loop):
    async with connected(replicas=[replica], reset="always", max_size=8) as (db, primary):
        (fake,) = db.replica_backends
        hosts = [fake.at(0), fake.at(1)] if "," in replica else [fake]
        for host in hosts:
            host.values[ASK] = "5eed-1-0/9"
        primary.values[ASK_PRIMARY] = "5eed-1-0/A-10-1.5"
        async with AsyncExitStack() as stack:
            for _ in range(8):
                await stack.enter_async_context(db.replica())
        pool = db._replicas.own[0].pool
        behind = pool._slots.idle[-1].host if fresh else 0
        if fresh:
            hosts[1 - behind].values[ASK] = "5eed-1-0/A"
        gates = [host.wait("reset") for host in hosts]

        async def read():
            async with db.replica(after="5eed-1-0/A", wait=0):
                pass

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            assert pool.lent > 1
            tasks.cancel_scope.cancel()
            for gate in gates:
                gate.open()
        assert pool.lent == 0
        async with db.replica():
            assert pool.lent == 1
