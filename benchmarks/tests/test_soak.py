"""The soak finds what it looks for: each fault is planted once."""

from __future__ import annotations

import random
from collections import Counter
from itertools import count

import pytest

from aio_databases import CommitUncertainError, ConnectionLost, Database, LockTimeout
from soak_checks import (
    Attempt,
    Entry,
    Findings,
    Histogram,
    Ledger,
    Outcome,
    balances_are_wrong,
    compare,
    is_flat,
    read_ledger,
    trend,
)
from soak_report import Verdict, table
from soak_sites import Driver, FileSite
from soak_tally import Hooks, Tally
from soak_worker import SIZE, leaked_leases, unusable_leases
from soak_workload import BALANCE, Workload, commit_leaves_open, statement_leaves_open

DONE, FAILED, OPEN = Outcome


# The ledger


@pytest.mark.parametrize(
    ("outcome", "rows", "found"),
    [
        (DONE, [1, 2], set()),
        (DONE, [], {"lost"}),
        (DONE, [2], {"lost"}),
        (DONE, [1, 2, 2], {"doubled"}),
        (DONE, [1, 2, 3], {"strange"}),
        (FAILED, [], set()),
        (FAILED, [1, 2], {"undead"}),
        (FAILED, [1], {"undead"}),
        (OPEN, [], set()),
        (OPEN, [1, 2], set()),
        (OPEN, [1], {"torn"}),
        (OPEN, [1, 1, 2], {"doubled"}),
    ],
)
def test_rows_are_compared_with_what_was_told(outcome, rows, found):
    findings = compare([Entry(outcome, "many", (1, 2))], rows)
    assert found == {name for name, lines in findings._asdict().items() if lines}
    assert bool(found) == bool(findings)


def test_a_number_that_was_written_by_two_calls_is_found():
    assert compare([Entry(FAILED, "a", (1,)), Entry(DONE, "b", (1,))], [1]).strange


def test_a_ledger_is_read_as_it_was_written(tmp_path):
    entries = [Entry(DONE, "write", (1,)), Entry(FAILED, "many", (2, 3)), Entry(OPEN, "transfer", (4,))]
    ledger = Ledger(tmp_path / "ledger")
    for entry in entries:
        ledger.note(entry)
    ledger.close()
    assert entries == list(read_ledger(tmp_path / "ledger"))
    assert ledger.counts == {DONE: 1, FAILED: 1, OPEN: 1}


@pytest.mark.parametrize(
    ("leaves_open", "at_risk", "exc", "outcome"),
    [
        (statement_leaves_open, True, None, DONE),
        (statement_leaves_open, True, ConnectionLost(), OPEN),
        (statement_leaves_open, True, LockTimeout(), FAILED),
        (statement_leaves_open, True, KeyError(), OPEN),
        (statement_leaves_open, True, KeyboardInterrupt(), OPEN),
        (commit_leaves_open, False, None, DONE),
        (commit_leaves_open, False, ConnectionLost(), FAILED),
        (commit_leaves_open, False, KeyboardInterrupt(), FAILED),
        (commit_leaves_open, True, ConnectionLost(), FAILED),
        (commit_leaves_open, True, CommitUncertainError(), OPEN),
        (commit_leaves_open, True, KeyboardInterrupt(), OPEN),
    ],
)
def test_the_outcome_of_a_write_is_open_only_where_it_must_be(tmp_path, leaves_open, at_risk, exc, outcome):
    ledger = Ledger(tmp_path / "ledger")
    attempt = Attempt(ledger, "write", (1,), leaves_open)
    attempt.at_risk = at_risk
    attempt.__exit__(type(exc) if exc else None, exc, None)
    ledger.close()
    assert [Entry(outcome, "write", (1,))] == list(read_ledger(tmp_path / "ledger"))


