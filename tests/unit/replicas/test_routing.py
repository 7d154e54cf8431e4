"""Which server a replica block reads from: weights, servers that fall silent, positions and lag."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from aio_databases import (
    ConfigurationError,
    ConnectError,
    InterfaceError,
    NotSupportedError,
    PoolTimeout,
    ReplicaLag,
    TargetNotFound,
    TransactionError,
)
from aio_databases.dialects.postgresql import POSTGRESQL
from aio_databases.testing.fake_driver import FakeError, connected, make_database

ASK, ASK_PRIMARY = POSTGRESQL.position_questions[0][:2]
TWO = ["fake://one/db", "fake://two/db"]
HISTORY = "5eed-1-"


def leaks(db):
    """Tell which pools have connections out."""
    return {name: stats for name, stats in db.stats().items() if stats.size != stats.idle}


def place(db, **where):
    """Say how far the servers are: `primary` (its read-only pool's fake, too), `one`, `two`."""
    db.backend.values[ASK_PRIMARY] = where["primary"] and f"{HISTORY}{where['primary']}-8-1"
    for backend, name in zip(db.replica_backends, ("one", "two"), strict=False):
        backend.values[ASK] = where[name] and f"{HISTORY}{where[name]}"


# Weights


@pytest.mark.parametrize(
    ("weight", "least", "most"), [(1, 0.35, 0.65), (3, 0.62, 0.88), (1e9, 0.99, 1), (1e-9, 0, 0.01)]
)
async def test_idle_replicas_are_chosen_by_their_weights(weight, least, most):
    replicas = [{"url": TWO[0], "weight": weight}, TWO[1]]
    async with connected(replicas=replicas) as (db, _):
        chosen = Counter()
        for _ in range(200):
            async with db.replica() as connection:
                chosen[connection.pool.driver.address.host] += 1
    assert least <= chosen["one"] / 200 <= most


async def test_busy_replicas_are_chosen_by_leases_for_their_weight():
    async with connected(replicas=[{"url": TWO[0], "weight": 2}, TWO[1]], max_size=20) as (db, _):
        blocks = [db.replica() for _ in range(9)]
        for block in blocks:
            await block.__aenter__()
        loads = [replica.pool.load for replica in db._replicas.own]
        for block in reversed(blocks):
            await block.__aexit__(None, None, None)
    assert loads == [6, 3]


@pytest.mark.parametrize(
    "given",
    [
        {"url": TWO[0], "weight": 0},
        {"url": TWO[0], "weight": -1},
        {"url": TWO[0], "weight": float("inf")},
        {"url": TWO[0], "weight": float("nan")},
        {"url": TWO[0], "weight": True},
        {"url": TWO[0], "weight": "2"},
        {"url": TWO[0], "weight": 10**400},
        {"url": TWO[0], "wieght": 2},
        {"weight": 2},
        {"url": 7},
        7,
        None,
        (TWO[0], 2),
    ],
)
def test_a_replica_that_is_none_is_refused(given):
    with pytest.raises(ConfigurationError, match=r"a dict of 'url' and 'weight', which is a number from 1e-9 to 1e9"):
        make_database(replicas=[given])


# Servers that fall silent


async def test_one_user_tries_a_replica_that_has_rested_while_the_others_go_on():
    async with connected(replicas=TWO[:1], cool_down=0) as (db, _):
        (replica,) = db.replica_backends
        replica.fail("connect", FakeError("down", ConnectError))
        async with db.replica() as connection:
            assert connection.role == "primary"
        gate = replica.wait("connect")
        roles = []

        async def read():
            async with db.replica() as connection:
                roles.append(connection.role)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await gate.reached()
            await read()
            assert roles == ["primary"]
            gate.open()
        async with db.replica() as connection:
            assert connection.role == "replica"
        assert (roles, replica.attempts) == (["primary", "replica"], 2)


async def test_a_trial_that_is_cancelled_leaves_the_replica_to_the_next():
    async with connected(replicas=TWO[:1], cool_down=0) as (db, _):
        (replica,) = db.replica_backends
        replica.fail("connect", FakeError("down", ConnectError))
        await db.replica().__aenter__()
        gate = replica.wait("connect")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.replica().__aenter__)
            await gate.reached()
            tasks.cancel_scope.cancel()
        async with db.replica() as connection:
            assert connection.role == "replica"


