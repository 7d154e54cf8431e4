"""What queueing theory says of the simple cases: the simulation has to agree with it."""

from __future__ import annotations

from itertools import accumulate
from math import exp, log


def erlang_c(servers: int, load: float) -> float:
    """Return the chance to have to wait in an M/M/c queue; ``load`` is the rate times the mean service time.

    By the recursion of Erlang B, B(0) = 1 and B(c) = load B(c - 1) / (c + load B(c - 1)), which stays in range.
    """
    if load >= servers:
        return 1.0
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def wait_in_line(servers: int, rate: float, service: float, variation: float = 1.0) -> float:
    """Return the mean seconds that a request waits, at so many of them per second.

    Exact for exponential service times (``variation`` 1) and for one server (Pollaczek and Khinchine); else it is the
    approximation of Lee and Longton.
    """
    load = rate * service
    return erlang_c(servers, load) * service / (servers - load) * (1 + variation**2) / 2


def wait_of_users(users: int, think: float, servers: int, service: float) -> tuple[float, float]:
    """Return the mean seconds that a request waits, and the rate, where users have their answer before they ask again.

    This is the M/M/c queue with a finite source, the "machine repairman".
    """
    ratio = service / think
    steps = (log((users - n) * ratio / min(n + 1, servers)) for n in range(users))
    weights = list(accumulate(steps, initial=0.0))  # logarithms: the numbers themselves do not fit a float
    most = max(weights)
    chances = [exp(weight - most) for weight in weights]
    inside = sum(n * chance for n, chance in enumerate(chances)) / sum(chances)
    rate = (users - inside) / think
    return inside / rate - service, rate
