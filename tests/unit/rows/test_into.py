"""Rows become what ``into=`` names, or say in one sentence why they cannot."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import sys
import uuid
from collections import OrderedDict
from dataclasses import KW_ONLY, InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Generic, NamedTuple, NewType, NotRequired, Required, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest

from aio_databases.errors import ConfigurationError, DataError
from aio_databases.rows.mapping import _build_once, mapper
from aio_databases.rows.record import record_type

T = TypeVar("T")
NAMES = ("id", "name", "age")
ROW = (1, "Ann", 30)
SECRET = "hunter2"


@dataclass
class DataUser:
    id: int
    name: str
    age: int = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordUser:
    id: int
    name: str
    age: int = 18


class TupleUser(NamedTuple):
    id: int
    name: str
    age: int = 18


@attrs.define
class AttrsUser:
    id: int
    name: str
    age: int = 18


class StructUser(msgspec.Struct):
    id: int
    name: str
    age: int = 18


class ModelUser(pydantic.BaseModel):
    id: int
    name: str
    age: int = 18


@pydantic.dataclasses.dataclass
class ModelDataUser:
    id: int
    name: str
    age: int = 18


class PlainUser:
    """A class that keeps no promises beside its signature."""

    def __init__(self, id: int, name: str, age: int = 18) -> None:  # noqa: A002 - the name of the column
        self.id, self.name, self.age = id, name, age

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class DictUser(TypedDict):
    id: int
    name: str
    age: NotRequired[int]


CLASSES = [DataUser, KeywordUser, TupleUser, AttrsUser, StructUser, ModelUser, ModelDataUser, PlainUser, DictUser]
STRICT = [cls for cls in CLASSES if cls is not ModelUser]


@pytest.fixture(params=["tuple", "Record"])
def row_type(request):
    """Rows as libraries return them, and as the verbs hand them on."""
    return tuple if request.param == "tuple" else record_type(NAMES)


# Shapes


@pytest.mark.parametrize("into", CLASSES)
def test_a_class_is_made_from_columns_in_its_own_order(into, row_type):
    assert into(id=1, name="Ann", age=30) == mapper(into, NAMES)(row_type(ROW))


@pytest.mark.parametrize("into", CLASSES)
def test_a_class_is_made_from_columns_in_another_order(into):
    assert into(id=1, name="Ann", age=30) == mapper(into, ("age", "id", "name"))((30, 1, "Ann"))


@pytest.mark.parametrize("into", [cls for cls in CLASSES if cls is not DictUser])
def test_a_field_with_a_default_needs_no_column(into):
    assert into(id=1, name="Ann", age=18) == mapper(into, ("name", "id"))(("Ann", 1))


@pytest.mark.parametrize("into", CLASSES)
def test_the_result_has_the_class_that_was_asked_for(into):
    expected = dict if into is DictUser else into
    assert expected is type(mapper(into, NAMES)(ROW))


def test_a_default_between_columns_is_kept():
    user = mapper(lambda a, b=2, c=3: (a, b, c), ("a", "c"))
    assert user((10, 30)) == (10, 2, 30)


@pytest.mark.parametrize("into", [dict, dict[str, Any]])
def test_dict_holds_the_columns_by_name(into, row_type):
    result = mapper(into, NAMES)(row_type(ROW))
    assert (dict, {"id": 1, "name": "Ann", "age": 30}) == (type(result), result)


@pytest.mark.parametrize(("into", "expected"), [(tuple, ROW), (tuple[int, str, int], ROW), (list, [*ROW])])
def test_tuple_and_list_hold_the_bare_values(into, expected, row_type):
    result = mapper(into, NAMES)(row_type(ROW))
    assert (type(result), result) == (type(expected), expected)


def test_tuple_and_list_hold_columns_of_equal_name():
    assert [mapper(into, ("id", "id"))((1, 2)) for into in (tuple, list)] == [(1, 2), [1, 2]]


def test_a_function_is_called_with_the_columns_as_keyword_arguments():
    assert mapper(lambda **row: sorted(row.items()), NAMES)(ROW) == [("age", 30), ("id", 1), ("name", "Ann")]


def test_a_callable_without_signature_gets_keyword_arguments():
    assert OrderedDict(id=1, name="Ann", age=30) == mapper(OrderedDict, NAMES)(ROW)
    assert mapper(Uninspectable(), ("id",))((1,)) == {"id": 1}


class Uninspectable:
    """As some callables written in C: asking for the signature fails."""

    __signature__ = property(lambda _: (_ for _ in ()).throw(ValueError))

    def __call__(self, **columns):
        return columns


def test_a_partial_keeps_the_arguments_it_has():
    assert DataUser(1, "Ann", 99) == mapper(functools.partial(DataUser, age=99), ("name", "id"))(("Ann", 1))


def test_positional_only_parameters_are_never_filled_by_position():
    assert mapper(lambda hidden=None, /, id=0: (hidden, id), ("id",))((1,)) == (None, 1)  # noqa: A006


def test_a_column_that_is_no_identifier_can_be_a_key():
    assert mapper(dict, ("count(*)",))((3,)) == {"count(*)": 3}
    assert mapper(lambda **row: row, ("count(*)",))((3,)) == {"count(*)": 3}


def test_a_generic_class_may_name_its_arguments():
    @dataclass
    class Box(Generic[T]):
        item: T

    class Case(msgspec.Struct, Generic[T]):
        item: T

    assert Box(1) == mapper(Box[int], ("item",))((1,))
    assert Case(1) == mapper(Case[int], ("item",))(("1",))


def test_a_new_type_stands_for_its_class():
    assert DataUser(*ROW) == mapper(NewType("Admin", DataUser), NAMES)(ROW)
    assert mapper(NewType("Inner", NewType("UserId", int)), ("id",))(("7",)) == 7


def test_a_row_without_columns_makes_a_class_without_required_fields():
    assert mapper(dict, ())(()) == {}
    assert mapper(lambda x=5: x, ())(()) == 5


def test_dataclass_init_only_fields_are_columns_and_computed_ones_are_not():
    @dataclass
    class Price:
        net: float
        rate: InitVar[float]
        gross: float = field(init=False)
        _: KW_ONLY
        label: str = ""

        def __post_init__(self, rate: float) -> None:
            self.gross = self.net * rate

    made = mapper(Price, ("label", "rate", "net"))(("a", 2.0, 3.0))
    assert dataclasses.asdict(made) == {"net": 3.0, "gross": 6.0, "label": "a"}
    with pytest.raises(ConfigurationError, match="it has no place for gross;"):
        mapper(Price, ("net", "rate", "gross"))


def test_attrs_converters_and_names_of_arguments_work():
    @attrs.define
    class Account:
        _token: str
        size: int = attrs.field(converter=int, alias="bytes")

    assert Account(token="t", bytes=3) == mapper(Account, ("bytes", "token"))(("3", "t"))


# Validating libraries


def test_pydantic_converts_values():
    assert ModelUser(id=1, name="Ann", age=30) == mapper(ModelUser, NAMES)(("1", "Ann", "30"))


def test_pydantic_aliases_name_columns():
    class Model(pydantic.BaseModel):
        user_id: int = pydantic.Field(alias="userId")
        name: str = pydantic.Field(validation_alias=pydantic.AliasChoices("name", "label"))

    made = mapper(Model, ("userId", "label"))((1, "Ann"))
    assert made.model_dump() == {"user_id": 1, "name": "Ann"}


def test_a_pydantic_validator_may_fill_in_what_has_no_column():
    class Model(pydantic.BaseModel):
        full: str

        @pydantic.model_validator(mode="before")
        @classmethod
        def join(cls, values):
            return {"full": f"{values['first']} {values['last']}"}

    assert Model(first="Ann", last="Lee") == mapper(Model, ("first", "last"))(("Ann", "Lee"))


@pytest.mark.parametrize(("extra", "expected"), [("ignore", {"id": 1}), ("allow", {"id": 1, "more": 2})])
def test_pydantic_treats_extra_columns_as_the_model_says(extra, expected):
    model = pydantic.create_model("Model", __config__=pydantic.ConfigDict(extra=extra), id=(int, ...))
    assert mapper(model, ("id", "more"))((1, 2)).model_dump() == expected


def test_pydantic_extra_columns_that_the_model_forbids_are_named():
    model = pydantic.create_model("Model", __config__=pydantic.ConfigDict(extra="forbid"), id=(int, ...))
    with pytest.raises(ConfigurationError, match="do not fit Model: it has no place for more;"):
        mapper(model, ("id", "more"))((1, 2))


def test_pydantic_fields_without_a_column_are_named():
    with pytest.raises(ConfigurationError, match="do not fit ModelUser: it needs id, name;"):
        mapper(ModelUser, ("age",))((30,))


def test_msgspec_converts_values():
    class Event(msgspec.Struct):
        at: datetime
        key: UUID
        price: Decimal
        done: bool
        data: bytes

    key, at = uuid.uuid4(), datetime(2026, 11, 21, tzinfo=UTC)
    made = mapper(Event, ("key", "at", "done", "price", "data"))
    assert Event(at, key, Decimal("1.5"), done=True, data=b"x") == made((str(key), at.isoformat(), 1, "1.5", b"x"))
    assert Event(at, key, Decimal("1.5"), done=True, data=b"x") == made((key, at, True, Decimal("1.5"), b"x"))


@pytest.mark.parametrize("names", [("user_id", "full_name"), ("userId", "fullName"), ("user_id", "fullName")])
def test_msgspec_columns_may_have_either_name_of_a_renamed_field(names):
    class Renamed(msgspec.Struct, rename="camel", kw_only=True):
        user_id: int
        full_name: str

    assert Renamed(user_id=1, full_name="Ann") == mapper(Renamed, names)((1, "Ann"))


def test_msgspec_refuses_two_columns_for_one_renamed_field():
    class Renamed(msgspec.Struct, rename="camel"):
        user_id: int

    with pytest.raises(ConfigurationError, match="two columns named user_id"):
        mapper(Renamed, ("user_id", "userId"))


def test_no_library_of_types_is_imported_by_the_mapper():
    module = sys.modules["aio_databases.rows.mapping"]
    assert set() == {"attrs", "attr", "msgspec", "pydantic"} & set(vars(module))


# TypedDict


class Partial(TypedDict, total=False):
    id: Required[int]
    name: str


class Child(Partial):
    age: NotRequired[int]
    email: str


def test_typed_dict_marks_count_where_annotations_are_strings():
    assert mapper(Child, ("id", "email"))((1, "e")) == {"id": 1, "email": "e"}
    with pytest.raises(ConfigurationError, match="do not fit Child: it needs email, id;"):
        mapper(Child, ("name", "age"))


def test_typed_dict_marks_count_where_annotations_are_evaluated():
    evaluated = TypedDict("evaluated", {"id": int, "name": NotRequired[str]})  # noqa: UP013 - the class form is above
    assert mapper(evaluated, ("id",))((1,)) == {"id": 1}
    with pytest.raises(ConfigurationError, match="do not fit evaluated: it needs id;"):
        mapper(evaluated, ("name",))


def test_typed_dict_whose_annotations_cannot_be_evaluated_counts_as_typing_sees_it():
    class LateMeta(type):
        @property
        def __annotations__(cls):
            raise NameError

    class Late(metaclass=LateMeta):
        __required_keys__ = frozenset({"id"})
        __optional_keys__ = frozenset({"name"})

    assert mapper(Late, ("id", "name"))((1, "Ann")) == {"id": 1, "name": "Ann"}
    with pytest.raises(ConfigurationError, match="it needs id;"):
        mapper(Late, ("name",))


# Scalars


class Color(enum.Enum):
    RED = "r"


class UserId(int):
    pass


MOMENT = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)
KEY = UUID(int=7)


@pytest.mark.parametrize(
    ("into", "value", "expected"),
    [
        (int, 7, 7),
        (int, "7", 7),
        (int, " 7 ", 7),  # as a column of CHAR(3) is padded
        (int, "-07", -7),
        (int, 7.0, 7),
        (int, Decimal(7), 7),
        (int, True, 1),
        (float, "1.5", 1.5),
        (float, "1e5", 100000.0),
        (float, "-inf", -math.inf),
        (float, Decimal("1.5"), 1.5),
        (float, 1, 1.0),
        (str, "x", "x"),
        (str, 7, "7"),
        (str, b"\xc3\xa9", "\xe9"),
        (str, memoryview(b"x"), "x"),
        (str, KEY, str(KEY)),
        (bool, 1, True),
        (bool, 0, False),
        (bool, b"\x01", True),
        (bytes, memoryview(b"x"), b"x"),
        (bytes, bytearray(b"x"), b"x"),
        (Decimal, 0.1, Decimal("0.1")),
        (Decimal, "0.10", Decimal("0.10")),
        (Decimal, "1E+5", Decimal(100000)),
        (Decimal, 3, Decimal(3)),
        (UUID, str(KEY), KEY),
        (UUID, KEY.bytes, KEY),
        (datetime, "2026-11-21 10:30:00+00:00", MOMENT),
        (date, "2026-11-21", date(2026, 11, 21)),
        (date, datetime(2026, 11, 21), date(2026, 11, 21)),  # noqa: DTZ001 - as a DATE column of ODBC
        (time, "10:30:00", time(10, 30)),
        (timedelta, timedelta(1), timedelta(1)),
        (Color, "r", Color.RED),
        (Color, Color.RED, Color.RED),
        (UserId, "7", UserId(7)),
        (UserId, 7, UserId(7)),
    ],
)
def test_a_scalar_takes_the_value_of_the_only_column(into, value, expected):
    result = mapper(into, ("column",))((value,))
    assert (type(result), result) == (type(expected), expected)


@pytest.mark.parametrize("into", [int, str, bool, Decimal, datetime, Color, UserId])
def test_null_stays_none(into):
    assert mapper(into, ("column",))((None,)) is None


def test_a_subclass_of_the_scalar_passes_unchanged():
    class Moment(datetime):
        pass

    moment = Moment(2026, 11, 21, tzinfo=UTC)
    assert mapper(datetime, ("column",))((moment,)) is moment


@pytest.mark.parametrize(
    ("into", "value"),
    [
        (int, SECRET),
        (int, 1.5),
        (int, b"7"),
        (int, float("inf")),
        *(
            (kind, text)
            for kind in (int, float, Decimal)
            for text in ("1_0", "\uff11", "\u0663", "1\u00a0", "", "0x10", b"1")
        ),
        *((int, text) for text in ("nan", "inf", "1e5", "1.0", "1.", "1 0")),
        (float, bytearray(b"1.5")),
        (float, "1_0.5"),
        (Decimal, "1_0.5"),
        (UUID, "1234567812345678_123456781234567"),
        (UUID, "1234567812345678\uff11123456781234567"),
        (float, SECRET),
        (bool, "false"),
        (bool, 2),
        (bool, []),
        (str, [SECRET]),
        (str, {"password": SECRET}),
        (str, b"\xff"),
        (bytes, 3),
        (bytes, SECRET),
        (Decimal, SECRET),
        (UUID, SECRET),
        (UUID, b"short"),
        (datetime, SECRET),
        (datetime, 0),
        (date, MOMENT),
        (time, SECRET),
        (date, "\uff12026-11-21"),
        (datetime, "2026-11-2\uff11 10:30"),
        (time, "\uff110:30"),
        (timedelta, 60),
        (Color, SECRET),
        (UserId, SECRET),
    ],
)
def test_a_scalar_refuses_what_it_would_have_to_guess_or_cut(into, value):
    with pytest.raises(DataError) as caught:
        mapper(into, ("column",))((value,))
    assert f"{into.__name__} refuses a value of the row: correct the row or the type; the cause says why" == str(
        caught.value
    )
    assert isinstance(caught.value.__cause__, (ValueError, TypeError, ArithmeticError))


@pytest.mark.parametrize("names", [(), ("id", "name")])
def test_a_scalar_wants_exactly_one_column(names):
    message = f"int takes one column, but the query returns {len(names)}: select only that one"
    with pytest.raises(ConfigurationError) as caught:
        mapper(int, names)
    assert message == str(caught.value)


# Columns that do not fit


@pytest.mark.parametrize("into", STRICT)
def test_missing_and_extra_columns_are_told_in_one_sentence(into):
    with pytest.raises(ConfigurationError) as caught:
        mapper(into, ("id", "nme", "age", "x y"))
    assert (
        f"the columns do not fit {into.__name__}: it needs name and it has no place for nme, x y; "
        "select exactly the columns it takes, with AS where a name differs"
    ) == str(caught.value)


@pytest.mark.parametrize("into", STRICT)
def test_a_missing_column_alone_is_told(into):
    with pytest.raises(ConfigurationError, match=r"it needs name; select"):
        mapper(into, ("id",))


@pytest.mark.parametrize("into", STRICT)
def test_an_extra_column_alone_is_told(into):
    with pytest.raises(ConfigurationError, match=r": it has no place for more; select"):
        mapper(into, (*NAMES, "more"))


@pytest.mark.parametrize("into", [*CLASSES, dict, lambda **row: row])
def test_two_columns_of_one_name_are_refused(into):
    with pytest.raises(ConfigurationError) as caught:
        mapper(into, ("id", "name", "id"))
    name = into.__name__
    assert f"{name} cannot hold two columns named id: leave one out, or rename one with AS." == str(caught.value)


def test_a_required_positional_only_parameter_can_have_no_column():
    with pytest.raises(ConfigurationError, match="it needs hidden and it has no place for id;"):
        mapper(lambda hidden, /: hidden, ("id",))


def test_a_callable_without_a_name_is_named_by_its_class():
    with pytest.raises(ConfigurationError, match="do not fit partial: it needs id;"):
        mapper(functools.partial(DataUser, name=SECRET), ("age",))


@pytest.mark.parametrize("into", ["DataUser", 7, int | None, [DataUser]])
def test_what_is_no_class_or_callable_is_refused(into):
    with pytest.raises(ConfigurationError) as caught:
        mapper(into, NAMES)
    given = type(into).__name__
    assert str(caught.value) == f"into= takes one class or callable, not a {given}: pass the type that a row becomes"


# Values that a type refuses


def refuse(**_row):
    raise ValueError(SECRET)


@dataclass
class Picky:
    id: int

    def __post_init__(self) -> None:
        raise TypeError(SECRET)


class PickyStruct(msgspec.Struct):
    id: int

    def __post_init__(self) -> None:
        raise ValueError(SECRET)


class PickyModel(pydantic.BaseModel):
    id: int

    @pydantic.model_validator(mode="after")
    def refuse(self):
        raise ValueError(SECRET)


@pytest.mark.parametrize("into", [refuse, Picky, PickyStruct, PickyModel])
def test_a_refused_row_names_the_type_and_keeps_the_cause_but_never_the_value(into):
    with pytest.raises(DataError) as caught:
        mapper(into, ("id",))((1,))
    expected = f"{into.__name__} refuses a value of the row: correct the row or the type; the cause says why"
    assert (str(caught.value), caught.value.column) == (expected, None)
    assert SECRET in str(caught.value.__cause__)


@pytest.mark.parametrize("into", [StructUser, ModelUser, ModelDataUser])
@pytest.mark.parametrize("names", [NAMES, ("age", "name", "id")])
def test_a_refused_value_names_its_field(into, names):
    row = tuple({"id": SECRET, "name": "Ann", "age": 30}[name] for name in names)
    with pytest.raises(DataError) as caught:
        mapper(into, names)(row)
    expected = f"{into.__name__} refuses the value of id: correct the row or the type; the cause says why"
    assert (str(caught.value), caught.value.column) == (expected, "id")
    assert caught.value.__cause__ is not None


def test_several_refused_values_name_their_fields_once():
    class Model(pydantic.BaseModel):
        id: int
        tags: list[int]

    with pytest.raises(DataError, match="refuses the value of id, tags:") as caught:
        mapper(Model, ("id", "tags"))((SECRET, [SECRET, SECRET]))
    assert caught.value.column is None


@pytest.mark.parametrize("library", [msgspec.Struct, pydantic.BaseModel])
def test_a_refused_value_inside_a_field_names_the_field(library):
    inner = type("Inner", (library,), {"__annotations__": {"size": int}})
    outer = type("Outer", (library,), {"__annotations__": {"box": inner, "sizes": list[int]}})
    with pytest.raises(DataError, match="Outer refuses the value of box:"):
        mapper(outer, ("box", "sizes"))(({}, [1]))
    with pytest.raises(DataError, match="Outer refuses the value of sizes:"):
        mapper(outer, ("box", "sizes"))(({"size": 1}, [SECRET]))


def test_an_enum_of_msgspec_refuses_without_the_value():
    class Painted(msgspec.Struct):
        color: Color

    with pytest.raises(DataError, match=r"^Painted refuses the value of color: [^2]*$"):
        mapper(Painted, ("color",))((SECRET,))


def test_an_error_that_is_no_refusal_passes_unchanged():
    def broken(**_row):
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        mapper(broken, ("id",))((1,))


# Once per shape


def test_a_shape_is_looked_at_once():
    assert mapper(DataUser, NAMES) is mapper(DataUser, ("id", "name", "age"))
    assert mapper(DataUser, NAMES) is not mapper(DataUser, ("id", "age", "name"))


def test_the_cache_is_bounded():
    assert _build_once.cache_info().maxsize == 256


def test_a_callable_that_cannot_be_hashed_works_uncached():
    @dataclass
    class Tagger:
        tag: str

        def __call__(self, **row):
            return {"tag": self.tag, **row}

    assert mapper(Tagger("a"), ("id",))((1,)) == {"tag": "a", "id": 1}
    assert mapper(Tagger("b"), ("id",))((1,)) == {"tag": "b", "id": 1}
