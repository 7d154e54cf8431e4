"""A replica that accepts connections and answers nothing is found out by callers whose time limits are short, too.

A hostile test: a lease that its caller cancelled was no failure, so a frozen replica was tried for ever.
"""

from __future__ import annotations

from collections import Counter
from time import monotonic

import anyio
import pytest

from aio_databases.pool.breaker import CircuitBreaker
from aio_databases.testing.fake_driver import connected

pytestmark = pytest.mark.parametrize("loop", ["asyncio", "trio"])
REPLICA = ["fake://one/db"]


async def read(db, seen, limit):
    """Read within a time limit, and count how that went."""
    with anyio.move_on_after(limit):
        async with db.replica() as connection:
            await anyio.sleep(0.01)
            seen[connection.role] += 1
            return
    seen["too late"] += 1


@pytest.mark.parametrize("limit", [0.05, 0.3])
async def test_a_replica_that_was_never_connected_to_is_left_alone(limit, loop):
    async with connected(replicas=REPLICA, cool_down=60) as (db, _):
        (replica,) = db.replica_backends
        gates = [replica.wait("connect") for _ in range(200)]
        seen, began = Counter(), monotonic()
        while monotonic() - began < 1.6:
            await read(db, seen, limit)
        failed = seen["too late"]
        for _ in range(20):
            await read(db, seen, limit)
        assert failed == seen["too late"], "it is left alone"
        assert seen["primary"] >= 20
        assert db._replicas.own[0].pool.connector.breaker.failures == 1
        for gate in gates:
            gate.open()


async def test_each_trial_that_is_cancelled_doubles_the_rest(loop):
    async with connected(replicas=REPLICA, cool_down=0.1) as (db, _):
        (replica,) = db.replica_backends
        breaker = db._replicas.own[0].pool.connector.breaker
        gates = [replica.wait("connect") for _ in range(200)]
        seen, began = Counter(), monotonic()
        while breaker.failures < 3:
            assert monotonic() - began < 8
            await read(db, seen, 0.15)
        assert seen["too late"] <= 15, "about seven until it is left alone, then one in each rest"
        for gate in gates:
            gate.open()
        await anyio.sleep(0.6)
        await read(db, seen, 1)
        assert (seen["replica"], breaker.failures) == (1, 0)


async def test_callers_who_leave_a_busy_replica_blame_nobody(loop):
    """They wait for those who have the connections, not for the server."""
    async with connected(replicas=REPLICA, max_size=1) as (db, _), anyio.create_task_group() as tasks:

        async def hold():
            async with db.replica():
                await anyio.sleep_forever()

        tasks.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        seen = Counter()
        for _ in range(15):
            await read(db, seen, 0.08)
        assert (seen["too late"], db._replicas.own[0].pool.connector.breaker.failures) == (15, 0)
        tasks.cancel_scope.cancel()


async def test_callers_in_a_hurry_do_not_blame_a_replica_that_works_for_others(loop):
    """A hostile test: what they have waited for added up for ever, however well the replica served all others."""
    async with connected(replicas=REPLICA) as (db, _):
        (fake,), seen = db.replica_backends, Counter()
        for _ in range(8):
            async with db.replica() as others, anyio.create_task_group() as tasks:
                gate = fake.wait("connect")
                tasks.start_soon(read, db, seen, 0.02)
                await anyio.sleep(0.09)
                gate.open()
            assert others.role == "replica"
        pool = db._replicas.own[0].pool
        assert (seen["too late"], pool.connector.breaker.failures) == (8, 0)
        assert pool.connector.breaker._silence < 0.2, "only what came after the last use"


async def test_the_fallback_forgets_its_failures(loop):
    async with connected(replicas=[]) as (db, _):
        fallback = db._replicas.fallback
        for _ in range(3):
            fallback.leave_alone("a test")
            fallback.connector.breaker._until = 0.0
        async with db.replica():
            pass
        assert fallback.connector.breaker.failures == 0


async def test_those_who_wait_at_the_same_time_count_once(loop):
    circuit, now = CircuitBreaker(5), monotonic()
    assert not any(circuit.is_silent(now - 0.4, 0.5) for _ in range(100))
    assert circuit.is_silent(now - 1, 0.5) is False, "only what was not counted yet"
    circuit.record_success()
    assert circuit.is_silent(now - 1, 0.5) is False
