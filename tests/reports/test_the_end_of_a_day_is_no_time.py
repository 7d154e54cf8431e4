"""PostgreSQL's 24:00 has no counterpart in Python: DataError, as docs/errors.md says, never another time.

Use of the library: on aiopg it was the beginning of the day.
"""

from __future__ import annotations

import pytest

from aio_databases import DataError

pytestmark = pytest.mark.targets(scheme={"asyncpg", "psycopg", "aiopg"}, pooled=True)


@pytest.mark.parametrize(
    "value", ["time '24:00'", "timetz '24:00+00'", "array[time '24:00']", "array[time '10:00', null, time '24:00']"]
)
async def test_it_is_refused(db, value):
    with pytest.raises(DataError):
        await db.fetchval(f"select {value}")
    with pytest.raises(DataError):
        [row async for row in db.iterate(f"select {value}")]


async def test_other_times_are_read(db):
    row = await db.fetchone(
        "select time '23:59:59.999999' as a, array[time '02:40', null] as b, timetz '02:40+02' as c"
    )
    assert row.a.isoformat() == "23:59:59.999999"
    assert [time and time.isoformat() for time in row.b] == ["02:40:00", None]
    assert row.c.isoformat() == "02:40:00+02:00"
