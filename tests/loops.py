"""The event loops that tests run on, by name, with what anyio has to be told to start each.

`asyncio` is asyncio's own; on Python 3.12 and newer `pytest -p loops --asyncio eager` (or `debug`) runs the tests of
that name with eager tasks, or in asyncio's debug mode.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import TYPE_CHECKING, Any

import anyio
import uvloop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

__all__ = ("ASYNCIO_LOOPS", "backend", "run")

ASYNCIO_LOOPS = ("asyncio", "uvloop")
"""The names of those that are asyncio's, for drivers that run on asyncio."""


def _eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - of Python 3.12
    return loop


class _Uvloop(uvloop.Loop):
    """Closes itself where warnings are errors, too: uvloop waits for ever for what it could not warn of."""

    def close(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            super().close()
        for each in caught:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno, source=each.source)


_OPTIONS: dict[str, dict[str, Any]] = {"asyncio": {}, "uvloop": {"loop_factory": _Uvloop}, "trio": {}}
_ASYNCIO: dict[str, dict[str, Any]] = {"plain": {}, "debug": {"debug": True}, "eager": {"loop_factory": _eager_loop}}


def backend(loop: str) -> tuple[str, dict[str, Any]]:
    """Return what an `anyio_backend` fixture gives to run a test on an event loop."""
    return "trio" if loop == "trio" else "asyncio", _OPTIONS[loop]


def run(loop: str, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run a coroutine function on a new event loop."""
    name, options = backend(loop)
    return anyio.run(function, *args, backend=name, backend_options=options)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the kind of asyncio."""
    parser.addoption("--asyncio", choices=list(_ASYNCIO), default="plain", help="run asyncio's tests with this kind")
    parser.addoption(
        "--matrix",
        choices=["core", "full"],
        default="core",
        help="run what no driver changes on some targets, or on all",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Have asyncio's tests run on the kind that was asked for."""
    kind = config.getoption("--asyncio")
    if kind != "plain" and sys.version_info < (3, 12):
        raise SystemExit("--asyncio eager and debug need Python 3.12 or newer")
    _OPTIONS["asyncio"] = _ASYNCIO[kind]
