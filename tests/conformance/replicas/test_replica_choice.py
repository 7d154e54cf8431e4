"""Which replica a block reads from, and who stands in for one that is not there."""

from __future__ import annotations

import logging
import socket

import anyio
import pytest

from aio_databases import ConnectError, ConnectionLost, PoolClosed, PoolTimeout, ReadOnlyError
from aio_databases.pool import breaker
from conformance.addresses import placed, with_option

INSERT = "insert into users (id, name) values (4, 'Dan')"
COUNT = "select count(*) from users"
OURS = "a replica only reads"


@pytest.fixture
def broken(target, url):
    """Give the URL of a replica that is not there, with a password where URLs have one."""
    if target.dialect == "sqlite":
        yield url.replace("test.db", "missing/replica.db")
        return
    with socket.socket() as refusing:  # bound, but it does not listen
        refusing.bind(("127.0.0.1", 0))
        yield placed(url, password="hunter2", host="127.0.0.1", port=refusing.getsockname()[1])


@pytest.mark.targets(memory=False)
async def test_the_replica_with_the_fewest_leases_is_taken(users, make_database, url):
    database = await make_database(replicas=[url, url, url])
    async with database.replica(), database.replica(), database.replica():
        sizes = {name: stats.size for name, stats in database.stats().items() if "replica" in name}
    assert sizes == {"replica-1": 1, "replica-2": 1, "replica-3": 1}


@pytest.mark.targets(memory=False, pooled=True)
async def test_among_replicas_without_leases_chance_decides(users, make_database, url):
    database = await make_database(replicas=[url, url])
    for _ in range(30):
        async with database.replica():
            pass
    assert [stats.opened for name, stats in database.stats().items() if "replica" in name] == [1, 1]


async def test_without_replicas_the_primary_is_read_and_still_cannot_be_written(users):
    async with users.replica() as connection:
        assert await users.fetchval(COUNT) == 3
        with pytest.raises(ReadOnlyError, match=OURS):
            await users.execute(INSERT)
        connection.read_only = False  # our own fences are down
        with pytest.raises(ReadOnlyError):
            await connection.execute(INSERT)


async def test_without_replicas_and_fallback_there_is_nothing_to_read_from(users):
    with pytest.raises(ConnectError, match="none is configured"):
        async with users.replica(fallback=False):
            pass
    assert users.current_conn is None


@pytest.mark.targets(memory=False)
async def test_a_replica_that_is_not_there_is_replaced_by_the_primary(users, make_database, broken, caplog):
    database = await make_database(replicas=[broken])
    with caplog.at_level(logging.DEBUG):
        async with database.replica() as connection:
            assert await database.fetchval(COUNT) == 3
            with pytest.raises(ReadOnlyError, match=OURS):
                await database.execute(INSERT)
            connection.read_only = False  # our own fences are down
            with pytest.raises(ReadOnlyError):
                await connection.execute(INSERT)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    assert "left alone" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.targets(memory=False)
async def test_a_replica_that_is_not_there_is_an_error_without_fallback(users, make_database, broken):
    database = await make_database(replicas=[broken])
    for told in ("cannot connect to", "all failed recently"):
        with pytest.raises(ConnectError, match=told) as caught:
            async with database.replica(fallback=False):
                pass
        assert "hunter2" not in str(caught.value)
    assert await database.fetchval(COUNT) == 3


@pytest.mark.targets(memory=False)
async def test_another_replica_stands_in_first(users, make_database, url, broken):
    database = await make_database(replicas=[broken, url, broken])
    for _ in range(5):
        async with database.replica(fallback=False):
            assert await database.fetchval(COUNT) == 3
    stats = database.stats()
    assert tuple(stats[name].opened for name in ("replica-1", "replica-3", "fallback")) == (0, 0, 0)


@pytest.mark.targets(memory=False, pooled=True)
async def test_a_replica_that_failed_is_left_alone_for_a_while(users, make_database, broken, caplog, monkeypatch):
    database = await make_database(replicas=[broken])
    now = [0.0]
    monkeypatch.setattr(breaker, "monotonic", lambda: now[0])
    monkeypatch.setattr(breaker.random, "uniform", lambda *_: 1.0)
    tries = []
    for now[0] in (1000.0, 1000.1, 1004.9, 1005.1, 1006.0):
        caplog.clear()
        async with database.replica():
            assert await database.fetchval(COUNT) == 3
        tries.append("left alone" in caplog.text)
    assert tries == [True, False, False, True, False]


@pytest.mark.targets(memory=False)
async def test_a_replica_without_a_free_connection_is_replaced(users, make_database, url):
    database = await make_database(replicas=[with_option(url, "max_size=1&timeout=0.05")])
    async with database.replica():
        with pytest.raises(PoolTimeout):
            async with database.replica(fallback=False):
                pass
        async with database.replica():
            assert await database.fetchval(COUNT) == 3
            assert database.stats()["fallback"].size == 1


@pytest.mark.targets(memory=False)
async def test_a_replica_that_is_lost_is_told(replicated):
    async with replicated.replica() as connection:
        connection.driver.terminate()
        with anyio.fail_after(5), pytest.raises(ConnectionLost):
            await replicated.fetchval(COUNT)
    async with replicated.replica():
        assert await replicated.fetchval(COUNT) == 3


@pytest.mark.targets(pooled=True)
async def test_after_disconnect_a_block_is_refused(replicated):
    await replicated.disconnect()
    with pytest.raises(PoolClosed, match="disconnected"):
        async with replicated.replica():
            pass
    await replicated.connect()
