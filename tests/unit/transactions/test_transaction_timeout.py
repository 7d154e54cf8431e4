"""The timeout of transaction blocks on the scripted driver: what it cuts, what it leaves alone, and what is raised."""

from __future__ import annotations

import asyncio
import pickle
import types
from time import sleep

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import (
    ConfigurationError,
    InterfaceError,
    OperationalError,
    TransactionError,
    TransactionState,
    TransactionTimeout,
)
from aio_databases.testing.fake_driver import connected

SHORT = 0.2
"""Seconds: enough to begin a transaction on a machine that has much to do."""


class Boom(Exception):
    """The user's own exception."""


def too_long(seconds=60):
    return pytest.raises(TransactionTimeout, match=f"longer than its timeout of {seconds:g} s")


def expire(transaction):
    """Let the time of a block be over now."""
    transaction.deadline._scope.deadline = anyio.current_time()


async def expire_at(gate, transaction):
    """Let the time be over when an operation has come to its gate, and open that much later."""
    await gate.reached()
    expire(transaction)
    for _ in range(20):
        await checkpoint()
    gate.open()


# What is cut


async def test_time_passes():
    async with connected() as (db, _):
        with too_long(0.01):
            async with db.transaction(timeout=0.01):
                await anyio.sleep_forever()
        assert (db._pool.lent, db.current_conn) == (0, None)


async def test_a_block_that_takes_too_long_is_cancelled_and_rolled_back():
    async with connected() as (db, fake), anyio.create_task_group() as tasks:
        gate = fake.wait("select slow")
        with too_long():
            async with db.transaction(timeout=60) as transaction:
                tasks.start_soon(expire_at, gate, transaction)
                await db.fetchval("select slow")
        assert fake.sent == ["BEGIN", "select slow", "settle", "ROLLBACK"]
        assert (transaction.state, db._pool.lent, db.current_conn) == (TransactionState.ROLLED_BACK, 0, None)
        assert await db.fetchval("select 1") == "select 1"


async def test_waiting_for_a_connection_counts():
    async with connected(max_size=1) as (db, fake), anyio.create_task_group() as tasks:
        transaction = db.transaction(create=True, timeout=60)
        taken, over = anyio.Event(), anyio.Event()

        async def hold():
            async with db.connection():
                taken.set()
                await over.wait()

        async def expire_when_it_waits():
            while not db.stats()["primary"].waiting:
                await checkpoint()
            expire(transaction)

        tasks.start_soon(hold)
        await taken.wait()
        tasks.start_soon(expire_when_it_waits)
        with too_long():
            async with transaction:
                pytest.fail("there was no connection")
        assert (fake.sent, db._pool.lent) == ([], 1)
        over.set()


async def test_waiting_for_begin_counts():
    async with connected() as (db, fake), anyio.create_task_group() as tasks:
        transaction = db.transaction(timeout=60)
        tasks.start_soon(expire_at, fake.wait("BEGIN"), transaction)
        with too_long():
            async with transaction:
                pytest.fail("it did not begin")
        assert (fake.sent, db._pool.lent) == (["BEGIN", "settle"], 0)


@pytest.mark.parametrize("by_hand", [False, True])
async def test_waiting_for_the_turn_of_the_commit_counts(by_hand):
    calls = []

    async def call():
        await checkpoint()
        calls.append("rolled back")

    async with connected() as (db, fake):
        gate = fake.wait("select slow")
        async with anyio.create_task_group() as tasks:
            with too_long():
                async with db.transaction(timeout=60) as transaction:
                    transaction.on_rollback(call)
                    tasks.start_soon(db.fetchval, "select slow")
                    await gate.reached()
                    tasks.start_soon(expire_at, gate, transaction)
                    if by_hand:
                        await transaction.commit()
        assert fake.sent == ["BEGIN", "select slow", "ROLLBACK"]
        assert TransactionState.ROLLED_BACK is transaction.state
    assert calls == ["rolled back"]


async def test_a_block_that_never_waits_is_rolled_back_at_its_end():
    async with connected() as (db, fake):
        with too_long(SHORT):
            async with db.transaction(timeout=SHORT):
                sleep(1.1 * SHORT)  # noqa: ASYNC251 - nothing else runs meanwhile
        assert fake.sent == ["BEGIN", "ROLLBACK"]


async def test_a_commit_by_hand_may_come_too_late():
    async with connected() as (db, fake):
        with too_long(SHORT):
            async with db.transaction(timeout=SHORT) as transaction:
                sleep(1.1 * SHORT)  # noqa: ASYNC251 - nothing else runs meanwhile
                with too_long(SHORT):
                    await transaction.commit()
        assert fake.sent == ["BEGIN", "ROLLBACK"]


