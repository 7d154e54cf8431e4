"""Options that only PostgreSQL has."""

from __future__ import annotations

import json

import pytest

from aio_databases import TargetNotFound

pytestmark = pytest.mark.targets(dialect="postgresql", odbc=False)

VALUE = {"a": [1, None, "ü"], "b": {}, "c": 'it\'s \\ "q" %s'}


@pytest.mark.parametrize("kind", ["json", "jsonb"])
async def test_json_comes_and_goes_as_objects_unless_text_is_asked_for(make_database, kind):
    database = await make_database(json=True)
    await database.execute(f"create table t (value {kind})")
    await database.execute("insert into t (value) values (:value)", {"value": VALUE})
    await database.executemany("insert into t (value) values (:value)", [{"value": VALUE}] * 2)
    assert await database.fetchval("select value from t") == VALUE
    assert [row.value async for row in database.iterate("select value from t")] == [VALUE] * 3
    plain = await make_database(json=False)
    assert json.loads(await plain.fetchval("select value from t")) == VALUE


async def test_settings_of_the_server_can_be_given(make_database):
    settings = {"search_path": '"else where", "x\\y"', "work_mem": "77MB", "statement_timeout": "4321"}
    database = await make_database(server_settings=settings, reset="always")
    for _ in range(2):
        shown = [await database.fetchval(f"show {name}") for name in settings]
        assert [settings["search_path"], "77MB", "4321ms"] == shown


@pytest.mark.targets(scheme="asyncpg")
async def test_prepared_statements_of_asyncpg_can_be_switched_off(make_database):
    database = await make_database(statement_cache_size=0, max_size=1)
    for _ in range(2):
        assert await database.fetchval("select $1::int + 1", 2) == 3
    assert await database.fetchval("select count(*) from pg_prepared_statements where not from_sql and name <> ''") == 0


@pytest.mark.targets(scheme="psycopg")
async def test_prepared_statements_of_psycopg_can_be_switched_off(make_database):
    database = await make_database(connect_args={"prepare_threshold": None}, max_size=1)
    for _ in range(10):
        assert await database.fetchval("select $1::int + 1", 2) == 3
    assert await database.fetchval("select count(*) from pg_prepared_statements") == 0


@pytest.mark.parametrize("wanted", ["read-write", "primary", "any", "prefer-standby"])
async def test_the_words_of_libpq_for_the_kind_of_server_are_known(make_database, wanted):
    database = await make_database(target_session_attrs=wanted)
    assert await database.fetchval("show default_transaction_read_only") == "off"


@pytest.mark.parametrize("wanted", ["read-only", "standby"])
async def test_a_primary_is_no_standby(make_database, wanted):
    with pytest.raises(TargetNotFound, match=r"with target='read-only': .* is a primary"):
        await (await make_database(target_session_attrs=wanted, timeout=0)).fetchval("select 1")
