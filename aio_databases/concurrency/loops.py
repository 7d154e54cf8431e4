"""Waiting on asyncio and on trio: which event loop and task run, and tasks that wait to be woken by another one."""

from __future__ import annotations

import asyncio
import sys
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextvars import Context


def running_loop() -> Any:
    """Return an object that stands for the running event loop.

    Raises RuntimeError outside of any.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return the_trio().lowlevel.current_trio_token()


def loop_teller() -> Callable[[], Any]:
    """Return a function that finds the running event loop faster than `running_loop`, as long as this one runs."""
    return asyncio.events._get_running_loop if not runs_on_trio() else running_loop  # noqa: SLF001 - raises nothing


def is_foreign(loop: Any) -> bool:
    """Return whether another event loop than this one runs in this thread."""
    try:
        return running_loop() is not loop
    except RuntimeError:
        return False  # none does, as in a worker thread


def runs_here(loop: Any) -> bool:
    """Return whether an event loop runs in this thread now."""
    try:
        return running_loop() is loop
    except RuntimeError:
        return False


def call_in_loop(loop: Any, function: Callable[[], object]) -> None:
    """Have a function called soon in the thread of an event loop, from whatever thread.

    Raises RuntimeError once the loop is closed.
    """
    if isinstance(loop, asyncio.AbstractEventLoop):
        loop.call_soon_threadsafe(function)
    else:
        loop.run_sync_soon(function)


def runs_on_trio() -> bool:
    """Return whether the running event loop is trio's."""
    return not isinstance(running_loop(), asyncio.AbstractEventLoop)


def current_task() -> Any:
    """Return the task that runs now."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return the_trio().lowlevel.current_task()


def task_name(task: Any) -> str:
    """Return a task's name for messages."""
    if task is None:
        return "none"  # code of asyncio may run outside of any
    return str(task.get_name() if isinstance(task, asyncio.Task) else task.name)


class TaskReference:
    """Remembers the task that runs now, without keeping it.

    An ended task keeps its error, and the traceback of that everything which the task has used.
    """

    __slots__ = ("_name", "_task")

    def __init__(self) -> None:
        task = current_task()
        self._name = task_name(task)
        self._task: Callable[[], Any] = (lambda: None) if task is None else ref(task)

    def __str__(self) -> str:
        return f"task {self._name!r}{', which has ended' if self._has_ended else ''}"

    @property
    def is_current(self) -> bool:
        """Whether it is this task that runs now."""
        task = self._task()
        return task is not None and task is current_task()

    @property
    def _has_ended(self) -> bool:
        task = self._task()
        return task is None or bool(task.done() if isinstance(task, asyncio.Task) else task.coro.cr_frame is None)


def the_trio() -> Any:
    """Return the module trio, when it runs."""
    trio = sys.modules.get("trio")
    if trio is None:
        message = "no event loop is running: call this from a coroutine, on asyncio or trio"
        raise RuntimeError(message)
    return trio


# Waiting


class Waiter(Protocol):
    """One task that waits to be woken once.  Made in the thread of its event loop."""

    woken: bool
    """Whether `wake` came first; stays true when the woken task is cancelled before it runs again."""
    value: Any
    """What `wake` brought."""

    def wait(self, timeout: float | None = None) -> Awaitable[Any]:
        """Wait for at most ``timeout`` seconds and return the value that `wake` brings, else raise TimeoutError."""
        ...

    def wake(self, value: Any = None) -> bool:
        """Wake the task with ``value`` and return True, or False when it does not wait any more.

        May be called in any thread, as the garbage collector closes forgotten coroutines in any.
        """
        ...


class SharedTimer:
    """Ends the waits of a line that take too long, on asyncio with one timer for all of them: few waits need it."""

    __slots__ = ("_line", "_loop", "_timer", "_when")

    def __init__(self, line: Mapping[Waiter, float]) -> None:
        """Watch a line of waiters, each with its deadline by `time.monotonic`."""
        self._line = line
        self._loop: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._when = float("inf")

    def wait(self, waiter: Waiter, timeout: float) -> Awaitable[Any]:
        """Wait as `Waiter.wait` does, for at most ``timeout`` seconds, with a waiter that stands in the line."""
        if not isinstance(waiter, _AsyncioWaiter):
            return waiter.wait(timeout)
        deadline = self._line[waiter]
        if deadline < self._when or self._loop is not waiter.loop:
            self._set(waiter.loop, deadline)
        return waiter.wait()

    def cancel(self) -> None:
        """Stop the timer, as no task is in line any more."""
        self._when = float("inf")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self.cancel()
        self._loop, self._when = loop, deadline
        if deadline < float("inf"):
            self._timer = loop.call_later(max(0.0, deadline - monotonic()), self._ring)

    def _ring(self) -> None:
        now = monotonic() + _TICK
        for waiter, deadline in self._line.items():
            if deadline <= now and isinstance(waiter, _AsyncioWaiter):
                waiter.expire()
        self._set(
            self._loop, min((deadline for deadline in self._line.values() if deadline > now), default=float("inf"))
        )