async def test_a_block_that_swallows_the_cancellation_is_rolled_back_all_the_same():
    async with connected() as (db, fake):
        with too_long():
            async with db.transaction(timeout=60) as transaction:
                try:
                    expire(transaction)
                    await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class():
                    pass
        assert fake.sent == ["BEGIN", "ROLLBACK"]


async def test_a_nested_transaction_has_a_timeout_of_its_own():
    async with connected() as (db, fake):
        async with db.transaction(timeout=90) as outer:
            with too_long():
                async with db.transaction(timeout=60) as nested:
                    expire(nested)
                    await anyio.sleep_forever()
            await db.execute("insert 1")
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "ROLLBACK TO aiodb_1", "insert 1", "COMMIT"]
        assert TransactionState.COMMITTED is outer.state


async def test_the_timeout_of_the_outer_one_cuts_the_nested_one():
    async with connected() as (db, fake):
        with too_long():
            async with db.transaction(timeout=60) as outer, db.transaction(timeout=90):
                expire(outer)
                await anyio.sleep_forever()
        assert fake.sent == ["BEGIN", "SAVEPOINT aiodb_1", "ROLLBACK TO aiodb_1", "ROLLBACK"]


async def test_child_tasks_are_cancelled_with_the_block():
    async with connected() as (db, fake):
        with too_long():
            async with db.transaction(timeout=60) as transaction, anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep_forever)
                expire(transaction)
        assert fake.sent == ["BEGIN", "ROLLBACK"]


async def test_hooks_run_when_the_scope_of_the_timeout_is_left():
    calls = []
    async with connected() as (db, fake):
        with too_long():
            async with db.transaction(timeout=60) as transaction:
                transaction.on_rollback(db.execute, "insert 1")
                expire(transaction)
                await anyio.sleep_forever()
        async with db.transaction(timeout=SHORT) as transaction:
            transaction.on_commit(anyio.sleep, 1.1 * SHORT)
            transaction.on_commit(calls.append, 1)
        assert fake.sent == ["BEGIN", "ROLLBACK", "insert 1", "BEGIN", "COMMIT"]
    assert calls == [1]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio's awaits want answers
async def test_a_coroutine_that_is_closed_by_another_task_stops_the_clock(anyio_backend):
    async with connected() as (db, fake):
        never = asyncio.get_running_loop().create_future()

        async def work():
            async with db.transaction(timeout=SHORT):
                await never

        async def begin():
            await until(coroutine, never)

        coroutine = work()
        await asyncio.create_task(begin())
        coroutine.close()
        await anyio.sleep(1.1 * SHORT)
        assert fake.sent == ["BEGIN"]
        assert (db._pool.lent, db.current_conn) == (0, None)


@types.coroutine
def until(coroutine, future):
    """Run a coroutine until it waits for a future."""
    while (awaited := coroutine.send(None)) is not future:
        yield awaited
    future._asyncio_future_blocking = False


# What is left alone


async def test_a_block_in_time_is_no_different():
    async with connected() as (db, fake):
        async with db.connection() as connection, connection.transaction(timeout=60):
            await db.execute("insert 1")
        assert fake.sent == ["BEGIN", "insert 1", "COMMIT"]


@pytest.mark.parametrize("by_hand", [False, True])
async def test_a_commit_under_way_is_not_cut(by_hand):
    async with connected() as (db, fake):
        gate = fake.wait("COMMIT")

        async def open_later():
            await gate.reached()
            await anyio.sleep(1.1 * SHORT)
            gate.open()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_later)
            async with db.transaction(timeout=SHORT) as transaction:
                await db.execute("insert 1")
                if by_hand:
                    await transaction.commit()
        assert fake.sent == ["BEGIN", "insert 1", "COMMIT"]
        assert TransactionState.COMMITTED is transaction.state


@pytest.mark.parametrize("verb", ["commit", "rollback"])
async def test_the_clock_stops_when_the_transaction_is_ended_by_hand(verb):
    async with connected() as (db, fake):
        async with db.transaction(timeout=SHORT) as transaction:
            await getattr(transaction, verb)()
            await anyio.sleep(1.1 * SHORT)
        assert ["BEGIN", verb.upper()] == fake.sent


