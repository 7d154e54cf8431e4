"""What worker threads report to an event loop, several calls per wake-up."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from aio_databases.concurrency import Reply, new_waiter, running_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases.concurrency import Waiter

__all__ = ("Outbox",)


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

    def new_waiter(self) -> Waiter:
        """Return a waiter for a task of the loop, to be woken by a call that was posted."""
        loop = self._loop()
        return Reply(loop=loop) if isinstance(loop, asyncio.AbstractEventLoop) else new_waiter()

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
        # Reset first: a call that is posted from now on schedules the next round.  This one has an end, although tasks
        # that go on within it may have their next answers before that: others want the event loop, too.
        self._scheduled = False
        try:
            for _ in range(len(self._calls)):
                call, argument = self._calls.popleft()
                call(argument)
        finally:
            if self._calls and not self._scheduled:  # the program is being interrupted
                self._scheduled = True
                self._wake_loop()


_outboxes: WeakKeyDictionary[Any, Outbox] = WeakKeyDictionary()
