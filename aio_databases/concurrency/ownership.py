"""The event loop, thread and process that connections belong to, and whether they may be used from here."""

from __future__ import annotations

import os
from threading import get_ident
from typing import TYPE_CHECKING, Any

from aio_databases.concurrency.loops import is_foreign, loop_teller, running_loop, runs_here

if TYPE_CHECKING:
    from collections.abc import Callable


class Ownership:
    """Belongs to no event loop until `take_over`."""

    __slots__ = ("is_inherited", "loop", "process", "running_loop", "thread")

    def __init__(self) -> None:
        self.is_inherited = False
        """Whether another process has opened the connections, which has forked this one."""
        self.loop: Any = None
        self.process = os.getpid()
        self.running_loop: Callable[[], Any] = running_loop
        """Returns the running event loop, as quickly as the owner's allows."""
        self.thread = 0

    def take_over(self) -> None:
        """Belong to the running event loop, in this thread and process."""
        self.loop = running_loop()
        self.running_loop = loop_teller()
        self.thread = get_ident()
        self.process = os.getpid()

    def connect_anew(self) -> None:
        """Note that this process opens connections of its own."""
        self.is_inherited = False

    def leave_to_parent(self) -> None:
        """Belong to no event loop, in a process that was forked from the owner."""
        self.loop, self.is_inherited = None, True

    @property
    def is_here(self) -> bool:
        """Whether the running task may use the connections: a thread inherits its blocks, and may have its own loop."""
        # The thread is asked first because that is quick; an event loop may go on in another one.
        return self.thread == get_ident() or not is_foreign(self.loop)

    @property
    def runs_here(self) -> bool:
        """Whether this is the thread of the event loop."""
        return self.thread == get_ident() or runs_here(self.loop)

    @property
    def is_of_this_process(self) -> bool:
        """Whether this process has opened the connections."""
        return os.getpid() == self.process
