"""What SQLite says of a statement: how many rows it has changed itself, and which rule a value has broken.

Hostile test: an insert behind WITH counted the rows of its triggers as well, and was -1 where it changed nothing;
creating a full-text index "changed" 3 rows.  A value that is no match for a STRICT column was an OperationalError.
"""

from __future__ import annotations

import pytest

from aio_databases import IntegrityError

pytestmark = pytest.mark.targets(dialect="sqlite", loop={"asyncio", "trio"}, pooled=True)
SQLITE = {"sqlite", "aiosqlite"}


@pytest.fixture
async def logged(db):
    """Give a database whose table `t`, with the rows 1 and 2, has a trigger that writes two rows."""
    async with db.connection() as connection:
        await connection.execute("create table t (a integer)")
        await connection.execute("create table log (a integer)")
        await connection.execute("insert into t values (1), (2)")
        for event in ("insert", "update", "delete"):
            await connection.execute(
                f"create trigger after_{event} after {event} on t begin insert into log values (1), (2); end"
            )
    return db


@pytest.mark.targets(scheme=SQLITE)
@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("insert into t values (3)", 1),
        ("insert into t select a from t", 2),
        ("with s (a) as (select 3) insert into t select a from s", 1),
        ("with s (a) as (select 3) insert into t select a from s where a > 3", 0),
        ("with s (a) as (select 3) replace into t select a from s", 1),
        ("/* one */ -- two\n ; WITH s (a) as (select 1) update t set a = 5 where a in (select a from s)", 1),
        ("with s (a) as (select 1) update t set a = 5 where a in (select a + 8 from s)", 0),
        ("with s (a) as (select 1) delete from t where a in s", 1),
        ("with s (a) as (select 3 union select 4) insert into t select a from s returning a", 2),
        ("with s (a) as (select 3) delete from t where a in s returning a", 0),
        ("delete from t returning a", 2),
        ("delete from t where a > 5", 0),
        ("select a from t", -1),
        ("with s (a) as (select 1) select replace(a, 1, 2) from s", -1),
        ("create table other as select a from t", -1),
        ("create virtual table words using fts5 (word)", -1),
        ("pragma user_version = 3", -1),
    ],
)
async def test_the_rows_of_triggers_and_indexes_are_not_counted(logged, sql, count):
    await logged.execute("update t set a = a")
    assert count == (await logged.execute(sql)).rowcount


@pytest.mark.targets(scheme=SQLITE)
async def test_a_full_text_index_counts_its_rows(db):
    await db.execute("create virtual table words using fts5 (word)")
    assert (await db.execute("insert into words values ('one'), ('two')")).rowcount == 2
    assert (await db.execute("with s (w) as (select 'one') delete from words where word in s")).rowcount == 1
    assert (await db.executemany("insert into words values (?)", "three")).rowcount == 1


@pytest.mark.targets(scheme=SQLITE)
async def test_a_batch_behind_with_counts_its_own_rows(logged):
    sql = "with s (a) as (select ?) insert into t select a from s where a > 3"
    assert (await logged.executemany(sql, 3, 4, 5)).rowcount == 2
    assert (await logged.executemany(sql, 1, 2)).rowcount == 0


async def test_a_value_that_does_not_match_a_strict_column_breaks_a_rule(db):
    await db.execute("create table t (id integer primary key, a integer) strict")
    for call in (
        lambda: db.execute("insert into t (a) values (?)", "x"),
        lambda: db.executemany("insert into t (a) values (?)", 1, "x"),
        lambda: db.execute("insert into t (a) values (1), ('x')"),
    ):
        with pytest.raises(IntegrityError, match="cannot store TEXT value in INTEGER column") as caught:
            await call()
        assert (caught.value.table, caught.value.column) == ("t", "a")
    assert await db.fetchval("select count(*) from t") == 0
