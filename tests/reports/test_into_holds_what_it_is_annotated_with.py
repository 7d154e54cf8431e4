"""A field holds what its annotation says, on databases that have no such type, too.

Hostile test: on SQLite a dataclass with `d: date` held a str.
"""

from __future__ import annotations

import sys
from dataclasses import KW_ONLY, InitVar, dataclass
from datetime import UTC, date, datetime, time, timedelta  # noqa: TC003 - is evaluated
from decimal import Decimal
from enum import Enum, IntEnum
from types import ModuleType
from typing import Annotated, Final, NamedTuple, NewType, NotRequired, Optional, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest

from aio_databases import DataError
from aio_databases.rows.mapping import mapper

Day = NewType("Day", date)
NAMES = ("d", "at", "t", "price", "key", "paid", "state", "size", "note")


class State(Enum):
    """A text at the database."""

    NEW = "new"


class Size(IntEnum):
    """A number at the database."""

    BIG = 3


@dataclass
class Plain:
    """By position."""

    d: date
    at: datetime
    t: time
    price: Decimal
    key: UUID
    paid: bool
    state: State
    size: Size
    note: str


@dataclass(frozen=True, slots=True)
class Wrapped:
    """By keyword, and in all ways in which a type can be written."""

    d: Day
    at: Annotated[datetime, "moment"]
    t: time | None
    price: Optional[Decimal]  # noqa: UP045 - that is the way
    _: KW_ONLY
    key: UUID | None = None
    paid: bool = False
    state: Annotated[State | None, "state"] = None
    size: Size = Size.BIG
    note: str = ""


class Tuple(NamedTuple):
    """A named tuple."""

    d: date
    at: datetime
    t: time
    price: Decimal
    key: UUID
    paid: bool
    state: State
    size: Size
    note: str


@attrs.define
class Attrs:
    """Of attrs."""

    d: date
    at: datetime
    t: time
    price: Decimal
    key: UUID
    paid: bool
    state: State
    size: Size
    note: str


class Initialised:
    """Annotated in its `__init__` alone."""

    def __init__(  # noqa: PLR0917 - as many as there are types
        self,
        d: date,
        at: datetime,
        t: time,
        price: Decimal,
        key: UUID,
        paid: bool,  # noqa: FBT001
        state: State,
        size: Size,
        note: str,
    ) -> None:
        self.all = (d, at, t, price, key, paid, state, size, note)

    def __iter__(self):
        return iter(self.all)


def function(d: date, at: datetime, t: time, price: Decimal, key: UUID, paid: bool, state: State, size: Size, note):  # noqa: FBT001, PLR0917
    """Return what it was called with."""
    return d, at, t, price, key, paid, state, size, note


class Typed(TypedDict):
    """A dict."""

    d: date
    at: NotRequired[datetime]
    t: time
    price: Decimal
    key: UUID
    paid: bool
    state: State
    size: Size
    note: str


class Model(pydantic.BaseModel):
    """Converts by itself."""

    d: date
    at: datetime
    t: time
    price: Decimal
    key: UUID
    paid: bool
    state: State
    size: Size
    note: str


class Struct(msgspec.Struct):
    """Converts by itself."""

    d: date
    at: datetime
    t: time
    price: Decimal
    key: UUID
    paid: bool
    state: State
    size: Size
    note: str


VALUES = (
    date(2026, 1, 2),
    datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - as the databases return it
    time(3, 4, 5),
    Decimal("1.5"),
    UUID(int=7),
    True,
    State.NEW,
    Size.BIG,
    "note",
)
KINDS = [Plain, Wrapped, Tuple, Attrs, Initialised, function, Typed, Model, Struct]
COLUMNS = (
    "(d date, at timestamp, t time, price numeric(9, 2), key_ varchar(36), paid boolean, state varchar(9), "
    "size integer, note varchar(9))"
)


def name_of(value):
    return value.__name__


def values_of(made):
    """Return the values of an object in the order of `NAMES`."""
    if isinstance(made, dict):
        return tuple(made[name] for name in NAMES)
    return (
        tuple(made)
        if hasattr(made, "__iter__") and not isinstance(made, Model)
        else tuple(getattr(made, name) for name in NAMES)
    )


def holds(made):
    """Fail unless the values of an object are those that were stored, each of its type."""
    values = values_of(made)
    assert values == VALUES
    assert list(map(type, VALUES)) == list(map(type, values))


