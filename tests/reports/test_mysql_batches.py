"""Which row of a batch has failed, and what is too long for the server (users)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aio_databases import DataError, UniqueViolation

if TYPE_CHECKING:
    from aio_databases import Database

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.targets(scheme={"asyncmy", "aiomysql", "pymysql", "trio-mysql"}, pooled=True, loop={"asyncio", "trio"}),
]


@pytest.mark.parametrize("sql", ["insert into t values (?, ?)", "insert into t select ?, ?"], ids=["many", "one"])
async def test_the_row_that_failed_is_counted_from_the_first_one(db: Database, sql: str) -> None:
    """The server counts the rows of the statement, of which there are several."""
    await db.execute("create table t (a varchar(2000), b varchar(5))")
    size = 1500 if "values" in sql else 5
    rows = [("x" * 1000, "fits")] * size
    rows[size - 3] = ("x", "too long")
    with pytest.raises(DataError, match=f" at row {size - 2} ") as caught:
        await db.executemany(sql, *rows)
    assert (size - 2, "b") == (caught.value.row, caught.value.column)


async def test_a_row_is_named_where_the_statement_has_one_only(db: Database) -> None:
    """An error that names no row itself."""
    await db.execute("create table t (a integer primary key)")
    for sql, row in (("insert into t select ?", 3), ("insert into t values (?)", None)):
        with pytest.raises(UniqueViolation) as caught:
            await db.executemany(sql, (1,), (2,), (1,))
        assert row == caught.value.row


@pytest.mark.parametrize("verb", ["execute", "fetchall", "executemany", "iterate"])
async def test_a_statement_that_is_too_long_is_not_sent(db: Database, verb: str) -> None:
    """The server would hang up in the middle of it."""
    most = await db.fetchval("select @@max_allowed_packet")
    text = "x" * most
    async with db.transaction():
        identity = await db.fetchval("select connection_id()")
        with pytest.raises(DataError, match=r"max_allowed_packet, or send") as caught:
            if verb == "iterate":
                assert [row async for row in db.iterate("select ?", text)] == []
            else:
                await getattr(db, verb)("select ?", [(text,)] if verb == "executemany" else text)
        assert caught.value.errno == 1153
        longest = most - 2 - len("select ''")
        assert longest == len(await db.fetchval("select ?", "x" * longest))
        assert identity == await db.fetchval("select connection_id()")