async def test_a_replica_that_has_worked_has_half_a_second_and_not_the_whole_time_limit():
    async with connected(replicas=TWO[:1], connect_timeout=30) as (db, _):
        (replica,) = db._replicas.own
        assert replica.pool.connector.patience == 1.0
        async with db.replica(), anyio.create_task_group() as tasks:
            assert replica.pool.connector.patience == 0.5
            gate = db.replica_backends[0].wait("connect")
            with anyio.fail_after(5):
                async with db.replica() as connection:
                    assert connection.role == "primary"
            gate.open()
            tasks.cancel_scope.cancel()
        assert replica.pool.connector.breaker.failures == 1


async def test_a_cancelled_read_that_does_not_stop_has_the_replica_left_alone(caplog):
    async with connected(replicas=TWO[:1]) as (db, _):
        (replica,) = db.replica_backends
        gate, stopping = replica.wait("select 1"), replica.wait("settle")
        with anyio.move_on_after(0.05) as scope:
            async with db.replica():
                await db.fetchval("select 1")
        assert scope.cancelled_caught
        gate.open()
        stopping.open()
        async with db.replica() as connection:
            assert connection.role == "primary"
    assert "a replica is left alone" in caplog.text
    assert "did not confirm within 0.5 s that a statement has stopped" in caplog.text


async def test_while_a_cancelled_read_is_being_stopped_another_replica_is_taken():
    async with connected(replicas=TWO) as (db, _):
        for replica in db._replicas.own[:1]:
            replica.pool.connector.begin_cancellation()
            for _ in range(10):
                async with db.replica() as connection:
                    assert connection.pool is not replica.pool
            replica.pool.connector.end_cancellation()


async def test_those_who_wait_for_a_silent_replica_leave_when_it_is_left_alone():
    async with connected(replicas=TWO[:1], max_size=2, timeout=30) as (db, _):
        (replica,) = db.replica_backends
        gates = [replica.wait("connect") for _ in range(2)]
        roles = []

        async def read():
            async with db.replica() as connection:
                roles.append(connection.role)

        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(read)
        assert roles == ["primary"] * 6
        assert anyio.current_time() - began < 4
        assert replica.attempts == 2
        for gate in gates:
            gate.open()
        assert leaks(db) == {}


async def test_who_stands_in_the_line_of_a_silent_replica_opens_no_connection_too_many():
    async with connected(replicas=TWO[:1], max_size=1) as (db, _):
        (replica,) = db.replica_backends
        pool = db._replicas.own[0].pool
        outcomes = []

        async def lease():
            try:
                outcomes.append(await pool.acquire())
            except ConnectError as error:
                outcomes.append(error)

        async with db.replica(), anyio.create_task_group() as tasks:
            tasks.start_soon(lease)
            while not pool.stats.waiting:
                await anyio.lowlevel.checkpoint()
            pool.leave_alone("silent")
        assert [ConnectError] == [type(outcome) for outcome in outcomes]
        assert (replica.attempts, pool.stats.size) == (1, 1)


async def test_replicas_that_are_all_busy_are_waited_for_once():
    async with connected(replicas=TWO, max_size=1, timeout=0.3) as (db, _), anyio.create_task_group() as tasks:

        async def hold():
            async with db.replica(), db.replica():
                await anyio.sleep_forever()

        tasks.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        began = anyio.current_time()
        with pytest.raises(PoolTimeout):
            await db.replica(fallback=False).__aenter__()
        assert 0.3 <= anyio.current_time() - began < 0.55
        tasks.cancel_scope.cancel()


async def test_a_block_that_two_tasks_enter_at_once_keeps_one_connection():
    async with connected(replicas=TWO[:1]) as (db, _):
        block = db.replica()
        outcomes = []

        async def enter():
            try:
                outcomes.append(await block.__aenter__())
            except InterfaceError as error:
                outcomes.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
            tasks.start_soon(enter)
        assert sum(isinstance(outcome, InterfaceError) for outcome in outcomes) == 1
        await block.__aexit__(None, None, None)
        assert leaks(db) == {}


async def test_a_forked_process_knows_nothing_of_trials_and_locks_of_its_parent():
    async with connected(replicas=TWO[:1]) as (db, _):
        pool = db._replicas.own[0].pool
        pool.leave_alone("silent")
        pool.connector.breaker.begin()
        pool.connector.begin_cancellation()
        async with db.replica():
            pass
        await pool.position_lock.acquire(1)
        pool.leave_to_parent()
        pool.open_lazily()
        assert (
            pool.connector.pending_cancellations,
            pool.connector.breaker.allows_request,
            pool.position_lock.locked,
        ) == (0, True, False)


# Positions


async def test_a_read_after_a_position_asks_a_replica_once_and_remembers_the_answer():
    async with connected(replicas=TWO[:1]) as (db, _):
        place(db, primary="0/A", one="0/B")
        for _ in range(3):
            async with db.replica(after=f"{HISTORY}0/A", fallback=False):
                await db.fetchval("select 1")
        assert db.replica_backends[0].sent == [ASK, "select 1", "select 1", "select 1"]


