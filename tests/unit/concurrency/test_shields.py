from __future__ import annotations

import asyncio
import gc
import time

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases.concurrency.shields import shielded

ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture(params=[False, True], ids=["aside", "in place"], autouse=True)
def in_place(request):
    return request.param


async def pause(awaits=6):
    for _ in range(awaits):
        await checkpoint()


async def test_shielded_work_returns_its_result_and_raises_its_error(in_place):
    async def work():
        await checkpoint()
        return 42

    async def failing():
        await checkpoint()
        raise ZeroDivisionError

    assert await shielded(work, 1, in_place=in_place) == 42
    with pytest.raises(ZeroDivisionError):
        await shielded(failing, 1, in_place=in_place)


async def test_shielded_work_is_ended_when_its_time_is_over(in_place):
    ended = []

    async def work():
        try:
            await anyio.sleep(10)
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await shielded(work, 0.01, in_place=in_place)
    assert ended == [True]


async def test_a_cancellation_waits_until_shielded_work_is_done(in_place):
    done = []

    async def work():
        scope.cancel()
        await anyio.sleep(0.01)
        done.append(True)

    with anyio.CancelScope() as scope:
        await shielded(work, 1, in_place=in_place)
        await checkpoint()
    assert (done, scope.cancelled_caught) == ([True], True)


@ASYNCIO
@pytest.mark.parametrize("times", [1, 3])
async def test_native_cancellations_wait_until_shielded_work_is_done(times, anyio_backend, in_place):
    done = []

    async def work():
        await anyio.sleep(0.02)
        done.append(True)

    task = asyncio.create_task(shielded(work, 1, in_place=in_place))
    for _ in range(times):
        await anyio.sleep(0.002)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


@ASYNCIO
async def test_a_cancellation_keeps_the_error_of_the_shielded_work_as_its_cause(anyio_backend, in_place):
    async def work():
        await anyio.sleep(0.01)
        raise ZeroDivisionError

    task = asyncio.create_task(shielded(work, 1, in_place=in_place))
    await pause()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@ASYNCIO
async def test_work_with_a_grace_is_ended_soon_after_the_cancellation(anyio_backend, in_place):
    async def work():
        await anyio.sleep(10)

    task = asyncio.create_task(shielded(work, 10, grace=0.01, in_place=in_place))
    await pause()
    task.cancel()
    with anyio.fail_after(1), pytest.raises(asyncio.CancelledError):
        await task


@ASYNCIO
async def test_work_that_will_not_end_is_left_behind(monkeypatch, anyio_backend, in_place):
    monkeypatch.setattr("aio_databases.concurrency.shields._GRACE", 0.01)
    free = asyncio.Event()

    async def work():
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(TimeoutError):
        await shielded(work, 0.01, in_place=in_place)
    free.set()
    await pause()


@ASYNCIO
async def test_work_may_wait_as_often_as_it_likes(anyio_backend, in_place):
    loop = asyncio.get_running_loop()
    steps = []

    async def work():
        for step in range(3):
            steps.append(step)
            await asyncio.sleep(0)
            future = loop.create_future()
            loop.call_later(0.001, future.set_result, step)
            assert step == await future
            future = loop.create_future()
            loop.call_soon(future.set_exception, ZeroDivisionError())
            with pytest.raises(ZeroDivisionError):
                await future
        return steps

    assert await shielded(work, 1, in_place=in_place) == [0, 1, 2]


@ASYNCIO
@pytest.mark.parametrize("when", ["at a future", "at a pass of the loop"])
async def test_work_goes_on_where_the_cancellation_has_met_it(when, anyio_backend, in_place):
    steps = []

    async def work():
        for step in range(5):
            await asyncio.sleep(0.002 if when == "at a future" else 0)
            steps.append(step)

    task = asyncio.create_task(shielded(work, 1, in_place=in_place))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == [0, 1, 2, 3, 4]


@ASYNCIO
async def test_work_that_is_waiting_when_its_time_is_over_hears_of_it_there(anyio_backend, in_place):
    heard = []

    async def work():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            heard.append(True)
            raise

    with pytest.raises(TimeoutError):
        await shielded(work, 0.01, in_place=in_place)
    assert heard == [True]


@ASYNCIO
async def test_work_ends_when_the_coroutine_that_waits_for_it_is_closed(anyio_backend, in_place):
    ended = []

    async def work():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    waiting = shielded(work, 1, in_place=in_place)
    waiting.send(None)
    await asyncio.sleep(0)
    waiting.close()
    await asyncio.sleep(0)
    assert ended == [True]


@ASYNCIO
async def test_work_in_place_leaves_nothing_for_the_garbage_collector(anyio_backend):
    async def work():
        await asyncio.sleep(0.001)

    await shielded(work, 1, in_place=True)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(20):
            await shielded(work, 1, in_place=True)
        assert len(gc.get_objects()) - before < 20
    finally:
        gc.enable()


@ASYNCIO
async def test_a_failure_that_comes_as_the_time_is_over_is_noticed(anyio_backend, in_place):
    loop = asyncio.get_running_loop()
    complaints = []
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))

    def fail(future):
        if not future.done():
            future.set_exception(TimeoutError())

    async def work():
        future = loop.create_future()
        loop.call_later(0.01, fail, future)  # just after the shield's timer, in the same pass of the event loop
        loop.call_soon(time.sleep, 0.02)
        await future

    with pytest.raises(TimeoutError):
        await shielded(work, 0.01, in_place=in_place)
    gc.collect()
    loop.set_exception_handler(None)
    assert complaints == []