@pytest.mark.targets(pooled=True, loop={"asyncio", "trio"})
async def test_fields_hold_what_they_are_annotated_with(db, target):
    await db.execute(f"create table t {COLUMNS}")
    sent = [value.value if isinstance(value, Enum) else value for value in VALUES]
    sent[4] = str(sent[4])
    await db.execute(f"insert into t values ({', '.join('?' * len(sent))})", *sent)
    query = "select d, at, t, price, key_ as key, paid, state, size, note from t"
    if target.dialect == "mysql":
        query = query.replace(" t,", " cast(t as char) as t,").replace("key,", "`key`,")
    for kind in KINDS:
        holds(await db.fetchone(query, into=kind))
        holds((await db.fetchall(query, into=kind))[0])
        async for made in db.iterate(query, into=kind):
            holds(made)
    assert date(2026, 1, 2) == await db.fetchone("select d from t", into=date)


@pytest.mark.parametrize("kind", KINDS[:7], ids=name_of)
def test_null_stays_none_and_what_is_right_stays_the_same(kind):
    make = mapper(kind, NAMES)
    assert (None,) * len(NAMES) == values_of(make((None,) * len(NAMES)))
    assert all(value is made for value, made in zip(VALUES, values_of(make(VALUES)), strict=True))


@pytest.mark.parametrize("kind", KINDS[:7], ids=name_of)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("d", "yesterday"),
        ("d", 20260102),
        ("d", "2026-01-02 03:04:05"),
        ("at", 1.5),
        ("t", "noon"),
        ("price", "dear"),
        ("key", "7"),
        ("paid", 2),
        ("paid", "false"),
        ("state", "old"),
        ("size", 4),
    ],
)
def test_what_cannot_be_converted_is_refused_and_not_shown(kind, field, value):
    row = [value if field == name else right for name, right in zip(NAMES, VALUES, strict=True)]
    with pytest.raises(DataError, match=f"{kind.__name__} refuses the value of {field}: ") as caught:
        mapper(kind, NAMES)(row)
    assert field == caught.value.column
    assert str(value) not in str(caught.value)


def test_what_is_no_annotation_of_a_scalar_is_left_alone():
    @dataclass
    class Loose:
        either: date | str
        number: int
        unknown: Missing  # noqa: F821 - as what is imported for type checkers only
        many: list[date]
        init: InitVar[date]
        span: timedelta | None

        def __post_init__(self, init):
            self.kept = init

    row = ("2026-01-02", "5", "2026-01-02", "2026-01-02", "2026-01-02", None)
    made = mapper(Loose, ("either", "number", "unknown", "many", "init", "span"))(row)
    assert (*row[:4], date(2026, 1, 2)) == (made.either, made.number, made.unknown, made.many, made.kept)


def test_types_that_are_imported_for_type_checkers_only_are_known_by_their_names(monkeypatch):
    module = ModuleType("elsewhere")
    monkeypatch.setitem(sys.modules, "elsewhere", module)
    source = "from __future__ import annotations\nclass Row:\n    d: date\n    key: UUID | None\n"
    exec(source, vars(module))  # noqa: S102 - a module without the names
    made = mapper(dataclass(module.Row), ("d", "key"))(("2026-01-02", str(UUID(int=7))))
    assert (date(2026, 1, 2), UUID(int=7)) == (made.d, made.key)


def test_a_moment_with_an_offset_keeps_it():
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    @dataclass
    class Row:
        at: datetime

    assert moment == mapper(Row, ("at",))((moment.isoformat(" "),)).at


def test_rows_that_need_no_conversion_have_no_step_for_it():
    @dataclass
    class Row:
        id: int
        name: str

    assert "_called" in mapper(Row, ("id", "name")).__qualname__


@dataclass
class Stored:
    """Fields whose types are wrapped once more, or stand in the class itself."""

    at: Final[date]
    kind: "Kind"  # noqa: UP037 - stands below

    class Kind(Enum):
        """Of the class alone."""

        NEW = "n"

    until: InitVar[date | None] = None

    def __post_init__(self, until):
        self.end = until


def test_wrapped_annotations_and_classes_within_the_class_count():
    stored = mapper(Stored, ("at", "kind", "until"))(("2026-01-02", "n", "2026-01-03"))
    assert (date(2026, 1, 2), Stored.Kind.NEW, date(2026, 1, 3)) == (stored.at, stored.kind, stored.end)


@dataclass
class Dated:
    """Has one date."""

    d: date


@pytest.mark.parametrize("kind", [date, Dated, NamedTuple("Row", [("d", date)])])
def test_a_date_is_no_moment(kind):
    make = mapper(kind, ("d",))
    made = make((datetime(2026, 1, 2),))  # noqa: DTZ001 - as the databases return it
    assert date(2026, 1, 2) == (made if kind is date else made.d)
    assert date is type(made if kind is date else made.d)
    with pytest.raises(DataError):
        make((datetime(2026, 1, 2, 3),))  # noqa: DTZ001
