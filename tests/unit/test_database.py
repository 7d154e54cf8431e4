"""The `Database` itself: its options, what it shows of itself, opening, closing and its snapshot."""

from __future__ import annotations

import asyncio
import logging

import anyio
import pytest

from aio_databases import ConfigurationError, ConnectError, Database, Error, PoolClosed, PoolStats, Result, current_conn
from aio_databases.testing.fake_driver import FakeError, connected, make_database, script_of, verify_closed


async def test_it_shows_no_password(caplog):
    caplog.set_level("DEBUG")
    async with connected(url="fake://me:s3cret@server/db", replicas=["fake://me:s3cret@other/db"]) as (db, _):
        assert db.url == "fake://me:***@server/db"
        assert repr(db) == "<Database fake://me:***@server/db connected>"
        backend = db.backend
        assert "s3cret" not in f"{db!r}{backend!r}{backend.address!r}{backend.url!r}{backend.url}{db._pool!r}"
    assert repr(db) == "<Database fake://me:***@server/db not connected>"
    assert "s3cret" not in caplog.text


def test_bad_child_tasks_are_refused():
    with pytest.raises(ConfigurationError, match=r"'share', 'isolate' or 'forbid', not 'maybe'"):
        Database("dummy://", child_tasks="maybe")


async def test_the_logger_can_be_given(caplog):
    logger = logging.getLogger("mine")
    caplog.set_level("INFO", "mine")
    async with connected(logger=logger) as (db, _):
        assert logger is db.logger
    assert {"mine"} == {record.name for record in caplog.records}


async def test_the_backend_tells_about_itself():
    async with connected(url="fake://server/db?max_size=3", json=True) as (db, _):
        backend = db.backend
        assert (backend.name, backend.db_type, str(backend)) == ("fake", "postgresql", "postgresql")
        assert (backend.url.hostname, backend.options) == ("server", {"connect_timeout": 10, "json": True})


async def test_the_snapshot_names_each_pool():
    async with connected(replicas=["fake://one/db", "fake://two/db"]) as (db, _):
        async with db.connection(), db.replica():
            stats = db.stats()
        assert list(stats) == ["primary", "fallback", "replica-1", "replica-2"]
        assert PoolStats(1, 0, 0, 1, 0, timeouts=0, waits=0, wait_seconds=0.0, use_seconds=0.0) == stats["primary"]
        assert stats["replica-1"].opened + stats["replica-2"].opened == 1


def test_a_database_outside_of_an_event_loop_says_so():
    db = make_database()
    call = db.fetchval("select 1")
    with pytest.raises(RuntimeError, match=r"must be called from async context|no event loop is running"):
        call.send(None)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_driver_of_the_other_event_loop_is_refused_with_a_hint(anyio_backend):
    db = make_database(trio=False)
    with pytest.raises(Error, match="the driver fake runs on asyncio only, not on trio; take another"):
        await db.connect()
    assert script_of(db).log == []


async def test_a_third_partys_subclass_may_override_the_verbs():
    class Loud(Database):
        async def execute(self, query, *params):
            return await super().execute(f"{query}!", *params)

    async with Loud("dummy://") as db:
        assert (await db.execute("insert 1")).rowcount == 0
        assert await db.fetchval("select 1") == 1


# The verbs


async def test_every_verb_answers_on_the_database():
    async with connected() as (db, fake):
        fake.rows = {"select all": 3}
        assert Result(1) == await db.execute("insert 1")
        assert Result(2) == await db.executemany("insert $1", (1,), (2,))
        assert await db.fetchall("select all") == [("select all",)] * 3
        assert await db.fetchmany(2, "select all") == [("select all",)] * 2
        assert await db.fetchone("select all") == ("select all",)
        assert await db.fetchval("select all", column="value") == "select all"
        assert [row async for row in db.iterate("select all", chunk_size=2)] == [("select all",)] * 3
        assert await db.fetchall("select all", into=str) == ["select all"] * 3
        assert fake.opens == 1


async def test_a_query_that_finds_nothing():
    async with connected() as (db, fake):
        fake.rows = {"select none": 0}
        assert (
            await db.fetchall("select none"),
            await db.fetchone("select none"),
            await db.fetchval("select none"),
        ) == ([], None, None)
        assert (await db.fetchall("select none", into=str), await db.fetchone("select none", into=str)) == ([], None)


async def test_a_negative_size_is_refused_before_anything_is_sent():
    async with connected() as (db, fake):
        with pytest.raises(Error, match=r"fetchmany\(\) cannot fetch -1 rows; pass a size of 0 or more"):
            await db.fetchmany(-1, "select 1")
        assert fake.sent == []


