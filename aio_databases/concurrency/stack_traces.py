"""Where in the user's code something was opened, for messages about what was left open."""

from __future__ import annotations

import contextlib
import inspect
import os
from itertools import takewhile
from traceback import StackSummary, walk_stack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def stack_here() -> StackSummary:
    """Return the calls of the running task that led here, innermost last, without those inside of this package.

    Lines of source are looked up when the stack is printed.
    """
    task = takewhile(_is_inside_task, walk_stack(inspect.currentframe()))
    stack = StackSummary.extract(filter(_is_outside_package, task), limit=_LIMIT, lookup_lines=False)
    stack.reverse()
    return stack


def as_text(stack: StackSummary) -> str:
    """Return a stack as tracebacks show it, without a line break at its end."""
    return "".join(stack.format()).rstrip()


def _is_inside_task(call: tuple[FrameType, int]) -> bool:
    return not call[0].f_code.co_filename.endswith(_EVENT_LOOPS)


def _is_outside_package(call: tuple[FrameType, int]) -> bool:
    return not call[0].f_code.co_filename.startswith(_PACKAGE)


_EVENT_LOOPS = tuple(map(os.sep.join, (("asyncio", "events.py"), ("trio", "_core", "_run.py"))))
_PACKAGE = __file__.rsplit(os.sep, 2)[0]  # pathlib takes longer to import than most modules here together
_LIMIT = 12  # calls: enough to recognise a place by


def generator_around(frame: FrameType | None) -> FrameType | None:
    """Return the caller of a coroutine if it is an async generator whose consumer may leave it early, else None.

    What `contextlib.asynccontextmanager` drives is left as the block that it makes is.
    """
    caller = frame.f_back if frame is not None else None
    if caller is None or not caller.f_code.co_flags & inspect.CO_ASYNC_GENERATOR:
        return None
    driver = caller.f_back
    return None if driver is not None and driver.f_code.co_filename == _CONTEXTLIB else caller


def runs_within(frame: FrameType) -> bool:
    """Return whether the code that runs now was called, or is awaited, by that of a frame."""
    caller = inspect.currentframe()
    while caller is not None and caller is not frame:
        caller = caller.f_back
    return caller is frame


_CONTEXTLIB = contextlib.__file__