def test_money_that_went_astray_is_found():
    assert balances_are_wrong(10, {1: 8, 2: 12}, [(1, 2, 2)]) is None
    assert balances_are_wrong(10, {1: 8, 2: 13}, [(1, 2, 2)])
    assert balances_are_wrong(10, {1: 8, 2: 12}, [])


# Memory and times


def test_memory_that_grows_all_the_time_is_found():
    grows = trend([(second, 50e6 + second * 1e4) for second in range(0, 600, 5)])
    assert grows.per_minute == pytest.approx(6e5)
    assert not is_flat("memory", grows)


def test_memory_that_goes_up_and_down_or_grew_only_at_the_beginning_is_flat():
    saw = [(second, 50e6 + second % 60 * 1e5) for second in range(0, 600, 5)]
    warm = [(second, 50e6 + min(second, 199) * 1e5) for second in range(0, 600, 5)]
    assert is_flat("memory", trend(saw))
    assert is_flat("blocks", trend(warm))


def test_a_short_run_says_nothing_about_memory():
    assert trend([(second, second * 1e9) for second in range(400)]) is None
    assert trend([]) is None


def test_a_histogram_knows_percentiles():
    times = Histogram()
    for number in range(1, 1001):
        times.add(number / 1000)
    assert times.quantile(0.5) == pytest.approx(0.5, rel=0.06)
    assert times.quantile(0.99) == pytest.approx(0.99, rel=0.06)
    assert Histogram().quantile(0.5) == 0


# The workload and the database


class LyingDatabase(Database):
    """Answers with the rows of other queries, once it `lies`."""

    lies = False

    def _run(self, verb, query, params, limit=None):
        return super()._run(verb, query, self._bent(params), limit)

    def _stream(self, query, params, into, chunk_size):
        return super()._stream(query, self._bent(params), into, chunk_size)

    def _bent(self, params):
        bends = self.lies and params and "nonce" in params[0]
        return ({**params[0], "nonce": params[0]["nonce"] + 1},) if bends else params


@pytest.fixture
def site(tmp_path):
    """Give a database of SQLite."""
    return FileSite(Driver.parse("sqlite"), tmp_path)


@pytest.fixture
async def workload(site, tmp_path):
    """Give a workload."""
    ledger = Ledger(tmp_path / "ledger")
    async with LyingDatabase(site.url, max_size=SIZE) as db:
        yield Workload(db, "sqlite", ledger, Tally(), random.Random(1))  # noqa: S311 - so that it can be repeated
    ledger.close()


async def all_operations(workload):
    for operation in workload.operations:
        await operation()


def findings(workload, site, tmp_path):
    workload._ledger.close()
    return compare(read_ledger(tmp_path / "ledger"), site.written())


async def test_a_database_that_works_has_no_defects(workload, site, tmp_path):
    for _ in range(3):
        await all_operations(workload)
    assert not findings(workload, site, tmp_path)
    assert not workload.tally.wrong
    assert not workload.tally.unexpected
    assert balances_are_wrong(BALANCE, *site.money()) is None
    assert await leaked_leases(workload.db) == 0
    assert await unusable_leases(workload.db, workload.tally) == 0
    assert site.open_transactions() == 0


async def test_a_wrong_answer_is_found_by_every_operation_that_reads(workload):
    workload.db.lies = True
    await all_operations(workload)
    assert {"read", "read slowly", "stream"} == set(workload.tally.wrong)


async def test_what_is_lost_or_doubled_in_the_database_is_found(workload, site, tmp_path):
    await all_operations(workload)
    last = max(site.written())
    site.ask(f"delete from writes where id = {last}")
    site.ask(f"insert into writes select * from writes where id = {min(site.written())}")
    site.ask("update accounts set balance = balance + 1 where id = 1")
    found = findings(workload, site, tmp_path)
    assert (len(found.lost), len(found.doubled)) == (1, 1)
    assert balances_are_wrong(BALANCE, *site.money())


