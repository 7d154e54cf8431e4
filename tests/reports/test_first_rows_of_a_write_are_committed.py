"""What `fetchone`, `fetchval` and `fetchmany` read of a write's rows was committed, or they raise, as `fetchall` does.

Hostile test: on SQLite an `insert ... returning` of more rows than were asked for returned the first of them, while its
COMMIT failed behind the last one: nothing was stored, and there was no error.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from aio_databases import ForeignKeyViolation, LockTimeout

pytestmark = pytest.mark.targets(dialect={"sqlite", "postgresql"}, loop={"asyncio", "trio"})
WRITES = [
    "insert into children (parent) values (7), (8), (9) returning parent",
    "/* three */ insert into children (parent) select 7 union select 8 union select 9 returning parent",
    "with s (a) as (values (7), (8), (9)) insert into children (parent) select a from s\nReturning parent",
    "update children set parent = 7 returning parent",
]
FETCHES = {
    "fetchone": lambda db, sql: db.fetchone(sql),
    "fetchval": lambda db, sql: db.fetchval(sql),
    "fetchmany": lambda db, sql: db.fetchmany(2, sql),
    "none": lambda db, sql: db.fetchmany(0, sql),
}


@pytest.fixture
async def family(db):
    """Give a database with the parents 1 and 2 and two children, whose parent is looked for at COMMIT."""
    async with db.connection() as connection:
        await connection.execute("create table parents (id integer primary key)")
        await connection.execute(
            "create table children (parent integer references parents (id) deferrable initially deferred)"
        )
        await connection.execute("insert into parents values (1), (2)")
        await connection.execute("insert into children values (1), (2)")
    return db


@pytest.mark.parametrize("fetch", FETCHES.values(), ids=FETCHES)
async def test_a_commit_that_fails_behind_the_rows_raises(family, fetch):
    for sql in WRITES:
        with pytest.raises(ForeignKeyViolation):
            await fetch(family, sql)
        assert [row.parent for row in await family.fetchall("select parent from children order by 1")] == [1, 2]


@pytest.mark.parametrize("fetch", FETCHES.values(), ids=FETCHES)
async def test_rows_that_were_not_asked_for_are_written_as_well(family, fetch):
    await family.execute("insert into parents values (7), (8), (9)")
    for sql in WRITES:
        await fetch(family, sql)
    children = await family.fetchall("select parent from children")
    assert [row.parent for row in children] == [7] * 11
    first = "with s (a) as (select 'returning') select a from s union all select 'b'"
    assert await family.fetchval(first) == "returning"


@pytest.mark.targets(scheme={"sqlite", "aiosqlite"}, memory=False, pooled=True)
async def test_a_lock_that_keeps_the_commit_from_the_file_raises(make_database, url):
    db = await make_database(url, pragmas={"journal_mode": "delete", "busy_timeout": 1})
    await db.execute("create table t (i integer)")
    await db.execute("insert into t values (1), (2)")
    file = await db.fetchval("select file from pragma_database_list")
    with closing(sqlite3.connect(file)) as other, closing(other.execute("select i from t")) as reader:
        reader.fetchone()
        with pytest.raises(LockTimeout):
            await db.fetchone("insert into t values (3), (4), (5) returning i")
    assert await db.fetchval("select count(*) from t") == 2
