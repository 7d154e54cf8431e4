"""Points in the history of a database, as texts and as numbers."""

from __future__ import annotations

import re

import pytest

from aio_databases import ConfigurationError, NotSupportedError, ProgrammingError, TargetNotFound
from aio_databases.dialects.mysql import MYSQL
from aio_databases.dialects.positions import Position
from aio_databases.replicas import positions
from aio_databases.replicas.positions import ask_position
from aio_databases.testing.fake_driver import make_database

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
OTHER = "a0b1c2d3-0000-11e1-9e33-c80aa9429562"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0/0", {"": 0}),
        ("0/16B3748", {"": 0x16B3748}),
        ("1F/2", {"": (0x1F << 32) + 2}),
        ("5eed-1-0/16B3748", {"5eed-1": 0x16B3748}),
        ("69d0e1f2a3b4c5d6-ffffffff-FFFFFFFF/FFFFFFFF", {"69d0e1f2a3b4c5d6-ffffffff": 2**64 - 1}),
        ("0-1-42", {"0-1": 42}),
        ("0-1-42.7-3-9", {"0-1": 42, "7-3": 9}),
        (f"{UUID}:12", {UUID: 12}),
        (f"{UUID}:12.{OTHER}:7", {UUID: 12, OTHER: 7}),
    ],
)
def test_a_text_is_read(text, numbers):
    position = Position.parse(text)
    assert (text, numbers, "") == position
    assert re.fullmatch(r"[!#-+\--:<-\[\]-~]+", text), "fit for a cookie: RFC 6265, section 4.1.1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0",
        "0/",
        "0/g",
        "0/16b3748",
        "0/123456789",
        "0-1",
        "0-1-2,1-1-3",
        "0-1-2.",
        "0-1--2",
        "0/1\n",
        "x:1",
        f"{UUID}",
        f"{UUID}:1-5",
        f"{UUID.upper()}:1",
        "1" * 5000,
        "primary",
        "0/1' or 1=1",
        None,
        7,
        b"0/1",
    ],
)
def test_a_text_that_is_no_position_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"a position is a text that db\.position\(\) has returned"):
        Position.parse(text)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("0/10", "0/F", True),
        ("0/F", "0/F", True),
        ("0/E", "0/F", False),
        ("1/0", "0/FFFFFFFF", True),
        ("0-1-10", "0-2-9", False),
        ("0-1-10.0-2-9", "0-2-9", True),
        ("5eed-1-0/10", "5eed-1-0/F", True),
        ("5eed-1-0/10", "5eed-2-0/F", False),
        ("5eed-2-0/10", "5eed-1-0/F", False),
        ("bad-1-0/10", "5eed-1-0/F", False),
        ("5eed-1-0/10", "0/F", False),
        ("0-1-10.1-1-3", "0-1-10", True),
        ("0-1-10", "0-1-10.1-1-3", False),
        (f"{UUID}:9", f"{UUID}:9", True),
        (f"{OTHER}:9", f"{UUID}:9", False),
        ("0/10", "0-1-1", False),
        ("0-1-10", "0/1", False),
    ],
)
def test_a_position_covers_what_was_before(one, other, expected):
    assert Position.parse(one).covers(Position.parse(other)) == expected


# Asking


def driver_for(dialect):
    driver = make_database().backend
    driver.dialect = dialect
    return driver


async def answering(driver, *answers, primary=False):
    """Ask for a position; an answer is a value, or an error."""
    asked = []
    left = iter(answers)

    async def fetch(query):
        asked.append(query)
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return await ask_position(driver, fetch, primary=primary), asked


async def test_postgresql_tells_its_location():
    position, _ = await answering(driver_for("postgresql"), "5eed-1a-0/16B3748")
    assert position == ("5eed-1a-0/16B3748", {"5eed-1a": 0x16B3748}, "")
    position, _ = await answering(driver_for("postgresql"), "5eed-0000001A-0/16B3748-6018888-1796080418.374746")
    assert position == ("5eed-1a-0/16B3748", {"5eed-1a": 0x16B3748}, "1796080418.374746")


async def test_mariadb_tells_its_gtids():
    position, _ = await answering(driver_for("mysql"), "0-1-42,1-1-7")
    assert position.text == "0-1-42.1-1-7"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("0-1-42,0-1-44", "0-1-44"),  # a primary that was a replica, and writes by the same server
        ("0-1-42,0-2-43", "0-2-43"),
        ("0-1-42,0-2-42", "0-2-42"),
        ("0-1-44,0-2-43", "0-1-44"),
        ("0-1-42,1-1-7,0-2-43", "0-2-43.1-1-7"),
    ],
)
async def test_the_last_change_of_each_domain_is_the_position_of_mariadbs_primary(answer, expected):
    position, _ = await answering(driver_for("mysql"), answer, primary=True)
    assert position.text == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("3;0-2-43;0-1-42,0-2-43", {"0-1": 42, "0-2": 43}),  # of each server that was the primary
        ("3;0-2-43;0-1-42,0-2-44", {"0-1": 42, "0-2": 43}),  # it is in the log, and not committed yet
        ("3;0-2-43;0-1-44,0-2-43", {"0-2": 43}),
        ("2;0-1-42;0-1-42,0-2-44", {"0-1": 42, "0-2": 44}),  # it was promoted
        ("1;;0-1-44", {"0-1": 44}),  # it has always been the primary
        ("3;0-1-42,1-1-7;", {"0-1": 42, "1-1": 7}),  # without a log of what it applies
        ("3;0-1-42;1-5-9", {"0-1": 42, "1-5": 9}),
    ],
)
async def test_a_change_counts_on_a_replica_of_mariadb_when_it_is_visible(answer, expected):
    position, _ = await answering(driver_for("mysql"), answer)
    assert position.numbers == expected


