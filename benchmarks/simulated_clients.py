"""Users and the processes that serve them, over pools as those of `Database(url, replicas=[...])`."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

import simpy

from simulated_servers import Primary, Replica
from simulated_setup import Outcome, Request

if TYPE_CHECKING:
    from simulated_servers import Server, Steps
    from simulated_setup import Setup

MOST_COOL_DOWN = 60.0  # seconds
SAMPLES = 4  # positions of the primary to know of for as long as a replica may be behind


class Answer(NamedTuple):
    """Where a read was answered."""

    place: str
    waited: float = 0.0
    is_stale: bool = False
    has_failed: bool = False


class Pool:
    """The connections of a process to a server, and its breaker."""

    def __init__(self, server: Server, weight: float = 1.0) -> None:
        self.server = server
        self.weight = weight
        self.leases = simpy.Resource(server.env, server.setup.pool)
        self.unsettled = 0  # cancelled statements that have not stopped yet
        self.behind_until = 0.0  # not to be waited for, because somebody has just done so in vain
        self._is_suspect = False  # a connection has failed: the next one has to answer first
        self._rests_until = 0.0
        self._failures = 0
        self._is_tried = False

    @property
    def rank(self) -> tuple[bool, bool, float, float]:
        """The order among replicas, as in `aio_databases.replicas.router`: ties are broken by chance, and by weight."""
        chance = -(self.server.draw.random() ** (1 / self.weight))
        load = self.leases.count + len(self.leases.queue)
        return bool(self.unsettled), load >= self.leases.capacity, load / self.weight, chance

    @property
    def admits(self) -> bool:
        """Whether the breaker lets somebody try: one user when the cool-down is over, all when that went well."""
        return not self._failures or (self.server.env.now >= self._rests_until and not self._is_tried)

    def connect(self) -> Steps:
        """Return whether the server answers; it is asked only after a connection has failed."""
        env, setup = self.server.env, self.server.setup
        if not self._is_suspect:
            return True
        self._is_tried = True
        try:
            if self.server.thaw is not None:
                yield self.server.thaw | env.timeout(setup.patience)
            if self.server.thaw is not None:
                self._fail()
                return False
            yield env.timeout(setup.round_trip)
        finally:
            self._is_tried = False
        self._is_suspect, self._failures = False, 0
        return True

    def settle(self) -> Steps:
        """Stop a cancelled statement; where nobody answers the connection is cut in the end."""
        if self.server.thaw is not None:
            self.unsettled += 1
            yield self.server.thaw | self.server.env.timeout(self.server.setup.patience)
            self.unsettled -= 1
            if self.server.thaw is not None:
                self._fail()

    def _fail(self) -> None:
        """Open the breaker for some seconds, with a jitter."""
        self._is_suspect = True
        setup, now = self.server.setup, self.server.env.now
        if setup.cool_down and (not self._failures or now >= self._rests_until):
            rest = min(setup.cool_down * 2**self._failures, MOST_COOL_DOWN)
            self._failures += 1
            self._rests_until = now + rest * self.server.draw.uniform(0.8, 1.2)


class Process:
    """A process of the application: a pool for the primary, one for each replica, and one that stands in for them."""

    def __init__(self, setup: Setup, primary: Primary, draw: Random, outcome: Outcome) -> None:
        self.setup = setup
        self.env = primary.env
        self.draw = draw
        self.outcome = outcome
        weights = setup.weights or (1.0,) * len(primary.replicas)
        self.primary = Pool(primary)
        self.fallback = Pool(primary) if setup.replicas else self.primary
        self.replicas = [Pool(server, weight) for server, weight in zip(primary.replicas, weights, strict=True)]
        self.samples: list[tuple[float, int]] = []  # when the primary was where

    def by_load(self) -> list[Pool]:
        """Return the replicas in the order in which they are tried."""
        if self.setup.routing == "random":
            return self.draw.sample(self.replicas, len(self.replicas))
        return sorted(self.replicas, key=lambda pool: pool.rank)

    def stand_in_line(self, lease: simpy.Event) -> Steps:
        """Wait in line for a connection."""
        began = self.env.now
        yield lease
        if self.env.now > self.setup.warm_up:
            self.outcome.in_pool += self.env.now - began

    def statement(self, server: Server, mean: float) -> Steps:
        """Ask a server, do with the answer what is done before the connection goes back; return what was seen."""
        yield self.env.timeout(self.setup.round_trip / 2)
        seen = yield from server.work(mean)
        yield self.env.timeout(self.setup.round_trip / 2 + self.setup.held)
        return seen

    def write(self) -> Steps:
        """Write on the primary; return the position, which is asked for on the same connection."""
        with self.primary.leases.request() as lease:
            yield from self.stand_in_line(lease)
            server = self.primary.server
            assert isinstance(server, Primary)
            yield from self.statement(server, self.setup.write_time)
            position = server.commit()
            if self.setup.positions:
                yield self.env.timeout(self.setup.round_trip)
        return position

    def read(self, position: int) -> Steps:
        """Read from a replica that has replayed a position, else from the primary."""
        waited = 0.0
        for pool in self.by_load():
            if not pool.admits:
                continue
            with pool.leases.request() as lease:
                is_connected = False
                try:
                    yield from self.stand_in_line(lease)
                    is_connected = yield from pool.connect()
                    if not is_connected:
                        continue
                    is_fresh, seconds = yield from self.catch_up(pool, position, self.setup.wait - waited)
                    waited += seconds
                    if not is_fresh or not (yield from self.is_near(pool)):
                        continue
                    seen = yield from self.statement(pool.server, self.setup.read_time)
                except simpy.Interrupt:
                    if is_connected:
                        yield from pool.settle()
                    return Answer("replica", waited, has_failed=True)
            return Answer("replica", waited, is_stale=seen < position)
        try:
            with self.fallback.leases.request() as lease:
                yield from self.stand_in_line(lease)
                if self.setup.max_lag and self.setup.asks == "in time":
                    yield from self.note_primary()
                yield from self.statement(self.fallback.server, self.setup.read_time)
        except simpy.Interrupt:
            return Answer("primary", waited, has_failed=True)
        return Answer("primary", waited)

    def is_near(self, pool: Pool) -> Steps:
        """Return whether a replica is known to be at most `max_lag` behind, as `replicas.lag` finds out."""
        if not self.setup.max_lag:
            return True
        newest = self.samples[-1][0] if self.samples else float("-inf")
        is_due = self.env.now - newest > self.setup.max_lag / SAMPLES
        if self.setup.asks == "when free":
            is_due = is_due and not self._covers(pool)
        if is_due and self.fallback.leases.count < self.fallback.leases.capacity:
            with self.fallback.leases.request() as lease:
                yield lease
                yield from self.note_primary()
        yield self.env.timeout(self.setup.round_trip)
        return self._covers(pool)

    def note_primary(self) -> Steps:
        """Ask the primary where it is."""
        began = self.env.now
        yield self.env.timeout(self.setup.round_trip)
        self.samples = [*self.samples[-100:], (began, self.primary.server.position)]

    def _covers(self, pool: Pool) -> bool:
        """Return whether a replica has what the primary had `max_lag` ago."""
        moments = [moment for moment, position in self.samples if position <= pool.server.position]
        return bool(moments) and self.env.now - max(moments) <= self.setup.max_lag

    def catch_up(self, pool: Pool, position: int, seconds: float) -> Steps:
        """Return whether a replica has replayed a position, and for how long that was waited for, at most so long."""
        server = pool.server
        if not self.setup.positions or not position:
            return True, 0.0
        yield self.env.timeout(self.setup.round_trip)  # asking costs as much
        began = self.env.now
        if server.position < position and seconds > 0 and began >= pool.behind_until:
            yield server.reached(position) | self.env.timeout(seconds)
            if server.position < position:
                pool.behind_until = self.env.now + self.setup.cool_down
        return server.position >= position, self.env.now - began


class User:
    """Somebody who visits, thinks, and visits again, served by any of the processes."""

    def __init__(self, setup: Setup, processes: list[Process], draw: Random, outcome: Outcome) -> None:
        self.setup = setup
        self.env = processes[0].env
        self.processes = processes
        self.draw = draw
        self.outcome = outcome
        self.position = 0

    def visits(self) -> Steps:
        """Go on for ever."""
        setup, draw = self.setup, self.draw
        while True:
            yield self.env.timeout(draw.expovariate(1 / setup.think))
            if draw.random() < setup.write_chance:
                began = self.env.now
                self.position = yield from draw.choice(self.processes).write()
                self.note(began, "write", Answer("primary"))
                if not setup.redirect:
                    continue
            began = self.env.now
            answer = yield from self.read(draw.choice(self.processes))
            self.note(began, "read", answer)

    def read(self, process: Process) -> Steps:
        """Read, within the application's time limit if it has one."""
        reading = process.read(self.position)
        if not self.setup.time_limit:
            return (yield from reading)
        running = self.env.process(reading)
        yield running | self.env.timeout(self.setup.time_limit)
        if running.is_alive:
            running.interrupt()
            yield running
        return running.value

    def note(self, began: float, kind: str, answer: Answer) -> None:
        """Count a request, unless it ended while the run was warming up."""
        now = self.env.now
        if now > self.setup.warm_up:
            self.outcome.requests.append(Request(now, now - began, kind, *answer))


def simulate(setup: Setup) -> Outcome:
    """Run a setup; the same one always gives the same outcome."""
    env = simpy.Environment()
    draw = Random(f"{setup.seed} users")  # noqa: S311 - chance, not secrets
    outcome = Outcome(setup)
    primary = Primary(env, setup)
    primary.replicas = [Replica(env, setup, f"replica-{number}") for number in range(1, setup.replicas + 1)]
    if setup.frozen:
        env.process(primary.replicas[0].freeze(*setup.frozen))
    for replica in primary.replicas if setup.paused else ():
        env.process(replica.pause(*setup.paused))
    processes = [Process(setup, primary, draw, outcome) for _ in range(setup.processes)]
    for _ in range(setup.clients):
        env.process(User(setup, processes, draw, outcome).visits())
    env.run(setup.warm_up + setup.duration)
    outcome.busy = {server.name: server.busy for server in (primary, *primary.replicas)}
    return outcome
