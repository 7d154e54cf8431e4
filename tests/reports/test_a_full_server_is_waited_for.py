"""A server that has no room for another connection is waited for, if the pool has some that come back (our tests)."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import ConnectError, PoolTimeout
from aio_databases.testing.fake_driver import FakeError, connected, make_database


class Full(FakeError):
    """What PostgreSQL says when all its connections are taken."""

    sqlstate = "53300"

    def __init__(self):
        super().__init__("sorry, too many clients already", ConnectError)


LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])


@LOOPS
async def test_tasks_wait_in_line_for_the_connections_that_the_pool_has(loop):
    async with connected(max_size=10) as (db, fake):
        fake.fail("connect", Full, times=float("inf"))
        got = []

        async def use(number):
            async with db.connection() as connection:
                got.append(await connection.fetchval(f"select {number}"))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(use, number)
        assert {f"select {number}" for number in range(20)} == set(got)
        assert fake.opens == 1
        assert fake.attempts <= 21  # each task has tried once at most


@LOOPS
async def test_the_wait_is_limited_and_says_what_is_full(loop):
    async with connected(timeout=0.05) as (db, fake):
        fake.fail("connect", Full, times=float("inf"))
        release = anyio.Event()

        async def hold():
            async with db.connection():
                await release.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(PoolTimeout, match="or raise the limit of the server, which has no room") as caught:
                await db.fetchval("select 1")
            assert isinstance(caught.value.__cause__, ConnectError)
            release.set()


async def test_a_pool_without_connections_fails_at_once():
    db = make_database()
    db.backend.fail("connect", Full, times=float("inf"))
    with pytest.raises(ConnectError, match="too many clients"):
        await db.connect()
    failures = []

    async def fail():
        try:
            await db.fetchval("select 1")
        except ConnectError as exc:
            failures.append(exc)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(fail)
    assert len(failures) == 5
    assert db.stats()["primary"].size == 0


async def test_a_connection_is_opened_again_when_the_server_has_room():
    async with connected(max_size=3) as (db, fake), anyio.create_task_group() as tasks:
        release = anyio.Event()

        async def hold():
            async with db.connection():
                await release.wait()

        fake.fail("connect", Full)
        tasks.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(db.fetchval, "select 1")
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(2):
            await db.fetchval("select 2")
        assert fake.opens == 2
        release.set()


async def test_a_task_that_has_all_there_are_is_told_that_the_server_is_full():
    async with connected(timeout=20) as (db, fake), db.connection():
        fake.fail("connect", Full)
        with anyio.fail_after(2), pytest.raises(ConnectError, match="too many clients"):
            await db.connection().acquire()
