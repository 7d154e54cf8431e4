"""No password stands in anything that a user, a log or a crash report may show, and every password works."""

from __future__ import annotations

import logging
import traceback

import pytest

from aio_databases import AuthenticationError, ConnectError, Database, Error
from conformance.addresses import placed

SECRET = "hunter2"
NETWORK = pytest.mark.targets(dialect={"postgresql", "mysql"})


def told_by(error):
    return "".join(traceback.format_exception(error)) + repr(error)


@NETWORK
async def test_nothing_shows_the_password_of_a_connected_database(url, caplog):
    caplog.set_level(logging.DEBUG)
    shown_in_urls = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    database = Database(url, replicas=[url])
    password = database.backend.address.password
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
    assert [text for text in shown if password in text or shown_in_urls in text] == []


@NETWORK
async def test_a_refused_password_is_not_shown(make_database, url):
    with pytest.raises(AuthenticationError) as caught:
        await (await make_database(placed(url, password=SECRET))).fetchval("select 1")
    assert SECRET not in told_by(caught.value)


@NETWORK
async def test_a_host_that_is_not_there_is_named_without_the_password(url):
    with pytest.raises(ConnectError, match=r"no-such-host\.invalid") as caught:
        await Database(placed(url, host="no-such-host.invalid", password=SECRET)).connect()
    assert SECRET not in told_by(caught.value)


@pytest.mark.targets(dialect="sqlite", memory=False, pooled=False)
async def test_a_database_that_could_not_be_reached_can_be_connected_later(url, tmp_path):
    database = Database(url.replace("test.db", "folder/x.db"))
    for _ in range(2):
        with pytest.raises(ConnectError):
            await database.connect()
    (tmp_path / "folder").mkdir()
    async with database:
        assert await database.fetchval("select 1") == 1
