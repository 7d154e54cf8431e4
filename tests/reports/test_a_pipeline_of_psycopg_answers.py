"""Verbs inside of psycopg's own pipeline(): the value or an error, never nothing instead of a value.  Hostile test."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from aio_databases import DataError, InterfaceError, ProgrammingError

pytestmark = pytest.mark.targets(scheme="psycopg", pooled=True)


@asynccontextmanager
async def pipeline(db, target):
    """Put the connection of a block into psycopg's pipeline mode."""
    async with db.connection() as connection:
        if target.loop == "trio":
            with connection.raw.pipeline():
                yield
        else:
            async with connection.raw.pipeline():
                yield


async def test_each_verb_gives_its_answer(users, target):
    async with pipeline(users, target):
        assert await users.fetchval("select 1") == 1
        assert await users.fetchall("select name from users order by id") == [("Ann",), ("Bob",), ("Cid",)]
        assert await users.fetchmany(1, "select name from users order by id") == [("Ann",)]
        assert await users.fetchone("select name from users where id = :id", {"id": 1}) == ("Ann",)
        assert (await users.execute("update users set name = name")).rowcount == 3
        with pytest.raises(InterfaceError, match=r"pipeline\(\): leave that block before executemany"):
            await users.executemany("insert into users (id) values (:id)", {"id": 4}, {"id": 5})
    assert await users.fetchval("select count(*) from users") == 3


async def test_a_stream_gives_its_rows(users, target):
    async with users.transaction(), pipeline(users, target):
        assert [row.id async for row in users.iterate("select id from users order by id", chunk_size=2)] == [1, 2, 3]


@pytest.mark.parametrize(("text", "error"), [("select 1/0", DataError), ("select nothing", ProgrammingError)])
async def test_a_failure_is_that_of_its_verb(users, target, text, error):
    async with pipeline(users, target):
        with pytest.raises(error):
            await users.execute(text)
    assert await users.fetchval("select 1") == 1
