"""A slow reader holds the server back on an encrypted connection as well, and gets every row (hostile use)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_databases import Database

pytestmark = pytest.mark.anyio

ROWS = 300


@pytest.mark.targets(scheme={"asyncmy", "aiomysql", "pymysql", "trio-mysql"}, pooled=True)
async def test_the_statement_runs_on_while_the_loop_dwells_on_a_row(
    make_database: Callable[..., Any], running: Callable[[int], Awaitable[list[str]]]
) -> None:
    """30 MB, of which the buffers of the system take the smaller part."""
    db: Database = await make_database(ssl="require")
    rows = db.iterate(f"select seq, repeat('x', 100000) from seq_1_to_{ROWS}", chunk_size=2)
    numbers = [(await anext(rows))[0]]
    await anyio.sleep(0.2)
    assert len(await running(1)) == 1
    numbers += [row[0] async for row in rows]
    assert [*range(1, ROWS + 1)] == numbers
    assert await db.fetchval("select 1") == 1
