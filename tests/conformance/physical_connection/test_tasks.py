"""Tasks that share a database: groups of them, generators, threads, tasks that outlive their block, two databases."""

from __future__ import annotations

import asyncio
import gc
from contextvars import Context
from functools import partial

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from aio_databases import ConnectionBusy, Database, InterfaceError, TransactionError
from loops import run

pytestmark = pytest.mark.targets(pooled=True)

COUNT = "select count(*) from steps"


@pytest.fixture
async def steps(db):
    """Give a database with an empty table of steps."""
    await db.execute("create table steps (name varchar(20), step integer)")
    return db


async def write(db, name, *, fails=False):
    async with db.transaction():
        for step in (1, 2):
            await db.execute("insert into steps (name, step) values (:name, :step)", {"name": name, "step": step})
        if fails:
            raise ZeroDivisionError


async def write_and_survive(db, name, *, fails):
    try:
        await write(db, name, fails=fails)
    except ZeroDivisionError:
        assert fails


# Groups of tasks


async def test_children_of_a_transaction_are_part_of_it_and_nest_one_after_the_other(steps):
    async with steps.transaction() as transaction, anyio.create_task_group() as children:
        for number in range(8):
            children.start_soon(partial(write_and_survive, steps, f"{number}", fails=number % 2 == 1))
    assert transaction.connection is None or not transaction.is_active
    assert [f"{number}" for number in range(0, 8, 2) for _ in (1, 2)] == await steps.fetchall(
        "select name from steps order by name", into=str
    )


async def test_a_child_that_fails_takes_the_whole_transaction_along(steps):
    with pytest.raises(ExceptionGroup) as caught:
        async with steps.transaction(), anyio.create_task_group() as children:
            for number in range(4):
                children.start_soon(partial(write, steps, f"{number}", fails=number == 2))
    assert {ZeroDivisionError} == {type(leaf) for leaf in caught.value.exceptions}
    assert await steps.fetchval(COUNT) == 0


@pytest.mark.targets(loop={"asyncio", "uvloop"})
async def test_gather_and_task_groups_of_asyncio(steps):
    async with steps.transaction():
        await asyncio.gather(*(write(steps, f"{number}") for number in range(4)))
        async with asyncio.TaskGroup() as group:
            for number in range(4, 8):
                group.create_task(write(steps, f"{number}"))
        assert await steps.fetchval(COUNT) == 16
        raise_later = asyncio.gather(write(steps, "bad", fails=True), write(steps, "good"), return_exceptions=True)
        assert [ZeroDivisionError, type(None)] == [type(result) for result in await raise_later]
    assert await steps.fetchval(COUNT) == 18


@pytest.mark.targets(loop="trio")
async def test_nurseries_of_trio(steps):
    async with steps.transaction(), trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(write, steps, f"{number}")
    assert await steps.fetchval(COUNT) == 8


async def test_tasks_on_one_connection_get_the_answers_to_their_own_queries(db):
    answers = {}

    async def ask(number):
        answers[number] = await db.fetchval(f"select {number}")

    async with db.connection(), anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(ask, number)
    assert {number: number for number in range(30)} == answers


@pytest.mark.targets(loop={"asyncio", "uvloop"})
async def test_what_wait_for_waits_for_is_part_of_the_transaction(steps):
    async with steps.transaction():
        await asyncio.wait_for(write(steps, "a"), 10)
        assert await asyncio.wait_for(steps.fetchval(COUNT), 10) == 2
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hold_transaction(steps, asyncio.Event()), 0.02)
        assert await steps.fetchval(COUNT) == 2
    assert await steps.fetchval(COUNT) == 2


async def hold_transaction(db, event):
    async with db.transaction():
        await db.execute("insert into steps (name, step) values ('held', 1)")
        await event.wait()


async def test_a_wait_that_cannot_end_names_the_block_and_its_task(make_database):
    db = await make_database(timeout=0.05, debug=True)

    async def count():
        await ready.wait()
        with pytest.raises(ConnectionBusy, match="for a nested transaction, opened by task") as caught:
            await db.fetchval("select 1")
        notes.extend(caught.value.__notes__)
        answered.set()

    ready, answered, notes = anyio.Event(), anyio.Event(), []
    async with db.transaction(), anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        async with db.transaction():
            ready.set()
            await answered.wait()
    assert notes[0].endswith("async with db.transaction():")


# Tasks that go on


async def test_a_background_task_outlives_its_transaction(steps):
    ended, counts = anyio.Event(), []

    async def later():
        counts.append(await steps.fetchval(COUNT))
        await ended.wait()
        assert steps.current_conn is None
        counts.append(await steps.fetchval(COUNT))
        await write(steps, "late")

    async with anyio.create_task_group() as tasks:
        async with steps.transaction():
            await write(steps, "first")
            tasks.start_soon(later)
            while not counts:
                await anyio.lowlevel.checkpoint()
        ended.set()
    assert counts == [2, 2]
    assert await steps.fetchval(COUNT) == 4


@pytest.mark.targets(memory=False)
async def test_a_task_beside_a_transaction_never_slips_into_it(steps):
    begun, counted, counts = anyio.Event(), anyio.Event(), []

    async def beside():
        await begun.wait()
        counts.append(await steps.fetchval(COUNT))
        counted.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beside)
        async with steps.transaction():
            await write(steps, "unseen")
            begun.set()
            await counted.wait()
    assert counts == [0]