async def test_a_leaked_lease_is_found(workload):
    leaked = await workload.db.connection().acquire()
    assert await leaked_leases(workload.db, patience=0.05) == 1
    assert await unusable_leases(workload.db, workload.tally, patience=0.2) == 1
    await leaked.release()
    assert await leaked_leases(workload.db) == 0


def test_an_open_transaction_is_found(site):
    connection = site.connect()
    connection.execute("begin immediate")
    assert site.open_transactions() == 1
    connection.execute("rollback")
    connection.execute("begin")
    connection.execute("select * from facts").fetchone()
    site.ask("insert into writes (id) values (1)")
    assert site.open_transactions() == 1
    connection.close()
    assert site.open_transactions() == 0


# Hooks


@pytest.mark.parametrize(
    ("outcome", "joined", "committed", "undone", "right"),
    [
        (DONE, 1, 1, 0, True),
        (DONE, 3, 1, 2, True),
        (DONE, 1, 0, 0, False),
        (DONE, 1, 2, 0, False),
        (DONE, 1, 1, 1, False),
        (FAILED, 0, 0, 0, True),
        (FAILED, 2, 0, 2, True),
        (FAILED, 1, 1, 0, False),
        (FAILED, 1, 0, 0, False),
        (OPEN, 1, 0, 0, True),
        (OPEN, 1, 1, 0, True),
        (OPEN, 1, 0, 1, True),
        (OPEN, 1, 1, 1, False),
        (OPEN, 3, 1, 0, False),
    ],
)
def test_hooks_that_tell_something_else_than_the_outcome_are_found(  # noqa: PLR0917 - as many as there are columns
    tmp_path, outcome, joined, committed, undone, right
):
    tally = Tally()
    ledger = Ledger(tmp_path / "ledger")
    with Hooks(Attempt(ledger, "transfer", (1,), commit_leaves_open), tally) as hooks:
        hooks.joined = joined
        hooks.called.update({"committed": committed, "rolled back": undone})
        hooks._attempt.outcome = outcome
    ledger.close()
    assert right == (not tally.wrong)


# Errors


def test_errors_of_a_database_in_trouble_are_told_from_defects():
    tally = Tally()
    for exc in (ConnectionLost("x"), ExceptionGroup("x", [LockTimeout("x"), KeyError("k")]), KeyError("j")):
        tally.failed(exc)
    assert tally.errors == {"ConnectionLost": 1, "LockTimeout": 1}
    assert tally.unexpected == {"KeyError": 2}
    assert list(tally.tracebacks) == ["KeyError"]
    assert "'k'" in tally.tracebacks["KeyError"]


GROWING = trend([(second, 1e6 + second * 1e4) for second in range(0, 600, 5)])


@pytest.mark.parametrize(
    ("report", "left", "found"),
    [
        ({"wrong": {"read": 1}}, {}, {}),
        ({"unexpected": {"KeyError": 1}}, {}, {}),
        ({"hung": 1}, {}, {}),
        ({"leaked": 1}, {}, {}),
        ({"unusable": 1}, {}, {}),
        ({"memory": GROWING}, {}, {}),
        ({"blocks": GROWING}, {}, {}),
        ({}, {"threads": 1}, {}),
        ({}, {"files": 1}, {}),
        ({}, {"tasks": 1}, {}),
        *(({}, {}, {name: 1}) for name in (*Findings._fields, "money", "open transactions", "sessions left")),
    ],
)
def test_each_defect_makes_the_verdict_bad(report, left, found):
    assert Verdict("x", report, left, Counter(), Counter(found), []).is_bad
    assert not Verdict("x", {}, {"bytes": 1}, Counter(), Counter(dict.fromkeys(found, 0)), []).is_bad


def test_the_table_has_a_row_for_each_driver():
    verdicts = [Verdict(name, {}, {}, Counter(), Counter(lost=number), []) for name, number in zip("ab", count())]
    assert [line.partition(" |")[0] for line in table(verdicts).splitlines()] == ["| driver", "| ---", "| a", "| b"]
    assert table(verdicts).endswith("1 x lost |")
