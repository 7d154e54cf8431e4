"""Which pool the reads of a replica block go to."""

from __future__ import annotations

import random

import pytest

from aio_databases import ConnectError, PoolClosed, PoolTimeout, ReadOnlyError
from aio_databases.pool import breaker as module
from aio_databases.testing.fake_driver import FakeError, connected

TWO = ["fake://one/db", "fake://two/db"]


async def test_the_replica_with_the_fewest_leases_is_chosen():
    async with connected(replicas=TWO) as (db, fake):
        async with db.replica() as one, db.replica() as two:
            assert one.pool is not two.pool
            async with db.replica():
                pass
        assert (fake.opens, [replica.pool.read_only for replica in db._replicas.own]) == (1, [True, True])


async def test_replicas_that_are_equally_busy_are_all_used():
    async with connected(replicas=TWO) as (db, _):
        for _ in range(40):
            async with db.replica():
                await db.fetchval("select 1")
        assert ["select 1" in backend.sent for backend in db.replica_backends] == [True, True]


async def test_a_replica_that_fails_is_left_alone_and_tried_again_later(monkeypatch, caplog):
    async with connected(replicas=TWO[:1]) as (db, fake):
        (replica,) = db.replica_backends
        replica.fail("connect", FakeError("down", ConnectError))
        for _ in range(2):
            async with db.replica() as connection:
                assert db._replicas.fallback is connection.pool
                await db.fetchval("select 1")
        assert (replica.opens, fake.sent) == (0, ["select 1"] * 2)
        later = module.monotonic() + 60
        monkeypatch.setattr(module, "monotonic", lambda: later)
        async with db.replica() as connection:
            assert db._replicas.own[0].pool is connection.pool
    assert "a replica is left alone for" in caplog.text


async def test_another_replica_stands_in_for_one_that_fails():
    async with connected(replicas=TWO) as (db, fake):
        for backend in db.replica_backends[:1]:
            backend.fail("connect", FakeError("down", ConnectError), times=9)
        for _ in range(5):
            async with db.replica():
                await db.fetchval("select 1")
        assert (db.replica_backends[1].sent, fake.sent) == (["select 1"] * 5, [])


async def test_without_fallback_the_last_error_is_raised_and_then_that_none_is_left():
    async with connected(replicas=TWO[:1]) as (db, _):
        db.replica_backends[0].fail("connect", FakeError("down", ConnectError))
        with pytest.raises(ConnectError, match="cannot connect to fake://one/db: down"):
            await db.replica(fallback=False).__aenter__()
        with pytest.raises(ConnectError, match="no replica is available"):
            await db.replica(fallback=False).__aenter__()


async def test_without_replicas_the_primary_is_read_from_by_a_connection_that_cannot_write():
    async with connected() as (db, fake):
        async with db.replica():
            await db.fetchval("select 1")
        assert [each.read_only for each in fake.connections] == [False, True]


async def test_a_replica_block_after_disconnect_is_refused():
    async with connected(replicas=TWO) as (db, _):
        await db.disconnect()
        with pytest.raises(PoolClosed, match="was disconnected"):
            await db.replica().__aenter__()
        await db.connect()


async def test_connect_opens_no_replica_before_it_is_needed():
    async with connected(replicas=TWO, min_size=2) as (db, fake):
        assert (fake.opens, [backend.opens for backend in db.replica_backends]) == (2, [0, 0])


async def test_ties_are_broken_by_chance(monkeypatch):
    async with connected(replicas=TWO) as (db, _):
        for chances, chosen in (([0.1, 0.9], 1), ([0.9, 0.1], 0)):
            monkeypatch.setattr(random, "random", iter(chances * 2).__next__)
            async with db.replica() as connection:
                assert db._replicas.own[chosen].pool is connection.pool


async def test_a_replica_without_a_free_connection_is_passed_over():
    async with connected(replicas=TWO[:1], max_size=1, timeout=0.02) as (db, _):
        async with db.replica() as one, db.replica() as two:
            assert (db._replicas.own[0].pool, db._replicas.fallback) == (one.pool, two.pool)
        assert db.stats()["replica-1"].timeouts == 1


async def test_without_fallback_a_busy_replica_is_a_pool_timeout():
    async with connected(replicas=TWO[:1], max_size=1, timeout=0.02) as (db, _), db.replica():
        with pytest.raises(PoolTimeout, match="fake://one/db has no free connection, and none can come back"):
            await db.replica(fallback=False).__aenter__()


async def test_a_failed_replica_gets_no_attempt_while_it_rests():
    async with connected(replicas=TWO[:1]) as (db, _):
        (replica,) = db.replica_backends
        replica.fail("connect", FakeError("down", ConnectError), times=9)
        for _ in range(3):
            async with db.replica():
                pass
        assert replica.attempts == 1


async def test_the_fallback_may_fail_too():
    async with connected(replicas=TWO[:1]) as (db, fake):
        for backend in (fake, db.replica_backends[0]):
            backend.fail("connect", FakeError("down", ConnectError))
        with pytest.raises(ConnectError, match="cannot connect to fake://server/db: down") as caught:
            await db.replica().__aenter__()
        [note] = caught.value.__notes__
        assert note.startswith("the primary was to stand in: cannot connect to fake://one/db: down")


async def test_an_init_that_fails_is_no_fault_of_the_replica():
    def init(raw):
        if raw.read_only:
            raise ZeroDivisionError

    async with connected(replicas=TWO, init=init) as (db, _):
        with pytest.raises(ZeroDivisionError):
            await db.replica().__aenter__()
        assert [replica.pool.connector.breaker.failures for replica in db._replicas.own] == [0, 0]


async def test_writes_are_refused_in_a_replica_block_but_not_in_a_connection_block_inside_of_it():
    async with connected(replicas=TWO) as (db, fake), db.replica():
        with pytest.raises(ReadOnlyError, match="a replica only reads"):
            await db.execute("insert 1")
        async with db.connection():
            await db.execute("insert 2")
        assert fake.sent == ["insert 2"]


async def test_a_stream_in_a_replica_block_reads_from_the_replica():
    async with connected(replicas=TWO[:1], exclusive_cursor=True) as (db, fake), db.replica():
        assert [row async for row in db.iterate("select 1")] == [("select 1",)]
        assert (fake.sent, "cursor select 1" in db.replica_backends[0].sent) == ([], True)
