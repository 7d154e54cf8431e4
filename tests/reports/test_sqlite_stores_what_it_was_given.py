"""What SQLite is given is stored as what it is, or refused; what compares as a number is sent as one.

Hostile test: of `numpy.int64(5)` the bytes were stored, of NaN NULL; a `Decimal` was compared as text, so that an
expression was never greater; subclasses, such as those of freezegun, pendulum and pandas, were refused.
"""

from __future__ import annotations

import array
import ctypes
import sqlite3
from collections import OrderedDict, defaultdict
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pytest

from aio_databases import DataError

SQLITE = {"sqlite", "aiosqlite"}

pytestmark = pytest.mark.targets(dialect="sqlite", loop={"asyncio", "trio"}, pooled=True)


class FakeDatetime(datetime):
    """As freezegun's, and like pendulum's and pandas's."""


class FakeDate(date):
    """As freezegun's."""


class FakeTime(time):
    """As pendulum's."""


class Money(Decimal):
    """A number of a user's own."""


class Number(float):
    """As numpy.float64."""


class Identity(UUID):
    """A UUID of a user's own."""


class Items(list):
    """A list of a user's own."""


class Word(str):
    """A text of a user's own."""

    __slots__ = ()


class Price(Enum):
    """An enumeration of values that SQLite does not have."""

    LOW = Decimal("1.5")


class NotATime(datetime):
    """As NaT of pandas, which is a datetime and equal to nothing."""

    __hash__ = None

    def __eq__(self, other):
        return False

    def __ne__(self, other):
        return True


BUFFERS = [ctypes.c_int64(5), ctypes.c_float(1.5), array.array("i", [1])]
"""As numpy.int64, which is not installed for tests: numbers to their users, buffers to sqlite3."""
NOT_A_NUMBER = [float("nan"), Number("nan"), Decimal("NaN"), Decimal("sNaN"), Money("NaN"), NotATime(2020, 1, 1)]


def kind_of(value):
    return type(value).__name__


async def refused(db, value):
    """Return the errors of every verb that sends a value, which must leave the table empty."""
    await db.execute("create table t (a, b)")
    for call in (
        lambda: db.execute("insert into t values (?, ?)", 1, value),
        lambda: db.execute("insert into t values (:a, :b)", {"a": 1, "b": value}),
        lambda: db.executemany("insert into t values (?, ?)", (1, 1), (2, value)),
        lambda: db.executemany("insert into t values (:a, :b)", [{"a": 1, "b": 1}, {"a": 2, "b": value}]),
        lambda: db.fetchval("select count(*) from t where a = ? or b = ?", 1, value),
        lambda: db.fetchall("select a from t where a = ? or b = ?", 1, value),
        lambda: anext(db.iterate("select a from t where a = ? or b = ?", 1, value)),
    ):
        with pytest.raises(DataError) as caught:
            await call()
        yield caught.value
    assert await db.fetchval("select count(*) from t") == 0


@pytest.mark.parametrize("value", BUFFERS, ids=kind_of)
async def test_the_bytes_of_what_is_a_mere_buffer_are_not_stored(db, value):
    async for error in refused(db, value):
        assert "would store the bytes of a" in str(error)
        assert f"of type {kind_of(value)})" in str(error)


@pytest.mark.parametrize("value", NOT_A_NUMBER, ids=kind_of)
async def test_what_is_not_a_number_is_not_stored_as_null(db, value):
    async for error in refused(db, value):
        assert "SQLite has no NaN, and would store NULL" in str(error)
    assert await db.fetchval("select ?", Number(1.5)) == 1.5


async def test_bytes_are_stored_as_such(db):
    await db.execute("create table t (a blob)")
    for value in (b"\0x", bytearray(b"\0x"), memoryview(b"\0x")):
        await db.execute("insert into t values (?)", value)
        await db.executemany("insert into t values (?)", [(value,)])
    assert await db.fetchall("select a from t") == [(b"\0x",)] * 6


@pytest.mark.targets(scheme=SQLITE)
async def test_an_adapter_that_sqlite3_was_given_is_asked(db):
    sqlite3.register_adapter(ctypes.c_int16, lambda number: number.value)
    try:
        assert await db.fetchval("select ?", ctypes.c_int16(5)) == 5
    finally:
        del sqlite3.adapters[ctypes.c_int16, sqlite3.PrepareProtocol]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (FakeDatetime(2026, 1, 2, 3, 4, 5), "2026-01-02 03:04:05"),
        (FakeDate(2026, 1, 2), "2026-01-02"),
        (FakeTime(3, 4, 5), "03:04:05"),
        (Money("1.5"), 1.5),
        (Identity(int=1), "00000000-0000-0000-0000-000000000001"),
        (Items([1]), "[1]"),
        (OrderedDict(a=1), '{"a": 1}'),
        (defaultdict(list, a=[1]), '{"a": [1]}'),
        (Price.LOW, 1.5),
        (Word("a"), "a"),
    ],
    ids=kind_of,
)
async def test_a_subclass_is_stored_as_what_it_is_one_of(db, value, stored):
    await db.execute("create table t (a)")
    await db.execute("insert into t values (:v)", {"v": value})
    await db.executemany("insert into t values (:v)", [{"v": value}])
    assert [(stored,)] * 2 == await db.fetchall("select a from t")
    assert [(stored,)] * 2 == [row async for row in db.iterate("select a from t where a = :v", {"v": value})]


PLACES = [
    "select count(*) from t where price * qty > ?",
    "select count(*) from t where price * qty >= 15 + ?",
    "select count(*) from (select sum(price) as total from t group by qty having sum(price) > ?)",
    "select count(*) from t where (select max(price) from t) > ?",
    "select count(*) from t where price > (select ?)",
    "select count(*) from t where coalesce(price, 0) > ?",
    "select count(*) from t where case when price > ? then 1 else 0 end = 1",
    "with limits (least) as (select ?) select count(*) from t, limits where price > least",
]


@pytest.mark.parametrize("query", PLACES)
async def test_a_decimal_compares_as_a_number_wherever_it_stands(db, query):
    await db.execute("create table t (price numeric, qty integer)")
    await db.execute("insert into t values (?, ?)", Decimal("10.5"), 2)
    for number in ("5", "5.0", "5.25", "0.1", "5E+0", "4.999999999999999"):
        assert await db.fetchval(query, Decimal(number)) == 1
        assert await db.fetchval(query, Money(number)) == 1
    assert await db.fetchval(query, Decimal(30)) == 0


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        ("1.50", 1.5),
        ("5.00", 5),
        ("1E+3", 1000),
        ("0.1", 0.1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775809", "9223372036854775809"),
        ("0.12345678901234567890", "0.12345678901234567890"),
        ("1E+999999999", "1E+999999999"),
        ("1E-999999999", "1E-999999999"),
    ],
)
async def test_a_decimal_is_a_number_where_that_is_exact_and_else_text(db, number, stored):
    assert stored == await db.fetchval("select ?", Decimal(number))
    assert Decimal(number) == await db.fetchone("select ?", Decimal(number), into=Decimal)
