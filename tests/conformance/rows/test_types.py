"""Values come back as they were sent, as far as the database has their type."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from aio_databases import DataError, Error

VALUES = {
    "bigint": [0, 1, -1, 2**31 - 1, 2**31, -(2**31), 2**40, 2**53 + 1, 2**63 - 1, -(2**63), None],
    "float": [0.0, 0.1, -1.5, 1e308, 5e-324, None],
    "bool": [True, False, None],
    "text": ["", "Zoë", "🐘 elephant", "a'b\"c\\d", "a\nb\r\n\tc", "日本語", " x ", "x" * 100_000, None],
    "bytes": [b"", bytes(range(256)), b"\0\0", b"it's", None],
}


async def make_table(db, target, kind):
    await db.execute(f"create table t (id integer, value {target.words.types[kind]})")


async def returned(db, target, kind, value):
    await make_table(db, target, kind)
    await db.execute("insert into t (value) values (:value)", {"value": value})
    return await db.fetchval("select value from t")


@pytest.mark.parametrize(("kind", "values"), VALUES.items(), ids=VALUES)
async def test_values_come_back(db, target, kind, values):
    await make_table(db, target, kind)
    async with db.connection():
        for number, value in enumerate(values):
            await db.execute("insert into t (id, value) values (?, ?)", number, value)
        assert values == await db.fetchall("select value from t order by id", into=lambda value: value)
        assert values == [row.value async for row in db.iterate("select value from t order by id", chunk_size=2)]
        assert values == [await db.fetchval("select value from t where id = ?", n) for n in range(len(values))]


@pytest.mark.parametrize(
    ("kind", "value"), [("text", "é" * 5_000_000), ("bytes", bytes(range(250)) * 40_000)], ids=["text", "bytes"]
)
@pytest.mark.targets(pooled=True)
async def test_ten_megabytes_come_back(db, target, kind, value):
    assert value == await returned(db, target, kind, value)


@pytest.mark.parametrize("value", [bytearray(b"abc"), memoryview(b"abc")], ids=["bytearray", "memoryview"])
@pytest.mark.targets(pooled=True)
async def test_every_kind_of_bytes_is_taken(db, target, value):
    assert await returned(db, target, "bytes", value) == b"abc"


@pytest.mark.needs("nul_in_text")
async def test_a_text_may_have_zero_bytes(db, target):
    assert await returned(db, target, "text", "a\0b\0") == "a\0b\0"


@pytest.mark.targets(dialect="postgresql", pooled=True)
async def test_a_zero_byte_that_is_refused_is_an_error_and_leaves_the_connection_usable(users):
    async with users.connection():
        for verb in (users.execute, users.executemany):
            with pytest.raises(DataError):
                await verb("update users set name = ?", "a\0b")
        assert await users.fetchval("select name from users where id = 1") == "Ann"


@pytest.mark.needs("infinity")
async def test_infinity_comes_back(db, target):
    for value in (float("inf"), float("-inf")):
        assert value == await returned(db, target, "float", value)
        await db.execute("drop table t")


@pytest.mark.parametrize("size", [32_000, 500_000])
@pytest.mark.targets(pooled=True)
async def test_long_statements_run(users, size):
    text = "x" * size
    assert text == await users.fetchval(f"select '{text}' from users where id = ?", 1)
    assert (1, text) == await users.fetchone(f"select id, '{text}' as text from users where id = :id", {"id": 1})


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001 - databases have times without zone
ZONED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
NUMBER = Decimal("12345678901234567890.123456789")
NATIVE = {
    "timestamp": MOMENT,
    "date": date(2026, 1, 2),
    "time": time(3, 4, 5, 678901),
    "numeric": NUMBER,
    "uuid": UUID(int=5),
}
RETURNED = {
    "sqlite": {
        "timestamp": "2026-01-02 03:04:05.678901",
        "date": "2026-01-02",
        "time": "03:04:05.678901",
        "numeric": str(NUMBER),
        "uuid": str(UUID(int=5)),
    },
    "postgresql": {},
    "mysql": {
        "time": timedelta(hours=3, minutes=4, seconds=5, microseconds=678901),
        "uuid": str(UUID(int=5)),
    },
}
"""What comes back, where it is not what was sent: SQLite has no such types, MySQL's times are durations."""


