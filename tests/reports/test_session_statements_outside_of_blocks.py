"""A statement for its session that has a connection to itself is warned of in the log, once per text (our tests)."""

from __future__ import annotations

import pytest

from aio_databases.testing.fake_driver import connected


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
        ("set statement_timeout = 5", "SET"),
        ("set password_encryption = 'md5'", "SET"),
        ("set @a = 1", "SET"),
        ("set default_storage_engine = 'MyISAM'", "SET"),
        ("begin immediate", "BEGIN"),
        ("BEGIN;", "BEGIN"),
        ("begin not deferrable", "BEGIN"),
        ("pragma foreign_keys = off", "PRAGMA"),
        ("pragma main . cache_size = 5", "PRAGMA"),
        ("pragma wal_autocheckpoint = 100", "PRAGMA"),
        ("pragma encoding_of_mine(1)", "PRAGMA"),
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


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "begin; insert 1; commit",
        "create table t (a int)",
        # for the server, or an account
        "set global x = 1",
        "set @@global.x = 1",
        "set persist x = 1",
        "set persist_only x = 1",
        "set @@persist.x = 1",
        "set @@persist_only.x = 1",
        "set password = 'x'",
        "set password for u = 'x'",
        "set default role r for u",
        # for one statement
        "set statement max_statement_time = 1 for select 1",
        "SET STATEMENT\nsort_buffer_size = 100000, lock_wait_timeout = 1 FOR update t set a = 1",
        # a block of statements
        "begin try insert into t values (1) end try begin catch throw end catch",
        "begin insert into t values (1) end",
        "prepare transaction 'x'",
        # in the file, or in the process
        "pragma user_version = 5",
        "pragma main.user_version = 5",
        "pragma main . user_version = 5",
        "pragma schema_version = 5",
        "pragma application_id = 5",
        "pragma soft_heap_limit = 1000000",
        "pragma hard_heap_limit(1000000)",
        # what is done once
        "pragma incremental_vacuum",
        "pragma incremental_vacuum(10)",
        "pragma incremental_vacuum = 10",
        "pragma main.incremental_vacuum(10)",
        "pragma shrink_memory",
        "pragma optimize",
        "pragma optimize(0x10002)",
        "pragma wal_checkpoint",
        "pragma wal_checkpoint(truncate)",
        "pragma main.wal_checkpoint = truncate",
        # what only reads
        "pragma foreign_keys",
        "pragma table_info(t)",
        "pragma table_info = t",
        "pragma main.index_list = i",
        "pragma foreign_key_check(t)",
        "pragma integrity_check(10)",
        "pragma quick_check = 10",
        "pragma compile_options",
    ],
)
async def test_what_lasts_is_not_warned_of(sql, caplog):
    async with connected() as (db, _):
        await db.execute(sql)
    assert warnings(caplog) == []


@pytest.mark.parametrize("how", ["connection", "transaction", "reset", "shared"])
async def test_where_it_has_an_effect_it_is_not_warned_of(how, caplog):
    options = {"reset": {"reset": "never"}, "shared": {"shared": True}}.get(how, {})
    async with connected(**options) as (db, _):
        if options:
            await db.execute("set x = 1")
        else:
            async with getattr(db, how)():
                await db.execute("set x = 1")
    assert warnings(caplog) == []


@pytest.mark.targets(dialect="sqlite", memory=False, loop="asyncio", pooled=True)
async def test_pragmas_that_the_file_keeps_are_not_warned_of(db, caplog):
    await db.execute("create table t (a)")
    await db.execute("pragma journal_mode = wal")
    await db.execute("pragma user_version = 5")
    await db.execute("pragma incremental_vacuum")
    await db.execute("pragma wal_checkpoint(truncate)")
    assert [list(row)[1:2] for row in await db.fetchall("pragma table_info = t")] == [["a"]]
    assert warnings(caplog) == []
    await db.execute("pragma foreign_keys = off")
    assert len(warnings(caplog)) == 1


@pytest.mark.server
@pytest.mark.targets(scheme="asyncmy", loop="asyncio", pooled=True)
async def test_what_is_set_for_one_statement_is_not_warned_of(db, caplog):
    assert await db.fetchval("set statement max_statement_time = 5 for select 1") == 1
    assert warnings(caplog) == []
    await db.execute("set max_statement_time = 5")
    assert len(warnings(caplog)) == 1
