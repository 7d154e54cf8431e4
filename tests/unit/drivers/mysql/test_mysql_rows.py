"""How rows go to MySQL and come from it: many at a time, and as soon as they are there."""

from __future__ import annotations

import asyncio
import struct
import tracemalloc
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aio_databases import Database, DataError, ProgrammingError
from aio_databases.concurrency.loops import InlineFuture
from aio_databases.drivers.mysql.literals import rows_with_values, with_values
from aio_databases.sql.insert_batches import Split, join_rows
from unit.mysql_server import OK, ScriptedServer, greeting

LOOPS = [("asyncmy", "asyncio"), ("aiomysql", "asyncio"), ("pymysql", "asyncio"), ("pymysql", "trio")]
LOOPS.append(("trio-mysql", "trio"))

# Many rows

TEXTS = st.text(st.sampled_from("ab'\\%é🐘\0"))
VALUES = st.one_of(TEXTS, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False))
WIDTH = 3
ALIKE = st.lists(st.tuples(st.integers(), TEXTS, st.just("plain")), max_size=5)
MIXED = st.lists(st.tuples(VALUES, VALUES, VALUES) | st.lists(VALUES, min_size=WIDTH, max_size=WIDTH), max_size=5)


@given(ALIKE | MIXED, st.booleans())
def test_many_rows_are_written_as_each_of_them_is(rows, backslashes):
    row = "(%s, %s, concat(%s, '%%'))"
    expected = [with_values(row, values, backslashes=backslashes) for values in rows]
    assert list(rows_with_values(row, rows, backslashes=backslashes)) == expected


def test_rows_by_name_are_written_as_each_of_them_is():
    rows = [{"a": 1, "b": "it's"}, {"b": "x", "a": Decimal("1.5")}]
    assert list(rows_with_values("(%(b)s, %(a)s)", rows, backslashes=True)) == ["('it''s', 1)", "('x', 1.5)"]


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2500])
def test_no_row_is_left_out_however_many_there_are(count):
    rows = [(number, f"row {number}") for number in range(count)]
    assert [f"({number}, '{text}')" for number, text in rows] == list(
        rows_with_values("(%s, %s)", rows, backslashes=True)
    )


@pytest.mark.parametrize("rows", [[(1,), (1, 2)], [(1, 2, 3)], [(1, 2), ("a", "b", "c")], [(1, 2), [3]]], ids=str)
def test_rows_that_do_not_match_the_marks_are_not_shown(rows):
    with pytest.raises(ProgrammingError, match="do not match the placeholders"):
        list(rows_with_values("(%s, %s)", rows, backslashes=True))


@pytest.mark.parametrize(
    ("value", "kind"), [(float("inf"), DataError), ("\udcff", UnicodeEncodeError), ({"a": {1}}, DataError)], ids=repr
)
def test_a_value_that_mysql_lacks_is_refused_in_its_row(value, kind):
    written = rows_with_values("(%s, %s)", [(1, date(2026, 1, 2)), (2, value)], backslashes=True)
    assert next(written) == "(1, '2026-01-02')"
    with pytest.raises(kind):
        next(written)


def test_long_texts_are_written_one_at_a_time():
    size = 1_000_000
    rows = [("x" * size,)] * 500
    tracemalloc.start()
    try:
        assert f"('{rows[0][0]}')" == next(rows_with_values("(%s)", rows, backslashes=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * size


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([], []), ([1], [1]), ([3, 3], [2]), ([3, 3, 3], [2, 1]), ([4, 4], [1, 1]), ([20, 3, 3, 20], [1, 2, 1])],
    ids=str,
)
def test_statements_take_as_many_rows_as_they_have_room_for(sizes, expected):
    split = Split("insert into t values ", "(%s)", " on duplicate key update a = '%%'")
    rows = [bytes([97 + number]) * size for number, size in enumerate(sizes)]
    statements, counts = zip(*join_rows(split, rows, 8), strict=True) if rows else ((), ())
    assert list(counts) == expected
    assert [statement.count(b",") + 1 for statement in statements] == expected
    parts = [statement.removeprefix(split.head.encode()) for statement in statements]
    parts = [part.removesuffix(b" on duplicate key update a = '%'") for part in parts]
    assert rows == [row for part in parts for row in part.split(b",")]


# Rows that arrive


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_goes_on_in_the_pass_of_the_event_loop_in_which_something_arrives():
    loop, told = asyncio.get_running_loop(), []
    arrival = InlineFuture(loop=loop)

    async def wait():
        told.append(await arrival)

    def arrive():
        arrival.set_result("rows")
        told.append("read")

    task = asyncio.create_task(wait())
    loop.call_soon(arrive)
    await task
    assert told == ["rows", "read"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_waits_for_something_to_arrive_can_be_cancelled():
    arrival = InlineFuture(loop=asyncio.get_running_loop())

    async def wait():
        await arrival

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert arrival.cancelled()


def column(name):
    """Return the packet that tells of a column of texts."""
    texts = b"".join(bytes([len(text)]) + text for text in (b"def", b"", b"t", b"t", name, name))
    return texts + b"\x0c" + struct.pack("<HIBHBH", 45, 100, 253, 0, 0, 0)


ENDING, ONGOING = b"\xfe\0\0\2\0", b"\xfe\0\0\x0a\0"  # the second one says that another result follows
WORDS = ["one", "two", "three"]
ROWS = [bytes([len(word)]) + word.encode() for word in WORDS]
NUMBERS = (b"\1", column(b"number"), ENDING, b"\0010", ENDING)
ANSWERS = {
    "select words": (b"\1", column(b"word"), ENDING, *ROWS, ENDING),
    "call words": (b"\1", column(b"word"), ENDING, *ROWS, ONGOING, *NUMBERS[:-1], ONGOING, OK),
    "set @a = 1; select words": (b"\0\0\0\x0a\0\0\0", b"\1", column(b"word"), ENDING, *ROWS, ONGOING, *NUMBERS),
}


def play(talk):
    """Answer some statements with rows, and all others with yes."""
    talk.send(greeting(tls=False))
    talk.receive()
    talk.send(OK)
    while (packet := talk.receive())[0] != 1:
        for answer in ANSWERS.get(packet[1:].decode(), (OK,)):
            talk.send(answer)


@pytest.mark.parametrize(("scheme", "anyio_backend"), LOOPS)
@pytest.mark.parametrize("limit", [None, 0, 1, 2, 3, 4])
async def test_the_first_rows_of_the_first_result_with_rows_are_fetched_and_all_else_is_read_off(
    scheme, limit, anyio_backend
):
    with ScriptedServer(play) as server:
        connection = await Database(f"{scheme}://app@127.0.0.1:{server.port}/shop").backend.connect()
        for sql in ANSWERS:
            assert [(word,) for word in WORDS[:limit]] == await connection.fetch(sql, (), limit)
        assert await connection.fetch("set @a = 1", (), limit) == []
        await connection.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("arguments", "expected"), [({}, True), ({"read_timeout": 5}, False)], ids=str)
async def test_a_time_limit_of_asyncmy_may_cancel_the_task_that_commits(arguments, expected):
    with ScriptedServer(play) as server:
        url = f"asyncmy://app@127.0.0.1:{server.port}/shop"
        connection = await Database(url, connect_args=arguments).backend.connect()
        assert connection.cancels_no_task == expected
        assert await connection.fetch("select words", (), 1) == [("one",)]
        await connection.close()
