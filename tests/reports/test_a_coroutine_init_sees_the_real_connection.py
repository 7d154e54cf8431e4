"""A coroutine function as `init=`, with a library that runs in a thread: only the methods are awaited.

Hostile test: keyword arguments were a TypeError, attributes were functions, and setting one had no effect.
"""

from __future__ import annotations

import sqlite3

import pytest

SEEN = {}


@pytest.mark.targets(scheme="sqlite", pooled=True)
async def test_sqlite(make_database):
    async def init(raw):
        SEEN["attributes"] = (raw.in_transaction, raw.text_factory)
        await raw.create_function("twice", 1, lambda x: 2 * x, deterministic=True)
        await raw.execute("create temp table mine (a)")
        raw.row_factory = sqlite3.Row

    db = await make_database(init=init)
    async with db.connection() as connection:
        assert await connection.fetchval("select twice(4)") == 8
        assert await connection.fetchall("select a from mine") == []
        assert sqlite3.Row is connection.raw.row_factory
    assert (False, str) == SEEN["attributes"]


@pytest.mark.targets(scheme="psycopg", loop="trio", pooled=True)
async def test_psycopg(make_database):
    async def init(raw):
        SEEN["attributes"] = (raw.autocommit, raw.info.dbname)
        await raw.execute("set work_mem = '3MB'", prepare=False)
        raw.prepare_threshold = 7

    db = await make_database(init=init)
    async with db.connection() as connection:
        assert await connection.fetchval("show work_mem") == "3MB"
        assert connection.raw.prepare_threshold == 7
        assert (True, connection.raw.info.dbname) == SEEN["attributes"]


@pytest.mark.targets(scheme="pymysql", pooled=True)
async def test_pymysql(make_database):
    async def init(raw):
        SEEN["attributes"] = (raw.open, raw.charset)
        await raw.ping(reconnect=False)
        raw.encoders = dict(raw.encoders)

    db = await make_database(init=init)
    assert await db.fetchval("select 1") == 1
    assert SEEN["attributes"] == (True, "utf8mb4")
