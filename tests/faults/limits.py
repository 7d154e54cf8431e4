"""Limits of time: small ones for the options that bound a wait, the caller's own, and the one that fails a test."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

IMPATIENT = {"connect_timeout": 1, "cleanup_timeout": 0.2}
OWN_LIMIT = 0.2

BOUND = 4.0
"""Far above the sum of these, even on a busy machine, and far below the defaults."""


@contextmanager
def soon(within: float = BOUND) -> Iterator[None]:
    """Fail if the block takes longer than the options allow; what is broken is mended only afterwards."""
    began = monotonic()
    with anyio.fail_after(2 * within):
        yield
    assert monotonic() - began < within


async def within_own_limit(call: Callable[[], Awaitable[Any]]) -> None:
    """Call a function within a time limit of the event loop's own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with trio.fail_after(OWN_LIMIT):
            await call()
    else:
        async with asyncio.timeout(OWN_LIMIT):
            await call()
