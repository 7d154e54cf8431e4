"""No password stands in anything that a user, a log or a crash report may show, and every password works."""

from __future__ import annotations

import logging
import traceback

import pytest

from aio_databases import AuthenticationError, ConnectError, Database, Error
from servers.postgres import APP

SECRET = "hunter2"


def told_by(error):
    return "".join(traceback.format_exception(error)) + repr(error)


async def test_nothing_shows_the_password_of_a_connected_database(postgres_url, caplog):
    caplog.set_level(logging.DEBUG)
    password = postgres_url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    database = Database(postgres_url, replicas=[postgres_url], application_name="mine")
    things = [database, database.url, database.backend, database.backend.address, database.backend.url]
    async with database:
        async with database.connection() as connection, connection.transaction() as transaction:
            things += [database, connection, transaction, connection.pool, connection.physical, connection.driver]
        async with database.replica() as connection:
            things += [connection, connection.pool]
        with pytest.raises(Error) as caught:
            await database.fetchall("select * from nowhere")
        things.append(database.stats())
    shown = [f"{thing} {thing!r}" for thing in things]
    shown += [told_by(caught.value), *(record.getMessage() for record in caplog.records)]
    assert [] == [text for text in shown if password in text or APP.password in text]


@pytest.mark.parametrize("pooled", [True, False])
async def test_a_refused_password_is_not_shown(postgres_url, pooled):
    user, _, address = postgres_url.rpartition("@")
    database = Database(f"{user.rpartition(':')[0]}:{SECRET}@{address}")
    with pytest.raises(AuthenticationError) as caught:
        await (database.connect() if pooled else database.fetchval("select 1"))
    assert "28P01" == caught.value.sqlstate
    assert SECRET not in told_by(caught.value)
    assert 0 == database.stats()["primary"].size


async def test_a_host_that_is_not_there_is_named_without_the_password():
    with pytest.raises(ConnectError, match=r"no-such-host\.invalid") as caught:
        await Database(f"postgresql://app:{SECRET}@no-such-host.invalid/x").connect()
    assert SECRET not in told_by(caught.value)


async def test_user_and_password_are_percent_decoded(postgres_url):
    async with Database(postgres_url) as database:
        assert database.backend.address.user == await database.fetchval("select current_user::text")


@pytest.mark.parametrize("scheme", ["sqlite", "aiosqlite"])
async def test_a_database_that_could_not_be_reached_can_be_connected_later(tmp_path, scheme):
    database = Database(f"{scheme}:///{tmp_path}/folder/x.db")
    for _ in range(2):
        with pytest.raises(ConnectError):
            await database.connect()
    (tmp_path / "folder").mkdir()
    async with database:
        assert 1 == await database.fetchval("select 1")