async def test_a_replica_that_is_behind_is_waited_for():
    async with connected(replicas=TWO[:1]) as (db, _), anyio.create_task_group() as tasks:
        place(db, primary="0/A", one="0/9")

        async def catch_up():
            await anyio.sleep(0.02)
            place(db, primary="0/A", one="0/A")

        tasks.start_soon(catch_up)
        with anyio.fail_after(5):
            async with db.replica(after=f"{HISTORY}0/A", wait=10) as connection:
                assert connection.role == "replica"
        assert db.replica_backends[0].sent.count(ASK) >= 2


async def test_the_wait_is_shared_by_all_replicas_and_not_repeated_at_once():
    async with connected(replicas=TWO) as (db, _):
        place(db, primary="0/A", one="0/9", two="0/9")
        began = anyio.current_time()
        async with db.replica(after=f"{HISTORY}0/A", wait=0.05) as connection:
            assert (connection.role, connection.read_only) == ("primary", True)
        assert 0.05 <= anyio.current_time() - began < 5
        began = anyio.current_time()
        for _ in range(3):
            async with db.replica(after=f"{HISTORY}0/A", wait=60) as connection:
                assert connection.role == "primary"
        assert anyio.current_time() - began < 5, "nobody waits again for what was waited for in vain a moment ago"
        assert leaks(db) == {}


async def test_another_replica_that_has_the_position_is_taken():
    async with connected(replicas=TWO) as (db, _):
        place(db, primary="0/A", one="0/9", two="0/A")
        for _ in range(5):
            async with db.replica(after=f"{HISTORY}0/A", wait=0, fallback=False) as connection:
                assert connection.pool.driver.address.host == "two"


async def test_without_fallback_a_replica_that_is_behind_is_an_error():
    async with connected(replicas=TWO[:1]) as (db, _):
        place(db, primary="0/A", one="0/9")
        with pytest.raises(ReplicaLag, match=r"no replica has replayed the position within 0.01 s; pass fallback=True"):
            await db.replica(after=f"{HISTORY}0/A", wait=0.01, fallback=False).__aenter__()
        with pytest.raises(
            ReplicaLag, match=r"has replayed the position within 0 s and is known to be at most 5 s behind"
        ):
            await db.replica(after=f"{HISTORY}0/A", wait=0, max_lag=5, fallback=False).__aenter__()
        assert leaks(db) == {}


async def test_a_replica_that_fails_while_it_is_asked_is_left_alone():
    async with connected(replicas=TWO[:1]) as (db, _):
        place(db, primary="0/A", one="0/A")
        db.replica_backends[0].drop(ASK)
        async with db.replica(after=f"{HISTORY}0/A") as connection:
            assert connection.role == "primary"
        assert db._replicas.own[0].pool.connector.breaker.failures == 1
        assert leaks(db) == {}


async def test_a_cancelled_wait_for_a_replica_gives_its_connection_back():
    async with connected(replicas=TWO[:1]) as (db, _):
        place(db, primary="0/A", one="0/9")
        with anyio.move_on_after(0.05):
            await db.replica(after=f"{HISTORY}0/A", wait=60).__aenter__()
        assert leaks(db) == {}
        place(db, primary="0/A", one="0/A")
        async with db.replica(after=f"{HISTORY}0/A", fallback=False):
            pass


async def test_behind_a_proxy_that_changes_servers_nothing_is_remembered():
    async with connected(replicas=TWO[:1]) as (db, _):
        place(db, primary="0/A", one="0/B")
        db.replica_backends[0].options["pgbouncer"] = True
        for _ in range(3):
            async with db.replica(after=f"{HISTORY}0/A", fallback=False):
                pass
        assert db.replica_backends[0].sent == [ASK] * 3


async def test_the_position_is_asked_of_the_primary():
    async with connected(replicas=TWO[:1]) as (db, fake):
        place(db, primary="0/A", one="0/9")
        assert f"{HISTORY}0/A" == await db.position()
        async with db.connection():
            assert f"{HISTORY}0/A" == await db.position()
        async with db.replica():
            assert f"{HISTORY}0/A" == await db.position(), "also where reads go to a replica"
        assert fake.opens == 1


async def test_inside_of_a_transaction_there_is_no_position():
    async with connected(replicas=TWO[:1]) as (db, _):
        place(db, primary="0/A", one="0/9")
        async with db.transaction():
            with pytest.raises(TransactionError, match="not known before its commit"):
                await db.position()
        async with db.replica(), db.transaction(readonly=True):
            assert f"{HISTORY}0/A" == await db.position()


