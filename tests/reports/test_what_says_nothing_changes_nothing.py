"""A text without a statement in it, and a statement that changes no rows, count none, whatever was run before."""

from __future__ import annotations

import pytest

EMPTY = ["", " ;\n", "-- c", "-- c\n-- d\n;", "/* c */", " /* c */ -- d"]


@pytest.fixture
async def counted(db):
    """Give a database whose connection has just changed three rows, before each call."""
    await db.execute("create table t (a integer)")

    async with db.connection() as connection:

        async def run(verb, *args):
            await connection.execute("insert into t values (1), (2), (3)")
            return (await getattr(connection, verb)(*args)).rowcount

        yield run


@pytest.mark.parametrize("text", EMPTY)
async def test_a_text_without_a_statement_counts_no_rows(counted, text, target):
    """Use: on ODBC's SQLite a comment had the count of the statement before; an empty batch had -2 rows on MySQL."""
    assert (0 if target.dialect == "mysql" else -1) == await counted("execute", text)
    assert await counted("executemany", text, [(), ()]) in ({0, -1} if target.dialect == "postgresql" else {0})


@pytest.mark.targets(dialect="sqlite")
@pytest.mark.parametrize(
    ("text", "rowcount"),
    [
        ("select 1", -1),
        ("with w as (select 1) select * from w", -1),
        ("pragma user_version", -1),
        ("create table other as select a from t", -1),
        ("-- c\nupdate t set a = 7 where a > 5", 0),
        ("/* c */ delete from t -- d", 3),
    ],
)
async def test_the_drivers_of_sqlite_count_alike(counted, text, rowcount):
    assert rowcount == await counted("execute", text)


@pytest.mark.targets(dialect="sqlite")
@pytest.mark.parametrize(
    ("text", "rowcount"), [("select ?", 0), ("insert into t values (?)", 2), ("delete from t where a = ?", 2)]
)
async def test_the_drivers_of_sqlite_count_batches_alike(counted, text, rowcount):
    assert rowcount == await counted("executemany", text, [(1,), (2,)])
