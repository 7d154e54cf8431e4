"""How old what a replica has can be, by what the primary told of itself."""

from __future__ import annotations

import pytest

from aio_databases import ConfigurationError
from aio_databases.dialects.positions import Position
from aio_databases.replicas.lag import PositionHistory, ReadRequirement

LONG_AGO = float("-inf")


def at(number):
    return Position.parse(f"0/{number:X}")


def test_of_an_empty_history_nothing_is_known():
    assert LONG_AGO == PositionHistory().moment_of(at(9)) == PositionHistory().newest
    history = PositionHistory()
    history.add(1.0, at(5))
    assert history.moment_of(None) == LONG_AGO


def test_what_a_replica_has_is_as_old_as_the_last_position_that_it_covers():
    history = PositionHistory()
    for when, number in ((1.0, 10), (2.0, 10), (3.0, 30), (4.0, 40)):
        history.add(when, at(number))
    assert history.newest == 4.0
    found = {number: history.moment_of(at(number)) for number in (9, 10, 29, 30, 39, 40, 99)}
    assert found == {9: LONG_AGO, 10: 2.0, 29: 2.0, 30: 3.0, 39: 3.0, 40: 4.0, 99: 4.0}


def test_a_primary_that_is_behind_its_predecessor_begins_a_new_history():
    history = PositionHistory()
    history.add(1.0, at(50))
    history.add(2.0, at(40))
    assert history.moment_of(at(40)) == 2.0
    assert history.moment_of(at(39)) == LONG_AGO


def test_of_answers_to_questions_at_the_same_time_the_one_to_the_latest_counts():
    history = PositionHistory()
    assert history.add(1.0, at(10), 1.5)
    assert history.add(2.0, at(30), 9.0), "told at last"
    assert history.add(3.0, at(20), 4.0), "though told before"
    assert not history.add(2.5, at(40), 5.0)
    assert {each: history.moment_of(at(each)) for each in (10, 19, 20, 30)} == {10: 1.0, 19: 1.0, 20: 3.0, 30: 3.0}
    assert history.add(5.0, at(15), 5.5), "not at the same time: another server has become the primary"
    assert history.moment_of(at(14)) == LONG_AGO


def test_a_long_history_forgets_its_beginning():
    history = PositionHistory()
    for number in range(5000):
        history.add(float(number), at(number))
    assert history.moment_of(at(4999)) == 4999.0
    assert len(history._samples) <= 1000


def test_nothing_wanted_is_nothing_to_look_for():
    assert ReadRequirement() == ReadRequirement.of(None, None, 3.0)
    assert ReadRequirement.of(2, None, 0.5) == (2.0, None, 0.5)
    assert (None, at(7), 0.5) == ReadRequirement.of(None, "0/7", 0.5)


@pytest.mark.parametrize("arguments", [(-1, None, 0), ("1", None, 0), (None, "x", 0), (None, "0/7", -1), (None, "", 0)])
def test_bad_wishes_are_refused(arguments):
    with pytest.raises(ConfigurationError):
        ReadRequirement.of(*arguments)
