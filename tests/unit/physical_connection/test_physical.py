"""One physical connection: its state, and how it is made fit for the next user."""

from __future__ import annotations

import pytest

from aio_databases import AuthenticationError, ConnectError, NotSupportedError
from aio_databases.physical_connection.connection import PhysicalConnection
from aio_databases.testing.fake_driver import FakeError, connected, make_database


async def opened(db):
    connector, options = db._pool.connector, db._pool.options
    return PhysicalConnection(await connector.connect(1, options.init), connector, options)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (FakeError("no such user", AuthenticationError), AuthenticationError, "no such user; check user and password"),
        (FakeError("no such database", ConnectError), ConnectError, "no such database; check that the server runs"),
        (FakeError("whatever"), ConnectError, "cannot connect to fake://server/db: whatever"),
        (OSError(111, "refused"), OSError, "refused"),
        (ConnectError("one sentence"), ConnectError, "^one sentence$"),
    ],
)
async def test_a_failure_to_connect_says_where_and_what_to_do(error, kind, message):
    db = make_database()
    db.backend.fail("connect", error)
    with pytest.raises(kind, match=message):
        await opened(db)


async def test_an_error_that_is_not_the_databases_is_left_as_it_is():
    db = make_database()
    db.backend.fail("connect", ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        await opened(db)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_driver_of_the_other_event_loop_is_refused_with_a_hint(anyio_backend):
    db = make_database(trio=False)
    with pytest.raises(NotSupportedError, match="the driver fake runs on asyncio only, not on trio; take another"):
        await db.connect()
    assert db.backend.log == []


async def test_lifetimes_are_spread_and_none_is_for_ever():
    db = make_database(max_lifetime=100)
    lives = [(physical := await opened(db)).expires_at - physical.last_used_at for _ in range(20)]
    assert 90 <= min(lives) < max(lives) <= 100
    assert float("inf") == (await opened(make_database(max_lifetime=0))).expires_at


async def test_a_new_connection_is_clean_and_what_marks_it_is_gone_after_renewal():
    physical = await opened(make_database())
    assert physical.is_clean
    for mark in ("session_changed", "_needs_cleanup"):
        setattr(physical, mark, True)
        assert not physical.is_clean
        physical.renew()
        assert physical.is_clean


async def test_a_connection_that_was_left_behind_is_restored_before_its_server_is_asked():
    async with connected() as (db, fake), db.connection() as connection:
        physical = connection.physical
        physical.session_changed = True
        assert await physical.is_alive(1)
        assert (fake.sent, physical.is_clean) == (["reset", "ping"], True)


async def test_a_connection_that_cannot_be_restored_is_not_alive():
    db = make_database(reusable_after_cancel=False)
    physical = await opened(db)
    physical._needs_cleanup = True
    assert not await physical.is_alive(1)
    assert db.backend.sent == ["settle"]


async def test_a_connection_that_fails_or_does_not_answer_is_not_alive():
    async with connected() as (db, fake), db.connection() as connection:
        fake.fail("ping", RuntimeError)
        assert not await connection.physical.is_alive(1)
        fake.wait("ping")
        assert not await connection.physical.is_alive(0.01)
        await connection.driver.settle()
