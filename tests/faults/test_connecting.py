"""A server that cannot be reached: each way to fail is one class and one line, and the next connect may succeed."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import AuthenticationError, ConnectError
from conformance.addresses import placed
from faults.stage import SECONDS, SIZE, recovered
from servers.proxy import CUT, REFUSE, RESET, on_answer

BREAKS = {
    "nobody listens at the port": REFUSE,
    "connection closed as soon as it is opened": CUT,
    "connection reset as soon as it is opened": RESET,
    "connection closed in the handshake": on_answer(CUT, before=False),
    "connection reset in the handshake": on_answer(RESET, before=False),
}


@pytest.mark.parametrize(("fault", "mode"), BREAKS.items(), ids=[fault.replace(" ", "-") for fault in BREAKS])
async def test_a_connection_that_breaks_while_it_is_opened(stage, fault, mode, tell):
    db = stage.database()
    stage.proxy.mode = mode
    with anyio.fail_after(SECONDS), pytest.raises(ConnectError) as caught:
        await db.connect()
    assert not isinstance(caught.value, AuthenticationError)
    tell(fault, caught.value)
    stage.heal()
    await db.connect()
    await recovered(db)


async def test_a_pool_that_cannot_grow_serves_with_what_it_has(stage):
    db = await stage.database().connect()
    async with db.connection() as connection:
        stage.proxy.mode = REFUSE
        for _ in range(SIZE):
            with anyio.fail_after(SECONDS), pytest.raises(ConnectError):
                await db.connection().acquire()
        assert await connection.fetchval("select 1") == 1
    stage.heal()
    await recovered(db)


def no_such_host(url):
    return placed(url, host="nowhere.invalid", port=5432)


def wrong_password(url):
    return placed(url, password="wrong")


def no_such_database(url):
    return placed(url, database="test_missing")


PLACES = {no_such_host: ConnectError, wrong_password: AuthenticationError, no_such_database: ConnectError}


async def test_a_place_that_is_wrong(stage, tell):
    for place, kind in PLACES.items():
        db = stage.database(place(stage.direct_url))
        with anyio.fail_after(SECONDS), pytest.raises(kind) as caught:
            await db.connect()
        assert (kind is AuthenticationError) is isinstance(caught.value, AuthenticationError)
        tell(place.__name__.replace("_", " "), caught.value)


async def test_a_unix_socket_that_is_gone(stage, tmp_path, tell):
    db = stage.database(placed(stage.direct_url, host="", port=""), unix_socket=f"{tmp_path}/gone")
    with anyio.fail_after(SECONDS), pytest.raises(ConnectError) as caught:
        await db.connect()
    tell("nobody listens at the unix socket", caught.value)
