"""Dates and intervals are read right, whatever style the role, the database or the session has.

psycopg/psycopg2#1541, and hostile tests: wrong intervals without an error on aiopg, NotImplementedError on psycopg, and
all of it again after a session was reset.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from aio_databases import ConfigurationError, Database, NotSupportedError

pytestmark = pytest.mark.targets(dialect="postgresql", odbc=False, loop={"asyncio", "trio"})

QUERY = """
    select interval '1 day 2 hours' as a, interval '-1 day' as b, interval '-3 hours 5.5 seconds' as c,
        array[interval '1 day -00:00:01', null] as d, date '2020-12-03' as e, timestamptz '2020-12-03 04:05:06+00' as f
"""
EXPECTED = (
    timedelta(days=1, hours=2),
    timedelta(days=-1),
    timedelta(hours=-3, seconds=5.5),
    [timedelta(days=1, seconds=-1), None],
    date(2020, 12, 3),
    datetime(2020, 12, 3, 4, 5, 6, tzinfo=UTC),
)


@pytest.mark.parametrize("style", ["sql_standard", "postgres_verbose", "iso_8601"])
async def test_styles_of_the_database(make_database, db, style):
    name = await db.fetchval("select current_database()")
    for setting in (f"intervalstyle = '{style}'", "datestyle = 'German'"):
        await db.execute(f'alter database "{name}" set {setting}')
    try:
        database = await make_database(reset="always")
        for _ in range(2):
            assert tuple(await database.fetchone(QUERY)) == EXPECTED
            assert [tuple(row) async for row in database.iterate(QUERY)] == [EXPECTED]
        async with database.connection() as connection:
            await connection.execute("discard all")
        assert tuple(await database.fetchone(QUERY)) == EXPECTED
    finally:
        await db.execute(f'alter database "{name}" reset all')


@pytest.mark.targets(pooled=True)
async def test_styles_of_the_session_give_no_wrong_value(db, target):
    async with db.connection():
        for style in ("sql_standard", "postgres_verbose", "iso_8601"):
            await db.execute(f"set intervalstyle = '{style}'")
            if target.scheme == "asyncpg":
                assert timedelta(days=-1) == await db.fetchval("select interval '-1 day'")
                continue
            with pytest.raises(NotSupportedError, match=r"(?i)intervalstyle"):
                await db.fetchval("select interval '-1 day'")
    assert timedelta(days=-1) == await db.fetchval("select interval '-1 day'")


@pytest.mark.parametrize("scheme", ["asyncpg", "psycopg", "aiopg"])
@pytest.mark.parametrize(
    "options",
    [
        {"server_settings": {"intervalstyle": "sql_standard"}},
        {"server_settings": {"DateStyle": "SQL, DMY"}},
        {"options": "-c IntervalStyle=iso_8601"},
        {"options": "-c jit=off --datestyle=German"},
        {"connect_args": {"options": "-c intervalstyle=iso_8601"}},
        {"connect_args": {"server_settings": {"INTERVALSTYLE": "iso_8601"}}},
    ],
)
def test_an_option_of_another_style_is_refused(scheme, options):
    with pytest.raises(ConfigurationError, match=r"(?i)changes (date|interval)style.* to_char"):
        _ = Database(f"{scheme}://h/d", **options).backend
    Database(f"{scheme}://h/d", server_settings={"datestyle": "ISO, DMY", "intervalstyle": "postgres"})
