"""A batch whose rows have no values stores percent signs as they are written (hostile test)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aio_databases import Database

pytestmark = pytest.mark.anyio


@pytest.mark.targets(pooled=True, memory=False)
@pytest.mark.parametrize("rows", [1, 3])
async def test_percent_signs_are_not_doubled(db: Database, rows: int) -> None:
    """What is written for libraries whose placeholders begin with one."""
    await db.execute("create table rates (a varchar(20))")
    await db.executemany("insert into rates (a) values ('100%')", *[()] * rows)
    assert ["100%"] * rows == await db.fetchall("select a from rates", into=str)
