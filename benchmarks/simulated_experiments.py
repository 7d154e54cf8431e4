"""The questions that the simulation answers: how many connections, how many replicas, what lag and a freeze cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from simulated_clients import simulate
from simulated_setup import Setup
from simulated_theory import wait_of_users

if TYPE_CHECKING:
    from collections.abc import Callable

    Tick = Callable[[str], None]

# Connections: 3,200 visits a second of 2 ms on 8 cores keep 80 % of them busy.
CROWD = Setup(clients=3_200, think=0.9955, cores=8)
POOLS = {1: (8, 10, 12, 14, 16, 20, 24, 32, 48, 64), 4: (2, 3, 4, 5, 6, 8, 12, 16), 16: (1, 2, 3, 4)}
"""The pools that are tried, by the number of processes."""

# Replicas: more users than any of the clusters can serve, so that the rate is what it can do.
# They think for less, and warm up for longer, so that the lines have got their lengths.
FLOOD = Setup(clients=2_500, think=0.25, cores=2, processes=8, warm_up=20.0, duration=8.0)
REPLICAS = (0, 1, 2, 3, 4, 6, 8)
READ_SHARES = (0.5, 0.8, 0.95)

# Lag: a form is sent, and the page that it leads to is read at once.
LAGGING = Setup(clients=1_500, cores=4, replicas=2, redirect=True, duration=40.0)
LAGS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
READS = {
    "whatever is there": {},
    "after=position, wait=0": {"positions": True, "wait": 0.0},
    "after=position, wait=0.5": {"positions": True, "wait": 0.5},
}

# Failure: one of two replicas answers nobody for 15 seconds; reads have a time limit of 2 seconds.
FREEZE, FROZEN = 10.0, 15.0
FAILING = Setup(
    clients=1_500, cores=4, replicas=2, read_share=0.95, time_limit=2.0, frozen=(5.0 + FREEZE, FROZEN), duration=45.0
)
WAYS = {
    "at random": {"routing": "random", "cool_down": 0.0, "patience": 10.0},
    "fewest leases": {"cool_down": 0.0, "patience": 10.0},
    "fewest leases, breaker": {},
}


def run_all(tick: Tick, *, quick: bool, seed: int = 1) -> dict[str, Any]:
    """Run all of them; ``quick``: a few, and short ones."""
    return {
        "base": asdict(Setup()),
        "theory": theory(tick, quick=quick, seed=seed),
        "connections": connections(tick, quick=quick, seed=seed),
        "replicas": replicas(tick, quick=quick, seed=seed),
        "lag": lag(tick, quick=quick, seed=seed),
        "failure": failure(tick, quick=quick, seed=seed),
    }


def theory(tick: Tick, *, quick: bool, seed: int) -> list[dict[str, Any]]:
    """Compare the waits for one of eight connections, and for one of eight cores, with those of theory."""
    found = []
    for users in (2_500, 3_200, 3_600)[: 1 if quick else None]:
        base = Setup(clients=users, read_share=1.0, held=0, round_trip=0, processes=1, seed=seed)
        base = base.having(warm_up=0.5, duration=1.0) if quick else base.having(duration=60.0)
        expected, rate = wait_of_users(users, base.think, 8, base.read_time)
        for what, changes in {
            "connection": {"pool": 8, "cores": users},
            "core": {"pool": users, "cores": 8},
        }.items():
            tick(f"theory: {users} users, 8 {what}s")
            setup = base.having(**changes)
            outcome = simulate(setup)
            # Less what these very requests took on a core: its mean varies by as much as a short wait lasts.
            served = outcome.busy["primary"] * setup.cores * setup.duration / len(outcome.requests)
            waited = (outcome.mean() - served) * 1000
            row = {"users": users, "for": what, "rate": rate, "simulated rate": outcome.rate}
            found.append({**row, "wait": expected * 1000, "simulated wait": waited})
    return found


def connections(tick: Tick, *, quick: bool, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Grow the pools, in one process and in several."""
    found: dict[str, list[dict[str, Any]]] = {}
    for processes, pools in POOLS.items():
        for pool in pools[:2] if quick else pools:
            setup = hurried(CROWD.having(processes=processes, pool=pool, seed=seed), quick=quick)
            tick(f"connections: {processes} x {pool}")
            row = {"pool": pool, "connections": setup.connections, **simulate(setup).summary()}
            found.setdefault(str(processes), []).append(row)
    return found


def replicas(tick: Tick, *, quick: bool, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Add replicas, at some shares of reads."""
    found: dict[str, list[dict[str, Any]]] = {}
    for read_share in READ_SHARES:
        for count in REPLICAS[:2] if quick else REPLICAS:
            setup = hurried(FLOOD.having(replicas=count, read_share=read_share, seed=seed), quick=quick)
            tick(f"replicas: {count}, {read_share:.0%} reads")
            row = {"replicas": count, "ceiling": ceiling(setup), **simulate(setup).summary()}
            found.setdefault(str(read_share), []).append(row)
    return found


def ceiling(setup: Setup) -> float:
    """Return the requests per second at which the primary or the replicas have no core left."""
    writes, reads = 1 - setup.read_share, setup.read_share
    if not setup.replicas:
        return setup.cores / (reads * setup.read_time + writes * setup.write_time)
    on_replica = reads / setup.replicas * setup.read_time + writes * setup.replay_time
    return setup.cores / max(writes * setup.write_time, on_replica)


def lag(tick: Tick, *, quick: bool, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Let replicas lag, and ask them for one's own writes or not."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, changes in READS.items():
        for seconds in LAGS[:2] if quick else LAGS:
            tick(f"lag: {seconds:g} s, {name}")
            setup = hurried(LAGGING.having(lag=seconds, seed=seed, **changes), quick=quick)
            found.setdefault(name, []).append({"lag": seconds, **simulate(setup).summary()})
    return found


def failure(tick: Tick, *, quick: bool, seed: int) -> dict[str, dict[str, Any]]:
    """Freeze a replica."""
    found = {}
    for name, changes in WAYS.items():
        tick(f"failure: {name}")
        setup = FAILING.having(seed=seed, **changes)
        if quick:
            setup = setup.having(clients=200, frozen=(6.0, 3.0), duration=6.0)
        outcome = simulate(setup)
        found[name] = {"timeline": outcome.timeline(), **outcome.summary()}
    return found


def hurried(setup: Setup, *, quick: bool) -> Setup:
    """Return a setup that is over soon, if asked for."""
    return setup.having(clients=setup.clients // 10, warm_up=0.5, duration=1.0) if quick else setup


def rounded(report: Any) -> Any:
    """Return a report with as many digits as mean something, so that the file stays small."""
    if isinstance(report, dict):
        return {str(name): rounded(value) for name, value in report.items()}
    if isinstance(report, list):
        return [rounded(value) for value in report]
    return float(f"{report:.6g}") if isinstance(report, float) else report
