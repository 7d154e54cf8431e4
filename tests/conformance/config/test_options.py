"""Options, as keywords and in the URL, do what they say."""

from __future__ import annotations

import logging

import anyio
import anyio.lowlevel
import pytest

from aio_databases import Database
from conformance.addresses import with_option
from conformance.libraries import run_raw

ONE = "select 1"


# init


@pytest.mark.targets(memory=False)
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_init_is_called_once_for_each_connection(make_database, target, is_async):
    calls = []

    async def later(raw):
        await anyio.lowlevel.checkpoint()
        calls.append(raw)

    database = await make_database(init=later if is_async else calls.append)
    for _ in range(3):
        assert await database.fetchval(ONE) == 1
    async with database.connection(), database.connection():
        pass
    assert database.stats()["primary"].opened == len(calls) == (2 if target.pooled else 5)


async def test_a_database_in_memory_or_not_is_initialised_before_its_first_statement(make_database, target):
    async def init(raw):
        await run_raw(raw, "create temporary table mine (i integer)")

    database = await make_database(init=init)
    assert await database.fetchval("select count(*) from mine") == 0


async def test_an_init_that_returns_a_coroutine_is_awaited_or_refused(make_database):
    async def prepare(raw):
        await run_raw(raw, "create temporary table mine (i integer)")

    try:
        database = await make_database(init=lambda raw: prepare(raw))  # noqa: PLW0108 - no coroutine function
        assert await database.fetchval("select count(*) from mine") == 0
    except TypeError as exc:
        assert "make it a coroutine function itself" in str(exc)  # noqa: PT017 - one of the two


async def test_an_init_that_fails_is_raised_unchanged_and_leaves_no_connection(target, url):
    reason = ZeroDivisionError("mine")

    async def init(_raw):
        raise reason

    database = Database(url, init=init)
    for use in (database.connect, lambda: database.fetchval(ONE)):
        with pytest.raises(ZeroDivisionError) as caught:
            await use()
        assert reason is caught.value
    assert not database.is_connected
    assert database.stats()["primary"].size == 0
    await database.disconnect()


@pytest.mark.targets(memory=False)
async def test_init_runs_on_connections_to_replicas_too(users, make_database, url):
    calls = []
    database = await make_database(replicas=[url], init=calls.append)
    before = len(calls)
    async with database.replica():
        assert await database.fetchval(ONE) == 1
    assert before + 1 == len(calls)


# Of every driver


async def test_options_may_stand_in_the_url(make_database, url):
    database = await make_database(with_option(url, "max_size=3&timeout=0.5&convert_params=no"))
    assert (database._pool.options.max_size, database._pool.options.timeout) == (3, 0.5) or database.backend.shared
    assert database.backend.options["convert_params"] is False
    assert await database.fetchval(ONE) == 1


async def test_keywords_win_over_the_url(make_database, url):
    database = await make_database(with_option(url, "timeout=7&convert_params=no"), timeout=3, convert_params=True)
    assert database._pool.options.timeout == 3
    assert database.backend.options["convert_params"] is True


@pytest.mark.parametrize(
    ("alias", "name"), [("minsize", "min_size"), ("maxsize", "max_size"), ("pool_recycle", "max_lifetime")]
)
@pytest.mark.targets(pooled=False, memory=False)
async def test_the_option_names_of_1x_work(make_database, url, alias, name):
    for database in (await make_database(**{alias: 4}), await make_database(with_option(url, f"{alias}=4"))):
        assert getattr(database._pool.options, name) == 4


async def test_statements_go_to_the_logger_that_was_given(make_database, words, caplog):
    logger = logging.getLogger("of.the.user")
    caplog.set_level(logging.DEBUG, logger="of.the.user")
    database = await make_database(logger=logger)
    query = f"select {words.text_of.format(':secret')} as found"
    assert await database.fetchval(query, {"secret": "hunter2"}) == "hunter2"
    messages = [record.getMessage() for record in caplog.records]
    assert any("as found" in message for message in messages)
    assert not any("hunter2" in message for message in messages)
