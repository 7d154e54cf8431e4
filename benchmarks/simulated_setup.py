"""What is simulated: users, processes with their pools, servers, and what goes wrong; and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from math import log
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random


@dataclass(frozen=True)
class Setup:
    """All times are in seconds."""

    # Users
    clients: int = 3_000
    think: float = 1.0  # between two visits of a user, on average; exponential
    read_share: float = 0.9  # of all requests
    redirect: bool = False  # each write is followed by a read of the same user at once, as after a form was sent
    time_limit: float = 0.0  # of a read, set by the application; 0: none

    # Processes of the application
    processes: int = 4
    pool: int = 10  # connections of a process to each server: `max_size`
    held: float = 0.001  # what the application does while it has the connection
    round_trip: float = 0.0005  # on the network, per statement
    routing: str = "fewest"  # or "random"
    positions: bool = False  # reads ask for the position of the user's last write
    wait: float = 0.5  # for how long a replica may be waited for, as in `db.replica(after=..., wait=...)`
    max_lag: float = (
        0.0  # reads want data that are at most so old, as in `db.replica(max_lag=...)`; 0: whatever is there
    )
    asks: str = "in time"  # when a process asks the primary for its position; or "when free": too late, and only then
    patience: float = 1.0  # for which a replica may take to open a connection, or to stop a cancelled statement
    cool_down: float = 5.0  # for which a replica that failed is left alone, doubling up to a minute; 0: never

    # Servers
    cores: int = 8  # of each
    replicas: int = 0
    weights: tuple[float, ...] = ()  # of the replicas, 1 by default
    read_time: float = 0.002  # on a core, on average
    write_time: float = 0.002
    replay_time: float = 0.0005  # on a core of each replica, per write
    variation: float = 1.0  # of these times, the deviation by the mean; 0: constant, 1: exponential, else lognormal
    lag: float = 0.02  # until a write reaches a replica, on average: drawn anew every second, exponential
    frozen: tuple[float, float] | None = None  # the first replica: from when, for how long
    paused: tuple[float, float] | None = None  # the replay of all replicas: from when, for how long

    # The run
    warm_up: float = 5.0  # not counted
    duration: float = 20.0  # counted
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.redirect and self.read_share < 0.5:  # noqa: PLR2004 - one read per write is half
            raise ValueError("with redirect=True at least half of the requests are reads")
        if self.routing not in ("fewest", "random"):
            raise ValueError(f"routing is 'fewest' or 'random', not {self.routing!r}")
        if self.asks not in ("in time", "when free"):
            raise ValueError(f"asks is 'in time' or 'when free', not {self.asks!r}")

    @property
    def write_chance(self) -> float:
        """The chance that a visit is a write; one that is redirected makes a read as well."""
        writes = 1 - self.read_share
        return writes / self.read_share if self.redirect else writes

    @property
    def connections(self) -> int:
        """How many connections the primary may see: a second pool of each process reads from it when replicas fail."""
        return self.processes * self.pool * (2 if self.replicas else 1)

    def having(self, **changes: Any) -> Setup:
        """Return the same with some changes."""
        return replace(self, **changes)

    @classmethod
    def told(cls, texts: Sequence[str]) -> Setup:
        """Make one from texts such as `pool=5`; raises ValueError for another name or value."""
        kinds = {option.name: type(option.default) for option in fields(cls)}
        given: dict[str, Any] = {}
        for text in texts:
            name, _, value = text.partition("=")
            if name not in kinds:
                raise ValueError(f"{text!r} is none of {', '.join(kinds)}")
            try:
                given[name] = READERS[kinds[name]](value)
            except (KeyError, ValueError):
                raise ValueError(f"{text!r} has no value that {name} could have") from None
        return cls(**given)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))


READERS: dict[type, Callable[[str], Any]] = {
    bool: {"true": True, "false": False}.__getitem__,
    int: int,
    float: float,
    str: str,
    tuple: _numbers,
    type(None): _numbers,
}
"""How the value of an option is read, by the type of its default."""


def duration(draw: Random, mean: float, variation: float) -> float:
    """Draw how long something takes."""
    if not variation or not mean:
        return mean
    if variation == 1:
        return draw.expovariate(1 / mean)
    spread = log(1 + variation**2)
    return draw.lognormvariate(log(mean) - spread / 2, spread**0.5)


class Request(NamedTuple):
    """What became of a request of a user."""

    ended: float
    taken: float
    kind: str  # "read" or "write"
    place: str  # "primary" or "replica"
    waited: float = 0.0  # for a position to be replayed
    is_stale: bool = False  # the user's own last write was missing
    has_failed: bool = False


@dataclass
class Outcome:
    """What a run has found."""

    setup: Setup
    requests: list[Request] = field(default_factory=list)
    in_pool: float = 0.0  # seconds that all requests together have waited for a connection
    busy: dict[str, float] = field(default_factory=dict)  # the share of a server's cores in use

    @property
    def rate(self) -> float:
        """Requests per second that succeeded."""
        return sum(not request.has_failed for request in self.requests) / self.setup.duration

    def of(self, kind: str) -> list[Request]:
        """Return the reads or the writes."""
        return [request for request in self.requests if request.kind == kind]

    def mean(self) -> float:
        """Return the mean time of a request, in seconds."""
        return fmean(request.taken for request in self.requests)

    def summary(self) -> dict[str, float]:
        """Return the figures that are reported, times in milliseconds."""
        reads = self.of("read")
        times = cuts([request.taken for request in reads])
        asked = [request for request in reads if request.waited]
        return {
            "rate": self.rate,
            "p50": times[49] * 1000,
            "p99": times[98] * 1000,
            "pool wait": self.in_pool / max(1, len(self.requests)) * 1000,
            "stale": share(sum(read.is_stale for read in reads), reads),
            "waited": share(len(asked), reads),
            "position wait": fmean([read.waited for read in asked] or [0.0]) * 1000,
            "to primary": share(sum(read.place == "primary" for read in reads), reads),
            "failed": float(sum(request.has_failed for request in self.requests)),
            **{f"busy {name}": value for name, value in self.busy.items()},
        }

    def timeline(self, kind: str = "read") -> list[dict[str, float]]:
        """Return, for each second that is counted, the 99th percentile in milliseconds and how many failed."""
        seconds: list[list[Request]] = [[] for _ in range(int(self.setup.duration))]
        for request in self.of(kind):
            seconds[min(int(request.ended - self.setup.warm_up), len(seconds) - 1)].append(request)
        return [
            {
                "p99": cuts([request.taken for request in found])[98] * 1000,
                "failed": float(sum(request.has_failed for request in found)),
                "to primary": share(sum(request.place == "primary" for request in found), found),
            }
            for found in seconds
        ]


def share(count: float, of: Sequence[object]) -> float:
    """Return a share, 0 of nothing."""
    return count / len(of) if of else 0.0


def cuts(values: Sequence[float]) -> list[float]:
    """Return the percentiles; of less than two values it is the value, or 0."""
    if len(values) > 1:
        return quantiles(values, n=100)
    return [*values, 0.0][:1] * 99
