"""Deadlines: how long a block may take."""

from __future__ import annotations

from contextlib import suppress
from math import inf

import anyio

from aio_databases.config.durations import duration
from aio_databases.errors import TransactionTimeout


class Deadline:
    """The time that a block may take: a cancel scope, entered and left together with the block."""

    __slots__ = ("_cancels", "_scope", "_until", "seconds")

    _cancels: bool
    _scope: anyio.CancelScope
    _until: float

    def __init__(self, seconds: float) -> None:
        """Allow so many seconds, counted from `enter`.  Raises ConfigurationError."""
        self.seconds = duration("timeout", seconds)

    def enter(self, *, cancels: bool = True) -> None:
        """Start the clock; unless ``cancels`` is false, what the running task does when the time is over is cancelled.

        In an async generator that would be the consumer's own work.
        """
        self._cancels = cancels
        self._until = anyio.current_time() + self.seconds
        self._scope = anyio.CancelScope(deadline=self._until)
        if cancels:
            self._scope.__enter__()

    @property
    def is_over(self) -> bool:
        """Whether the time is over, be it noticed yet or not."""
        return self._scope.cancel_called or anyio.current_time() >= self._until

    def stop(self) -> bool:
        """Stop the clock and return True, or False if it is too late for that."""
        if self.is_over:
            return False
        self._until = self._scope.deadline = inf
        return True

    def leave(self, exc: BaseException | None) -> None:
        """Leave the scope by ``exc``, and raise TransactionTimeout in its place if the time is over.

        An error on its way stays, and so does a cancellation from outside.
        """
        if isinstance(exc, GeneratorExit):
            with suppress(RuntimeError):  # another task closes the coroutine, or none if the event loop has ended
                self._until = self._scope.deadline = inf
                if self._cancels:
                    self._scope.__exit__(None, None, None)
            return
        is_over = self.is_over
        if not self._cancels:
            if exc is not None:
                return
        elif exc is None:
            self._scope.__exit__(None, None, None)
        elif not self._scope.__exit__(type(exc), exc, exc.__traceback__):
            return  # it is not the scope's own cancellation
        if is_over:
            raise self.error() from exc

    def error(self) -> TransactionTimeout:
        """Return the error that says what happened."""
        return TransactionTimeout(
            f"the transaction took longer than its timeout of {self.seconds:g} s and was rolled back"
        )
