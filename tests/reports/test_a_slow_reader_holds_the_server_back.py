"""Rows that a slow reader has not asked for yet stay at the server, not in the memory of the program (hostile use)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import anyio
import pytest

from servers.proxy import PASS, Way, on

if TYPE_CHECKING:
    from faults.clients import Client
    from faults.stage import Stage

pytestmark = pytest.mark.anyio

ROWS = 300
SIZE = 100_000
"""Characters of each row: together far more than the buffers of the system take."""

QUERIES = {
    "postgresql": f"select case when i = {ROWS} then 'last one' else repeat('x', {SIZE}) end as v "
    f"from generate_series(1, {ROWS}) as s (i)",
    "mysql": f"select if(seq = {ROWS}, 'last one', repeat('x', {SIZE})) as v from seq_1_to_{ROWS}",
}


@pytest.mark.clients(scheme={"asyncpg", "psycopg", "aiopg", "asyncmy", "aiomysql", "pymysql", "trio-mysql"})
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
async def test_what_is_not_asked_for_is_not_read(client: Client, stage: Stage, *, inside: bool) -> None:
    """The last row does not come by while the loop dwells on the first one."""
    db = await stage.database().connect()
    stage.proxy.mode = on(b"last one", PASS, Way.ANSWERS)
    async with db.transaction() if inside else nullcontext():
        rows = db.iterate(QUERIES[client.dialect], chunk_size=2)
        await anext(rows)
        await anyio.sleep(0.2)
        assert stage.proxy.fired == 0
        assert len([row async for row in rows]) == ROWS - 1
    assert stage.proxy.fired == 1
