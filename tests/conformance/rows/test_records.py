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


ANSWERS = {
    "first": (lambda row: row[0], 1),
    "last": (lambda row: row[-1], "Ann"),
    "by name": (lambda row: row["name"], "Ann"),
    "by attribute": (lambda row: row.id, 1),
    "whole slice": (lambda row: row[:], (1, "Ann")),
    "slice": (lambda row: row[1:], ("Ann",)),
    "backwards": (lambda row: row[::-1], ("Ann", 1)),
    "slice beyond": (lambda row: row[5:], ()),
    "reversed": (lambda row: list(reversed(row)), ["Ann", 1]),
    "len": (len, 2),
    "bool": (bool, True),
    "list": (list, [1, "Ann"]),
    "tuple": (tuple, (1, "Ann")),
    "dict": (dict, {"id": 1, "name": "Ann"}),
    "as keywords": (lambda row: {**row}, {"id": 1, "name": "Ann"}),
    "star": (lambda row: [*row], [1, "Ann"]),
    "keys": (lambda row: row.keys(), ("id", "name")),
    "values": (lambda row: row.values(), (1, "Ann")),
    "items": (lambda row: row.items(), (("id", 1), ("name", "Ann"))),
    "get": (lambda row: row.get("name"), "Ann"),
    "get nothing": (lambda row: row.get("nope"), None),
    "get default": (lambda row: row.get("nope", 7), 7),
    "has name": (lambda row: "name" in row, True),
    "has not": (lambda row: "nope" in row, False),
    "has no value": (lambda row: 1 in row, False),
    "repr": (repr, "<Record id=1 name='Ann'>"),
    "getattr": (lambda row: getattr(row, "nope", 7), 7),
    "hasattr": (lambda row: (hasattr(row, "name"), hasattr(row, "nope")), (True, False)),
    "is Record": (lambda row: isinstance(row, Record), True),
    "is tuple": (lambda row: isinstance(row, (tuple, Mapping, Sequence)), False),
    "hash": (hash, hash((1, "Ann"))),
    "== tuple": (lambda row: (row == (1, "Ann"), row == (1, "Ann")), (True, True)),
    "!= tuple": (lambda row: (row != (1, "Ann"), row != (1, "Ann")), (False, False)),
    "== other": (lambda row: [row == other for other in ((1, "Bob"), (1,), (1, "Ann", 3), "1A", None)], [False] * 5),
    "other ==": (lambda row: [other == row for other in ((1, "Bob"), (1,), (1, "Ann", 3), "1A", None)], [False] * 5),
    "order": (lambda row: row < (1, "Bob") <= (2, "") > row, True),
    "other order": (lambda row: (0, "z") < row >= (1, "Ann"), True),
    "key": (lambda row: {(1, "Ann"): "found"}[row], "found"),
}


async def test_a_row_answers(row):
    expected = {what: answer for what, (_, answer) in ANSWERS.items()}
    actual = {what: ask(row) for what, (ask, _) in ANSWERS.items()}
    assert actual == expected
    assert {what: type(answer) for what, answer in expected.items()} == {what: type(a) for what, a in actual.items()}


async def test_a_row_unpacks(row):
    number, name = row
    assert (number, name) == (1, "Ann")


async def test_a_column_that_is_not_there_is_an_error(row):
    with pytest.raises(KeyError, match="nope"):
        row["nope"]
    with pytest.raises(AttributeError, match="nope"):
        _ = row.nope
    for position in (2, -3):
        with pytest.raises(IndexError):
            row[position]
    for key in (None, 1.5):
        with pytest.raises((TypeError, KeyError)):
            row[key]


async def test_a_row_cannot_be_changed(row):
    with pytest.raises(TypeError):
        row[0] = 2
    for name in ("id", "fresh"):
        with pytest.raises(AttributeError):
            setattr(row, name, 2)
    assert row == (1, "Ann")


async def test_rows_compare_like_tuples(users, row):
    same = await users.fetchone(QUERY)
    swapped = await users.fetchall("select name as label, id from users order by id desc")
    assert row == same
    assert hash(row) == hash(same)
    assert len({row, same, (1, "Ann")}) == 1
    assert sorted(swapped) == [("Ann", 1), ("Bob", 2), ("Cid", 3)]
    assert min(swapped) == ("Ann", 1)
    assert row != swapped[-1]


@pytest.mark.parametrize(
    "duplicate",
    [lambda row: pickle.loads(pickle.dumps(row)), copy.copy, copy.deepcopy],  # noqa: S301 - pickled here
    ids=["pickle", "copy", "deepcopy"],
)
@pytest.mark.targets(pooled=True)
async def test_a_row_can_be_copied_and_pickled(row, duplicate):
    twin = duplicate(row)
    assert row == twin
    assert dict(twin) == {"id": 1, "name": "Ann"}
    assert twin.name == "Ann"
    assert isinstance(twin, Record)


async def test_of_columns_with_one_name_the_name_finds_the_last(db):
    row = await db.fetchone("select 1 as a, 2 as b, 3 as a")
    assert row == (1, 2, 3)
    assert row.keys() == ("a", "b", "a")
    assert row.items() == (("a", 1), ("b", 2), ("a", 3))
    assert 3 == row["a"] == row.a == row.get("a")
    assert dict(row) == {"a": 3, "b": 2}
    assert copy.copy(row) == (1, 2, 3)


async def test_columns_called_like_methods_are_reached_by_name(db):
    names = ("keys", "values", "items", "get", "count", "index", "_values")
    row = await db.fetchone("select " + ", ".join(f'{number} as "{name}"' for number, name in enumerate(names)))
    assert [row[name] for name in names] == [0, 1, 2, 3, 4, 5, 6]
    assert names == row.keys()
    assert row.get("keys") == 0
    assert dict(zip(names, range(7), strict=True)) == dict(row)


async def test_any_name_of_a_column_works(db):
    row = await db.fetchone('select 1 as "Two Words", 2 as "ünï", 3 as "class", 4 as "0"')
    assert (row["Two Words"], row["ünï"], row["class"], row["0"]) == (1, 2, 3, 4)
    assert row.keys() == ("Two Words", "ünï", "class", "0")


async def test_every_verb_returns_the_same_kind_of_row(users):
    rows = [
        await users.fetchone(QUERY),
        *await users.fetchall(QUERY),
        *await users.fetchmany(5, QUERY),
        *[row async for row in users.iterate(QUERY)],
    ]
    assert [repr(row) for row in rows] == ["<Record id=1 name='Ann'>"] * 4
    assert len(set(rows)) == 1
    assert all(isinstance(row, Record) for row in rows)


async def test_a_row_matches_neither_a_sequence_pattern_nor_a_mapping_pattern(row):
    match row:
        case [*_] | {}:
            pytest.fail("frameworks would take it for a list or a dictionary")
        case Record():
            assert row == (1, "Ann")


async def test_rows_outlive_their_database(make_database):
    database = await make_database()
    row = await database.fetchone("select 1 as a, 'b' as b")
    await database.disconnect()
    assert row == (1, "b")
    assert row.b == "b"
