"""When a server that has failed may be tried again."""

from __future__ import annotations

import pytest

from aio_databases.pool import breaker
from aio_databases.pool.breaker import CircuitBreaker


@pytest.fixture
def clock(monkeypatch):
    """Give a list whose only element is the time, and take the chance out of the rests."""
    now = [1000.0]
    monkeypatch.setattr(breaker, "monotonic", lambda: now[0])
    monkeypatch.setattr(breaker.random, "uniform", lambda *_: 1.0)
    return now


def test_a_server_that_works_is_admitted_and_not_on_trial():
    circuit = CircuitBreaker(5)
    assert circuit.allows_request
    assert not circuit.begin()
    assert circuit.failures == 0


def test_after_a_failure_the_server_rests_and_then_one_user_tries_it(clock):
    circuit = CircuitBreaker(5)
    assert circuit.record_failure() == 5
    assert not circuit.allows_request
    clock[0] += 5
    assert circuit.allows_request
    assert circuit.begin()
    assert not circuit.allows_request, "somebody tries it already"
    circuit.end_trial(works=True)
    assert circuit.allows_request
    assert not circuit.begin()


def test_those_who_find_out_the_same_do_not_make_the_rest_longer(clock):
    circuit = CircuitBreaker(5)
    assert [circuit.record_failure() for _ in range(3)] == [5, 0, 0]
    clock[0] += 5
    assert circuit.allows_request


def test_each_failed_trial_doubles_the_rest_up_to_a_minute(clock):
    circuit = CircuitBreaker(5)
    rests = []
    for _ in range(12):
        rests.append(circuit.record_failure())
        clock[0] += rests[-1]
        assert circuit.begin()
        circuit.end_trial(works=False)
    assert rests[:6] == [5, 10, 20, 40, 60, 60]
    assert {60} == set(rests[5:])


def test_a_cool_down_of_more_than_a_minute_stays_as_it_is(clock):
    circuit = CircuitBreaker(300)
    assert circuit.record_failure() == 300
    clock[0] += 300
    assert circuit.record_failure() == 300


def test_a_trial_that_is_given_up_leaves_the_next_to_somebody_else(clock):
    circuit = CircuitBreaker(5)
    circuit.record_failure()
    clock[0] += 5
    circuit.begin()
    circuit.end_trial(works=False)
    assert circuit.allows_request
    assert circuit.begin()


def test_rests_are_of_different_lengths_so_that_not_all_come_back_at_once():
    rests = {round(CircuitBreaker(5).record_failure(), 9) for _ in range(50)}
    assert len(rests) > 40
    assert all(4 <= rest <= 6 for rest in rests)
