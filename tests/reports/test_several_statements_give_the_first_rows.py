"""Several statements in one text: a fetch verb gives the rows of the first of them that has rows.

Use of the library; psycopg gave nothing where the first statement has no rows.  psycopg 2, below aiopg, keeps the
result of the last statement only, which docs/drivers/postgresql.md says.
"""

from __future__ import annotations

import pytest

from aio_databases import DataError

TEXTS = {
    "select 1 as a; select 2 as a": (1, 2),
    "set local work_mem = '3MB'; select 1 as a; select 2 as a": (1, 2),
    "select 1 as a where false; select 2 as a": (None, 2),
    "select 1 as a; set local work_mem = '3MB'": (1, None),
}


@pytest.mark.targets(scheme={"psycopg", "aiopg"}, pooled=True)
@pytest.mark.parametrize("text", TEXTS)
async def test_the_first_rows_are_given(db, target, text):
    expected = TEXTS[text][target.scheme == "aiopg"]
    rows = [] if expected is None else [(expected,)]
    assert rows == await db.fetchall(text)
    assert rows == await db.fetchmany(2, text)
    assert await db.fetchval(text) == expected


@pytest.mark.targets(scheme={"psycopg", "aiopg"}, pooled=True)
async def test_a_later_failure_is_told(db):
    with pytest.raises(DataError):
        await db.fetchall("select 1; select 1 / 0")