async def test_an_exception_on_its_way_is_not_masked():
    async with connected() as (db, fake):
        with pytest.raises(Boom):
            async with db.transaction(timeout=60) as transaction:
                try:
                    expire(transaction)
                    await anyio.sleep_forever()
                finally:
                    raise Boom
        with pytest.raises(Boom):
            async with db.transaction(timeout=60) as transaction:
                expire(transaction)
                raise Boom
        assert fake.sent == ["BEGIN", "ROLLBACK"] * 2


async def test_errors_of_child_tasks_are_not_masked():
    async def fail_when_cancelled():
        try:
            await anyio.sleep_forever()
        finally:
            raise Boom

    async with connected() as (db, fake):
        with pytest.raises(ExceptionGroup) as caught:
            async with db.transaction(timeout=60) as transaction, anyio.create_task_group() as tasks:
                tasks.start_soon(fail_when_cancelled)
                tasks.start_soon(anyio.sleep_forever)
                await checkpoint()
                expire(transaction)
        assert [Boom] == [type(each) for each in caught.value.exceptions]
        assert fake.sent == ["BEGIN", "ROLLBACK"]


async def test_a_cancellation_from_outside_wins():
    async with connected() as (db, fake):
        with anyio.CancelScope() as scope:
            async with db.transaction(timeout=60) as transaction:
                scope.cancel()
                expire(transaction)
                await checkpoint()
        assert scope.cancelled_caught
        assert fake.sent == ["BEGIN", "ROLLBACK"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_of_asyncio_wins(anyio_backend):
    async with connected() as (db, fake):

        async def work():
            async with db.transaction(timeout=60) as transaction:
                asyncio.current_task().cancel()
                expire(transaction)
                await checkpoint()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(work())
        assert fake.sent == ["BEGIN", "ROLLBACK"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_task_goes_on_as_if_it_had_never_been_cancelled(anyio_backend):
    async with connected() as (db, _):
        with too_long():
            async with db.transaction(timeout=60) as transaction:
                expire(transaction)
                await anyio.sleep_forever()
        assert asyncio.current_task().cancelling() == 0
        async with asyncio.timeout(60):
            await checkpoint()


async def test_an_error_at_the_beginning_stays():
    async with connected() as (db, fake):
        fake.fail("BEGIN", Boom)
        with pytest.raises(Boom):
            async with db.transaction(timeout=60):
                pytest.fail("it did not begin")
        with anyio.move_on_after(60) as scope:
            await checkpoint()
        assert not scope.cancelled_caught


async def test_a_transaction_that_failed_says_so_and_not_that_it_is_late():
    async with connected() as (db, _):
        with pytest.raises(TransactionError, match="its connection was released"):
            async with db.connection() as connection, db.transaction(timeout=60):
                await connection.release()


# Bad use


@pytest.mark.parametrize("bad", [-1, -0.5, True, "1", float("nan"), [1]], ids=repr)
async def test_a_timeout_is_a_number_of_seconds(bad):
    async with connected() as (db, _):
        with pytest.raises(ConfigurationError, match="timeout must be a number of seconds, 0 or more, not"):
            db.transaction(timeout=bad)
        with pytest.raises(ValueError, match="timeout"):
            await db.run_transaction(checkpoint, timeout=bad)
        async with db.connection() as connection:
            with pytest.raises(ConfigurationError):
                connection.transaction(timeout=bad)


async def test_no_time_at_all_is_too_short():
    async with connected() as (db, fake):
        with too_long(0):
            async with db.transaction(timeout=0):
                await checkpoint()
        assert "COMMIT" not in fake.sent
        assert db._pool.lent == 0


async def test_a_timeout_needs_a_block():
    async with connected() as (db, fake):
        with pytest.raises(InterfaceError, match="a timeout needs a block"):
            await db.transaction(timeout=60).start()
        assert (fake.sent, db._pool.lent) == ([], 0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio does not forgive this
@pytest.mark.parametrize("failure", [None, Boom()], ids=repr)
async def test_a_block_with_a_timeout_is_left_by_the_task_that_entered_it(anyio_backend, failure):
    async with connected() as (db, fake):
        transaction = db.transaction(timeout=60)
        await asyncio.create_task(transaction.__aenter__())
        expected = Boom if failure else InterfaceError
        with pytest.raises(expected):
            await transaction.__aexit__(failure and Boom, failure, None)
        assert (fake.sent, db._pool.lent) == (["BEGIN", "ROLLBACK"], 0)


def test_the_error_is_a_timeout_and_can_be_pickled():
    error = TransactionTimeout("too late")
    assert isinstance(error, TimeoutError)
    assert isinstance(error, OperationalError)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (TransactionTimeout, ("too late",), False) == (type(copy), copy.args, copy.retryable)
