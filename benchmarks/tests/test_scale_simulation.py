"""The simulation of users, pools and servers agrees with queueing theory where there is one, and with its own rules."""

from __future__ import annotations

from statistics import fmean

import pytest

import simulated_chart
from simulated_clients import simulate
from simulated_experiments import ceiling, rounded, run_all
from simulated_setup import Setup, cuts
from simulated_theory import erlang_c, wait_in_line, wait_of_users

SERVICE = 0.002
QUEUE = Setup(
    clients=700, think=1.0, read_share=1.0, held=0, round_trip=0, processes=1, read_time=SERVICE, duration=40.0
)
"""Users who wait for one thing: a core, or a connection."""
CLUSTER = Setup(clients=400, cores=4, replicas=2, redirect=True, warm_up=1.0, duration=6.0)


# Theory


@pytest.mark.parametrize(
    ("servers", "load", "chance"),
    [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (10, 8.0, 0.4092), (8, 8.0, 1.0)],
)
def test_erlang_c_gives_the_values_of_the_tables(servers, load, chance):
    assert chance == pytest.approx(erlang_c(servers, load), abs=5e-5)


def test_one_server_waits_as_the_textbook_says():
    rate = 400.0
    load = rate * SERVICE
    assert load * SERVICE / (1 - load) == pytest.approx(wait_in_line(1, rate, SERVICE))
    assert wait_in_line(1, rate, SERVICE) / 2 == pytest.approx(wait_in_line(1, rate, SERVICE, variation=0))


def test_many_users_who_think_for_long_are_as_good_as_endlessly_many():
    wait, rate = wait_of_users(100_000, 31.25, 8, SERVICE)
    assert wait_in_line(8, rate, SERVICE) == pytest.approx(wait, rel=0.01)


@pytest.mark.parametrize(("what", "limit"), [("connection", {"pool": 2}), ("core", {"pool": 700, "cores": 2})])
def test_users_wait_as_long_as_theory_says(what, limit):
    found = simulate(QUEUE.having(**{"cores": 700, **limit}))
    expected, rate = wait_of_users(700, 1.0, 2, SERVICE)
    assert pytest.approx(found.mean() - SERVICE, rel=0.1) == expected, what
    assert rate == pytest.approx(found.rate, rel=0.02)
    in_pool = found.in_pool / len(found.requests)
    assert (expected if what == "connection" else 0.0) == pytest.approx(in_pool, rel=0.1)


def test_erlang_c_is_met_by_users_who_think_for_long():
    found = simulate(QUEUE.having(clients=4_000, think=5.0, pool=2, cores=900))
    assert wait_in_line(2, found.rate, SERVICE) == pytest.approx(found.mean() - SERVICE, rel=0.1)


@pytest.mark.parametrize(("variation", "off"), [(0.0, 0.05), (1.5, 0.2)])
def test_what_varies_more_is_waited_for_longer(variation, off):
    """Pollaczek and Khinchine, for one server that is busy for 60 % of the time."""
    found = simulate(QUEUE.having(clients=1_500, think=5.0, pool=1, variation=variation))
    expected = wait_in_line(1, found.rate, SERVICE, variation)
    assert pytest.approx(found.mean() - SERVICE, rel=off) == expected


def test_the_connections_in_use_are_those_of_littles_law():
    setup = CLUSTER.having(replicas=0, redirect=False, held=0.003, round_trip=0.001)
    found = simulate(setup)
    taken = fmean(request.taken for request in found.requests)
    assert setup.clients / (setup.think + taken) == pytest.approx(found.rate, rel=0.05)
    assert found.busy["primary"] * setup.cores == pytest.approx(found.rate * SERVICE, rel=0.05)


@pytest.mark.parametrize("replicas", [0, 1, 2])
def test_what_servers_can_do_is_what_arithmetic_says(replicas):
    setup = Setup(clients=3_000, cores=1, processes=4, replicas=replicas, read_share=0.8, duration=10.0)
    assert ceiling(setup) == pytest.approx(simulate(setup).rate, rel=0.05)


# Replicas


