"""Leave connections to the parent process when a process forks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable


class Forked(Protocol):
    """An object with connections."""

    def leave_to_parent(self) -> None:
        """Forget the connections, in a process that was just forked from the one that opened them."""


def watch_forks(forked: Forked) -> None:
    """Have ``leave_to_parent()`` called in every process that is forked from this one."""
    _watched.add(forked)


def keep_for_ever(*things: object) -> None:
    """Keep what the parent goes on using: libraries end its sessions when their connections are collected."""
    _kept.append(things)


def call_after_fork(function: Callable[[], object]) -> None:
    """Have a function called in every process that is forked from this one."""
    if hasattr(os, "register_at_fork"):  # not on Windows, where processes do not fork
        os.register_at_fork(after_in_child=function)


def _leave_to_parent() -> None:
    for forked in list(_watched):
        forked.leave_to_parent()


_watched: WeakSet[Forked] = WeakSet()
_kept: list[object] = []
call_after_fork(_leave_to_parent)