# Generators


async def numbers(db, count):
    async with db.transaction():
        for number in range(count):
            await db.execute("insert into steps (name, step) values ('generated', :n)", {"n": number})
            yield number


async def test_a_generator_may_hold_a_transaction(steps):
    async for number in numbers(steps, 3):
        assert number + 1 == await steps.fetchval(COUNT)  # the loop's body runs inside of the generator's block
    assert await steps.fetchval(COUNT) == 3
    assert steps.current_conn is None


async def test_a_generator_that_is_closed_early_rolls_back(steps):
    generator = numbers(steps, 3)
    assert await anext(generator) == 0
    await generator.aclose()
    assert await steps.fetchval(COUNT) == 0


async def test_a_generator_that_moves_to_another_task_ends_there(steps):
    generator = numbers(steps, 2)

    async def exhaust():
        assert [number async for number in generator] == [0, 1]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exhaust)
    assert await steps.fetchval(COUNT) == 2


@pytest.mark.targets(loop={"asyncio", "uvloop"})
async def test_a_generator_that_is_forgotten_gives_its_connection_back(steps):
    async def leave_early():
        async for number in numbers(steps, 3):
            if number == 1:
                break

    await asyncio.create_task(leave_early())
    gc.collect()
    with anyio.fail_after(10):
        while (stats := steps.stats()["primary"]).idle != stats.size:  # the event loop closes it some time
            await anyio.lowlevel.checkpoint()
    assert await steps.fetchval(COUNT) == 0


# Threads


async def test_a_call_that_comes_back_from_a_thread_is_part_of_the_transaction(steps):
    def work():
        anyio.from_thread.run(write, steps, "thread")
        return anyio.from_thread.run(steps.fetchval, COUNT)

    with pytest.raises(ZeroDivisionError):
        async with steps.transaction():
            assert await anyio.to_thread.run_sync(work) == 2
            raise ZeroDivisionError
    assert await steps.fetchval(COUNT) == 0


async def test_an_event_loop_in_a_thread_neither_sees_the_block_nor_gets_its_connections(db, target):
    async def inside():
        assert db.current_conn is None
        with pytest.raises(InterfaceError, match="belongs to another event loop"):
            await db.fetchval("select 1")
        with pytest.raises(InterfaceError, match="belongs to another event loop"):
            async with db.transaction():
                raise AssertionError
        return True

    async with db.connection() as connection, db.transaction():
        assert await anyio.to_thread.run_sync(partial(run, target.loop, inside))
        assert await connection.fetchval("select 1") == 1


# Two databases


async def test_blocks_of_two_databases_interleave(steps, make_database):
    other = await make_database()
    if steps.backend.shared:
        await other.execute("create table steps (name varchar(20), step integer)")
    async with steps.transaction() as outer, other.connection() as elsewhere:
        assert (steps.current_conn, other.current_conn) == (outer.connection, elsewhere)
        await write(steps, "a")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(steps.fetchval, COUNT)
            tasks.start_soon(other.fetchval, COUNT)
        assert (await steps.fetchval(COUNT), await other.fetchval(COUNT)) == (2, 0)
    assert await steps.fetchval(COUNT) == 2


# Policies


@pytest.mark.targets(memory=False)
async def test_isolated_tasks_have_connections_of_their_own(make_database):
    db = await make_database(child_tasks="isolate")
    await db.execute("create table steps (name varchar(20), step integer)")
    counts = []

    async def count():
        assert db.current_conn is None
        counts.append(await db.fetchval(COUNT))

    async with db.transaction():
        await write(db, "unseen")
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(count)
    assert counts == [0, 0, 0]


async def test_forbidden_transactions_are_refused_to_children(make_database):
    db = await make_database(child_tasks="forbid")
    await db.execute("create table steps (name varchar(20), step integer)")
    refused = []

    async def use():
        for call in (db.fetchval(COUNT), write(db, "bad")):
            with pytest.raises(
                TransactionError, match=r"task 'child' uses a transaction that task .* opened"
            ) as caught:
                await call
            refused.append(caught.value)

    async with db.transaction():
        await write(db, "good")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use, name="child")
    assert len(refused) == 2
    assert await db.fetchval(COUNT) == 2


async def test_a_child_that_is_forbidden_to_use_a_transaction_cannot_commit_it_either(make_database):
    db = await make_database(child_tasks="forbid")

    async def child():
        with pytest.raises(TransactionError, match="child_tasks='forbid'"):
            await transaction.commit()

    async with db.transaction() as transaction, anyio.create_task_group() as tasks:
        tasks.start_soon(child)
    assert transaction.state.value == "rolled back"


# Contexts


def test_a_program_whose_context_is_empty_keeps_its_blocks(target, url):
    """As `asyncio.run` gives it one, where nothing has set a context variable before."""

    async def main():
        async with Database(url, max_size=2) as db:
            await db.execute("create table kept (id integer primary key)")
            async with db.transaction() as transaction:
                await anyio.lowlevel.checkpoint()
                connection = db.current_conn
                for number in range(3):
                    await db.execute("insert into kept values (?)", number)
                    await anyio.sleep(0.001)
                    assert connection is db.current_conn
                await transaction.rollback()
            return await db.fetchval("select count(*) from kept")

    run = trio.run if target.loop == "trio" else lambda function: asyncio.run(function())
    assert Context().run(run, main) == 0
