"""A connection that replaces itself when it is lost does not take another one after its release (hostile test).

One that was used after its block took a place in the pool that never came back.
"""

from __future__ import annotations

import anyio
import pytest

from aio_databases import ConnectionLost, InterfaceError
from unit.fake import LinkError, connected

RELEASED = "was used after its release"


@pytest.mark.parametrize("verb", ["execute", "iterate", "transaction"])
async def test_it_is_refused_after_its_block(verb):
    async with connected(max_size=1) as (db, _):
        async with db.connection(reconnect=True) as connection:
            await connection.execute("insert 1")
        with pytest.raises(InterfaceError, match=RELEASED):
            if verb == "execute":
                await connection.execute("insert 2")
            elif verb == "iterate":
                await anext(connection.iterate("select 1"))
            else:
                await connection.transaction().start()
        assert 0 == db._pool.lent
        await db.execute("insert 3")


async def test_it_is_not_replaced_when_a_statement_meets_the_loss_after_its_release():
    async with connected(max_size=1) as (db, fake):
        gate = fake.wait("insert 1")
        async with db.connection(reconnect=True) as connection, anyio.create_task_group() as tasks:

            async def use() -> None:
                with pytest.raises((ConnectionLost, LinkError)):
                    await connection.execute("insert 1")

            tasks.start_soon(use)
            await gate.reached()
            tasks.start_soon(connection.release)
            await anyio.wait_all_tasks_blocked()
            fake.connections[0].terminate()
        assert 0 == db._pool.lent
