"""The server has ended the connection before COMMIT: nothing is in doubt, and the hooks for a rollback run.

Hostile test.  What is sent to a connection that the server has ended is not run; libraries that read nothing between
statements learn of the end only from the answer to COMMIT, which then might have been lost.
"""

from __future__ import annotations

import anyio
import pytest

from aio_databases import CommitUncertainError, ConnectionLost

pytestmark = pytest.mark.targets(dialect={"postgresql", "mysql"}, odbc=False, pooled=True)


async def wait_for_the_end(connection):
    """Wait until the end of the connection has arrived."""
    with anyio.fail_after(10):
        while not connection.driver.has_hung_up():  # noqa: ASYNC110 - nobody announces it
            await anyio.sleep(0.01)


async def fails_for_certain(db, end):
    """Fail unless COMMIT after an ``end`` of the connection is no matter of doubt."""
    called = []
    with pytest.raises(ConnectionLost) as caught:
        async with db.connection() as connection, db.transaction() as transaction:
            transaction.on_rollback(called.append, "rolled back")
            transaction.on_commit(called.append, "committed")
            await db.execute("insert into users (id, name) values (4, 'Dee')")
            await end(connection)
            await wait_for_the_end(connection)
    assert not isinstance(caught.value, CommitUncertainError)
    assert called == ["rolled back"]
    assert await db.fetchval("select count(*) from users") == 3


async def test_an_administrator_has_ended_it(users, words, server):
    async def end(connection):
        number = await connection.fetchval(words.own_id)
        server.execute(words.kill.format(number))

    await fails_for_certain(users, end)


@pytest.mark.targets(dialect="postgresql")
async def test_the_server_did_not_wait_for_an_idle_transaction(users):
    async def end(connection):
        await connection.execute("set idle_in_transaction_session_timeout = 50")

    await fails_for_certain(users, end)


@pytest.mark.targets(scheme={"aiomysql", "pymysql", "trio-mysql"})
async def test_the_server_did_not_wait_for_an_idle_client(users):
    async def end(connection):
        await connection.execute("set session wait_timeout = 1")

    await fails_for_certain(users, end)
