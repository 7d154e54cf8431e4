"""Carry calls from worker threads to an event loop, several per wake-up."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from aio_databases.concurrency.loops import call_in_loop, running_loop

if TYPE_CHECKING:
    from collections.abc import Callable


class LoopCallbacks:
    """Carries calls from worker threads into the thread of an event loop, several per wake-up."""

    __slots__ = ("_calls", "_loop", "_scheduled")

    def __init__(self, loop: Any) -> None:
        self._calls: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._scheduled = False
        self._loop = ref(loop)  # weak, as the outboxes are kept by their loops

    @classmethod
    def of_running_loop(cls) -> LoopCallbacks:
        """Return the outbox that all worker threads of the running event loop share."""
        return cls.of(running_loop())

    @classmethod
    def of(cls, loop: Any) -> LoopCallbacks:
        """Return the outbox of an event loop."""
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
            # The loop is closed: no task waits for the answer any more.
            self._calls.clear()
            self._scheduled = False

    def _wake_loop(self) -> None:
        loop = self._loop()
        if loop is not None:
            call_in_loop(loop, self._deliver)

    def _deliver(self) -> None:
        # Reset first: a call that is posted from now on either is still in this round or schedules the next.
        self._scheduled = False
        while self._calls:
            call, argument = self._calls.popleft()
            call(argument)


_outboxes: WeakKeyDictionary[Any, LoopCallbacks] = WeakKeyDictionary()