async def test_an_error_of_the_driver_is_raised_as_ours_and_its_own():
    async with connected() as (db, fake):
        fake.fail("select 1")
        with pytest.raises(FakeError, match="refused") as caught:
            await db.fetchval("select 1")
        assert isinstance(caught.value, Error)


# Opening and closing


async def test_connect_gives_the_database_and_does_nothing_the_second_time():
    db = make_database(min_size=2)
    assert db is await db.connect()
    assert db is await db.connect()
    assert (db.is_connected, script_of(db).opens) == (True, 2)
    await db.disconnect()
    await db.disconnect()
    assert not db.is_connected
    verify_closed(db)


async def test_tasks_that_connect_at_once_open_no_more_than_min_size():
    db = make_database(min_size=2, max_size=5)
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(db.connect)
    assert (script_of(db).opens, db.stats()["primary"].size) == (2, 2)
    await db.disconnect()
    verify_closed(db)


async def test_a_connect_that_fails_leaves_nothing_and_can_be_tried_again():
    db = make_database(min_size=2)
    script_of(db).fail("connect", skip=1)
    with pytest.raises(ConnectError, match="cannot connect to fake://server/db: refused"):
        await db.connect()
    assert (db.is_connected, script_of(db).open_now) == (False, 0)
    await db.connect()
    await db.disconnect()
    verify_closed(db)


async def test_disconnect_in_a_block_rolls_back_and_releases_its_connection():
    async with connected() as (db, fake):
        async with db.connection():
            transaction = await db.transaction().start()
            await db.execute("insert 1")
            await db.disconnect()
            assert (fake.open_now, db.is_connected) == (0, False)
        assert fake.sent == ["BEGIN", "insert 1", "ROLLBACK"]
        await transaction.rollback(silent=True)


async def test_a_block_that_is_disconnected_inside_keeps_the_exception_of_its_user():
    db = make_database()

    async def fail():
        async with db, db.connection(), db.transaction():
            await db.disconnect()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    verify_closed(db)


@pytest.mark.parametrize("use", ["fetchval", "execute", "connection", "transaction", "replica"])
async def test_use_after_disconnect_says_what_to_do(use):
    db = make_database()
    await db.connect()
    await db.disconnect()
    with pytest.raises(PoolClosed, match=r"the pool of fake://server/db was disconnected; call connect\(\) before"):
        await (getattr(db, use)().__aenter__() if use[-4:] in {"tion", "lica"} else getattr(db, use)("select 1"))


def test_disconnect_on_another_event_loop_cuts_the_connections():
    db = make_database()
    asyncio.run(db.connect())
    asyncio.run(db.disconnect())
    assert (script_of(db).terminates, script_of(db).closes) == (1, 0)
    verify_closed(db)


# What is current


async def test_the_current_connection_is_that_of_the_innermost_block():
    async with connected() as (db, _):
        assert (db.current_conn, current_conn.get(), current_conn.get(5)) == (None, None, 5)
        async with db.connection() as outer:
            assert (outer, outer) == (db.current_conn, current_conn.get())
            async with db.connection() as inner, db.connection(create=False) as same:
                assert (inner, inner) == (db.current_conn, same)
            assert outer is db.current_conn
        assert None is db.current_conn


async def test_the_current_connection_of_one_database_is_not_that_of_another():
    async with connected() as (db, _), connected() as (other, _), db.connection() as connection:
        assert (connection, None) == (db.current_conn, other.current_conn)


async def test_a_transaction_shares_the_current_connection_unless_it_is_to_create_one():
    async with connected() as (db, fake):
        async with db.connection() as outer:
            async with db.transaction() as shared:
                assert outer is shared.connection
            async with db.transaction(create=True) as own:
                assert outer is not own.connection
        assert fake.opens == 2


# Subclasses


async def test_nothing_inside_calls_a_verb_that_a_subclass_overrides(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError

    async with connected(replicas=["fake://other/db"]) as (db, _):
        mine = type("Mine", (Database,), dict.fromkeys(("execute", "fetchall", "fetchone", "iterate"), refuse))
        db.__class__ = mine
        async with db.transaction(), db.transaction():
            assert await db.fetchval("select 1") == "select 1"
        async with db.replica():
            assert await db.fetchmany(1, "select 1") == [("select 1",)]


def test_one_url_is_no_list_of_replicas():
    with pytest.raises(ConfigurationError, match="replicas must be a list of URLs, or of dicts, not one str"):
        make_database(replicas="fake://other/db")