async def test_a_replica_of_mariadb_that_has_no_gtids_does_not_report_its_position():
    with pytest.raises(NotSupportedError):
        await answering(driver_for("mysql"), "3;;")


async def test_a_relative_that_does_not_know_a_query_is_asked_another_one_from_then_on():
    driver = driver_for("mysql")
    executed = f"{UUID.upper()}:1-5:7-9,\n{OTHER}:3"
    position, asked = await answering(driver, ProgrammingError("unknown"), executed, primary=True)
    assert (f"{UUID}:9.{OTHER}:3", 2) == (position.text, len(asked))
    _, asked = await answering(driver, executed)
    assert asked == ["SELECT @@global.gtid_executed"]


async def test_what_all_nodes_of_galera_have_committed_is_waited_for_only_where_it_is_asked_for():
    driver = driver_for("mysql")
    for primary in (True, False):
        position, [asked] = await answering(driver, f"{UUID}:12", primary=primary)
        assert f"{UUID}:12" == position.text
        assert primary == asked.startswith("/*M! SET STATEMENT wsrep_sync_wait = 1 FOR */ SELECT ")


async def test_a_replica_with_gaps_is_only_as_far_as_it_has_everything():
    driver = driver_for("mysql")
    positions._understood[driver] = MYSQL.position_questions[1]
    for answer, expected in (("1-5:7-9", 5), ("1", 1), ("2-9", 0), ("5-10:12", 0)):
        position, _ = await answering(driver, f"{UUID}:{answer}")
        assert position.text == f"{UUID}:{expected}"


async def test_what_cannot_be_read_of_mysqls_sets_is_not_guessed():
    driver = driver_for("mysql")
    positions._understood[driver] = MYSQL.position_questions[1]
    for answer in (f"{UUID}:1-5:tag:1-3", f"{UUID}:tag:1-3", "x"):
        with pytest.raises(NotSupportedError):
            await answering(driver, answer, primary=True)


async def test_a_replica_that_is_asked_as_a_primary_says_so():
    for dialect in ("postgresql", "mysql"):
        with pytest.raises(TargetNotFound, match=r"fake://server/db leads to a replica, and not to the primary"):
            await answering(driver_for(dialect), None, primary=True)


@pytest.mark.parametrize(
    ("location", "offset", "expected"),
    [
        ("0/16B4018", 7028760, "0/16B4000"),
        ("0/16B4020", 7028768, "0/16B4020"),
        ("0/16B4028", 7028776, "0/16B4028"),  # 40 bytes into a page: a record stands there
        ("1/2018", 8216, "1/2000"),
        ("0/D00028", 40, "0/D00000"),  # and here only the longer header of the first page of a segment of 1 MB
    ],
)
async def test_a_location_at_the_beginning_of_a_page_is_that_of_its_end_on_replicas(location, offset, expected):
    position, _ = await answering(driver_for("postgresql"), f"5eed-00000001-{location}-{offset}-1.5", primary=True)
    assert position.text == f"5eed-1-{expected}"
    assert Position.parse(position.text).numbers == position.numbers


async def test_a_node_of_galera_that_has_not_joined_yet_does_not_tell():
    with pytest.raises(NotSupportedError):
        await answering(driver_for("mysql"), f"{UUID}:-1")


@pytest.mark.parametrize(("dialect", "answers"), [("odbc", ()), ("mysql", ("",)), ("postgresql", (None,))])
async def test_a_database_that_does_not_tell_is_named(dialect, answers):
    with pytest.raises(NotSupportedError, match=r"fake://server/db does not report its position"):
        await answering(driver_for(dialect), *answers)


@pytest.mark.parametrize(("dialect", "times", "hint"), [("postgresql", 1, "grant execute on"), ("mysql", 2, "")])
async def test_a_server_that_refuses_the_last_query_does_not_tell(dialect, times, hint):
    error = ProgrammingError("permission denied")
    with pytest.raises(
        NotSupportedError, match=f"fake://server/db does not report its position: permission denied.*{hint}"
    ) as caught:
        await answering(driver_for(dialect), *[error] * times)
    assert error is caught.value.__cause__
