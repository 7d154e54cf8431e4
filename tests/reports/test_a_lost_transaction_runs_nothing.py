"""Statements of a transaction that was lost with its connection never run in autocommit on the one that replaces it.

A hostile test: with ``reconnect=True`` the rest of a transaction ran on the new connection, and was committed at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aio_databases import ConnectError, ConnectionLost, TransactionError
from aio_databases.testing.fake_driver import LinkError, connected

if TYPE_CHECKING:
    from aio_databases import Connection, Database


async def stream(place: Any) -> list[Any]:
    return [row async for row in place.iterate("insert 3")]


async def raw(place: Database | Connection) -> Any:
    return place.raw if hasattr(place, "raw") else place.current_conn.raw


async def transaction(place: Any) -> None:
    async with place.transaction():
        await place.execute("insert 3")


VERBS = {
    "execute": lambda place: place.execute("insert 3"),
    "executemany": lambda place: place.executemany("insert 3", (), ()),
    "fetchall": lambda place: place.fetchall("insert 3"),
    "fetchval": lambda place: place.fetchval("insert 3"),
    "iterate": stream,
    "raw": raw,
    "transaction": transaction,
}


async def lose(connection, fake, how):
    """Lose the connection, or replace it by hand."""
    if how == "reconnect()":
        await connection.reconnect()
        return
    fake.drop("insert 2")
    if how == "away":
        fake.fail("connect", LinkError("still away"))
    with pytest.raises(ConnectionLost):
        await connection.execute("insert 2")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("how", ["lost", "away", "reconnect()"])
@pytest.mark.parametrize("by_hand", [False, True], ids=["block", "start"])
@pytest.mark.parametrize("place", ["db", "connection"])
async def test_no_verb_runs_until_the_transaction_has_ended(verb, how, by_hand, place):
    async with connected() as (db, fake), db.connection(reconnect=True) as connection:
        run = VERBS[verb]
        where = db if place == "db" else connection
        lost = db.transaction()
        if by_hand:
            await lost.start()
            await lose(connection, fake, how)
            for _ in range(2):
                with pytest.raises(TransactionError):
                    await run(where)
            with pytest.raises(TransactionError):
                await lost.commit()
        else:
            with pytest.raises(TransactionError):
                async with lost:
                    await lose(connection, fake, how)
                    for _ in range(2):
                        with pytest.raises(TransactionError):
                            await run(where)
        assert "insert 3" not in " ".join(fake.sent)
        if how == "away":
            await connection.acquire()
        await run(where)


async def test_a_child_task_whose_transaction_was_rolled_back_around_it_runs_nothing():
    async with connected() as (db, fake), db.connection() as connection, anyio.create_task_group() as tasks:
        begun, ended = anyio.Event(), anyio.Event()

        async def child() -> None:
            with pytest.raises(TransactionError, match="the transaction around it was rolled back"):
                async with db.transaction():
                    begun.set()
                    await ended.wait()
                    with pytest.raises(TransactionError, match="the transaction around it was rolled back"):
                        await connection.execute("insert 3")

        async with db.transaction() as outer:
            tasks.start_soon(child)
            await begun.wait()
            await outer.rollback()
            ended.set()
    assert "insert 3" not in fake.sent


@pytest.mark.parametrize("verb", VERBS)
async def test_a_connection_that_could_not_be_replaced_at_once_is_replaced_by_whatever_needs_it(verb):
    """Only plain statements did so; transactions, streams and others failed for the rest of the block."""
    async with connected() as (db, fake), db.connection(reconnect=True) as connection:
        for place in (db, connection):
            await lose(connection, fake, "away")
            if verb == "raw":
                with pytest.raises(ConnectionLost, match=r"not replaced yet: run a statement, or await"):
                    _ = connection.raw
                await connection.acquire()
            await VERBS[verb](place)
            assert connection.is_ready
        await lose(connection, fake, "away")
        await db.run_transaction(db.execute, "insert 4")
        fake.fail("connect", LinkError("away again"))
        fake.drop("insert 5")
        with pytest.raises(ConnectionLost):
            await connection.execute("insert 5")
        fake.fail("connect", LinkError("away again"))
        with pytest.raises(ConnectError):
            await VERBS["transaction"](db)
        await VERBS["transaction"](db)


@pytest.mark.targets(pooled=True, memory=False, loop={"asyncio", "trio"})
@pytest.mark.parametrize("by_hand", [False, True], ids=["block", "start"])
async def test_nothing_of_a_lost_transaction_is_committed(make_database, by_hand):
    db = await make_database()
    await db.execute("create table t (a integer)")
    async with db.connection(reconnect=True) as connection:

        async def body() -> None:
            await connection.execute("insert into t values (1)")
            connection.driver.terminate()
            with pytest.raises(ConnectionLost):
                await connection.execute("insert into t values (2)")
            with pytest.raises(TransactionError):
                await connection.execute("insert into t values (3)")
            with pytest.raises(TransactionError):
                await db.execute("insert into t values (4)")

        if by_hand:
            lost = await db.transaction().start()
            await body()
            with pytest.raises(TransactionError):
                await lost.commit()
        else:
            with pytest.raises(TransactionError):
                async with db.transaction():
                    await body()
        await db.execute("insert into t values (5)")
    assert await db.fetchall("select a from t") == [(5,)]
