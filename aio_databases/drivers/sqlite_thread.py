"""A connection of the standard library's sqlite3 in a thread of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from aio_databases.drivers.sqlite_verbs import SQLiteVerbs
from aio_databases.drivers.thread import ThreadConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases.drivers.sqlite_verbs import Stop

__all__ = ("SQLiteConnection",)

T = TypeVar("T")


class SQLiteConnection(SQLiteVerbs, ThreadConnection):
    """A connection of the standard library's sqlite3 in a thread of its own."""

    def __init__(self, stop: Stop) -> None:
        """Start the thread, for statements that look at ``stop``."""
        self.stop = stop
        super().__init__()

    async def run(self, function: Callable[..., T], /, *args: Any) -> T:
        """Call a function in the thread."""
        return await super().run(self.stop.timed(function), *args)

    def interrupt(self) -> None:
        """Stop the statement that runs."""
        self.stop.request()

    def resume(self) -> None:
        """Let statements run again."""
        self.stop.clear()
