"""Waiting, queues, locks, cleanup that survives cancellation, and answers from threads; on both event loops."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextvars import Context, ContextVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases.concurrency.loop_callbacks import LoopCallbacks
from aio_databases.concurrency.loops import (
    InlineFuture,
    current_task,
    new_waiter,
    running_loop,
    runs_on_trio,
    task_name,
)
from aio_databases.concurrency.queues import FifoLock, WaitQueue


async def pause(awaits=6):
    for _ in range(awaits):
        await checkpoint()


async def test_the_event_loop_and_the_task_are_told_apart(anyio_backend_name):
    assert (anyio_backend_name == "trio") is runs_on_trio()
    assert running_loop() is running_loop()
    assert current_task() is current_task()
    assert isinstance(task_name(current_task()), str)


def test_without_trio_the_message_says_what_to_do(monkeypatch):
    monkeypatch.delitem(sys.modules, "trio", raising=False)
    with pytest.raises(RuntimeError, match="call this from a coroutine, on asyncio or trio"):
        running_loop()


def test_outside_of_an_event_loop_there_is_none():
    with pytest.raises(RuntimeError):
        running_loop()


async def test_a_waiter_is_woken_once_with_a_value():
    waiter = new_waiter()
    async with anyio.create_task_group() as tasks:

        async def wake():
            await pause()
            assert [waiter.wake("value"), waiter.wake("again")] == [True, False]

        tasks.start_soon(wake)
        assert await waiter.wait() == "value"
    assert waiter.woken


async def test_a_waiter_that_was_woken_before_does_not_wait():
    waiter = new_waiter()
    waiter.wake(1)
    assert await waiter.wait(0) == 1


async def test_a_waiter_gives_up_after_its_timeout_and_cannot_be_woken_then():
    waiter = new_waiter()
    with pytest.raises(TimeoutError):
        await waiter.wait(0.001)
    assert [waiter.wake(1), waiter.woken] == [False, False]


async def test_a_queue_skips_those_who_gave_up():
    queue = WaitQueue()
    gave_up = anyio.Event()
    got = []

    async def client(name, timeout):
        try:
            got.append((name, await queue.wait(timeout, pytest.fail)))
        except TimeoutError:
            got.append((name, "timeout"))
            gave_up.set()

    async with anyio.create_task_group() as tasks:
        for name, timeout in (("a", 0.001), ("b", 10), ("c", 10)):
            tasks.start_soon(client, name, timeout)
            await pause()
        await gave_up.wait()
        assert len(queue) == 2
        assert queue.wake_next(1)
        await pause()
        queue.wake_all(2)
    assert got == [("a", "timeout"), ("b", 1), ("c", 2)]
    assert not queue.wake_next(3)


async def test_a_lock_is_handed_on_in_order():
    lock = FifoLock()
    order = []

    async def client(name):
        await lock.acquire(10)
        order.append(name)
        await pause()
        lock.release()

    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(client, name)
            await pause(2)
    assert (list("abc"), False) == (order, lock.locked)


async def test_a_lock_is_waited_for_no_longer_than_the_timeout():
    lock = FifoLock()
    await lock.acquire(1)
    with pytest.raises(TimeoutError):
        await lock.acquire(0.001)
    lock.release()
    assert not lock.locked


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_lock_that_comes_to_a_task_just_cancelled_goes_on_to_the_next(anyio_backend):
    lock = FifoLock()
    await lock.acquire(1)
    victim = asyncio.create_task(lock.acquire(1))
    following = asyncio.create_task(lock.acquire(1))
    await pause()
    lock.release()
    victim.cancel()
    await following
    assert (victim.cancelled(), lock.locked) == (True, True)


# Answers from threads


async def test_calls_from_threads_are_made_in_the_thread_of_the_loop():
    outbox = LoopCallbacks.of_running_loop()
    assert outbox is LoopCallbacks.of_running_loop()
    got = []
    done = anyio.Event()

    def deliver(value):
        got.append((value, threading.get_ident()))
        if value == 2:
            done.set()

    def work():
        for value in range(3):
            outbox.post(deliver, value)

    thread = threading.Thread(target=work)
    thread.start()
    await done.wait()
    thread.join()
    assert [(value, threading.get_ident()) for value in range(3)] == got


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_answer_after_the_loop_has_ended_is_dropped(backend):
    async def main():
        return LoopCallbacks.of_running_loop()

    outbox = anyio.run(main, backend=backend)
    outbox.post(pytest.fail, "delivered")
    outbox.post(pytest.fail, "delivered")


# Replies


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_goes_on_in_its_own_context_when_its_reply_has_come(anyio_backend):
    variable = ContextVar("variable", default="default")
    loop = asyncio.get_running_loop()

    async def task():
        reply = InlineFuture(loop=loop)
        loop.call_soon(reply.wake)
        await reply
        variable.set("set")
        await asyncio.sleep(0)
        return variable.get()

    # A new context is empty, which makes it false.
    assert await loop.create_task(task(), context=Context()) == "set"
    assert variable.get() == "default"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_goes_on_with_the_error_that_is_its_reply(anyio_backend):
    loop = asyncio.get_running_loop()
    reply = InlineFuture(loop=loop)
    loop.call_soon(reply.set_exception, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await reply


def test_who_waits_in_a_loop_that_was_closed_is_passed_over():
    queue = WaitQueue()

    async def leave_a_waiter():
        waiting = queue.wait(10, pytest.fail)
        asyncio.get_running_loop().call_soon(waiting.send, None)
        await asyncio.sleep(0.01)
        return waiting

    waiting = asyncio.run(leave_a_waiter())
    assert not queue.wake_next(1)
    waiting.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_reply_that_came_or_was_cancelled_before_is_not_waited_for(anyio_backend):
    loop = asyncio.get_running_loop()
    early, cancelled = InlineFuture(loop=loop), InlineFuture(loop=loop)
    assert [early.wake(7), early.wake(8)] == [True, False]
    assert await early == 7
    cancelled.cancel()
    assert not cancelled.wake()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
