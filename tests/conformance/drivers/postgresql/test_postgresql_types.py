"""PostgreSQL's types by asyncpg, psycopg and aiopg: nearly all come and go as the same Python values.

Where they do not, `DIFFERENT` says what each library makes of them; the table in the docs is made of it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface
from uuid import UUID

import pytest

from aio_databases import DataError

pytestmark = pytest.mark.targets(dialect="postgresql", odbc=False, pooled=True)

EAST = timezone(timedelta(hours=2))
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001 - of the type without a zone
ZONED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=EAST)

SAME = {
    "smallint": 7,
    "bigint": 2**63 - 1,
    "oid": 2**32 - 1,
    "real": 1.5,
    "float8": 0.1,
    "numeric": Decimal("-12345678901234567890.1234567890"),
    "boolean": True,
    "text": "it's \\ 🐘",
    "varchar(3)": "xyz",
    "name": "x",
    "bytea": bytes(range(256)),
    "date": date(2026, 1, 2),
    "time": time(3, 4, 5, 678901),
    "timetz": time(3, 4, 5, 678901, tzinfo=EAST),
    "timestamp": MOMENT,
    "timestamptz": ZONED,
    "interval": timedelta(days=-1, hours=2, microseconds=500001),
    "uuid": UUID(int=5),
    "inet": IPv4Interface("10.0.0.1/8"),
    "cidr": IPv4Network("10.0.0.0/8"),
    "macaddr": "08:00:2b:01:02:03",
    "mood": "happy",
    "positive": 5,
    "money": "$12.34",
    "tsvector": "'a' 'b'",
    "integer[]": [1, None, 3],
    "integer[][]": [[1, 2], [3, 4]],
    "text[]": ["a", None, "b,c", 'q"', "", "NULL", "\\"],
    "numeric[]": [Decimal("1.50"), Decimal(2)],
    "boolean[]": [True, False, None],
    "bytea[]": [b"\0\xff", b"'\\"],
    "uuid[]": [UUID(int=5), UUID(int=6)],
    "date[]": [date(2026, 1, 2)],
    "timestamp[]": [MOMENT],
    "timestamptz[]": [ZONED.astimezone(UTC)],
    "interval[]": [timedelta(1)],
}
"""Values that come back as they were sent, whatever the library."""


@pytest.fixture
async def typed(db):
    """Give a database with types of its own."""
    await db.execute("create type mood as enum ('happy', 'sad')")
    await db.execute("create type pair as (a integer, b text)")
    await db.execute("create domain positive as integer check (value > 0)")
    return db


async def test_most_types_come_and_go_as_the_same_values_by_every_library(typed):
    async with typed.connection():
        for kind, value in SAME.items():
            table = kind.translate(str.maketrans("()[]", "____"))
            await typed.execute(f"create table t_{table} (value {kind})")
            await typed.execute(f"insert into t_{table} values (?)", value)
            await typed.executemany(f"insert into t_{table} values (:value)", [{"value": value}, {"value": None}])
            found = await typed.fetchall(f"select value from t_{table} order by value is null")
            assert [(value,), (value,), (None,)] == found, kind
            assert isinstance(found[0].value, type(value)), kind


async def test_a_list_is_an_array_to_compare_with(typed):
    query = "select i from generate_series(1, 5) as s (i) where i = any(?)"
    assert await typed.fetchall(query, [2, 3], into=int) == [2, 3]
    assert await typed.fetchval("select 'happy'::mood = any(cast(? as mood[]))", ["happy", "sad"])
    assert await typed.fetchval("select cast(? as integer[])", []) == []
    networks = [IPv4Interface("10.0.0.1/8"), IPv6Interface("::1/64")]
    assert networks == await typed.fetchval("select cast(? as inet[])", networks)


@pytest.mark.parametrize("kind", ["json", "jsonb"])
async def test_json_is_text_or_what_it_means(make_database, kind):
    value = {"a": [1, 1.5, None, True, "ü"], "b": {}}
    texts, objects = await make_database(json=False), await make_database()
    text = '{"a": [1, 1.5, null, true, "ü"], "b": {}}'
    assert text == await texts.fetchval(f"select cast(? as {kind})", text)
    assert value == await objects.fetchval(f"select cast(? as {kind})", value)
    assert [value, None] == await objects.fetchval(f"select array[cast(? as {kind}), null]", value)
    scalars = f"select cast('5' as {kind}), cast('\"x\"' as {kind}), cast('null' as {kind}), cast('[1]' as {kind})"
    assert await objects.fetchone(scalars) == (5, "x", None, [1])


LATEST = "datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)"
DIFFERENT = {
    "inet of one host": (
        "select inet '10.0.0.1'",
        "IPv4Address('10.0.0.1')",
        "IPv4Address('10.0.0.1')",
        "IPv4Interface('10.0.0.1/32')",
    ),
    "array of an enum": ("select '{happy}'::mood[]", "['happy']", "'{happy}'", "'{happy}'"),
    "composite": ("select row(1, 'a')::pair", "<Record a=1 b='a'>", "'(1,a)'", "'(1,a)'"),
    "row(...)": ("select row(1, 'a'::text)", "(1, 'a')", "('1', 'a')", "'(1,a)'"),
    "range": ("select int4range(1, 5)", "<Range [1, 5)>", "Range(1, 5, '[)')", "NumericRange(1, 5, '[)')"),
    "multirange": (
        "select '{[1,3)}'::int4multirange",
        "[<Range [1, 3)>]",
        "Multirange([Range(1, 3, '[)')])",
        "'{[1,3)}'",
    ),
    "point": ("select point '(1,2)'", "asyncpg.pgproto.types.Point((1.0, 2.0))", "'(1,2)'", "'(1,2)'"),
    "bit, varbit": ("select B'101'", "<BitString 101>", "'101'", "'101'"),
    '"char"': ("select 'x'::\"char\"", "b'x'", "'x'", "'x'"),
    "void": ("select pg_sleep(0)", "None", "''", "''"),
    "date 'infinity'": ("select date 'infinity'", f"{date.max!r}", "DataError", f"{date.max!r}"),
    "timestamp 'infinity'": ("select timestamp 'infinity'", LATEST, "DataError", LATEST),
}
"""What is not the same: a query, and what asyncpg, psycopg and aiopg make of it."""


@pytest.mark.parametrize("what", DIFFERENT)
async def test_the_other_types_are_what_the_library_makes_of_them(typed, target, what):
    query, *by_library = DIFFERENT[what]
    expected = dict(zip(("asyncpg", "psycopg", "aiopg"), by_library, strict=True))[target.scheme]
    if expected == "DataError":
        with pytest.raises(DataError):
            await typed.fetchval(query)
    else:
        assert repr(await typed.fetchval(query)) == expected


async def test_moments_are_the_same_whatever_the_zone_of_the_session(make_database):
    database = await make_database(server_settings={"TimeZone": "Asia/Tokyo"})
    found = await database.fetchval("select cast(? as timestamptz)", ZONED)
    assert found == ZONED
    assert found.tzinfo is not None
    assert await database.fetchval("select cast(? as timestamptz) = timestamptz '2026-01-02 03:04:05.678901+02'", ZONED)


def table() -> str:
    """Return what differs as a Markdown table for the docs."""
    lines = ["| type | asyncpg | psycopg | aiopg |", "|---|---|---|---|"]
    for what, (_, *by_library) in DIFFERENT.items():
        shown = (f"`{value}`" if value != "DataError" else "`DataError`" for value in by_library)
        lines.append(f"| {what} | {' | '.join(shown)} |")
    return "\n".join(lines)
