"""What the benchmarks have found gets onto pages and charts as it is."""

from __future__ import annotations

import copy
import json
import os

import pytest

import charts
import figures
import figures_beside
import figures_targets
import machine
import pages
from drawing import marks
from figures_text import three
from systems import AGAIN, SYSTEMS


@pytest.fixture(scope="module")
def measured():
    """Give the figures of the documentation."""
    return figures.reports()


@pytest.fixture
def found(measured):
    """Give figures that a test may change."""
    return copy.deepcopy(measured)


def entry(ratio, **extra):
    return {"median": 100 * ratio, "minimum": 90 * ratio, "ratio": ratio, "low": ratio, "high": ratio, **extra}


DATABASE = {
    "reference": "asyncpg",
    "systems": ["asyncpg", f"asyncpg{AGAIN}", "aio_databases", "tortoise"],
    "workloads": {
        "w1": {
            "what": "fetch one value",
            "unit": "us",
            "systems": {"asyncpg": entry(1.0), f"asyncpg{AGAIN}": entry(1.01), "aio_databases": entry(1.25)},
            "absent": {"tortoise": "has no held connection"},
        }
    },
}


# Pages

BEGIN, END = "<!-- one: written by x.py -->", "<!-- end of one -->"


def test_only_what_stands_between_the_comments_is_renewed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    pages.renew({page: {"one": r"new \1"}})
    renewed = f"before\n\n{BEGIN}\n\nnew \\1\n\n{END}\n\nafter\n"
    assert renewed == page.read_text()
    assert renewed == pages.renewed(page, {"one": r"new \1"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- one: written by x.py -->\n",
        "<!-- end of one -->\n",
        "<!-- one: written by x -->\n<!-- end of one -->" * 2,
    ],
)
def test_a_page_without_the_comments_or_with_two_of_them_is_refused(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(SystemExit, match=r"page\.md has to have one pair of comments"):
        pages.renewed(page, {"one": ""})


def test_a_table_is_markdown():
    assert pages.table("ab", ["12"], numbers=True) == "| a | b |\n|---|---:|\n| 1 | 2 |"


# Tables


@pytest.mark.parametrize(
    ("number", "text"), [(0.004, "0.00"), (1.256, "1.26"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")]
)
def test_a_number_has_the_digits_that_mean_something(number, text):
    assert text == three(number)


def test_a_table_of_ratios_has_all_systems_and_says_why_cells_are_empty():
    text = figures.ratios(DATABASE)
    assert "| asyncpg, median | 100 us |" in text
    assert "| **aio_databases** | **1.25** |" in text
    assert "| *asyncpg, again (noise)* | 1.01 |" in text
    assert "| tortoise | - |" in text
    assert text.endswith("* tortoise, w1: has no held connection")


def test_a_target_that_is_missed_is_counted_and_shown(found):
    before = figures_targets.targets(found)
    target = next(target for target in found["results"]["targets"] if target["met"])
    target.update(met=False, measured=123.456)
    after = figures_targets.targets(found)
    assert before.count("**no**") + 1 == after.count("**no**")
    assert "| 123.456 | **no** |" in after
    assert met_of(before) - 1 == met_of(after)


def met_of(text):
    return int(text.rpartition("\n\n")[2].split()[0])


@pytest.mark.parametrize(
    ("change", "row"),
    [
        (
            lambda found: found["startup"]["imports"]["aio_databases"].update(ratio=77.7),
            "at most 1.5 times `import anyio` | 77.7 | **no** |",
        ),
        (
            lambda found: found["memory"]["databases"]["sqlite"]["systems"]["aio_databases"].update(peak=55 << 20),
            "at most 4 MiB over the start | 55.00 MiB | **no** |",
        ),
        (
            lambda found: list(found["waiting"]["lines"]["sqlite, trio"].values())[-1].update(memory=1e9),
            "| **no** |",
        ),
    ],
    ids=["startup", "memory", "waiting"],
)
def test_the_targets_of_the_benchmarks_beside_the_main_one_are_judged(found, change, row):
    lines = set(figures_targets.targets(found).splitlines())
    change(found)
    changed = set(figures_targets.targets(found).splitlines()) - lines
    assert any(line.endswith(row) for line in changed)


def test_a_tiny_run_is_said_to_be_one(found):
    for report in found.values():
        report.setdefault("about", {})["quick"] = False
    assert "Not to be quoted" not in figures.machine(found)
    found["growth"]["about"]["quick"] = True
    assert "Not to be quoted: from tiny runs, which only show that the scripts work: growth." in figures.machine(found)


def test_other_settings_are_files_of_their_own(measured, tmp_path):
    for name in figures.NAMES:
        (tmp_path / f"{name}.json").write_text(json.dumps(measured[name]))
    other = copy.deepcopy(measured["results"])
    other["about"]["event_loop"] = "another loop"
    (tmp_path / "results-other.json").write_text(json.dumps(other))
    text = figures.pages(tmp_path)[figures.PAGE]["settings"]
    assert len(other["databases"]) == text.count("another loop")
    assert "another loop" not in figures.settings(measured)


def test_what_was_left_out_is_said(found):
    found["memory"]["databases"]["mysql"]["absent"]["nobody"] = "is not installed"
    assert "* MariaDB, nobody: is not installed" in figures_beside.memory(found["memory"])


# Charts


@pytest.mark.parametrize("database", SYSTEMS)
def test_every_system_is_drawn_in_its_own_way(database):
    names = [entry.name for entry in SYSTEMS[database]]
    looks = marks(names, names[0])
    assert {name for name in names if not name.endswith(AGAIN)} == set(looks)
    assert len(looks) == len(set(looks.values()))
    assert len(looks) == len({(mark.shape, mark.filled) for mark in looks.values()})


def test_all_charts_of_the_page_are_drawn_from_its_figures(measured, tmp_path):
    drawn = [file for name, drawer in charts.DRAWERS.items() for file in drawer(measured[name], tmp_path)]
    assert {file.name for file in drawn} == {file.name for file in figures.FOLDER.glob("*.??g")}
    assert set(drawn) == set(tmp_path.iterdir())
    for file in drawn:
        assert 1_000 < file.stat().st_size < 150_000, file.name


def test_the_same_figures_give_the_same_chart(measured, tmp_path):
    first, second = (charts.draw_overview(measured["results"], tmp_path / name) for name in ("first", "second"))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    text = first[0].read_text()
    assert "date" not in text
    assert ">aio_databases<" in text  # text is text


def test_a_chart_has_our_ratio_in_figures(tmp_path):
    svg, _ = charts.draw_ratios("postgresql", DATABASE, tmp_path)
    assert ">1.25<" in svg.read_text()


def test_a_report_of_one_database_without_many_tasks_can_be_drawn(tmp_path):
    drawn = charts.draw({"databases": {"postgresql": DATABASE}}, tmp_path)
    assert {"overview.svg", "overview.png", "ratios-postgresql.svg", "ratios-postgresql.png"} == {
        file.name for file in drawn
    }


# The machine


def test_a_run_is_described():
    about = machine.about(quick=True, versions={"PostgreSQL": "15.1"}, rounds=3)
    assert {"date", "machine", "python", "quick", "rounds", "versions"} == set(about)
    assert about["machine"].startswith(f"{os.cpu_count()} x ")
    assert about["versions"]["PostgreSQL"] == "15.1"


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ("PostgreSQL 15.19 (Debian 15.19-0+deb12u1), gcc 12.2.0", "15.19"),
        ("10.11.19-MariaDB-deb12", "10.11.19"),
    ],
)
def test_the_version_of_a_server_is_found_in_its_answer(answer, version):
    assert version == machine.server_version(answer)


def test_a_peak_of_memory_is_seen_and_forgotten():
    machine.forget_peak()
    before = machine.resident()
    block = bytes(range(256)) * (100 << 12)  # 100 MiB that were written to
    assert machine.peak() - before > 90 << 20
    del block
    machine.forget_peak()
    assert machine.peak() - before < 50 << 20


def test_what_is_not_installed_has_no_version():
    assert machine.installed("pytest")
    assert machine.installed("no-such-distribution") is None
