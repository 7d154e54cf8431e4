"""PostgreSQL has rows without columns: each is an empty record, on every library and event loop.

Hostile test: in a worker thread it was "coroutine raised StopIteration".
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.targets(dialect="postgresql", odbc=False, pooled=True)


async def test_rows_without_columns_are_empty_records(db):
    text = "select from generate_series(1, 3)"
    assert [tuple(row) for row in await db.fetchall(text)] == [(), (), ()]
    assert [tuple(row) for row in await db.fetchmany(2, text)] == [(), ()]
    assert tuple(await db.fetchone(text)) == ()
    assert [tuple(row) async for row in db.iterate(text)] == [(), (), ()]
    assert await db.fetchval(text) is None
    assert await db.fetchone(f"{text} where false") is None
