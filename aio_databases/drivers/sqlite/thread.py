"""A connection of the standard library's sqlite3 in a thread of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from aio_databases.drivers.sqlite.connection import SQLiteVerbs
from aio_databases.drivers.thread import ThreadConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases.drivers.sqlite.connection import Stop

__all__ = ("SQLiteConnection",)

T = TypeVar("T")


class SQLiteConnection(SQLiteVerbs, ThreadConnection):
    """A connection of the standard library's sqlite3 in a thread of its own."""

    def __init__(self, stop: Stop) -> None:
        """Start the thread, for statements that look at ``stop``."""
        self.stop = stop
        super().__init__()

    @property
    def raw(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The standard library's connection, on which the transaction that is due has begun."""
        self.begin_for_raw_use()
        return self.db

    def equipped(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return a function that runs in the transaction it belongs to, and stops when its time is over."""
        if self._due or self.is_fenced:
            function = self.within(function)
        return self.stop.timed(function) if self.stop.timeout else function

    def interrupt(self) -> None:
        """Stop the statement that runs."""
        self.stop.request()

    def resume(self) -> None:
        """Let statements run again."""
        self.stop.clear()
