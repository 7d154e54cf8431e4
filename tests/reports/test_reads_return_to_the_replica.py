"""Reads with `max_lag` go back to a replica that is fresh again, however many wait for the primary meanwhile.

A hostile test: the primary was asked for its position only while a connection to it was free.  Once all readers waited
for the primary nothing was asked any more, so no replica was known to be near, and all readers waited for the primary.
"""

from __future__ import annotations

from collections import Counter
from time import monotonic

import anyio
import pytest

from aio_databases.dialects.postgresql import POSTGRESQL
from aio_databases.testing.fake_driver import connected

ASK, ASK_PRIMARY = POSTGRESQL.position_questions[0][:2]
BEHIND, MAX_LAG, HELD = 0.02, 0.1, 0.004  # seconds
MOST = 0.9  # of all reads


class Told(dict):
    """What a server tells: its position is the time in milliseconds."""

    def __init__(self, when):
        super().__init__()
        self.when = when

    def get(self, sql, default=None):
        here = f"5eed-1-0/{int(1000 * self.when()):X}"
        return {ASK: here, ASK_PRIMARY: f"{here}-8-1"}.get(sql, default)


class Follower:
    """A replica that is always a little behind, and can stop to replay."""

    stopped = float("inf")

    def replayed(self):
        """Return the moment from which its data are."""
        return min(monotonic() - BEHIND, self.stopped)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("readers", [5, 50, 500])
async def test_reads_return_to_a_replica_that_is_fresh_again(readers, loop):
    follower, served, is_over = Follower(), Counter(), anyio.Event()
    async with connected(replicas=["fake://one/db"], max_size=5) as (db, primary):
        primary.values = Told(monotonic)
        db.replica_backends[0].values = Told(follower.replayed)

        async def read():
            while not is_over.is_set():
                async with db.replica(max_lag=MAX_LAG) as connection:
                    await anyio.sleep(HELD)
                served[connection.role] += 1

        async def until(holds):
            """Wait until a condition holds for the share of the replica: who stands in line is served first."""
            while True:
                served.clear()
                await anyio.sleep(0.1)
                if served and holds(served["replica"] / served.total()):
                    return

        async with anyio.create_task_group() as tasks:
            for _ in range(readers):
                tasks.start_soon(read)
            await until(lambda share: share > MOST)
            follower.stopped = monotonic()
            await until(lambda share: share == 0)
            follower.stopped = float("inf")
            await until(lambda share: share > MOST)
            is_over.set()


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
async def test_the_primary_is_asked_in_good_time_and_by_one_reader(loop):
    """A hostile test: it was asked when nobody was near any more, so each `max_lag` all readers went to the primary."""
    follower = Follower()
    async with connected(replicas=["fake://one/db"]) as (db, primary):
        primary.values = Told(monotonic)
        db.replica_backends[0].values = Told(follower.replayed)
        began, roles = monotonic(), Counter()

        async def read():
            while monotonic() - began < 1:
                async with db.replica(max_lag=0.2) as connection:
                    await anyio.sleep(0.01)
                roles[connection.role] += monotonic() - began > BEHIND + 0.1

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(read)
        assert roles["replica"] > 20 * roles["primary"], roles
        asked = primary.sent.count(ASK_PRIMARY)
        assert 5 < asked < 60, "about every 0.05 s"


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
async def test_positions_count_that_several_readers_ask_for_at_the_same_time(loop):
    """A hostile test: of readers whose questions overlap without a pause only the first one's answer was noted."""
    async with connected(replicas=["fake://one/db"]) as (db, primary), anyio.create_task_group() as tasks:
        primary.values = Told(monotonic)
        history = db._replicas._lag._history
        roles = []

        async def read():
            async with db.replica(max_lag=0) as connection:
                roles.append(connection.role)

        before, last = history.newest, None
        for _ in range(5):
            gate, began = primary.wait(ASK_PRIMARY), monotonic()
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            if last is not None:
                last.open()
                await anyio.wait_all_tasks_blocked()
                assert history.newest > before, "the answer to a question that was asked before the last answer came"
                before = history.newest
            last = gate
        last.open()
        await anyio.wait_all_tasks_blocked()
        assert history.newest >= began
        assert roles == ["primary"] * 5
