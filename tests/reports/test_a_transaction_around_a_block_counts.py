"""position() and replica() are refused in an open transaction of the primary, however deep they stand in it.

A hostile test: only the innermost connection was looked at, so one connection() deeper both went through.
"""

from __future__ import annotations

import anyio
import pytest

from aio_databases import TransactionError

INSERT = "insert into users (id, name) values (4, 'Dan')"


async def refused(db):
    """Check that both are refused here."""
    with pytest.raises(TransactionError, match="not known before its commit"):
        await db.position()
    with pytest.raises(TransactionError, match="does not see what the open transaction has written"):
        await db.replica().__aenter__()


@pytest.mark.targets(pooled=True, memory=False)
async def test_one_connection_deeper(replicated):
    async with replicated.transaction():
        await replicated.execute(INSERT)
        await refused(replicated)
        async with replicated.connection():
            await refused(replicated)
            async with replicated.connection(create=False):
                await refused(replicated)
        async with replicated.transaction(create=True, readonly=True):
            await refused(replicated)
    async with replicated.replica():
        assert await replicated.fetchval("select count(*) from users") == 4


@pytest.mark.targets(pooled=True, memory=False)
async def test_in_a_child_task(replicated):
    async with replicated.transaction():
        await replicated.execute(INSERT)

        async def child():
            async with replicated.connection():
                await refused(replicated)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)


@pytest.mark.targets(pooled=True, memory=False)
async def test_a_transaction_begun_by_sql(replicated):
    async with replicated.connection() as outer:
        await outer.execute("begin")
        await outer.execute(INSERT)
        async with replicated.connection():
            await refused(replicated)
        await outer.execute("commit")
        async with replicated.replica():
            pass
