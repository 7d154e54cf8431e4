"""What stands alone in an executemany() is one row, unless it is a container of rows (a hostile test)."""

from __future__ import annotations

import ipaddress
from array import array
from collections import OrderedDict, UserDict, UserList, deque
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

import pytest

from aio_databases.rows.record import records
from aio_databases.sql.query_objects import Rows, rows_of


class Point(NamedTuple):
    """A row of two values."""

    x: int
    y: int


class Values(list):
    """A list of a kind of its own."""


RECORD = records(("a", "b"), [(1, 2)])[0]
MEMORY = memoryview(b"ab")


@pytest.mark.parametrize(
    "row",
    [
        5,
        None,
        "ab",
        b"ab",
        bytearray(b"ab"),
        MEMORY,
        array("i", [1, 2]),
        UUID(int=1),
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_interface("10.0.0.1/8"),
        (1, 2),
        ((1, 2), (3, 4)),
        Point(1, 2),
        UserList([1, 2]),
        RECORD,
        {"a": 1},
        OrderedDict(a=1),
        MappingProxyType({"a": 1}),
        UserDict(a=1),
    ],
    ids=lambda row: type(row).__name__,
)
def test_one_row_is_not_taken_apart(row):
    assert [row] == rows_of((row,))
    assert [row, row] == rows_of((row, row))


@pytest.mark.parametrize(
    "container",
    [
        [(1,), (2,)],
        Values([(1,), (2,)]),
        deque([(1,), (2,)]),
        iter([(1,), (2,)]),
        (row for row in [(1,), (2,)]),
        {(1,): 0, (2,): 0}.keys(),
        {0: (1,), 1: (2,)}.values(),
        map(tuple, [[1], [2]]),
    ],
    ids=lambda row: type(row).__name__,
)
def test_a_container_holds_rows(container):
    assert rows_of((container,)) == [(1,), (2,)]


@pytest.mark.parametrize("container", [{1, 2}, frozenset({1, 2}), range(1, 3), iter([1, 2]), deque([1, 2])])
def test_a_container_may_hold_bare_values(container):
    assert rows_of((container,)) == [1, 2]


@pytest.mark.parametrize("values", [[1, 2], [bytearray(b"a"), 2], [None, (1,)], [ipaddress.ip_network("10.0.0.0/8")]])
def test_a_list_of_bare_values_is_one_row(values):
    assert [tuple(values)] == rows_of((values,))


@pytest.mark.parametrize("row", [RECORD, UserList([1, 2]), UserDict(a=1), MappingProxyType({"a": 1})])
def test_a_list_of_rows_of_any_kind_holds_rows(row):
    assert [row] == rows_of(([row],))


def test_rows_that_were_read_are_left_alone():
    rows = rows_of((iter([1, 2]),))
    assert Rows([1, 2]) == rows
    assert rows is rows_of((rows,))


@pytest.mark.targets(pooled=True, loop={"asyncio", "trio"})
@pytest.mark.parametrize("count", [1, 2])
async def test_blobs_and_records_are_stored_as_they_are(db, words, count):
    await db.execute(f"create table t (a integer, b {words.types['bytes']})")
    await db.executemany("insert into t (b) values (?)", *[bytearray(b"ab")] * count)
    rows = await db.fetchall("select 7 as a, b from t")
    assert [b"ab"] * count == [bytes(row.b) for row in rows]
    await db.executemany("insert into t (a, b) values (?, ?)", *rows)
    assert count == await db.fetchval("select count(*) from t where a = 7")


@pytest.mark.targets(dialect="postgresql", loop="asyncio", pooled=True)
async def test_a_network_is_not_a_list_of_addresses(db, target):
    if target.odbc:
        pytest.skip("ODBC has no type for networks")
    await db.execute("create table nets (net cidr)")
    await db.executemany("insert into nets values ($1)", *[ipaddress.ip_network("10.0.0.0/29")])
    assert str(await db.fetchval("select net from nets")) == "10.0.0.0/29"
