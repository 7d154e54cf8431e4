"""A bad statement, and a call at a wrong time, get one clear sentence that never shows a value."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from aio_databases import ConfigurationError, InterfaceError, PoolClosed, ProgrammingError
from conformance.secrets_told import SECRET, everything_told
from loops import run

# Statements


@pytest.mark.targets(pooled=True)
async def test_parameters_that_do_not_match_are_told(users):
    for query, params, told in (
        ("select * from users where id = :id and name = :name", ({"id": 1, "nmae": SECRET},), (":name", ":nmae")),
        ("select * from users where id = :id", ({},), (":id",)),
        ("select * from users where id = :id", ({"id": 1, "more": SECRET},), (":more",)),
        ("select * from users where id = ? and name = ?", (1,), ("2", "1")),
        ("select * from users where id = ?", (1, SECRET), ("1", "2")),
        ("select * from users", (SECRET,), ("0", "1")),
    ):
        with pytest.raises(ProgrammingError) as caught:
            await users.fetchall(query, *params)
        assert all(words in str(caught.value) for words in told), str(caught.value)
        assert SECRET not in everything_told(caught.value)


@pytest.mark.targets(pooled=True)
@pytest.mark.parametrize("query", [None, 5, b"select 1", object()], ids=lambda query: type(query).__name__)
async def test_what_is_no_statement_is_refused(users, query):
    for verb in (users.fetchall, users.execute):
        with pytest.raises((ConfigurationError, InterfaceError, ProgrammingError)) as caught:
            await verb(query)
        assert type(query).__name__ in str(caught.value)


# Use at the wrong time or place


async def test_use_after_the_release_is_told(users, target):
    async with users.connection() as connection:
        pass
    transaction = connection.transaction()
    for use_it in (
        partial(connection.execute, "select 1"),
        partial(connection.executemany, "select ?", 1),
        partial(connection.fetchall, "select 1"),
        partial(connection.fetchone, "select 1"),
        partial(connection.fetchval, "select 1"),
        partial(connection.fetchmany, 1, "select 1"),
        partial(anext, connection.iterate("select 1")),
        transaction.start,
        lambda: connection.raw,
    ):
        with pytest.raises(
            InterfaceError, match=r"released.* was used after its release; use it inside its block"
        ) as caught:
            await use_it()
        assert "p%40ss" not in str(caught.value)
    assert not connection.is_ready
    assert await users.fetchval("select count(*) from users") == 3


@pytest.mark.targets(pooled=True)
async def test_use_after_disconnect_is_told(users):
    await users.disconnect()
    for use_it in (
        partial(users.execute, "select 1"),
        partial(users.fetchall, "select 1"),
        partial(anext, users.iterate("select 1")),
        users.connection().acquire,
        users.transaction().start,
        users.replica().__aenter__,
    ):
        with pytest.raises(PoolClosed, match=r"was disconnected; call connect\(\) before using it again"):
            await use_it()
    await users.connect()
    assert await users.fetchval("select 1") == 1


@pytest.mark.targets(pooled=True)
async def test_use_from_another_event_loop_is_told(users, target):
    async def use_elsewhere():
        for use_it in (partial(users.fetchval, "select 1"), users.connection().acquire, users.transaction().start):
            with pytest.raises(InterfaceError, match="belongs to another event loop") as caught:
                await use_it()
            assert "make a Database for each event loop" in str(caught.value)

    await anyio.to_thread.run_sync(partial(run, target.loop, use_elsewhere))
    assert await users.fetchval("select count(*) from users") == 3
