"""A task that waits for its database leaves the processor alone."""

from __future__ import annotations

from time import process_time

import pytest

SLEEPS = {"postgresql": "select pg_sleep(0.5)", "mysql": "select sleep(0.5)"}


@pytest.mark.targets(dialect={"postgresql", "mysql"}, pooled=True)
async def test_a_statement_that_takes_its_time_takes_no_processor_time(db, target):
    await db.fetchval("select 1")
    before = process_time()
    await db.fetchval(SLEEPS[target.dialect])
    assert process_time() - before < 0.2
