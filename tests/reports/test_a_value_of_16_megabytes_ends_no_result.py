"""A row that begins with a value of 16 MiB looks like the end of the rows to a client that does not ask for its length.

Hostile test: asyncmy returned no row, and gave the rest of the answer to the next statement.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.targets(scheme={"asyncmy", "aiomysql", "pymysql", "trio-mysql"}, pooled=True)

ROWS = "select if(seq = 2, repeat('y', 16777216), 'z'), seq from seq_1_to_3"


@pytest.mark.parametrize("verb", ["fetchall", "fetchmany", "iterate"])
async def test_rows_behind_a_long_value_are_read(db, verb):
    async with db.connection():
        if verb == "iterate":
            rows = [row async for row in db.iterate(ROWS, chunk_size=1)]
        else:
            rows = await (db.fetchall(ROWS) if verb == "fetchall" else db.fetchmany(5, ROWS))
        assert [(text if n != 2 else len(text), n) for text, n in rows] == [("z", 1), (1 << 24, 2), ("z", 3)]
        assert await db.fetchval("select 7") == 7
