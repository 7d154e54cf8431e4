"""A statement for its session that has a connection to itself is warned of in the log, once per text (our tests)."""

from __future__ import annotations

import pytest

from unit.fake import connected


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if "outside of a block" in record.getMessage()]


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("set work_mem = '1GB'", "SET"),
        ("SET search_path TO tenant", "SET"),
        ("listen channel", "LISTEN"),
        ("begin", "BEGIN"),
        ("start transaction", "START TRANSACTION"),
        ("create temp table t (a int)", "CREATE TEMP"),
        ("prepare p as select 1", "PREPARE"),
    ],
)
@pytest.mark.parametrize("verb", ["execute", "fetchall"])
async def test_it_is_warned_of_once(sql, word, verb, caplog):
    async with connected() as (db, _):
        for _ in range(2):
            await getattr(db, verb)(sql)
    (message,) = warnings(caplog)
    assert f"begins with {word}, " in message
    assert "inside 'async with db.connection()'" in message
    assert "1GB" not in message


@pytest.mark.parametrize("sql", ["select 1", "set global x = 1", "begin; insert 1; commit", "create table t (a int)"])
async def test_what_lasts_is_not_warned_of(sql, caplog):
    async with connected() as (db, _):
        await db.execute(sql)
    assert [] == warnings(caplog)


@pytest.mark.parametrize("how", ["connection", "transaction", "reset", "shared"])
async def test_where_it_has_an_effect_it_is_not_warned_of(how, caplog):
    options = {"reset": {"reset": "never"}, "shared": {"shared": True}}.get(how, {})
    async with connected(**options) as (db, _):
        if options:
            await db.execute("set x = 1")
        else:
            async with getattr(db, how)():
                await db.execute("set x = 1")
    assert [] == warnings(caplog)


@pytest.mark.targets(dialect="sqlite", memory=False, loop="asyncio", pooled=True)
async def test_pragmas_that_the_file_keeps_are_not_warned_of(db, caplog):
    await db.execute("pragma journal_mode = wal")
    await db.execute("pragma user_version = 5")
    assert [] == warnings(caplog)
    await db.execute("pragma foreign_keys = off")
    assert 1 == len(warnings(caplog))
