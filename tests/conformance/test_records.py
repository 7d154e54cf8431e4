"""Rows keep one contract on every driver."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence

import pytest

from aio_databases import Record

QUERY = "select id, name from users where id = 1"


@pytest.fixture
async def row(users):
    return await users.fetchone(QUERY)


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda row: row[0], 1),
        (lambda row: row[-1], "Ann"),
        (lambda row: row["id"], 1),
        (lambda row: row["name"], "Ann"),
        (lambda row: row.id, 1),
        (lambda row: row.name, "Ann"),
        (lambda row: row[:], (1, "Ann")),
        (lambda row: row[1:], ("Ann",)),
        (lambda row: row[::-1], ("Ann", 1)),
        (lambda row: row[5:], ()),
        (len, 2),
        (list, [1, "Ann"]),
        (tuple, (1, "Ann")),
        (dict, {"id": 1, "name": "Ann"}),
        (lambda row: {**row}, {"id": 1, "name": "Ann"}),
        (lambda row: [*row], [1, "Ann"]),
        (lambda row: tuple(row.keys()), ("id", "name")),
        (lambda row: tuple(row.values()), (1, "Ann")),
        (lambda row: tuple(row.items()), (("id", 1), ("name", "Ann"))),
        (lambda row: row.get("name"), "Ann"),
        (lambda row: row.get("nope"), None),
        (lambda row: row.get("nope", 7), 7),
        (lambda row: "name" in row, True),
        (lambda row: "nope" in row, False),
        (lambda row: 1 in row, False),
        (bool, True),
        (repr, "<Record id=1 name='Ann'>"),
        (lambda row: getattr(row, "nope", 7), 7),
        (lambda row: hasattr(row, "name"), True),
        (lambda row: isinstance(row, Record), True),
        (lambda row: isinstance(row, (tuple, Mapping, Sequence)), False),
    ],
)
@pytest.mark.targets(pooled=True)
async def test_a_row_answers(row, ask, expected):
    assert expected == ask(row)
    assert type(expected) is type(ask(row))


async def test_a_row_unpacks(row):
    number, name = row
    assert (1, "Ann") == (number, name)


@pytest.mark.parametrize(
    ("ask", "error", "told"),
    [
        (lambda row: row["nope"], KeyError, "nope"),
        (lambda row: row.nope, AttributeError, "nope"),
        (lambda row: row[2], IndexError, ""),
        (lambda row: row[-3], IndexError, ""),
        (lambda row: row[None], (TypeError, KeyError), ""),
        (lambda row: row[1.5], (TypeError, KeyError), ""),
    ],
)
@pytest.mark.targets(pooled=True)
async def test_a_column_that_is_not_there_is_an_error(row, ask, error, told):
    with pytest.raises(error, match=told):
        ask(row)


@pytest.mark.targets(pooled=True)
async def test_a_row_cannot_be_changed(row):
    with pytest.raises(TypeError):
        row[0] = 2
    with pytest.raises(AttributeError):
        row.id = 2
    with pytest.raises(AttributeError):
        row.fresh = 2
    assert (1, "Ann") == row


@pytest.mark.parametrize(
    ("other", "equal"),
    [((1, "Ann"), True), ((1, "Bob"), False), ((1,), False), ((1, "Ann", 3), False), ("1A", False), (None, False)],
)
@pytest.mark.targets(pooled=True)
async def test_a_row_equals_the_tuple_of_its_values(row, other, equal):
    assert equal is (row == other)
    assert equal is (other == row)
    assert equal is not (row != other)


@pytest.mark.targets(pooled=True)
async def test_rows_compare_and_hash_like_tuples(users, row):
    again, other = await users.fetchall("select name as label, id from users where id < 3 order by id")
    same = await users.fetchone(QUERY)
    assert same == row
    assert other != again
    assert hash((1, "Ann")) == hash(row) == hash(same)
    assert {(1, "Ann"): "found"}[row] == "found"
    assert 1 == len({row, same, (1, "Ann")})
    assert row < (1, "Bob") <= (2, "") > row
    assert (0, "z") < row >= (1, "Ann")
    rows = await users.fetchall("select name, id from users order by id desc")
    assert [("Ann", 1), ("Bob", 2), ("Cid", 3)] == sorted(rows)
    assert [(1, "Ann"), ("Ann", 1)] == [row, again]


@pytest.mark.parametrize("duplicate", [lambda row: pickle.loads(pickle.dumps(row)), copy.copy, copy.deepcopy])  # noqa: S301
@pytest.mark.targets(pooled=True)
async def test_a_row_can_be_copied_and_pickled(row, duplicate):
    twin = duplicate(row)
    assert row == twin
    assert {"id": 1, "name": "Ann"} == dict(twin)
    assert "Ann" == twin.name
    assert isinstance(twin, Record)


@pytest.mark.targets(pooled=True)
async def test_of_columns_with_one_name_the_name_finds_the_last(db):
    row = await db.fetchone("select 1 as a, 2 as b, 3 as a")
    assert (1, 2, 3) == row
    assert ("a", "b", "a") == tuple(row.keys())
    assert (("a", 1), ("b", 2), ("a", 3)) == tuple(row.items())
    assert 3 == row["a"] == row.a == row.get("a")
    assert {"a": 3, "b": 2} == dict(row)
    assert (1, 2, 3) == copy.copy(row)


@pytest.mark.targets(pooled=True)
async def test_columns_called_like_methods_are_reached_by_name(db):
    row = await db.fetchone('select 1 as keys, 2 as "values", 3 as items, 4 as get, 5 as count, 6 as index, 7 as _values')
    assert [1, 2, 3, 4, 5, 6, 7] == [row[name] for name in ("keys", "values", "items", "get", "count", "index", "_values")]
    assert "keys" == row.keys()[0]
    assert (5, 6) == (row.count, row.index)


@pytest.mark.targets(pooled=True)
async def test_any_name_of_a_column_works(db):
    row = await db.fetchone('select 1 as "Two Words", 2 as "ünï", 3 as "class", 4 as "0"')
    assert (1, 2, 3, 4) == (row["Two Words"], row["ünï"], row["class"], row["0"])
    assert ("Two Words", "ünï", "class", "0") == tuple(row)[:0] + row.keys()


async def test_every_verb_returns_the_same_kind_of_row(users):
    rows = [
        await users.fetchone(QUERY),
        *await users.fetchall(QUERY),
        *await users.fetchmany(5, QUERY),
        *[row async for row in users.iterate(QUERY)],
    ]
    assert 4 == len(rows)
    assert 1 == len(set(rows))
    assert 1 == len({repr(row) for row in rows})
    assert all(isinstance(row, Record) for row in rows)


@pytest.mark.targets(pooled=True)
async def test_a_row_matches_no_sequence_pattern_but_has_a_dictionary(row):
    match row:
        case [*_]:
            found = "sequence"
        case {}:
            found = "mapping"
        case _:
            found = "record"
    assert "record" == found


@pytest.mark.targets(pooled=True)
async def test_rows_outlive_their_database(make_database):
    database = await make_database()
    row = await database.fetchone("select 1 as a, 'b' as b")
    await database.disconnect()
    assert (1, "b") == row
    assert "b" == row.b
