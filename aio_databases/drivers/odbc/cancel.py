"""Stopping the statement that runs in the thread of a connection."""

from __future__ import annotations

import sys
from contextlib import suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Stop:
    """Stops the statement that runs on a connection, in a thread of its own, as that may take another connection."""

    def __init__(self) -> None:
        """Let statements run; until `by` says how, they cannot be stopped."""
        self._way: Callable[[], object] | None = None
        self._lock = Lock()
        self._runs = False
        self._wanted = False
        self._thread: Thread | None = None

    def by(self, way: Callable[[], object] | None) -> None:
        """Say how a statement is stopped."""
        self._way = way

    @property
    def is_possible(self) -> bool:
        """Whether there is a way."""
        return self._way is not None

    def watch(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function that may be stopped meanwhile."""
        self._runs = True
        try:
            return function(*args)
        finally:
            self._runs = False

    def request(self) -> None:
        """Stop what runs, if anything does; called from any other thread."""
        self._wanted = True
        stops = self._thread is not None and self._thread.is_alive()
        if self._runs and not stops and not sys.is_finalizing():
            self._thread = Thread(target=self._stop, daemon=True)
            self._thread.start()

    def _stop(self) -> None:
        with self._lock:
            if self._wanted and self._runs and self._way is not None:
                with suppress(Exception):  # the statement has ended, or the server is gone
                    self._way()

    def clear(self) -> None:
        """Begin to stop nothing more."""
        self._wanted = False

    def take_cancel_flag(self) -> bool:
        """Wait until nothing is being stopped any more, and return whether something was since the last time."""
        with self._lock:
            thread, self._thread = self._thread, None
        return thread is not None

    def close(self, db: Any) -> None:
        """Close the connection, but not while something on it is being stopped."""
        with self._lock:
            db.close()
