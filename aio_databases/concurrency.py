"""Waiting on asyncio and on trio; the only module that knows which event loop runs.

It adds to anyio what anyio lacks: cleanup that survives a native ``task.cancel()``, tasks that wait to be woken by
another one, and a way for worker threads to report several results with one wake-up of the loop.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakKeyDictionary, ref

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = (
    "Outbox",
    "TaskReference",
    "Waiter",
    "current_task",
    "is_foreign",
    "new_waiter",
    "running_loop",
    "runs_on_trio",
    "shielded",
    "task_name",
)

T = TypeVar("T")


def running_loop() -> Any:
    """Return an object that stands for the running event loop.

    Raises RuntimeError outside of any.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return _trio().lowlevel.current_trio_token()


def is_foreign(loop: Any) -> bool:
    """Return whether another event loop than this one runs in this thread."""
    try:
        return running_loop() is not loop
    except RuntimeError:
        return False  # none does, as in a worker thread


def runs_on_trio() -> bool:
    """Return whether the running event loop is trio's."""
    return not isinstance(running_loop(), asyncio.AbstractEventLoop)


def current_task() -> Any:
    """Return the task that runs now."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return _trio().lowlevel.current_task()


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


def _trio() -> Any:
    trio = sys.modules.get("trio")
    if trio is None:
        message = "no event loop is running: call this from a coroutine, on asyncio or trio"
        raise RuntimeError(message)
    return trio


# Waiting


class Waiter(Protocol):
    """One task that waits to be woken once.  Made and used in the thread of its event loop."""

    woken: bool
    """Whether `wake` came first; stays true when the woken task is cancelled before it runs again."""
    value: Any
    """What `wake` brought."""

    async def wait(self, timeout: float | None = None) -> Any:
        """Wait for at most ``timeout`` seconds and return the value that `wake` brings, else raise TimeoutError."""

    def wake(self, value: Any = None) -> bool:
        """Wake the task with ``value`` and return True, or False when it does not wait any more."""
        ...


class _AsyncioWaiter:
    __slots__ = ("_future", "_loop", "value", "woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] = loop.create_future()
        self.woken = False
        self.value: Any = None

    async def wait(self, timeout: float | None = None) -> Any:
        if timeout is None:
            await self._future
            return self.value
        timer = self._loop.call_later(max(timeout, 0), self._expire)
        try:
            await self._future
        finally:
            timer.cancel()
        return self.value

    def wake(self, value: Any = None) -> bool:
        if self._future.done():
            return False
        self.woken = True
        self.value = value
        self._future.set_result(None)
        return True

    def _expire(self) -> None:
        if not self._future.done():
            self._future.set_exception(TimeoutError())


class _TrioWaiter:
    __slots__ = ("_ended", "_task", "value", "woken")

    def __init__(self) -> None:
        self._task: Any = None
        self._ended = False
        self.woken = False
        self.value: Any = None

    async def wait(self, timeout: float | None = None) -> Any:
        trio = _trio()
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
        if self._task is not None:
            _trio().lowlevel.reschedule(self._task)
        return True

    def _abort(self, _raise_cancel: Any) -> Any:
        self._ended = True
        return _trio().lowlevel.Abort.SUCCEEDED


def new_waiter() -> Waiter:
    """Return a waiter for a task of the running event loop."""
    loop = running_loop()
    return _AsyncioWaiter(loop) if isinstance(loop, asyncio.AbstractEventLoop) else _TrioWaiter()


# Cleanup that a cancellation cannot interrupt


async def shielded(function: Callable[[], Coroutine[Any, Any, T]], timeout: float, *, grace: float | None = None) -> T:
    """Run ``function`` to its end although this task gets cancelled, for at most ``timeout`` seconds.

    A cancellation that arrives meanwhile is raised afterwards, so ``function`` itself has to record what it did.  With
    ``grace`` it leaves that many seconds; that is for libraries of asyncio that come to harm when they are cancelled,
    so on trio the cancellation goes through.  Raises TimeoutError when the time is over; ``function`` was cancelled
    then.
    """
    if runs_on_trio():
        with anyio.move_on_after(timeout, shield=grace is None):
            return await function()
        raise TimeoutError
    return await _shielded_on_asyncio(function, timeout, timeout if grace is None else grace)


async def _shielded_on_asyncio(function: Callable[[], Coroutine[Any, Any, T]], timeout: float, grace: float) -> T:
    # A native task.cancel() pierces anyio's shields, so the work gets a task of its own.  The shield is only put up
    # once a cancellation has arrived: anyio repeats its cancellations for as long as they are not taken.
    task = asyncio.get_running_loop().create_task(function())
    deadline = monotonic() + timeout
    cancelled: asyncio.CancelledError | None = None
    try:
        await asyncio.wait((task,), timeout=timeout)
    except asyncio.CancelledError as exc:
        cancelled = exc
        await _wait_through_cancellations(task, min(deadline, monotonic() + grace))
    except GeneratorExit:
        task.cancel()  # this coroutine is being closed: nobody will ask for the result
        raise
    if not task.done():
        task.cancel()
        await _wait_through_cancellations(task, monotonic() + _GRACE)
        if cancelled is None:
            raise TimeoutError
    if cancelled is not None:
        failure = task.exception() if task.done() and not task.cancelled() else None
        raise cancelled from failure
    return task.result()


_GRACE = 0.5  # seconds for a cancelled cleanup to notice


async def _wait_through_cancellations(task: asyncio.Task[Any], deadline: float) -> None:
    with anyio.CancelScope(shield=True):
        while not task.done() and (left := deadline - monotonic()) > 0:
            try:
                await asyncio.wait((task,), timeout=left)
            except asyncio.CancelledError:
                # Another native cancel; the first one is raised when the work is done.
                continue


# Results from worker threads


class Outbox:
    """Carries calls from worker threads into the thread of an event loop, several per wake-up."""

    __slots__ = ("_calls", "_loop", "_scheduled")

    def __init__(self, loop: Any) -> None:
        self._calls: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._scheduled = False
        self._loop = ref(loop)  # weak, as the outboxes are kept by their loops

    @classmethod
    def of_running_loop(cls) -> Outbox:
        """Return the outbox that all worker threads of the running event loop share."""
        loop = running_loop()
        outbox = _outboxes.get(loop)
        if outbox is None:
            outbox = _outboxes[loop] = cls(loop)
        return outbox

    def post(self, call: Callable[[Any], object], argument: Any) -> None:
        """Have ``call(argument)`` made soon in the loop's thread; does nothing once the loop is closed."""
        self._calls.append((call, argument))
        if self._scheduled:
            return
        self._scheduled = True
        try:
            self._wake_loop()
        except RuntimeError:
            # The loop is closed: nobody waits for the answer any more.
            self._calls.clear()
            self._scheduled = False

    def _wake_loop(self) -> None:
        loop = self._loop()
        if isinstance(loop, asyncio.AbstractEventLoop):
            loop.call_soon_threadsafe(self._deliver)
        elif loop is not None:
            loop.run_sync_soon(self._deliver)

    def _deliver(self) -> None:
        # Reset first: a call that is posted from now on either is still in this round or schedules the next.
        self._scheduled = False
        while self._calls:
            call, argument = self._calls.popleft()
            call(argument)


_outboxes: WeakKeyDictionary[Any, Outbox] = WeakKeyDictionary()