async def test_a_database_without_positions_says_so():
    async with connected(replicas=TWO[:1]) as (db, fake):
        for backend in (fake, *db.replica_backends):
            backend.dialect = "odbc"
        with pytest.raises(NotSupportedError, match="does not report its position"):
            await db.position()
        for wanted in ({"after": f"{HISTORY}0/1"}, {"max_lag": 1}):
            with pytest.raises(NotSupportedError, match="does not report its position"):
                await db.replica(**wanted).__aenter__()
        assert leaks(db) == {}


async def test_a_replica_that_does_not_tell_is_passed_over():
    async with connected(replicas=TWO) as (db, _):
        place(db, primary="0/A", one=None, two="0/A")
        for _ in range(10):
            async with db.replica(after=f"{HISTORY}0/A", wait=0, fallback=False) as connection:
                assert connection.pool.driver.address.host == "two"
        assert db._replicas.own[0].pool.connector.breaker.failures == 0


async def test_a_primary_that_has_become_a_replica_does_not_stand_in():
    async with connected(replicas=TWO[:1]) as (db, _):
        place(db, primary=None, one="0/9")
        with pytest.raises(TargetNotFound, match="leads to a replica, and not to the primary"):
            await db.replica(after=f"{HISTORY}0/A", wait=0).__aenter__()
        with pytest.raises(TargetNotFound, match="leads to a replica, and not to the primary"):
            await db.position()
        with pytest.raises(ReplicaLag):
            await db.replica(max_lag=60, fallback=False).__aenter__()
        assert leaks(db) == {}


async def test_a_transaction_that_was_begun_with_sql_counts_as_well():
    async with connected(replicas=TWO[:1]) as (db, _), db.connection() as connection:
        connection.physical.in_manual_transaction = True
        with pytest.raises(TransactionError):
            await db.position()
        with pytest.raises(TransactionError):
            await db.replica().__aenter__()
        connection.physical.in_manual_transaction = False


# Lag


async def test_a_replica_that_has_all_is_not_asked_again_for_a_while():
    async with connected(replicas=TWO[:1]) as (db, fake):
        place(db, primary="0/A", one="0/A")
        for _ in range(3):
            async with db.replica(max_lag=60, fallback=False):
                pass
        assert (db.replica_backends[0].sent, fake.sent) == ([ASK], [ASK_PRIMARY])


async def test_a_replica_of_which_nothing_is_known_is_passed_over():
    async with connected(replicas=TWO[:1]) as (db, _):
        place(db, primary="0/A", one="0/9")
        async with db.replica(max_lag=60) as connection:
            assert connection.role == "primary"
        place(db, primary="0/B", one="0/A")
        history = db._replicas._lag._history
        history._samples = [each._replace(when=each.when - 30, told=each.told - 30) for each in history._samples]
        async with db.replica(max_lag=60) as connection:
            assert connection.role == "replica", "it is at most 30 s behind"
        async with db.replica(max_lag=20) as connection:
            assert connection.role == "primary"


async def test_without_an_answer_of_the_primary_no_replica_is_known_to_be_near_enough():
    async with connected(replicas=TWO[:1]) as (db, fake):
        place(db, primary="0/A", one="0/A")
        fake.fail(ASK_PRIMARY, FakeError("down", ConnectError), times=9)
        with anyio.fail_after(5), pytest.raises(ReplicaLag, match="is known to be at most 60 s behind"):
            await db.replica(max_lag=60, fallback=False).__aenter__()
        assert leaks(db) == {}


async def test_a_silent_primary_keeps_many_readers_waiting_once():
    async with connected(replicas=TWO[:1], max_size=20) as (db, fake):
        place(db, primary="0/A", one="0/A")
        gates = [fake.wait(ASK_PRIMARY) for _ in range(9)]
        outcomes = []

        async def read():
            with pytest.raises(ReplicaLag):
                await db.replica(max_lag=60, fallback=False).__aenter__()
            outcomes.append("lag")

        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(read)
        assert anyio.current_time() - began < 4
        assert len(outcomes) == 12
        for gate in gates:
            gate.open()
        assert leaks(db) == {}


async def test_many_who_ask_at_once_ask_the_primary_once():
    async with connected(replicas=TWO[:1]) as (db, fake):
        place(db, primary="0/A", one="0/A")

        async def read():
            async with db.replica(max_lag=60, fallback=False):
                await db.fetchval("select 1")

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(read)
        assert fake.sent == [ASK_PRIMARY]
