"""URLs of several hosts of which some are down, have the wrong role, or let nobody in."""

from __future__ import annotations

import logging
from urllib.parse import unquote, urlsplit

import anyio
import pytest

from aio_databases import AuthenticationError, ConnectError, Database, TargetNotFound
from clusters.several import PORT, in_thread, one_url, place
from conformance.secrets_told import SECRET, everything_told


async def test_where_only_the_primary_is_left_each_host_is_told(followers, client):
    url = one_url(*followers.urls)
    first, *others = map(place, followers.urls)
    for replica in followers.replicas:
        await in_thread(replica.kill)
    with anyio.fail_after(5), pytest.raises(TargetNotFound) as caught:
        await Database(url, target="read-only", timeout=0.1).connect()
    message = str(caught.value)
    assert f"with target='read-only': {first} is a primary; " in message
    assert [other for other in others if f"{other} failed (" not in message] == []
    async with Database(url, target="prefer-read-only") as db:
        assert followers.primary.port == await db.fetchval(PORT[client.dialect])


async def test_a_host_that_has_not_the_database_yet_is_passed_over(followers, client, as_client, caplog):
    for replica in followers.replicas:
        followers.stop(replica)
    name = followers.primary.create_database()
    *others, first = (as_client(each.url(database=name)) for each in (*followers.replicas, followers.primary))
    async with Database(one_url(*others, first)) as db:
        assert followers.primary.port == await db.fetchval(PORT[client.dialect])
    for other in others:
        assert f"as {place(other)} failed (" in caplog.text
    with pytest.raises(ConnectError, match=name) as caught:
        await Database(one_url(*others)).connect()
    told = everything_told(caught.value) + caplog.text
    assert unquote(urlsplit(first).password) not in told
    assert urlsplit(first).password not in told


async def test_a_host_that_refuses_the_login_is_named_and_no_password_is_told(followers, client, as_client, caplog):
    """The replicas have not heard of a user yet, whom the primary knows."""
    caplog.set_level(logging.DEBUG)
    login = {"user": "late", "password": f"{SECRET}@/%"}
    servers = (followers.primary, *followers.replicas)
    first, *others = (as_client(each.url(**login, database=followers.name)) for each in servers)
    for replica in followers.replicas:
        followers.stop(replica)
    create, drop = {
        "postgresql": ("create role late login password '{}'", "drop role late"),
        "mysql": ("grant all on `test%`.* to late@'%' identified by '{}'", "drop user late@'%'"),
    }[client.dialect]
    followers.primary.execute(create.format(login["password"]))
    try:
        async with Database(one_url(first, *others)) as db:
            assert followers.primary.port == await db.fetchval(PORT[client.dialect])
        with pytest.raises(AuthenticationError, match="check user and password") as caught:
            await Database(one_url(*others, first)).connect()
    finally:
        followers.primary.execute(drop)
    assert f"{place(others[0])}/{followers.name}: " in str(caught.value)
    assert SECRET not in everything_told(caught.value) + caplog.text
