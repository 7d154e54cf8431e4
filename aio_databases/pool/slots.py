"""The slots of a pool: how many connections there are, which of them are idle, and which tasks wait for one.

A slot is a connection, or the right of one task to open one.  A task that takes a slot hands it on with its connection
(`Slots.put`) or without (`Slots.free`).  Idle connections are a stack, the most recently used on top, so that surplus
ones grow old; waiting tasks are a queue, and a connection that comes back goes to the first of them.  Nothing here does
I/O.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from aio_databases.concurrency.queues import WaitQueue

if TYPE_CHECKING:
    from typing import TypeAlias

    from aio_databases.physical_connection.connection import PhysicalConnection

    Handed: TypeAlias = "PhysicalConnection | SentAway | None"


class SentAway(Enum):
    """What a task in line is handed when it is to wait no more."""

    NO_SLOT = "no slot"


NO_SLOT: Final = SentAway.NO_SLOT


class Slots:
    """The slots of one pool."""

    __slots__ = ("idle", "max_size", "retired", "size", "waiting")

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.size = 0
        self.idle: list[PhysicalConnection] = []
        self.retired: dict[PhysicalConnection, None] = {}  # to be closed, lent or not, as the pool was shut
        self.waiting: WaitQueue[Handed] = WaitQueue()

    @property
    def has_room(self) -> bool:
        """Whether a caller gets a connection without waiting for another one to give it back."""
        return bool(self.idle) or self.size < self.max_size

    @property
    def load(self) -> int:
        """How many connections are in use, being opened, or waited for."""
        return self.size - len(self.idle) + len(self.waiting)

    def take_idle(self) -> PhysicalConnection:
        """Take the connection that was used last."""
        return self.idle.pop()

    def take_oldest(self) -> PhysicalConnection:
        """Take the connection that has been idle for longest."""
        return self.idle.pop(0)

    def take_new(self) -> None:
        """Take a slot in which to open a connection."""
        self.size += 1

    def swap_for_idle(self) -> PhysicalConnection | None:
        """Give up a slot for an idle connection, if there is one."""
        if not self.idle:
            return None
        self.size -= 1
        return self.idle.pop()

    def prefer_other_hosts(self, hosts: set[int]) -> bool:
        """Have a connection to none of these hosts lent next, and return whether one is idle."""
        idle = self.idle
        for index in range(len(idle) - 1, -1, -1):
            if idle[index].host not in hosts:
                idle.append(idle.pop(index))
                return True
        return False

    def put(self, physical: PhysicalConnection) -> None:
        """Hand a connection to the next task in line, or keep it idle."""
        if not self.waiting.waiters or not self.waiting.wake_next(physical):
            self.idle.append(physical)

    def free(self) -> None:
        """Hand a slot without a connection to the next task in line, or give it up."""
        if not self.waiting.wake_next(None):
            self.size -= 1

    def give_up(self, count: int = 1) -> None:
        """Give up slots without handing them on: there is no room for other connections in their place."""
        self.size -= count

    def send_away(self) -> None:
        """Have all waiting tasks wait no more."""
        self.waiting.wake_all(NO_SLOT)

    def retire(self, lent: list[PhysicalConnection]) -> list[PhysicalConnection]:
        """Have the idle connections and those that are ``lent`` closed; return all that are to be closed."""
        for physical in (*self.idle, *lent):
            physical.retire()
            self.retired[physical] = None
        self.idle.clear()
        return list(self.retired)

    def forget(self, physical: PhysicalConnection) -> None:
        """Note that a connection is closed."""
        self.retired.pop(physical, None)

    def forget_retired(self) -> None:
        """Forget the connections that are to be closed: they are gone with their event loop."""
        self.retired.clear()


class SharedSlots(Slots):
    """The one slot of a database that lives in one connection: it is idle and lent at the same time."""

    __slots__ = ()

    def put(self, physical: PhysicalConnection) -> None:
        """Hand the connection to all tasks in line, and keep it."""
        if physical not in self.idle:
            self.idle.append(physical)
        self.waiting.wake_all(physical)
