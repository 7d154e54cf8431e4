"""Ways to cancel a coroutine at its k-th await."""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from aio_databases import Database


@types.coroutine
def counting(coroutine: Coroutine[Any, Any, Any], at_await: Callable[[int], None]) -> Generator[Any, Any, Any]:
    """Run a coroutine and call `at_await` with the number of each await that suspends it, just before it does."""
    count = 0
    resume: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731 - rebound below
    while True:
        try:
            yielded = resume()
        except StopIteration as stop:
            return stop.value
        count += 1
        at_await(count)
        try:
            sent = yield yielded
        except BaseException as exc:  # noqa: BLE001 - it goes on into the coroutine
            resume = lambda exc=exc: coroutine.throw(exc)  # noqa: E731
        else:
            resume = lambda sent=sent: coroutine.send(sent)  # noqa: E731


class Cancelled(NamedTuple):
    """What became of a run."""

    reached: bool
    """Whether the k-th await was reached."""
    ended: bool
    """Whether the scenario ran to its end all the same."""


async def by_task(coroutine: Coroutine[Any, Any, Any], ks: tuple[int, ...]) -> Cancelled:
    """Cancel with asyncio's own `Task.cancel` at the awaits `ks`."""
    reached = False

    def at_await(count: int) -> None:
        nonlocal reached
        if count in ks:
            reached = True
            task.cancel()

    async def run() -> None:
        try:
            await counting(coroutine, at_await)
        finally:
            assert CURRENT.current_conn is None

    task = asyncio.create_task(run())
    try:
        await task
    except asyncio.CancelledError:
        return Cancelled(reached, ended=False)
    return Cancelled(reached, ended=True)


async def by_scope(coroutine: Coroutine[Any, Any, Any], ks: tuple[int, ...]) -> Cancelled:
    """Cancel with a cancel scope of anyio at the first of the awaits `ks`; it stays cancelled."""
    reached = False

    def at_await(count: int) -> None:
        nonlocal reached
        if count == ks[0]:
            reached = True
            scope.cancel()

    with anyio.CancelScope() as scope:
        await counting(coroutine, at_await)
    assert CURRENT.current_conn is None
    return Cancelled(reached, ended=not scope.cancelled_caught)


class _Current:
    """The database of the run, for the check that the current connection is what it was before."""

    db: Database
    reopens: bool

    @property
    def current_conn(self) -> Any:
        return self.db.current_conn


CURRENT = _Current()

WAYS: dict[str, tuple[Callable[..., Awaitable[Cancelled]], Callable[[int], tuple[int, ...]]]] = {
    "task": (by_task, lambda k: (k,)),
    "task-twice": (by_task, lambda k: (k, k + 1)),
    "task-thrice-apart": (by_task, lambda k: (k, k + 2, k + 3)),
    "scope": (by_scope, lambda k: (k,)),
}
