"""A COMMIT whose answer never comes: nobody knows what became of it, it is sent once, and nothing is half done."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import CommitUncertainError, ConnectionLost, TransactionState
from faults.stage import INSERT, SECONDS, recovered, wait_until
from servers.proxy import BLACKHOLE, CUT, LOSE_ANSWERS, RESET, on, on_answer

IMPATIENT = {"commit_timeout": 0.3, "cleanup_timeout": 0.3}

ARRIVES = {
    "the link is closed": on(b"COMMIT", then=on_answer(CUT)),
    "the answer is lost": on(b"COMMIT", then=LOSE_ANSWERS),
}
IS_LOST = {
    "the link is reset": on(b"COMMIT", then=RESET, before=True),
    "nothing gets through any more": on(b"COMMIT", then=BLACKHOLE, before=True),
}


def parametrized(modes):
    return pytest.mark.parametrize("mode", modes.values(), ids=[name.replace(" ", "-") for name in modes])


async def commit_without_an_answer(stage, db):
    """Insert two rows in one transaction, with and without a nested one, and return what its COMMIT ended with."""
    with anyio.fail_after(SECONDS), pytest.raises(CommitUncertainError) as caught:
        async with db.transaction() as transaction:
            await db.execute(INSERT)
            async with db.transaction():
                await db.execute(INSERT)
    assert TransactionState.FAILED is transaction.state
    assert not caught.value.retryable
    return caught.value


@parametrized(ARRIVES)
async def test_a_commit_that_arrives_is_uncertain_and_done_once(stage, mode, tell):
    db = await stage.database(**IMPATIENT).connect()
    stage.proxy.mode = mode
    tell("COMMIT arrives, its answer is lost", await commit_without_an_answer(stage, db))
    assert stage.proxy.fired <= 2, "COMMIT was sent again"
    stage.heal()
    await stage.wait_until_settled()
    assert stage.count == 2
    await recovered(db)


@parametrized(IS_LOST)
async def test_a_commit_that_is_lost_is_uncertain_and_not_done(stage, mode, tell):
    db = await stage.database(**IMPATIENT).connect()
    stage.proxy.mode = mode
    tell("COMMIT is lost on its way", await commit_without_an_answer(stage, db))
    assert stage.proxy.fired == 1, "COMMIT was sent again"
    stage.heal()
    await stage.wait_until_settled()
    assert stage.count == 0
    await recovered(db)


async def test_a_commit_on_a_link_that_has_broken_is_not_done(stage, client, tell):
    db = await stage.database(**IMPATIENT).connect()
    with anyio.fail_after(SECONDS), pytest.raises(ConnectionLost) as caught:
        async with db.connection() as connection, db.transaction():
            await db.execute(INSERT)
            stage.proxy.strike(RESET)
            if not client.odbc:  # which shows no socket
                await wait_until(connection.driver.has_hung_up)
    tell("link breaks before COMMIT", caught.value)
    await stage.wait_until_settled()
    assert stage.count == 0
    await recovered(db)


async def test_a_statement_whose_answer_is_lost_is_done_once_and_never_again(stage):
    db = await stage.database(**IMPATIENT).connect()
    await db.execute(INSERT)  # so that libraries which prepare statements have done so
    stage.proxy.strike(LOSE_ANSWERS)
    with anyio.fail_after(SECONDS):
        with anyio.move_on_after(0.3) as scope:
            await db.execute(INSERT)
        assert scope.cancelled_caught
        assert await stage.database().fetchval("select count(*) from t") in {1, 2}
    stage.heal()
    await stage.wait_until_settled()
    assert stage.count == 2
    await recovered(db)
