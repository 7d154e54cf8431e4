"""Cancels transactions with hooks, timeouts and retries at every await: each hook is called as often as it is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import DeadlockDetected, TransactionState
from aio_databases.testing.fake_driver import FakeError, script_of
from faults.cancelling import CURRENT, WAYS
from faults.sites import FakeSite, site_of
from faults.test_cancellation import INSERT_ONE, INSERT_TWO, LOOPS_AND_WAYS, MOST_AWAITS, recovered

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from aio_databases import Database, Transaction


class Fates:
    """What became of transactions, as their hooks tell it."""

    def __init__(self) -> None:
        self.told: list[tuple[Transaction, list[str]]] = []

    def register(self, db: Database, transaction: Transaction) -> None:
        """Register hooks that tell, and between them one that waits and one that fails."""
        told: list[str] = []
        self.told.append((transaction, told))
        transaction.on_commit(self.wait, db)
        transaction.on_rollback(self.wait, db)
        transaction.on_commit(told.append, "committed")
        transaction.on_rollback(told.append, "rolled back")

    async def wait(self, db: Database) -> None:
        """Use the database."""
        await checkpoint()
        await db.execute(INSERT_TWO)

    def verify(self) -> None:
        """Fail unless each was told once, and as it was."""
        for transaction, told in self.told:
            assert transaction.state in _FATES, transaction
            assert _FATES[transaction.state] == told, transaction

    @property
    def committed(self) -> int:
        """The number of transactions that were committed."""
        return sum(told == ["committed"] for _, told in self.told)


_FATES = {
    TransactionState.COMMITTED: ["committed"],
    TransactionState.ROLLED_BACK: ["rolled back"],
    TransactionState.FAILED: ["rolled back"],
}


@pytest.fixture
def site(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Give the database of a driver."""
    site = site_of(driver, request, tmp_path / "test.db")
    yield site
    site.remove()


# Scenarios


async def committing(db: Database, fates: Fates) -> None:
    """Commit at the end of a block."""
    async with db.transaction() as transaction:
        fates.register(db, transaction)
        await db.execute(INSERT_TWO)
    assert fates.committed == 1


async def failing(db: Database, fates: Fates) -> None:
    """Leave a block by an exception."""
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as transaction:
            fates.register(db, transaction)
            await db.execute(INSERT_ONE)
            raise ZeroDivisionError


async def ending_by_hand(db: Database, fates: Fates) -> None:
    """Commit and roll back in a block."""
    async with db.connection():
        for end in ("commit", "rollback"):
            async with db.transaction() as transaction:
                fates.register(db, transaction)
                await db.execute(INSERT_TWO)
                await getattr(transaction, end)()


async def nesting_in_time(db: Database, fates: Fates) -> None:
    """Nest transactions that have a timeout."""
    async with db.transaction(timeout=60) as outer:
        async with db.transaction(timeout=60) as nested:
            await db.execute(INSERT_ONE)
            outer.on_commit(checkpoint)
            nested.on_commit(checkpoint)
        await db.execute(INSERT_ONE)
        fates.register(db, outer)


async def running_out_of_time(db: Database, fates: Fates) -> None:
    """Be cancelled by a timeout as well."""
    try:
        async with db.transaction(timeout=0.001) as transaction:
            fates.register(db, transaction)
            await db.execute(INSERT_ONE)
            await anyio.sleep_forever()
    except TimeoutError:
        pass


async def running_again(db: Database, fates: Fates) -> None:
    """Fail twice before it works."""
    tries = []

    async def work() -> None:
        tries.append(1)
        fates.register(db, db.current_transaction)
        await db.execute(INSERT_TWO)
        if len(tries) < 3:
            raise DeadlockDetected

    try:
        await db.run_transaction(work, backoff=0)
    finally:
        assert fates.committed <= 1
    assert (len(tries), fates.committed) == (3, 1)


SCENARIOS = (committing, failing, ending_by_hand, nesting_in_time, running_out_of_time, running_again)


async def sweep(site: Any, scenario: Callable[[Database, Fates], Coroutine[Any, Any, None]], way: str) -> None:
    """Cancel `scenario` at its first await, its second, and so on until it ends before its k-th."""
    cancel, awaits = WAYS[way]
    CURRENT.reopens = False
    for k in range(1, MOST_AWAITS):
        db = CURRENT.db = await site.make().connect()
        fates = Fates()
        outcome = await cancel(scenario(db, fates), awaits(k))
        fates.verify()
        await recovered(db, site)
        if not outcome.reached:
            assert outcome.ended
            assert k > 1 or site.hardly_waits
            return
    pytest.fail(f"{scenario.__name__} has more than {MOST_AWAITS} awaits")


@pytest.mark.parametrize(("anyio_backend", "way"), LOOPS_AND_WAYS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_hooks_of_the_fake_tell_the_truth_after_a_cancellation_at_every_await(scenario, way, anyio_backend):
    await sweep(FakeSite(), scenario, way)


@pytest.mark.parametrize(
    ("anyio_backend", "driver", "way"),
    [
        ("asyncio", "sqlite", "task-twice"),
        ("trio", "sqlite", "scope"),
        pytest.param("asyncio", "asyncpg", "task", marks=pytest.mark.server),
        pytest.param("asyncio", "asyncmy", "scope", marks=pytest.mark.server),
        pytest.param("trio", "psycopg", "scope", marks=pytest.mark.server),
    ],
)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_hooks_tell_the_truth_after_a_cancellation_at_every_await(site, scenario, way, anyio_backend):
    await sweep(site, scenario, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancelled_retry_never_commits_twice(way, anyio_backend):
    """Here it is COMMIT that fails first."""
    cancel, awaits = WAYS[way]
    for k in range(1, MOST_AWAITS):
        db = CURRENT.db = await FakeSite().make().connect()
        script = script_of(db)
        script.fail("COMMIT", FakeError("met another one", DeadlockDetected), ends_transaction=True)
        outcome = await cancel(db.run_transaction(db.execute, INSERT_TWO, backoff=0), awaits(k))
        assert script.sent.count("COMMIT") <= 2, "one that failed, and one that did not"
        script._rules.clear()
        await recovered(db, FakeSite())
        if not outcome.reached:
            assert outcome.ended
            return
    pytest.fail("it has too many awaits")
