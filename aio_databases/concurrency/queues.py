"""Queues of waiting tasks, which are served first come, first served."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from aio_databases.concurrency.loops import SharedTimer, new_waiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases.concurrency.loops import Waiter

T = TypeVar("T")


class WaitQueue(Generic[T]):
    """Tasks that wait for one thing, woken first come, first served."""

    __slots__ = ("_alarm", "waiters")

    def __init__(self) -> None:
        self.waiters: OrderedDict[Waiter, float] = OrderedDict()  # with their deadlines
        self._alarm = SharedTimer(self.waiters)

    def __len__(self) -> int:
        return len(self.waiters)

    async def wait(self, timeout: float, undo: Callable[[T], object]) -> T:
        """Wait in line for at most ``timeout`` seconds and return what `wake_next` hands over.

        A task that is cancelled just after it was handed something hands it on with ``undo``.  Raises TimeoutError.
        """
        waiter = new_waiter()
        self.waiters[waiter] = monotonic() + timeout
        try:
            return cast("T", await self._alarm.wait(waiter, timeout))
        except BaseException:
            self.waiters.pop(waiter, None)
            if waiter.woken:
                undo(waiter.value)
            raise
        finally:
            if not self.waiters:
                self._alarm.cancel()

    def wake_next(self, value: T) -> bool:
        """Hand ``value`` to the first in line and return True, or False if no task waits."""
        while self.waiters:
            waiter, _ = self.waiters.popitem(last=False)
            if waiter.wake(value):
                return True
        return False

    def wake_all(self, value: T) -> None:
        """Hand ``value`` to every task in line."""
        while self.wake_next(value):
            pass


class FifoLock:
    """A lock that is handed on first come, first served; any task may release it."""

    __slots__ = ("_line", "locked")

    def __init__(self) -> None:
        self.locked = False
        self._line: WaitQueue[None] = WaitQueue()

    async def acquire(self, timeout: float) -> None:
        """Wait for the lock for at most ``timeout`` seconds.  Raises TimeoutError."""
        if self.locked:
            await self._line.wait(timeout, lambda _: self.release())
        self.locked = True

    def release(self) -> None:
        """Hand the lock to the first in line, or free it."""
        self.locked = self._line.wake_next(None)
