"""Cleanup that a cancellation cannot interrupt, a native ``task.cancel()`` of asyncio included."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from aio_databases.concurrency.loops import InlineFuture, runs_on_trio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

T = TypeVar("T")


def shielded(
    function: Callable[[], Coroutine[Any, Any, T]],
    timeout: float,
    *,
    grace: float | None = None,
    in_place: bool = False,
) -> Coroutine[Any, Any, T]:
    """Return a coroutine that runs ``function`` to its end although its task gets cancelled, for ``timeout`` seconds.

    A cancellation that arrives meanwhile is raised afterwards, so ``function`` itself has to record what it did.  With
    ``grace`` it leaves that many seconds; that is for libraries of asyncio that come to harm when they are cancelled,
    so on trio the cancellation goes through.  With ``in_place`` it runs in this task, which is faster, as long as
    nothing else cancels it; it must not have the task cancelled itself then, as asyncio's time limits do.  Raises
    TimeoutError when the time is over; ``function`` was cancelled then.
    """
    if runs_on_trio():
        return _shielded_on_trio(function, timeout, shield=grace is None)
    shield = _Shield(timeout, timeout if grace is None else grace)
    return shield.run_in_place(function()) if in_place else shield.run_aside(function())


async def _shielded_on_trio(function: Callable[[], Coroutine[Any, Any, T]], timeout: float, *, shield: bool) -> T:
    with anyio.move_on_after(timeout, shield=shield):
        return await function()
    raise TimeoutError


class _Shield:
    """Keeps the cancellations of asyncio from one call.

    A native task.cancel() pierces anyio's shields.  So from the first cancellation on the call has a task of its own,
    if it has had none before, and only then anyio's shield is put up: anyio repeats its cancellations until somebody
    takes them.
    """

    __slots__ = ("_deadline", "_grace", "_loop")

    def __init__(self, timeout: float, grace: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + timeout
        self._grace = grace

    async def run_aside(self, call: Coroutine[Any, Any, T]) -> T:
        """Run the call in a task of its own."""
        task = self._loop.create_task(call)
        ended = InlineFuture(loop=self._loop)
        task.add_done_callback(ended.wake)
        try:
            await self._wait(ended)
        except asyncio.CancelledError as exc:
            return await self._outlast(task, exc)
        except GeneratorExit:
            task.cancel()  # this coroutine is being closed: no task will ask for the result
            raise
        return await self._outlast(task, None)

    async def run_in_place(self, call: Coroutine[Any, Any, T]) -> T:
        """Run the call in this task, whose cancellation then hits proxies of the futures that the call waits for."""
        while True:
            try:
                future = call.send(None)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            proxy = InlineFuture(loop=self._loop)
            if future is None:  # it makes room for other tasks
                self._loop.call_soon(proxy.wake)
            else:
                future._asyncio_future_blocking = False  # noqa: SLF001 - as a task does with what it waits for
                future.add_done_callback(proxy.wake)
            try:
                await self._wait(proxy)
            except asyncio.CancelledError as exc:
                return await self._outlast(self._loop.create_task(_ResumedCall(call, future)), exc)
            except GeneratorExit:
                if future is not None:
                    future.add_done_callback(_take_notice)
                call.close()
                raise
            if future is not None and not future.done():
                return await self._outlast(self._loop.create_task(_ResumedCall(call, future)), None)

    async def _wait(self, reply: InlineFuture) -> None:
        timer = self._loop.call_at(self._deadline, reply.wake)
        try:
            await reply
        finally:
            timer.cancel()

    async def _outlast(self, task: asyncio.Task[T], cancelled: asyncio.CancelledError | None) -> T:
        """Wait for the call in spite of further cancellations, at last cancel it, and return what came of it."""
        if cancelled is not None:
            await self._wait_on(task, min(self._deadline, self._loop.time() + self._grace))
        if not task.done():
            task.cancel()
            await self._wait_on(task, self._loop.time() + _GRACE)
            if cancelled is None:
                raise TimeoutError
        if cancelled is not None:
            failure = task.exception() if task.done() and not task.cancelled() else None
            raise cancelled from failure
        return task.result()

    async def _wait_on(self, task: asyncio.Task[Any], deadline: float) -> None:
        with anyio.CancelScope(shield=True):
            while not task.done() and (left := deadline - self._loop.time()) > 0:
                try:
                    await asyncio.wait((task,), timeout=left)
                except asyncio.CancelledError:
                    # Another native cancel; the first one is raised when the work is done.
                    continue


def _take_notice(future: asyncio.Future[Any]) -> None:
    _ = future.cancelled() or future.exception()  # the task that waited for it is gone


class _ResumedCall(Coroutine[Any, Any, T]):
    """What is left of a call that waits for a future, for a task to go on with."""

    __slots__ = ("_call", "_future")

    def __init__(self, call: Coroutine[Any, Any, T], future: Any) -> None:
        self._call = call
        self._future = future

    def send(self, value: Any, /) -> Any:
        future, self._future = self._future, None
        if future is None or future.done():
            return self._call.send(value)
        future._asyncio_future_blocking = True  # noqa: SLF001 - as tasks that wait for it do
        return future

    def throw(self, *exc: Any) -> Any:
        future, self._future = self._future, None
        if future is None or future.done():
            if future is not None:
                _take_notice(future)  # it may have failed just before its task was cancelled
            return self._call.throw(*exc)
        future.cancel()  # as a task does that is cancelled; the callbacks of the future come first
        future._asyncio_future_blocking = True  # noqa: SLF001 - see above
        return future

    def close(self) -> None:
        if self._future is not None:
            self._future.add_done_callback(_take_notice)
        self._call.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._call.__await__()


_GRACE = 0.5  # seconds for a cancelled cleanup to notice
