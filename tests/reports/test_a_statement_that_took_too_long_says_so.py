"""The error of a statement that was stopped by a time limit names the limit, on every driver that has one."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import QueryTimeout

LIMIT = 0.05
TOO_SLOW = "the statement took longer than {}=0.05 (seconds) allows: raise it, or have the statement do less"


def called_in_every_way(connection, statement):
    """Return the calls of all verbs."""
    return (
        connection.execute(statement),
        connection.executemany(statement, [()]),
        connection.fetchall(statement),
        connection.fetchmany(2, statement),
        connection.fetchone(statement),
        connection.fetchval(statement),
        anext(connection.iterate(statement)),
    )


async def outcome(called):
    """Return the text of the error of a statement."""
    with anyio.fail_after(10), pytest.raises(QueryTimeout) as caught:
        await called
    return str(caught.value)


@pytest.mark.targets(scheme={"sqlite", "aiosqlite"})
async def test_sqlite_names_the_limit_and_what_to_do(make_database, words):
    """Hostile test: the text was "interrupted", which names neither."""
    database = await make_database(statement_timeout=LIMIT)
    wanted = TOO_SLOW.format("statement_timeout")
    for called in called_in_every_way(database, words.endless):
        assert await outcome(called) == wanted
    for block in (database.transaction, database.replica):
        async with block():
            assert await outcome(database.fetchval(words.endless)) == wanted
    assert await database.fetchval("select 1") == 1


@pytest.mark.targets(scheme={"sqlite", "aiosqlite"})
async def test_what_was_stopped_otherwise_names_no_limit(make_database):
    """Only time stops a statement by the limit: its own connection may do so, too."""
    made = []
    database = await make_database(
        statement_timeout=60, init=made.append, functions=[("stop", 0, lambda: _interrupt(made[-1]))]
    )
    endless = "with recursive n (i) as (select 1 union all select i + 1 from n where stop() is null) select 1 from n"
    assert await outcome(database.fetchall(endless)) == "interrupted"


def _interrupt(connection):
    getattr(connection, "_conn", connection).interrupt()


@pytest.mark.targets(scheme="asyncpg")
async def test_asyncpg_names_its_own_limit_wherever_it_was_given(make_database):
    for options in ({"command_timeout": LIMIT}, {"connect_args": {"command_timeout": LIMIT}}):
        database = await make_database(**options)
        async with database.connection():
            assert TOO_SLOW.format("command_timeout") == await outcome(database.fetchval("select pg_sleep(9)"))


@pytest.mark.targets(dialect={"postgresql", "mysql"})
async def test_servers_say_so_themselves(make_database, words, target):
    database = await make_database(statement_timeout=LIMIT)
    said = {"postgresql": "statement timeout", "mysql": "max_statement_time exceeded"}[target.dialect]
    assert said in await outcome(database.fetchval(words.endless))
