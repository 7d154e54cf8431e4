"""A connection of the standard library's sqlite3 in a thread of its own."""

from __future__ import annotations

from functools import partial
from inspect import iscoroutinefunction
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

    async def initialise(self, init: Callable[[Any], Any]) -> None:
        """Call ``init`` in the thread; a coroutine function gets a connection whose methods are awaited."""
        if iscoroutinefunction(init):
            await init(_Awaited(self))
        else:
            await self.run(init, self.db)


class _Awaited:
    """A sqlite3 connection whose methods are awaited and run in its thread."""

    def __init__(self, connection: SQLiteConnection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return partial(self._connection.run, getattr(self._connection.db, name))
