"""Galera: all nodes take writes, know a little later what others have written, and may not be ready to serve."""

from __future__ import annotations

import pytest

from aio_databases import ConnectError, errors
from aio_databases.dialects.mysql import MYSQL
from aio_databases.testing.fake_driver import FakeDriver, FakeError, make_database


class MySQLDriver(FakeDriver):
    """A fake of MySQL."""

    dialect = "mysql"


READ_ONLY = MYSQL.role_query
AFTER_ALL = "/*M! SET STATEMENT wsrep_sync_wait = 1 FOR */"
NEWEST = "3e11fa47-71ca-11e1-9e33-c80aa9429562:12"


def not_ready():
    """Return the error of a node that has lost the others."""
    error = FakeError("not ready", errors.OperationalError)
    error.errno = 1047
    return error


async def test_a_replica_that_turns_out_not_to_be_ready_is_left_for_another_one():
    db = make_database(driver=MySQLDriver, url="fake://a/db", replicas=["fake://b/db"])
    async with db:
        [fake] = db.replica_backends
        async with db.replica() as connection:
            assert connection.role == "replica"
        assert (fake.sent, db.backend.sent) == ([READ_ONLY], [])
        error = not_ready()
        fake.fail("select 1", error)
        fake.fail(READ_ONLY, error, times=2)
        with pytest.raises(errors.OperationalError, match="not ready"):
            async with db.replica():
                await db.fetchval("select 1")
        async with db.replica() as connection:
            assert connection.role == "primary"
    assert fake.sent[-2:] == [READ_ONLY] * 2, "by the connection that was open, and by a new one"


async def test_a_primary_that_stands_in_waits_for_what_was_written_to_its_other_nodes():
    db = make_database(driver=MySQLDriver, url="fake://a,b/db")
    fake = db.backend.at(0)
    query = MYSQL.position_questions[0].primary
    fake.values |= {READ_ONLY: 0, query: NEWEST}
    async with db:
        async with db.replica(after=NEWEST) as connection:
            assert connection.role == "primary"
        assert [READ_ONLY, READ_ONLY, query] == fake.sent
        fake.fail(AFTER_ALL, FakeError("locked", errors.LockTimeout))
        with pytest.raises(errors.LockTimeout):
            await db.replica(after=NEWEST).__aenter__()
        assert db.stats()["fallback"].size == 0


async def test_without_roles_to_look_for_the_error_of_a_node_that_is_not_ready_is_told_once():
    db = make_database(driver=MySQLDriver, url="fake://a/db", replicas=["fake://b/db"])
    db.replica_backends[0].fail(READ_ONLY, not_ready())
    async with db:
        with pytest.raises(ConnectError, match=r"^cannot connect to fake://b/db: not ready; check that"):
            await db.replica(fallback=False).__aenter__()
