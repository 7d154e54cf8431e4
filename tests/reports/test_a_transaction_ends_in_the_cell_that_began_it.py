"""A cell of a notebook runs in a context of its own: what `start()` began in another cell is not seen there.

Use of the library: MySQL committed a statement that was made in the next cell.  docs/tasks.md says what to do.
"""

from __future__ import annotations

import asyncio
import contextvars

import pytest

pytestmark = pytest.mark.targets(scheme={"sqlite", "asyncpg", "asyncmy"}, loop="asyncio", memory=False, pooled=True)


async def test_the_next_cell_is_outside(users):

    async def cell(function):
        return await asyncio.create_task(function(), context=contextvars.copy_context())

    transaction = users.transaction()
    await cell(transaction.start)
    assert users.current_transaction is None

    async def look():
        return users.current_transaction, await users.fetchval("select count(*) from users")

    assert await cell(look) == (None, 3)
    await cell(transaction.rollback)

    async def whole():
        async with users.transaction() as transaction:
            await users.execute("delete from users")
            assert await users.fetchval("select count(*) from users") == 0
            await transaction.rollback()

    await cell(whole)
    assert await users.fetchval("select count(*) from users") == 3
