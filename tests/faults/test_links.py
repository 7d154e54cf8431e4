"""A link that breaks: in the pool, in a statement, in a result, in a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aio_databases import CommitUncertainError, ConnectError, ConnectionLost, TransactionError
from faults.outcomes import ONCE
from faults.stage import INSERT, SECONDS, recovered, recovered_from_idleness
from servers.proxy import CUT, RESET, Way, on

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.stage import Stage

WAYS: dict[str, Callable[[Stage], None]] = {
    "closed": lambda stage: stage.proxy.strike(CUT),
    "reset": lambda stage: stage.proxy.strike(RESET),
    "ended by the administrator": lambda stage: stage.end_sessions(),
}
"""How all links there are break at once."""

every_way = pytest.mark.parametrize("breaks", WAYS.values(), ids=[name.replace(" ", "-") for name in WAYS])


@every_way
async def test_in_the_pool_it_is_told_once_or_not_at_all(stage, breaks, happened):
    pools = await stage.full_pools()
    breaks(stage)
    await recovered_from_idleness(pools)
    happened("idle connections break", ONCE)


@every_way
async def test_in_a_statement(stage, breaks, tell):
    db = await stage.database().connect()

    async def wait() -> None:
        with pytest.raises(ConnectionLost) as caught:
            await db.fetchval(stage.words.sleep)
        tell("link breaks in a statement", caught.value)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await stage.wait_until_asleep()
            breaks(stage)
    await recovered(db)


@pytest.mark.parametrize(("mode", "streamed"), [(CUT, True), (RESET, False)], ids=["stream-closed", "list-reset"])
async def test_in_a_result(stage, mode, streamed, tell):
    db = await stage.database().connect()
    stage.proxy.mode = on(b"row-15000", mode, Way.ANSWERS, before=True)
    rows: list[Any] = []
    with anyio.fail_after(SECONDS), pytest.raises(ConnectionLost) as caught:
        if streamed:
            async for row in db.iterate(stage.words.rows, chunk_size=1000):
                rows.append(row)  # noqa: PERF401 - those that came are looked at
        else:
            await db.fetchall(stage.words.rows)
    assert rows == [(f"row-{number}",) for number in range(1, len(rows) + 1)]
    assert len(rows) < 15_000
    tell("link breaks in a result", caught.value)
    stage.heal()
    await recovered(db)


@every_way
async def test_in_a_transaction(stage, breaks, tell):
    db = await stage.database().connect()
    with anyio.fail_after(SECONDS):
        with pytest.raises(ConnectionLost) as caught:
            async with db.transaction():
                await db.execute(INSERT)
                breaks(stage)
                await db.execute(INSERT)
        assert not isinstance(caught.value, CommitUncertainError)
        tell("link breaks in a transaction", caught.value)
        with pytest.raises(TransactionError):
            async with db.transaction():
                await db.execute(INSERT)
                breaks(stage)
                with pytest.raises(ConnectionLost):
                    await db.execute(INSERT)
                await db.execute(INSERT)  # in a transaction that is gone nothing runs
    await stage.wait_until_settled()
    assert stage.count == 0
    await recovered(db)


async def test_in_a_crowd_everything_that_was_committed_is_there_once_and_nothing_else(stage):
    db = await stage.database(check_after=0).connect()
    committed, uncertain, failed = [], [], []

    async def insert(number: int) -> None:
        try:
            async with db.transaction():
                await db.execute("insert into t (x) values (?)", number)
                await db.execute("insert into t (x) values (?)", -number)
        except CommitUncertainError:
            uncertain.append(number)
        except (ConnectionLost, ConnectError):
            failed.append(number)
        else:
            committed.append(number)

    with anyio.fail_after(2 * SECONDS):
        async with anyio.create_task_group() as tasks:
            for number in range(1, 101):
                tasks.start_soon(insert, number)
                if not number % 10:
                    await anyio.sleep(0.005)
                    stage.proxy.strike(RESET)
    await stage.wait_until_settled()
    there = [row[0] for row in stage.ask("select x from t")]
    assert len(there) == len(set(there))
    found = {number for number in there if number > 0}
    assert {-number for number in found} == {number for number in there if number < 0}
    assert set(committed) <= found <= {*committed, *uncertain}
    assert committed
    assert failed
    await recovered(db)
