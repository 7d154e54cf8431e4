"""What an error shows of itself, and that it arrives whole where it is sent."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import anyio
import pytest

from aio_databases import ConnectionLost, DataError, Error, ProgrammingError, UniqueViolation

pytestmark = pytest.mark.targets(pooled=True)


async def test_every_message_is_one_readable_line_and_keeps_the_arguments(shop, target):
    for query in ("insert into authors (id, name) values (1, 'Bob')", "selct\n1", "select *\nfrom nowhere"):
        with pytest.raises(Error) as caught:
            await shop.execute(query)
        error = caught.value
        assert str(error)
        assert "\n" not in str(error)
        assert not str(error).startswith(("(", "["))
        if target.dialect == "mysql" and not target.odbc:
            assert error.errno == error.args[0]
            assert f"{error.args[1]} ({error.errno})".split() == str(error).split()


@pytest.mark.targets(dialect={"postgresql", "mysql"})
async def test_a_lost_connection_is_told_in_one_line(shop, server, words):
    async with shop.connection() as connection:
        server.execute(words.kill.format(await connection.fetchval(words.own_id)))
        for _ in range(2):
            with pytest.raises(ConnectionLost) as caught:
                await connection.fetchval("select 1")
            assert str(caught.value)
            assert "\n" not in str(caught.value)
    assert await shop.fetchval("select 1") == 1


@pytest.fixture(scope="module")
def elsewhere():
    """Give another process, which has imported nothing yet."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


async def test_errors_travel_between_processes(shop, elsewhere):
    for query, params, kind in (
        ("insert into authors (id, name) values (1, 'Bob')", (), UniqueViolation),
        ("select * from nowhere", (), ProgrammingError),
        ("update authors set name = ?", (object(),), DataError),
    ):
        with pytest.raises(kind) as caught:
            await shop.execute(query, *params)
        error = caught.value
        copy = await anyio.to_thread.run_sync(elsewhere.submit(pickle.loads, pickle.dumps(error)).result)
        assert type(error) is type(copy)
        for name in ("args", "sqlstate", "errno", "constraint", "table", "column", "parameter", "retryable"):
            assert getattr(error, name) == getattr(copy, name)
        assert str(error) == str(copy)