_TICK = 0.001  # seconds that a timer may be early, as uvloop's are


class _AsyncioWaiter:
    __slots__ = ("_future", "loop", "value", "woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._future: asyncio.Future[Any] = loop.create_future()
        self.woken = False
        self.value: Any = None

    def wait(self, timeout: float | None = None) -> Awaitable[Any]:
        return self._future if timeout is None else self._wait(timeout)

    async def _wait(self, timeout: float) -> Any:
        timer = self.loop.call_later(max(timeout, 0), self.expire)
        try:
            return await self._future
        finally:
            timer.cancel()

    def wake(self, value: Any = None) -> bool:
        if self.woken or self._future.done() or self.loop.is_closed():
            return False
        self.woken = True
        self.value = value
        if asyncio.events._get_running_loop() is self.loop:  # noqa: SLF001 - raises nothing
            self._future.set_result(value)
        else:
            call_in_loop(self.loop, self._set_result)
        return True

    def _set_result(self) -> None:
        if not self._future.done():
            self._future.set_result(self.value)

    def expire(self) -> None:
        if not self._future.done():
            self._future.set_exception(TimeoutError())


class _TrioWaiter:
    __slots__ = ("_ended", "_task", "_token", "value", "woken")

    def __init__(self, token: Any) -> None:
        self._token = token
        self._task: Any = None
        self._ended = False
        self.woken = False
        self.value: Any = None

    async def wait(self, timeout: float | None = None) -> Any:
        trio = the_trio()
        with trio.move_on_after(float("inf") if timeout is None else max(timeout, 0)):
            if not self.woken:
                self._task = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)
        if not self.woken:
            raise TimeoutError
        return self.value

    def wake(self, value: Any = None) -> bool:
        if self.woken or self._ended:
            return False
        self.woken = True
        self.value = value
        if runs_here(self._token):
            self._reschedule()
        else:
            call_in_loop(self._token, self._reschedule)
        return True

    def _reschedule(self) -> None:
        task, self._task = self._task, None
        if task is not None and not self._ended:
            the_trio().lowlevel.reschedule(task)

    def _abort(self, _raise_cancel: Any) -> Any:
        self._ended = True
        return the_trio().lowlevel.Abort.SUCCEEDED


class InlineFuture(asyncio.Future[Any]):
    """A future whose task goes on at once when it is woken, not in the next pass of the event loop.

    Only for what the event loop itself calls: a task cannot go on inside of another one.
    """

    _go_on: Callable[[Any], object] | None = None
    _context: Context

    def wake(self, value: Any = None) -> bool:
        """Have the task go on with ``value`` and return True, or False when it does not wait any more."""
        if self.done():
            return False
        self.set_result(value)
        return True

    def set_result(self, result: Any) -> None:
        """Have the task go on with ``result``."""
        super().set_result(result)
        if self._go_on is not None:
            self._context.run(self._go_on, self)

    def set_exception(self, exception: Any, /) -> None:
        """Have the task go on with an error."""
        super().set_exception(exception)
        if self._go_on is not None:
            self._context.run(self._go_on, self)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the wait."""
        cancelled = super().cancel(msg)
        if cancelled and self._go_on is not None:
            self.get_loop().call_soon(self._go_on, self, context=self._context)
        return cancelled

    def add_done_callback(self, function: Callable[[Any], object], /, *, context: Context | None = None) -> None:
        """Note how the task that waits goes on."""
        self._go_on = function
        self._context = copy_context() if context is None else context  # an empty one is false
        if self.done():
            self.get_loop().call_soon(function, self, context=self._context)


def new_waiter() -> Waiter:
    """Return a waiter for a task of the running event loop."""
    loop = running_loop()
    return _AsyncioWaiter(loop) if isinstance(loop, asyncio.AbstractEventLoop) else _TrioWaiter(loop)
