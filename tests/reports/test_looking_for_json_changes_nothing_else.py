"""MariaDB is asked which columns are JSON in the middle of the caller's work, who must not notice.

Hostile test: FOUND_ROWS() counted the rows of that question, and a time limit that hit it once made JSON text for good.
"""

from __future__ import annotations

import pytest

from aio_databases import DataError, Error
from aio_databases.drivers.mysql import json as mysql_json

pytestmark = pytest.mark.targets(scheme={"asyncmy", "aiomysql", "pymysql", "trio-mysql"}, pooled=True)


@pytest.fixture
async def documents(db):
    await db.execute("create table documents (id int, document json)")
    await db.executemany("insert into documents values (?, ?)", *[(number, {"number": number}) for number in range(9)])
    return db


@pytest.mark.parametrize("verb", ["fetchall", "fetchone", "iterate"])
async def test_found_rows_are_those_of_the_callers_statement(documents, verb):
    sql = "select sql_calc_found_rows document from documents order by id limit 2"
    async with documents.transaction():
        if verb == "iterate":
            rows = [row async for row in documents.iterate(sql)]
        else:
            rows = await documents.fetchall(sql) if verb == "fetchall" else [await documents.fetchone(sql)]
        assert await documents.fetchval("select found_rows()") == 9
        assert rows[0].document == {"number": 0}


@pytest.mark.parametrize("number", [1317, 1969, 1205, 1054])
async def test_a_question_that_was_stopped_is_asked_again(documents, monkeypatch, number):
    sql = "select document from documents order by id"
    signal = f"begin not atomic signal sqlstate '45000' set mysql_errno = {number}; end -- {{}}"
    with monkeypatch.context() as patched:
        patched.setattr(mysql_json, "_CHECKED_COLUMNS", signal)
        if number == 1054:  # it is no MariaDB, or an old one
            assert await documents.fetchval(sql) == '{"number": 0}'
        else:
            with pytest.raises(Error):
                await documents.fetchval(sql)
    assert ('{"number": 0}' if number == 1054 else {"number": 0}) == await documents.fetchval(sql)


async def test_json_is_found_where_a_session_quotes_names_as_standard_sql_does(documents):
    """The server quotes the names in a CHECK constraint as the session that asks does."""
    sql = "select document from documents order by id"
    async with documents.connection():
        await documents.execute("set sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'")
        assert await documents.fetchval(sql) == {"number": 0}


@pytest.mark.parametrize("verb", ["fetchall", "iterate"])
async def test_a_text_that_is_no_json_stays_text_and_the_connection_open(db, verb):
    """Hostile test: one such row was a ConnectionLost, and the transaction was gone."""
    async with db.connection() as connection:
        await connection.execute("create table odd (id int primary key, doc json)")
        await connection.execute("insert into odd values (1, '[1]')")
        assert await connection.fetchval("select doc from odd") == [1]
        await connection.execute("set check_constraint_checks = 0")
        async with connection.transaction():
            await connection.execute("insert into odd values (2, 'no json')")
            sql = "select doc from odd order by id"
            rows = (
                await connection.fetchall(sql) if verb == "fetchall" else [row async for row in connection.iterate(sql)]
            )
            assert [row.doc for row in rows] == [[1], "no json"]
            await connection.execute("insert into odd values (3, '{}')")
        assert await connection.fetchval("select count(*) from odd") == 3


@pytest.mark.parametrize("verb", ["fetchall", "fetchone", "iterate"])
@pytest.mark.parametrize("failure", [KeyError, ValueError])
async def test_an_error_of_json_loads_leaves_the_connection_and_the_transaction(make_database, verb, failure):
    """Hostile test: a KeyError of json_loads was a ConnectionLost, and a ValueError of it was not seen."""

    def loads(text):
        if text == "[13]":
            raise failure("a secret")
        return text

    db = await make_database(json_loads=loads)
    sql = "select id, doc from odd order by id"
    async with db.connection() as connection:
        await connection.execute("create table odd (id int primary key, doc json)")
        async with connection.transaction():
            await connection.executemany("insert into odd values (?, ?)", [(n, "[13]") for n in range(5)])
            for _ in range(2):  # before and after the column is known
                with pytest.raises(DataError, match="json_loads") as caught:
                    _ = (
                        [row async for row in connection.iterate(sql, chunk_size=2)]
                        if verb == "iterate"
                        else await getattr(connection, verb)(sql)
                    )
                assert "secret" not in str(caught.value)
                assert await connection.fetchval("select count(*) from odd") == 5
        await connection.execute("set check_constraint_checks = 0")
        await connection.execute("update odd set doc = 'no json'")
        assert await connection.fetchval("select doc from odd") == "no json"