@pytest.mark.parametrize("kind", NATIVE)
@pytest.mark.targets(pooled=True)
async def test_dates_numbers_and_uuids_are_native_or_text(db, target, kind):
    value = NATIVE[kind]
    await db.execute(f"create table t (value {target.words.types[kind]})")
    await db.execute("insert into t (value) values (?)", value)
    await db.executemany("insert into t (value) values (:value)", {"value": value})
    expected = RETURNED[target.dialect].get(kind, value)
    assert await db.fetchall("select value from t") == [(expected,)] * 2
    assert isinstance(await db.fetchval("select value from t"), type(expected))
    assert await db.fetchval("select count(*) from t where value = ?", value) == 2
    if not isinstance(expected, timedelta):
        assert [value] * 2 == await db.fetchall("select value from t", into=type(value))


@pytest.mark.targets(dialect="mysql", pooled=True)
async def test_moments_with_a_zone_are_moved_to_utc_where_there_are_no_zones(db, words):
    await db.execute(f"create table t (value {words.types['timestamp']})")
    await db.execute("insert into t (value) values (?)", ZONED)
    await db.executemany("insert into t (value) values (?)", [(ZONED,)])
    assert [ZONED.astimezone(UTC).replace(tzinfo=None)] * 2 == await db.fetchall("select value from t", into=datetime)
    with pytest.raises(DataError):
        await db.execute("insert into t (value) values (?)", ZONED.timetz())


@pytest.mark.needs("zoned_moments")
@pytest.mark.targets(pooled=True)
async def test_moments_with_a_zone_are_kept(db, target):
    await db.execute(f"create table t (value {'text' if target.dialect == 'sqlite' else 'timestamptz'})")
    await db.execute("insert into t (value) values (?)", ZONED)
    assert await db.fetchall("select value from t", into=datetime) == [ZONED]
    assert await db.fetchval("select count(*) from t where value = ?", ZONED) == 1


@pytest.mark.targets(dialect="sqlite", pooled=True)
@pytest.mark.parametrize(
    ("value", "text"), [({"a": [1, None]}, '{"a": [1, null]}'), ([1, "b"], '[1, "b"]')], ids=["dict", "list"]
)
async def test_sqlite_takes_dictionaries_and_lists_as_json(db, value, text):
    assert text == await db.fetchval("select :value", {"value": value})


@pytest.mark.targets(dialect="postgresql", odbc=False, pooled=True)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select '{1,null,3}'::int[]", [1, None, 3]),
        ("select interval '1 day 2 hours'", timedelta(days=1, hours=2)),
        ("select timestamptz '2026-01-02 03:04:05+02'", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("select '{\"a\": 1}'::json", {"a": 1}),
        ("select null::uuid", None),
        ("select 'NaN'::numeric::text", "NaN"),
    ],
)
async def test_postgresql_returns_its_own_types(db, query, expected):
    assert await db.fetchval(query) == expected


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
@pytest.mark.targets(pooled=True)
async def test_an_integer_that_is_too_big_is_a_data_error(users, value):
    with pytest.raises(DataError):
        await users.execute("update users set id = ? where id = 1", value)
    assert await users.fetchval("select count(*) from users") == 3


@pytest.mark.parametrize("value", [object(), {1}, 1j], ids=["object", "set", "complex"])
@pytest.mark.targets(pooled=True)
async def test_a_value_of_a_type_that_the_database_lacks_is_an_error_of_ours(users, value):
    async with users.connection():
        with pytest.raises(Error):
            await users.execute("update users set name = ? where id = 1", value)
        with pytest.raises(Error):
            await users.executemany("update users set name = :name where id = 1", {"name": value})
        with pytest.raises(Error):
            await anext(users.iterate("select id from users where name = ?", value))
        assert await users.fetchval("select name from users where id = 1") == "Ann"


@pytest.mark.targets(pooled=True)
async def test_text_that_is_no_unicode_is_an_error_and_leaves_the_connection_usable(users):
    async with users.connection():
        with pytest.raises(DataError):
            await users.execute("update users set name = ? where id = 1", "half \ud800 of a pair")
        assert await users.fetchval("select name from users where id = 1") == "Ann"
