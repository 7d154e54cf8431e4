"""What a worker thread does, and the calls that it is given."""

from __future__ import annotations

from traceback import clear_frames
from typing import TYPE_CHECKING, Any

from aio_databases.concurrency.loops import new_waiter

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from aio_databases.concurrency.loop_callbacks import LoopCallbacks


class Call:
    """A function to be called in a worker thread, and what came of it."""

    __slots__ = ("_args", "_function", "_outbox", "_ticket", "_waiter", "done", "error", "result")

    def __init__(self, outbox: LoopCallbacks, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self._ticket = [None]
        self._outbox = outbox
        self._waiter = new_waiter()
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until the call is made, for at most ``timeout`` seconds.  Raises TimeoutError."""
        await self._waiter.wait(timeout)

    async def wait_again(self, timeout: float) -> None:
        """Wait once more, after the waiting task was cancelled.  Raises TimeoutError."""
        self._waiter = new_waiter()
        await self._waiter.wait(timeout)

    def withdraw(self) -> bool:
        """Take the call back and return True, or False if the thread has begun it."""
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True

    def __call__(self) -> None:
        """Make the call, unless it was withdrawn; this happens in the worker thread."""
        if not self.withdraw():
            return
        try:
            self.result = self._function(*self._args)
        except BaseException as exc:  # noqa: BLE001 - the waiting task raises it
            self.error = exc
        self.done = True
        self._outbox.post(Call._report, self)

    def _report(self) -> None:
        if not self._waiter.wake() and self.error is not None:
            clear_frames(self.error.__traceback__)  # it will not be raised; its variables may keep a connection open
            self.error = None


def work(inbox: SimpleQueue[Callable[[], object] | None], _kept: list[Any]) -> None:
    """Make the calls of an inbox until None comes; ``_kept`` lives as long as the thread does."""
    while (call := inbox.get()) is not None:
        call()
        del call  # an idle thread keeps nothing alive
