"""Cancels every scenario at its k-th await, for every k, in every way a task can be cancelled.

Afterwards nothing is leased, no transaction is open, nobody waits, all that was written is whole, every connection of
the pool can be had and gives its own answers.  Runs on the scripted fake, which also notices misuse of a connection,
on SQLite and on PostgreSQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import TransactionState
from faults.cancelling import CURRENT, WAYS
from faults.sites import SIZE, FakeSite, SQLiteSite, site_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from aio_databases import Database

MOST_AWAITS = 300
"""No scenario has more; one that does never ends."""


# Scenarios


async def query(db: Database) -> None:
    """Run statements outside of any block."""
    assert await db.fetchval(own("own")) == "own"
    await db.execute(INSERT_TWO)


async def connection_block(db: Database) -> None:
    """Share a connection."""
    async with db.connection() as connection:
        assert await db.fetchval(own("a")) == "a"
        assert await connection.fetchval(own("b")) == "b"


async def transaction_block(db: Database) -> None:
    """Write in a transaction with a nested one, and one that rolls back."""
    async with db.transaction():
        await db.execute(INSERT_ONE)
        async with db.transaction() as nested:
            await db.execute(INSERT_ONE)
            await nested.rollback()
        async with db.transaction():
            await db.execute(INSERT_ONE)
        assert await db.fetchval(own("in")) == "in"


async def failing_transaction(db: Database) -> None:
    """Leave a transaction with an exception."""
    with pytest.raises(ZeroDivisionError):
        async with db.transaction():
            await db.execute(INSERT_ONE)
            raise ZeroDivisionError


async def transaction_by_hand(db: Database) -> None:
    """Start and commit without a block; who does so ends it himself when he is cancelled, be it lost or not."""
    transaction = db.transaction()
    try:
        await transaction.start()
        await db.execute(INSERT_TWO)
        await transaction.commit()
    finally:
        if transaction.state in {TransactionState.ACTIVE, TransactionState.FAILED}:
            await transaction.rollback(silent=True)


async def many(db: Database) -> None:
    """Write several rows with one call."""
    await db.executemany("insert into t (x) values ($1)", (1,), (2,))


async def full_iteration(db: Database) -> None:
    """Read a stream to its end, outside of a block and in a transaction."""
    async for row in db.iterate(own("row"), chunk_size=1):
        assert row[0] == "row"
    async with db.transaction():
        async for row in db.iterate(own("row"), chunk_size=1):
            assert row[0] == "row"


async def broken_off_iteration(db: Database) -> None:
    """Leave a stream early, with and without closing it."""
    async with db.connection():
        async for row in db.iterate(own("row"), chunk_size=1):
            assert row[0] == "row"
            break
        assert await db.fetchval(own("next")) == "next"
    async with db.iterate(own("row"), chunk_size=1) as stream:
        async for _ in stream:
            break


async def replica_block(db: Database) -> None:
    """Read from a replica, and from the primary inside of it."""
    async with db.replica():
        assert await db.fetchval(own("replica")) == "replica"
        async with db.transaction(readonly=True):
            assert await db.fetchval(own("in")) == "in"
        async with db.connection():
            await db.execute(INSERT_TWO)


async def lease(db: Database) -> None:
    """Acquire and release without a block."""
    connection = await db.connection().acquire()
    try:
        assert await connection.fetchval(own("mine")) == "mine"
        await connection.execute(CHANGES.get(db.backend.dialect, "set x = y"))
    finally:
        await connection.release()


async def full_pool(db: Database) -> None:
    """Wait for a connection while others hold all of them."""
    async with db.connection():
        assert await db.fetchval(own("late")) == "late"


async def siblings(db: Database) -> None:
    """Have tasks share a transaction."""
    async with db.transaction(), anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(nested_insert, db)


async def nested_insert(db: Database) -> None:
    """Write in a nested transaction."""
    async with db.transaction():
        await db.execute(INSERT_ONE)


async def reopening(db: Database) -> None:
    """Disconnect and connect."""
    await db.disconnect()
    await db.connect()
    assert await db.fetchval(own("again")) == "again"


CHANGES = {"sqlite": "pragma query_only = off", "postgresql": "set search_path = public", "mysql": "set @mine = 7"}
"""Statements that change the session, so that it is reset."""

SCENARIOS = (
    query,
    connection_block,
    transaction_block,
    failing_transaction,
    transaction_by_hand,
    many,
    full_iteration,
    broken_off_iteration,
    replica_block,
    lease,
    full_pool,
    siblings,
    reopening,
)
INSERT_ONE = "insert into t (x) values (1)"
INSERT_TWO = "insert into t (x) values (1), (2)"


def own(text: str) -> str:
    """Return a query whose answer tells which query it was."""
    return f"select '{text}'"


@pytest.fixture
def fake_site() -> FakeSite:
    return FakeSite()


@pytest.fixture
def server_site(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    site = site_of(driver, request, tmp_path / "test.db")
    yield site
    site.remove()


# The test itself


async def sweep(site: Any, scenario: Callable[[Database], Coroutine[Any, Any, None]], way: str) -> None:
    """Cancel `scenario` at its first await, its second, and so on until it ends before its k-th."""
    cancel, awaits = WAYS[way]
    CURRENT.reopens = scenario is reopening
    for k in range(1, MOST_AWAITS):
        db = CURRENT.db = site.make()
        async with anyio.create_task_group() as others:
            await db.connect()
            if scenario is full_pool:
                await others.start(hold_all, db, k % 4)
            outcome = await cancel(scenario(db), awaits(k))
        await recovered(db, site)
        if not outcome.reached:
            assert outcome.ended, f"{scenario.__name__} did not reach await {k}, nor its end"
            assert k > 1 or site.hardly_waits
            return
    pytest.fail(f"{scenario.__name__} has more than {MOST_AWAITS} awaits")


async def hold_all(db: Database, awaits: int, *, task_status: Any) -> None:
    """Hold every connection until a task waits for one, and `awaits` awaits longer."""
    async with db.connection(), db.connection():
        task_status.started()
        for _ in range(50):
            await checkpoint()
            if db.stats()["primary"].waiting:
                break
        for _ in range(awaits):
            await checkpoint()


async def recovered(db: Database, site: Any) -> None:
    """Fail unless the database is as good as new."""
    with anyio.fail_after(10):
        for pool in (db._pool, *db._replicas.pools):
            assert pool.lent == 0, pool
            assert pool.stats.waiting == 0, pool
        site.check(db)
        if db.is_connected or db._pool.is_closed:
            await db.connect()
        leases = [await db.connection().acquire() for _ in range(SIZE)]
        for number, connection in enumerate(leases):
            assert f"after {number}" == await connection.fetchval(own(f"after {number}"))
            assert not connection.driver.in_transaction
        for connection in leases:
            await connection.release()
        async with db.transaction():
            await db.execute(INSERT_TWO)
        await db.disconnect()
    site.close(db)


LOOPS_AND_WAYS = [*(("asyncio", way) for way in WAYS), ("trio", "scope")]


@pytest.mark.parametrize(("anyio_backend", "way"), LOOPS_AND_WAYS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_fake_recovers_from_a_cancellation_at_every_await(fake_site, scenario, way, anyio_backend):
    await sweep(fake_site, scenario, way)


@pytest.mark.parametrize(
    ("anyio_backend", "scheme", "way"),
    [*((loop, "sqlite", way) for loop, way in LOOPS_AND_WAYS), *(("asyncio", "aiosqlite", way) for way in WAYS)],
)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_sqlite_file_recovers_from_a_cancellation_at_every_await(scheme, scenario, way, tmp_path, anyio_backend):
    await sweep(SQLiteSite(scheme, tmp_path / "test.db"), scenario, way)


@pytest.mark.parametrize(
    ("anyio_backend", "scheme", "way"),
    [("asyncio", "sqlite", "task-twice"), ("trio", "sqlite", "scope"), ("asyncio", "aiosqlite", "task-twice")],
)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_sqlite_in_memory_recovers_from_a_cancellation_at_every_await(scheme, scenario, way, anyio_backend):
    await sweep(SQLiteSite(scheme, None), scenario, way)


DRIVERS = [
    *(("asyncio", scheme, way) for scheme in ("asyncpg", "psycopg", "asyncmy") for way in WAYS),
    *(("asyncio", scheme, way) for scheme in ("aiopg", "aiomysql", "pymysql") for way in ("task-twice", "scope")),
    *(("trio", scheme, "scope") for scheme in ("psycopg", "pymysql", "trio-mysql")),
    *(("asyncio", f"aioodbc+{kind}", "task-twice") for kind in ("sqlite", "postgresql", "mysql")),
    *(("trio", f"pyodbc+{kind}", "scope") for kind in ("sqlite", "postgresql", "mysql")),
]


@pytest.mark.server
@pytest.mark.parametrize(("anyio_backend", "driver", "way"), DRIVERS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_a_driver_recovers_from_a_cancellation_at_every_await(server_site, scenario, way, anyio_backend):
    await sweep(server_site, scenario, way)
