"""The benchmark suite runs systems in turns, compares them by round, checks answers, and judges by its targets."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from contextvars import ContextVar
from pathlib import Path

import pytest

import harness
from environments import EnvironmentMissing, Remote
from harness import Batch, Figure, Harness, Taken, figure, ratios_of, shortened
from places import Files
from report import part_of_report
from systems import AGAIN, OURS, SYSTEMS
from systems.address import Address
from systems.base import Clock, Sample, System
from targets import NOISE, TARGETS, Target, controls, evaluate
from workloads import ALL, INSERT, ONE, ROWS, TASKS, WORKLOADS, expected, item, keys, styled

ADDRESS = Address("shop", "db", 5432, "app", "p@ss")


class Fake:
    """A system whose operations take as long as it is told, and whose answer is how many there were."""

    def __init__(self, name, log, *seconds, absent=()):
        self.name = name
        self.log = log
        self.seconds = seconds
        self.absent = dict.fromkeys(absent, "cannot")
        self.batches = 0

    async def run(self, workload, count):
        self.log.append((workload, self.name, count))
        each = self.seconds[min(self.batches, len(self.seconds) - 1)]
        self.batches += 1
        return Sample(each * count, {}, count)


def make(systems, workloads, **options):
    given = {"check": lambda *_: True, "seconds": 1.0, "prepare": lambda _: None, "tick": lambda *_: None}
    return Harness({system.name: system for system in systems}, workloads, **{**given, **options})


# Rounds


async def test_each_round_runs_every_system_once_and_every_other_one_backwards():
    log = []
    names = "abcdefgh"
    found = await make([Fake(name, log, 1.0) for name in names], {"w1": Batch(1, 1)}).run(4)
    warm_up, *rounds = [[name for _, name, _ in log[start : start + 8]] for start in range(0, 40, 8)]
    assert list(names) == warm_up
    assert all(sorted(order) == list(names) for order in rounds)
    assert rounds[1] == rounds[0][::-1]
    assert rounds[3] == rounds[2][::-1]
    assert rounds[2] not in rounds[:2]
    assert [len(taken) for taken in found["w1"].values()] == [4] * 8


async def test_the_warm_up_does_not_count():
    found = await make([Fake("a", [], 9.0, 1.0)], {"w1": Batch(1, 1)}).run(2)
    assert [Taken(1.0, {}), Taken(1.0, {})] == found["w1"]["a"]


async def test_a_batch_of_the_reference_takes_the_wished_time_and_the_others_do_as_much():
    log = []
    await make([Fake("a", log, 0.001), Fake("b", log, 0.0005)], {"w1": Batch(0, 1)}, seconds=0.5).run(1)
    assert [count for _, _, count in log[-2:]] == [500, 500]


async def test_a_fixed_count_is_kept():
    log = []
    await make([Fake("a", log, 1e-9)], {"w8": Batch(400, 50)}).run(1)
    assert log[-1] == ("w8", "a", 400)


async def test_a_slow_system_is_cut_short_to_a_multiple_of_the_step():
    log = []
    found = await make([Fake("a", log, 0.001), Fake("b", log, 0.011)], {"w8": Batch(1000, 50)}).run(1)
    # In two seconds, twice the wished time, it does 181.
    assert {("w8", "a", 1000), ("w8", "b", 150)} == set(log[-2:])
    assert pytest.approx(found["w8"]["b"][0].seconds) == 0.011


async def test_a_system_is_left_out_of_what_it_cannot_do():
    log = []
    systems = [Fake("a", log, 1.0), Fake("b", log, 1.0, absent=["w1"])]
    found = await make(systems, {"w1": Batch(1, 1), "w2": Batch(1, 1)}).run(1)
    assert {name: list(taken) for name, taken in found.items()} == {"w1": ["a"], "w2": ["a", "b"]}
    assert ("w1", "b", 1) not in log
    part = part_of_report(found, {system.name: system for system in systems})
    assert [workload["absent"] for workload in part["workloads"].values()] == [{"b": "cannot"}, {}]


async def test_every_batch_is_prepared_and_ticked():
    prepared, ticks = [], []
    systems = [Fake("a", [], 1.0), Fake("b", [], 1.0)]
    options = {"prepare": prepared.append, "tick": lambda *of: ticks.append(of)}
    await make(systems, {"w9": Batch(1, 1)}, **options).run(3)
    assert prepared == ["w9"] * 8
    assert sorted(ticks[:2]) * 4 == [("w9", "a"), ("w9", "b")] * 4
    assert len(ticks) == 8


async def test_a_wrong_answer_is_loud():
    wrong = make([Fake("a", [], 1.0)], {"w1": Batch(3, 1)}, check=lambda _, count, answer: answer != count)
    with pytest.raises(AssertionError, match="a gave a wrong answer in w1: 1"):
        await wrong.run(1)


@pytest.mark.parametrize(
    ("count", "part", "step", "found"), [(100, 0.1, 1, 10), (5, 0.1, 1, 1), (1000, 0.99, 50, 950), (100, 0.1, 50, 50)]
)
def test_a_count_is_shortened_to_a_multiple_and_never_to_nothing(count, part, step, found):
    assert found == shortened(count, part, step)


# Figures


def test_a_ratio_is_the_median_of_the_ratios_of_each_round():
    taken = [Taken(seconds, {}) for seconds in (2.0, 30.0, 8.0)]
    reference = [Taken(seconds, {}) for seconds in (1.0, 10.0, 2.0)]
    assert Figure(8.0, 2.0, 3.0, 2.5, 3.5, [2.0, 30.0, 8.0], {}) == figure(taken, reference)
    assert ratios_of([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == [2.0, 3.0, 4.0]


def test_one_round_has_a_ratio_too():
    assert figure([Taken(1.0, {})], [Taken(2.0, {})])[2:5] == (0.5, 0.5, 0.5)


def test_rounds_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        figure([Taken(1.0, {})], [Taken(1.0, {}), Taken(1.0, {})])


def test_what_else_was_measured_is_told_by_its_median():
    taken = [Taken(1.0, {"p99": p99}) for p99 in (1.0, 7.0, 3.0)]
    assert figure(taken, taken).extra == {"p99": 3.0}


def test_the_clock_tells_percentiles_and_the_rate_of_single_operations(monkeypatch):
    times = iter([10.0, 12.0])
    monkeypatch.setattr("systems.base.perf_counter", lambda: next(times))
    clock = Clock()
    assert clock.extra == {}
    with clock:
        clock.latencies += [number / 1000 for number in range(100, -1, -1)]
    assert clock.seconds == 2.0
    assert clock.extra == {"p50": 50.0, "p99": 99.0, "rate": 50.5}


def test_a_report_tells_its_figures_in_the_unit_of_the_workload():
    rounds = {"w1": {"a": [Taken(1e-4, {})], "b": [Taken(2e-4, {"p99": 5.0})]}, "w6": {"a": [Taken(0.005, {})]}}
    systems = {"a": Fake("a", []), "b": Fake("b", [], absent=["w6"])}
    part = part_of_report(rounds, systems)
    assert (part["reference"], part["systems"]) == ("a", ["a", "b"])
    first = part["workloads"]["w1"]
    assert ("us", WORKLOADS["w1"].what) == (first["unit"], first["what"])
    assert pytest.approx(100.0) == first["systems"]["a"]["median"]
    assert first["systems"]["b"]["ratio"] == 2.0
    assert first["systems"]["b"]["extra"] == {"p99": 5.0}
    assert "extra" not in first["systems"]["a"]
    assert [pytest.approx(5.0)] == part["workloads"]["w6"]["systems"]["a"]["rounds"]
    assert part == json.loads(json.dumps(part))


# Targets


def report(workload="w8", **systems):
    entries = {
        name.replace("_again", AGAIN): {"rounds": rounds, "ratio": ratio, "extra": {"p99": p99}}
        for name, (rounds, ratio, p99) in systems.items()
    }
    return {"postgresql": {"reference": "asyncpg", "workloads": {workload: {"systems": entries}}}}


def test_targets_are_measured_by_round():
    found = report(aio_databases=([1.0, 5.0, 1.0], 0.0, 2.0), asyncpg=([4.0, 10.0, 2.0], 1.0, 10.0))
    throughput, p99 = evaluate(found)
    assert tuple(throughput[name] for name in ("database", "workload", "against")) == ("postgresql", "w8", "asyncpg")
    assert tuple(throughput[name] for name in ("measure", "measured", "met")) == ("throughput", 2.0, False)
    assert tuple(p99[name] for name in ("measure", "measured", "met")) == ("p99", 0.2, True)
    found = report("w2", aio_databases=([1.0], 1.0, 0.0), asyncpg=([1.0], 1.0, 0.0))
    assert [(one["measure"], one["measured"], one["met"]) for one in evaluate(found)] == [("ratio", 1.0, True)]


def test_a_target_without_figures_is_left_out():
    assert list(evaluate(report(asyncpg=([1.0], 1.0, 1.0)))) == []
    assert list(evaluate({})) == []


@pytest.mark.parametrize(("measure", "met"), [("ratio", (True, True, False)), ("throughput", (False, True, True))])
def test_a_limit_is_a_bound_from_one_side(measure, met):
    target = Target("sqlite", "w1", "a", 1.0, measure)
    assert met == tuple(target.is_met(measured) for measured in (0.9, 1.0, 1.1))


def test_the_control_tells_how_much_noise_there_was():
    (quiet,) = controls(report(asyncpg=([1.0], 1.0, 1.0), asyncpg_again=([1.0], 1.0 + NOISE / 2, 1.0)))
    (loud,) = controls(report(asyncpg=([1.0], 1.0, 1.0), asyncpg_again=([1.0], 1.0 - NOISE * 2, 1.0)))
    assert (quiet["met"], loud["met"]) == (True, False)


def test_every_target_names_systems_and_workloads_that_there_are():
    for target in TARGETS:
        assert {OURS, target.against} <= {entry.name for entry in SYSTEMS[target.database]}
        assert target.workload in WORKLOADS


def test_every_database_has_a_reference_and_a_control_that_does_the_same():
    for reference, control, *_ in SYSTEMS.values():
        assert (f"{reference.name}{AGAIN}", *reference[1:]) == tuple(control)


# Workloads


def test_statements_are_spelled_for_each_library():
    assert styled(ONE, "$1") == "select id, name, score, visits, note from items where id = $1"
    assert styled(INSERT, ":p1") == "insert into written (name, visits) values (:p1, :p2)"
    assert styled(INSERT, "%s") == "insert into written (name, visits) values (%s, %s)"
    assert styled(INSERT, "?") == INSERT
    assert styled(ALL, "$1") == ALL


def test_keys_begin_again_after_the_last_row():
    found = list(keys(ROWS + 2))
    assert found[:3] == [1, 2, 3]
    assert found[-3:] == [ROWS, 1, 2]
    assert item(2) == expected("w3", ROWS + 2, ROWS)
    assert item(2) == expected("w8", (ROWS + 2) * TASKS, ROWS)


@pytest.mark.parametrize("entry", [one for one in SYSTEMS["sqlite"] if not one.peer], ids=lambda one: one.name)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_systems_give_the_right_answers(anyio_backend, entry):
    with Files(ROWS + 1) as place:
        system = entry.make(place.address(entry.name), "asyncio")
        await system.open()
        try:
            for name, workload in WORKLOADS.items():
                count = 2 * workload.step
                place.empty()
                sample = await system.run(name, count)
                assert sample.answer == expected(name, count, ROWS + 1), name
                assert sample.seconds > 0
                assert ("rate" in sample.extra) == (name == "w8")
        finally:
            await system.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_batch_runs_without_the_collector_in_a_context_of_its_own(anyio_backend, monkeypatch):
    variable = ContextVar("variable", default="nothing")
    variable.set("something")

    class Curious(System):
        async def open(self): ...
        async def close(self): ...
        def lookup(self, key): ...
        async def w1(self, _, count):
            return [variable.get(), gc.isenabled(), count]

    sample = await Curious(ADDRESS).run("w1", 3)
    assert Sample(0.0, {}, ["nothing", False, 3]) == sample
    assert gc.isenabled()


# Processes


def test_a_process_runs_batches_until_nobody_asks_any_more():
    child = Path(harness.__file__).with_name("child.py")
    with Files(ROWS) as place:
        first = {"module": "systems.ours", "class": "SQLite", "event_loop": "asyncio", "address": place.address(OURS)}
        orders = [first, {"workload": "w2", "count": 3}, {"workload": "w8", "count": TASKS}]
        lines = "".join(f"{json.dumps(order)}\n" for order in orders)
        ended = subprocess.run([sys.executable, "-I", child], input=lines, text=True, capture_output=True, check=True)
    ready, second, third = map(json.loads, ended.stdout.splitlines())
    assert ended.stderr == ""
    assert list(ready) == ["version"]
    assert item(3) == Sample(*second).answer
    assert {"p50", "p99", "rate"} == set(Sample(*third).extra)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_process_that_fails_is_not_passed_over(anyio_backend, monkeypatch, capfd):
    monkeypatch.setattr("environments.environment", lambda: sys.executable)
    with pytest.raises(EnvironmentMissing, match="has failed, see above"):
        await Remote("OnAiosqlite", Address("/nowhere"), "no_such_loop").open()
    assert "no_such_loop" in capfd.readouterr().err


# Addresses


def test_an_address_is_spelled_for_each_library():
    assert ADDRESS.url("asyncpg") == "asyncpg://app:p%40ss@db:5432/shop"
    assert ADDRESS.url("asyncpg", host="/run") == "asyncpg://app:p%40ss@db:5432/shop?host=%2Frun"
    assert Address("/tmp/shop.db").url("sqlite") == "sqlite:////tmp/shop.db"  # noqa: S108 - nothing is written
    assert Address.parse("postgresql://app:p%40ss@db:5432/shop") == ADDRESS
    login = {"user": "app", "password": "p@ss", "host": "db", "port": 5432}
    assert {**login, "db": "shop"} == ADDRESS.login(database="db")
    by_socket = {name: value for name, value in login.items() if name != "host"}
    assert {**by_socket, "database": "shop", "unix_socket": "/run/s"} == ADDRESS._replace(socket="/run/s").login(
        socket="unix_socket"
    )
