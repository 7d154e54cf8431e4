"""`init=` tells the library's connection to make other rows than tuples: ours stay what they are.

Hostile test: `into=dict` gave ``{'id': 'id'}``.
"""

from __future__ import annotations

import pytest

from aio_databases import Record

pytestmark = pytest.mark.targets(scheme={"sqlite", "aiosqlite", "psycopg", "aiopg"}, pooled=True)


def as_dict(cursor, row):
    """Make a dict of a row, as the documentation of sqlite3 has it."""
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


async def test_every_verb_gives_records(make_database, target):
    def init(raw):
        if target.scheme == "psycopg":
            from psycopg.rows import dict_row  # noqa: PLC0415

            raw.row_factory = dict_row
        elif target.scheme == "aiopg":
            from psycopg2.extras import RealDictCursor  # noqa: PLC0415

            raw.raw.cursor_factory = RealDictCursor
        else:
            raw.row_factory = as_dict

    db = await make_database(init=init)
    text = "select 1 as id, 'Ann' as name"
    for row in (
        *await db.fetchall(text),
        *await db.fetchmany(1, text),
        await db.fetchone(text),
        *[row async for row in db.iterate(text)],
    ):
        assert isinstance(row, Record)
        assert row == (1, "Ann")
    assert await db.fetchval(text) == 1
    assert await db.fetchone(text, into=dict) == {"id": 1, "name": "Ann"}
    async with db.transaction(readonly=True):
        assert await db.fetchval(text) == 1


@pytest.mark.targets(scheme="psycopg")
async def test_a_reset_keeps_a_connection_that_init_gave_other_rows(make_database):
    def init(raw):
        from psycopg.rows import dict_row  # noqa: PLC0415

        raw.row_factory = dict_row

    db = await make_database(init=init, max_size=1)
    numbers = set()
    for _ in range(2):
        async with db.connection() as connection:
            numbers.add(await connection.fetchval("select pg_backend_pid()"))
            await connection.execute("set work_mem = '3MB'")
    assert len(numbers) == 1