def test_the_same_seed_gives_the_same_figures_and_another_one_others():
    first, second, other = (simulate(CLUSTER.having(seed=seed)).summary() for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_reads_without_a_position_are_stale_and_reads_with_one_never():
    careless, careful = (simulate(CLUSTER.having(positions=positions, lag=0.1)) for positions in (False, True))
    assert careless.summary()["stale"] > 0.05
    assert careful.summary()["stale"] == 0.0
    assert careful.summary()["p99"] > careless.summary()["p99"]


def test_a_lag_that_is_not_worth_waiting_for_sends_reads_to_the_primary():
    waiting, hurried = (simulate(CLUSTER.having(positions=True, lag=0.1, wait=wait)).summary() for wait in (5.0, 0.0))
    assert waiting["to primary"] == 0.0
    assert waiting["waited"] > 0.05
    assert hurried["to primary"] > 0.02
    assert hurried["waited"] == 0.0


def test_a_replica_of_twice_the_weight_gets_more_reads():
    busy = simulate(CLUSTER.having(clients=2_000, weights=(2.0, 1.0))).busy
    assert busy["replica-1"] > 1.3 * busy["replica-2"]


def test_replicas_repeat_every_write():
    setup = CLUSTER.having(read_share=0.5, read_time=0.0, variation=0.0)
    found = simulate(setup)
    writes = len(found.of("write")) / setup.duration
    assert writes * setup.replay_time / setup.cores == pytest.approx(found.busy["replica-1"], rel=0.05)


def test_a_frozen_replica_fails_few_reads_with_a_breaker_and_many_without():
    frozen = CLUSTER.having(frozen=(2.0, 8.0), time_limit=1.0, duration=9.0, clients=800, redirect=False)
    ours = simulate(frozen)
    naive = simulate(frozen.having(routing="random", cool_down=0.0, patience=10.0))
    few, many = (sum(request.has_failed for request in found.requests) for found in (ours, naive))
    assert 0 < few <= 8 * frozen.processes
    assert many > 5 * few
    assert ours.timeline()[-1]["p99"] < 100
    assert {0} == {second["failed"] for second in simulate(frozen.having(frozen=None)).timeline()}


# Setups and reports


def test_a_setup_can_be_told_on_the_command_line():
    setup = Setup.told(["clients=5", "think=0.5", "positions=true", "routing=random", "frozen=1,2", "weights=2"])
    assert Setup(clients=5, think=0.5, positions=True, routing="random", frozen=(1.0, 2.0), weights=(2.0,)) == setup


@pytest.mark.parametrize("text", ["nobody=1", "clients=many", "routing=fair", "positions=perhaps", "weights=heavy"])
def test_a_setup_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match=text.split("=")[0]):
        Setup.told([text])


def test_half_of_the_requests_are_reads_at_least_if_writes_are_redirected():
    with pytest.raises(ValueError, match="half"):
        Setup(redirect=True, read_share=0.4)


@pytest.mark.parametrize(("values", "median"), [([], 0.0), ([3.0], 3.0), ([1.0, 2.0, 3.0], 2.0)])
def test_a_percentile_of_little_is_what_there_is(values, median):
    assert median == cuts(values)[49]


def test_a_tiny_run_can_be_drawn(tmp_path):
    said = []
    report = rounded(run_all(said.append, quick=True))
    assert {"base", "theory", "connections", "replicas", "lag", "failure"} == set(report)
    assert len(said) == len(set(said))
    drawn = simulated_chart.draw_scaling(report, tmp_path)
    assert {"scaling.svg", "scaling.png"} == {file.name for file in drawn}
    assert ">stale, without position<" in drawn[0].read_text()


# Lag


@pytest.mark.parametrize("readers", [5, 50, 500])
def test_reads_return_to_replicas_that_replay_again(readers):
    """With `max_lag`: nothing that the readers do may keep them on the primary once the replicas are fresh."""
    setup = Setup(
        clients=readers, think=0.02, read_time=0.05, write_time=0.001, cores=600, processes=1, pool=5, replicas=1
    ).having(max_lag=0.5, lag=0.05, warm_up=1.0, duration=20.0, paused=(2.0, 3.0))
    to_primary = [second["to primary"] for second in simulate(setup).timeline()]
    assert max(to_primary[1:6]) > 0.9, "while they replay nothing"
    assert max(to_primary[-4:]) < 0.05, "and who stood in line then was served"


def test_readers_stay_on_a_primary_that_is_asked_only_while_it_is_free():
    """Which is how it was: nobody knows of a fresh replica, so all wait for the primary, which is never free."""
    setup = Setup(
        clients=50, think=0.02, read_time=0.05, write_time=0.001, cores=600, processes=1, pool=5, replicas=1
    ).having(max_lag=0.5, lag=0.05, warm_up=1.0, duration=20.0, paused=(2.0, 3.0), asks="when free")
    assert min(second["to primary"] for second in simulate(setup).timeline()[-4:]) > 0.9
