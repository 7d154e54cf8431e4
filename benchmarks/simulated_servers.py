"""Servers that are simulated: cores that statements wait for, replicas that replay, and a freeze."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import simpy

from simulated_setup import duration

if TYPE_CHECKING:
    from collections.abc import Generator

    from simulated_setup import Setup

    Steps = Generator[simpy.Event, Any, Any]
    """What a process of simpy is made of: it yields what it waits for."""

CHANGES = 1.0  # seconds after which the lag of a replica is drawn anew


class Server:
    """A database server: statements wait in line for one of its cores, first come, first served."""

    def __init__(self, env: simpy.Environment, setup: Setup, name: str) -> None:
        self.env = env
        self.setup = setup
        self.name = name
        self.draw = Random(f"{setup.seed} {name}")  # noqa: S311 - chance, not secrets
        self.cores = simpy.Resource(env, setup.cores)
        self.thaw: simpy.Event | None = None
        self.worked = 0.0
        self.position = 0  # the number of the last write that is there

    def work(self, mean: float) -> Steps:
        """Use a core for about so long, return the position that was seen; a frozen server keeps the core meanwhile."""
        with self.cores.request() as core:
            yield core
            seen = self.position
            taken = duration(self.draw, mean, self.setup.variation)
            yield self.env.timeout(taken)
            if self.env.now > self.setup.warm_up:
                self.worked += taken
            if self.thaw is not None:
                yield self.thaw
        return seen

    def freeze(self, begin: float, seconds: float) -> Steps:
        """Answer nobody for so long, as a machine that hangs."""
        yield self.env.timeout(begin)
        thaw = self.thaw = self.env.event()
        yield self.env.timeout(seconds)
        self.thaw = None
        thaw.succeed()

    @property
    def busy(self) -> float:
        """The share of the cores in use."""
        return self.worked / (self.setup.duration * self.setup.cores)


class Primary(Server):
    """The server that takes writes: their number is the position."""

    def __init__(self, env: simpy.Environment, setup: Setup) -> None:
        super().__init__(env, setup, "primary")
        self.replicas: list[Replica] = []

    def commit(self) -> int:
        """Give a write its number, and send it to the replicas."""
        self.position += 1
        for replica in self.replicas:
            replica.send()
        return self.position


class Replica(Server):
    """A server that replays the writes of the primary, in order, one after the other, some time later."""

    def __init__(self, env: simpy.Environment, setup: Setup, name: str) -> None:
        super().__init__(env, setup, name)
        self._arrivals: deque[float] = deque()
        self._more = env.event()
        self._waiting: list[tuple[int, int, simpy.Event]] = []
        self._numbers = count()
        self._lag, self._lag_until, self._last = 0.0, 0.0, 0.0
        self._goes_on: simpy.Event | None = None
        env.process(self._replay())

    def send(self) -> None:
        """Have a write arrive after the lag, never before an earlier one."""
        now = self.env.now
        if now >= self._lag_until:
            self._lag = self.draw.expovariate(1 / self.setup.lag) if self.setup.lag else 0.0
            self._lag_until = now + CHANGES
        self._last = max(self._last, now + self._lag)
        self._arrivals.append(self._last)
        if not self._more.triggered:
            self._more.succeed()

    def reached(self, position: int) -> simpy.Event:
        """Return what happens when a position was replayed."""
        event = self.env.event()
        heappush(self._waiting, (position, next(self._numbers), event))
        return event

    def pause(self, begin: float, seconds: float) -> Steps:
        """Replay nothing for so long."""
        yield self.env.timeout(begin)
        self._goes_on = self.env.event()
        yield self.env.timeout(seconds)
        self._goes_on.succeed()
        self._goes_on = None

    def _replay(self) -> Steps:
        """Replay what has arrived, all of it in one go."""
        while True:
            if not self._arrivals:
                self._more = self.env.event()
                yield self._more
            yield self.env.timeout(max(0.0, self._arrivals[0] - self.env.now))
            if self._goes_on is not None:
                yield self._goes_on
            writes = 0
            while self._arrivals and self._arrivals[0] <= self.env.now:
                self._arrivals.popleft()
                writes += 1
            yield from self.work(writes * self.setup.replay_time)
            self.position += writes
            while self._waiting and self._waiting[0][0] <= self.position:
                heappop(self._waiting)[2].succeed()
