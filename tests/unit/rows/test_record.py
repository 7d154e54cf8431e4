"""Records: tuples that know their names."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aio_databases.rows.record import Record, Result, record_type, records

ROW = record_type(("id", "name"))((1, "Ann"))


def test_a_record_equals_hashes_orders_and_unpacks_like_a_tuple():
    other = record_type(("a", "b"))((1, "Ann"))
    assert (1, "Ann") == ROW == other
    assert hash((1, "Ann")) == hash(ROW)
    assert (*ROW, len(ROW)) == (1, "Ann", 2)
    assert sorted([(2, "A"), ROW]) == [ROW, (2, "A")]
    assert ROW != (2, "Ann")
    assert ROW != [1, "Ann"]
    assert [ROW < (2,), ROW <= (1, "Ann"), ROW > (1, "Ann"), ROW >= (1, "Ann")] == [True, True, False, True]


def test_values_are_found_by_position_name_and_attribute():
    assert (ROW[0], ROW["name"], ROW[-1], ROW[:1], ROW.id) == (1, "Ann", "Ann", (1,), 1)
    assert (ROW.get("name"), ROW.get("age"), ROW.get("age", 5)) == ("Ann", None, 5)


def test_names_values_and_pairs():
    assert (ROW.keys(), ROW.values()) == (("id", "name"), (1, "Ann"))
    assert ROW.items() == (("id", 1), ("name", "Ann"))
    assert dict(ROW) == {"id": 1, "name": "Ann"}
    assert ["name" in ROW, "Ann" in ROW] == [True, False]


def test_what_is_not_there_is_named_with_what_is():
    with pytest.raises(KeyError, match="no column 'age'; the row has id, name"):
        ROW["age"]
    with pytest.raises(AttributeError, match="no column 'age'; the row has id, name"):
        _ = ROW.age
    with pytest.raises(IndexError):
        ROW[2]
    with pytest.raises(TypeError):
        ROW[None]
    with pytest.raises(KeyError, match="no columns"):
        record_type(())(())["x"]


def test_the_last_of_repeated_names_wins():
    assert record_type(("n", "n"))((1, 2))["n"] == 2


def test_records_survive_pickling_and_copying():
    assert ROW == pickle.loads(pickle.dumps(ROW)) == copy.copy(ROW)  # noqa: S301 - our own bytes
    assert pickle.loads(pickle.dumps(ROW)).keys() == ("id", "name")  # noqa: S301


def test_records_of_one_shape_share_a_class_and_show_their_columns():
    one, two = records(["id"], [(1,), (2,)])
    assert type(one) is type(two)
    assert repr(one) == "<Record id=1>"
    assert isinstance(one, Record)


def test_a_record_is_neither_a_sequence_nor_a_mapping_to_isinstance():
    assert [isinstance(ROW, each) for each in (tuple, Sequence, Mapping)] == [False, False, False]


def test_a_result_has_two_fields():
    assert Result(3) == (3, None)
    assert Result(1, 7).lastrowid == 7


@given(st.lists(st.integers() | st.text(), max_size=5).map(tuple), st.slices(5), st.integers(-6, 6))
def test_a_record_is_read_like_the_tuple_of_its_values(values, part, position):
    row = record_type(tuple(f"c{number}" for number in range(len(values))))(values)
    assert values == row
    assert (hash(values), len(values), list(values), values[part]) == (hash(row), len(row), list(row), row[part])
    assert (values, dict(zip(row.keys(), values, strict=True))) == (row.values(), dict(row.items()))
    if -len(values) <= position < len(values):
        assert values[position] == row[position]
    else:
        with pytest.raises(IndexError):
            row[position]


@given(st.tuples(st.integers(), st.text()), st.tuples(st.integers(), st.text()))
def test_records_order_like_tuples_among_themselves_and_with_tuples(one, two):
    make = record_type(("a", "b"))
    expected = (one < two, one <= two, one > two, one >= two, one == two)
    for left, right in ((make(one), make(two)), (make(one), two), (one, make(two))):
        assert (left < right, left <= right, left > right, left >= right, left == right) == expected


@pytest.mark.parametrize("name", ["keys", "values", "items", "get"])
def test_a_column_that_is_called_like_a_method_is_found_by_its_name(name):
    row = record_type((name,))((7,))
    assert (7, True, [name]) == (row[name], callable(getattr(row, name)), list(row.keys()))


ODD = ("_values", "_names", "_id", "__len__", "__bool__", "__html__", "__class__")


def test_columns_called_like_what_python_asks_for_are_found_by_their_names_and_change_nothing():
    row = record_type(ODD)(tuple(range(7)))
    assert [*range(7)] == [row[name] for name in ODD]
    assert (7, True, tuple(range(7))) == (len(row), bool(row), row.values())
    assert (row._id, row.__html__) == (2, 5)
    assert isinstance(row, Record)


def test_an_attribute_is_the_last_of_repeated_names_and_any_word():
    row = record_type(("n", "class", "mro", "two words", "ünï", "n"))((1, 2, 3, 4, 5, 6))
    assert [getattr(row, name) for name in ("n", "class", "mro", "two words", "ünï")] == [6, 2, 3, 4, 5]


def test_rows_with_columns_in_another_order_have_attributes_of_their_own():
    one, other = record_type(("a", "b"))((1, 2)), record_type(("b", "a"))((1, 2))
    assert (one.a, one.b, other.a, other.b) == (1, 2, 2, 1)


def test_an_attribute_that_cannot_be_set_is_named():
    with pytest.raises(AttributeError, match="'name'"):
        ROW.name = "Bob"
    with pytest.raises(AttributeError, match="'name'"):
        del ROW.name


def test_copies_of_a_record_are_of_its_class_and_as_deep_as_asked():
    row = record_type(("x",))(([1],))
    shallow, deep = copy.copy(row), copy.deepcopy(row)
    assert [type(row)] * 2 == [type(shallow), type(deep)]
    assert (row.x is shallow.x, row.x is deep.x) == (True, False)


def test_a_record_cannot_be_changed():
    with pytest.raises(TypeError):
        ROW["id"] = 2
    with pytest.raises(AttributeError):
        ROW.other = 2


def test_code_that_probes_for_attributes_is_told_no():
    assert [hasattr(ROW, name) for name in ("__html__", "_asdict")] == [False, False]
