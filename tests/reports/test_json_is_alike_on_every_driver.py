"""A dict or a list goes into a JSON column as JSON and comes back as what it was (MagicStack/asyncpg#1284)."""

from __future__ import annotations

import json

import pytest

from aio_databases import ConfigurationError, Database, DataError

pytestmark = pytest.mark.targets(pooled=True)

VALUES = [{"a": [1, None, "ü"]}, [], [1, "b", {"c": []}], {}, [[1], [2]], ["a"], {"b": 1.5}]


@pytest.mark.parametrize("kind", ["json", "jsonb"])
@pytest.mark.targets(dialect="postgresql", odbc=False)
async def test_lists_are_json_where_the_column_is_and_arrays_where_it_is_one(db, kind):
    async with db.connection():
        await db.execute(f"create table t (id int, j {kind}, a text[])")
        for within in (False, True):
            if within:
                await db.transaction().start()
            await db.execute("delete from t")
            for number, value in enumerate(VALUES):
                await db.execute("insert into t values (?, ?, ?)", number, value, ["x", str(number)])
            await db.executemany("insert into t values (:i, :j, :a)", [{"i": 9, "j": v, "a": []} for v in VALUES])
            assert await db.fetchall("select j from t where id < 9 order by id", into=lambda j: j) == VALUES
            assert await db.fetchval("select a from t where id = 1") == ["x", "1"]
            assert len(VALUES) == await db.fetchval("select count(*) from t where id = 9 and a = '{}'")
            assert {"object", "array"} == set(await db.fetchall(f"select {kind}_typeof(j) from t", into=str))
            await db.execute("update t set j = ? where id = ?", [], 0)
            assert [row.j async for row in db.iterate("select j from t where id = 0 and a = ?", ["x", "0"])] == [[]]
            assert await db.fetchval("select j::text from t where id = 0") == "[]"
        await db.current_conn.execute("rollback")


@pytest.mark.targets(dialect="postgresql", odbc=False)
async def test_a_list_for_one_value_is_refused_and_the_transaction_goes_on(db):
    await db.execute("create table t (id int, name text)")
    async with db.transaction():
        await db.execute("insert into t values (1, 'a')")
        for query, params in (
            ("insert into t values (2, :name)", ({"name": ["Bob"]},)),
            ("select * from t where name = ?", (["Bob"],)),
            ("select * from t where id = ? and name = ?", (1, [])),
        ):
            with pytest.raises(DataError):
                await db.fetchall(query, *params)
        assert await db.fetchall("select id from t where id = any(?) and name = ?", [1, 2], "a", into=int) == [1]
    assert await db.fetchval("select count(*) from t") == 1


@pytest.mark.targets(dialect="mysql", odbc=False)
async def test_columns_of_json_are_known_to_be_some(make_database):
    db = await make_database()
    async with db.connection():
        await db.execute("create table t (id int, j json, x longtext collate utf8mb4_bin)")
        await db.executemany("insert into t values (?, ?, ?)", [(n, v, "[1]") for n, v in enumerate(VALUES)])
        query = "select j as k, x, id, j from t as other order by id"
        expected = [(value, "[1]", number, value) for number, value in enumerate(VALUES)]
        assert [tuple(row) async for row in db.iterate(query, chunk_size=2)] == expected
        assert [tuple(row) for row in await db.fetchall(query)] == expected
        assert [tuple(row) for row in await db.fetchmany(2, query)] == expected[:2]
        assert await db.fetchval("select j from t where id = :id", {"id": 0}) == VALUES[0]
        await db.execute("alter table t modify j longtext collate utf8mb4_bin, modify x json")
        assert (json.dumps(VALUES[0], ensure_ascii=True), [1]) == await db.fetchone("select j, x from t order by id")
    texts = await make_database(json=False)
    assert await texts.fetchval("select x from t") == "[1]"


async def test_what_json_does_not_have_is_refused(db, words):
    await db.execute(f"create table t (j {words.types['json']})")
    loop: list[object] = []
    loop.append(loop)
    for value in ({"a": float("nan")}, [float("inf")], {"a": object()}, {"a": loop}):
        with pytest.raises(DataError, match=r"(?i)json"):
            await db.execute("insert into t values (:j)", {"j": value})
        with pytest.raises(DataError, match=r"(?i)json"):
            await db.executemany("insert into t values (?)", [(value,), (value,)])
    assert await db.fetchval("select count(*) from t") == 0


async def test_functions_for_json_can_be_given(make_database, target, words):
    made = []

    def dumps(value):
        made.append(value)
        return json.dumps(value, default=str).encode()

    db = await make_database(json_dumps=dumps, json_loads=lambda text: ("read", json.loads(text)))
    await db.execute(f"create table t (j {words.types['json']})")
    await db.execute("insert into t values (:j)", {"j": {"a": 1j}})
    assert made == [{"a": 1j}]
    found = await db.fetchval("select j from t")
    assert (json.loads(found) if isinstance(found, str) else found[1]) == {"a": "1j"}
    assert isinstance(found, tuple) == (not target.odbc)


@pytest.mark.targets(odbc=False)
async def test_what_was_stored_comes_back(db, words):
    await db.execute(f"create table t (id int, j {words.types['json']})")
    await db.executemany("insert into t values (?, ?)", [(number, value) for number, value in enumerate(VALUES)])
    assert await db.fetchall("select j from t order by id", into=lambda j: j) == VALUES


@pytest.mark.parametrize("verb", ["fetchall", "fetchval", "iterate"])
@pytest.mark.parametrize("failure", [KeyError, ValueError])
@pytest.mark.targets(dialect={"postgresql", "sqlite"}, odbc=False)
async def test_an_error_of_json_loads_is_a_data_error_and_shows_no_value(make_database, target, verb, failure):
    """Use: a KeyError came as it was, and the text of a ValueError, which may quote the value, was our message."""

    def loads(text):
        raise failure(text)

    db = await make_database(json_loads=loads)
    sql = "select '\"a secret\"'::jsonb as doc from generate_series(1, 5)"
    if target.dialect == "sqlite":
        await db.execute("create table t (doc json)")
        await db.executemany("insert into t values (?)", [('"a secret"',)] * 5)
        sql = "select doc from t"
    async with db.transaction():
        with pytest.raises(DataError, match="json_loads") as caught:
            _ = (
                [row async for row in db.iterate(sql, chunk_size=2)]
                if verb == "iterate"
                else await getattr(db, verb)(sql)
            )
        assert "secret" not in str(caught.value)
        assert isinstance(caught.value.__cause__, failure)
        assert await db.fetchval("select 1") == 1


@pytest.mark.targets(scheme={"sqlite", "asyncpg"}, loop="asyncio", memory=False)
def test_options_for_json_are_checked(url):
    for options in ({"json_loads": 5}, {"json_dumps": "json"}, {"json": "perhaps"}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            Database(url, **options)


@pytest.mark.targets(dialect="postgresql", odbc=False, scheme={"psycopg", "aiopg"})
async def test_a_table_that_was_made_anew_takes_lists_as_it_is_now(db):
    expected = {"jsonb": "[]", "text[]": "{}", "json": "[]", "integer[]": "{}"}
    for kind, text in expected.items():
        await db.execute("drop table if exists t")
        await db.execute(f"create table t (value {kind})")
        await db.execute("insert into t values (:value)", {"value": []})
        assert text == await db.fetchval("select value::text from t")
