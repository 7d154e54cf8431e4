"""A column that was declared as JSON comes back as what is in it, on SQLite too (encode/databases#140)."""

from __future__ import annotations

import sqlite3
from inspect import isawaitable

import anyio
import pytest

from aio_databases import ReadOnlyError
from aio_databases.drivers.sqlite import json as sqlite_json
from aio_databases.drivers.sqlite.json import query_of

pytestmark = pytest.mark.targets(dialect="sqlite", odbc=False, pooled=True)

DOC = {"a": [1, None]}
TABLE = "create table t (id integer primary key, doc json, more JSONB default '[1]', x text default '{}')"


@pytest.fixture
async def filled(db):
    await db.execute(TABLE)
    await db.execute("create view v as select doc as seen, x from t")
    await db.execute("insert into t (doc) values (?)", DOC)
    return db


@pytest.mark.parametrize(
    ("query", "params", "expected"),
    [
        ("select * from t", (), [1, DOC, [1], "{}"]),
        ("select x, doc as d, t.doc from t where id = ? limit ?", (1, 5), ["{}", DOC, DOC]),
        ("select a.doc from t as a left join (select doc from t) as b on a.id = :id", ({"id": 1},), [DOC]),
        ("with c as (select doc as d from t) select d, x from c, t;", (), [DOC, "{}"]),
        ('select main.t."doc", (select more from t) from main.t -- doc', (), [DOC, [1]]),
        ("/* ? */ select seen, ':x' from v", (), [DOC, ":x"]),
        (
            "select json_extract(doc, '$.a'), coalesce(doc, '{}'), '[]' as doc from t",
            (),
            ["[1,null]", '{"a": [1, null]}', "[]"],
        ),
        ("insert into t (doc) values (:d) returning id, doc, x, more", ({"d": [2]},), [2, [2], "{}", [1]]),
        ("insert or ignore into main.t as n (doc) values (?) returning doc;", ("[3]",), [[3]]),
        ("replace into t (id, doc) values (1, ?) returning *", ({},), [1, {}, [1], "{}"]),
        ("update t set x = 'y' where id = ? returning x, doc as d -- returning x", (1,), ["y", DOC]),
        ("with c as (select 1 as one) update or ignore t set x = '' returning upper(x), doc", (), ["", DOC]),
        ("delete from [t] returning doc", (), [DOC]),
        ("with c as (select ? as n) update t set x = 'y' returning doc, (select n from c)", (5,), [DOC, 5]),
        ("; -- c\n ; select doc from t;", (), [DOC]),
    ],
)
async def test_columns_of_json_are_known_wherever_they_are_named(filled, query, params, expected):
    async with filled.transaction() as transaction:
        assert list(await filled.fetchone(query, *params)) == expected
        await transaction.rollback()
    async with filled.transaction() as transaction:
        assert [list(row) for row in await filled.fetchall(query, *params)] == [expected]
        await transaction.rollback()
    async with filled.transaction() as transaction:
        assert [list(row) async for row in filled.iterate(query, *params)] == [expected]
        await transaction.rollback()


async def test_what_is_no_text_of_json_comes_as_it_is(filled):
    values = ["no json", b"[1]", 5, 1.5, None, "", "{"]
    await filled.executemany("insert into t (doc) values (?)", [(value,) for value in values])
    assert values == await filled.fetchall("select doc from t where id > 1 order by id", into=lambda doc: doc)


async def test_text_is_left_where_json_is_switched_off(make_database):
    db = await make_database(json=False)
    await db.execute(TABLE)
    await db.execute("insert into t (doc) values (?)", DOC)
    assert await db.fetchval("select doc from t") == '{"a": [1, null]}'


async def test_a_table_that_was_made_anew_is_read_as_it_is_now(filled):
    async with filled.connection():
        assert await filled.fetchval("select doc from t") == DOC
        async with filled.transaction() as transaction:
            await filled.execute("drop view v")
            await filled.execute("drop table t")
            await filled.execute("create table t (doc text)")
            await filled.execute("insert into t values ('[1]')")
            assert await filled.fetchval("select doc from t") == "[1]"
            await transaction.rollback()
        assert await filled.fetchval("select doc from t") == DOC
        await filled.execute("create temp table t (doc text)")
        await filled.execute("insert into temp.t values ('[1]')")
        assert await filled.fetchval("select doc from t") == "[1]"
        await filled.execute("attach ':memory:' as other")
        await filled.execute("create table other.o (doc json)")
        await filled.execute("insert into other.o values ('[2]')")
        assert await filled.fetchval("select doc from o") == [2]


@pytest.mark.targets(memory=False)
async def test_a_table_that_another_program_makes_anew_is_read_as_it_is_now(db, target, url, monkeypatch):
    monkeypatch.setattr(sqlite_json, "_FOR", 0.0)  # seconds
    await db.execute("create table t (doc text)")
    await db.execute("insert into t values ('[1]')")
    assert await db.fetchval("select doc from t") == "[1]"
    path = await db.fetchval("select file from pragma_database_list where name = 'main'")
    with sqlite3.connect(path) as other:
        other.executescript("drop table t; create table t (doc json); insert into t values ('[1]')")
    other.close()
    assert await db.fetchval("select doc from t") == [1]


async def test_looking_for_json_changes_nothing_else(filled):
    async with filled.connection() as connection:
        await connection.execute("insert into t (doc) values ('[]'), ('[]'), ('[]')")
        before = await connection.fetchall("select changes(), total_changes(), last_insert_rowid()")
        stream = connection.iterate("select id, doc from t order by id", chunk_size=1)
        assert tuple(await anext(stream)) == (1, DOC)
        assert await connection.fetchval("select doc from t where id = 1") == DOC
        assert [row.id async for row in stream] == [2, 3, 4]
        assert before == await connection.fetchall("select changes(), total_changes(), last_insert_rowid()")
        assert await connection.fetchall("select name from sqlite_temp_master") == []
        assert not connection.raw.in_transaction


@pytest.mark.parametrize("block", ["readonly", "replica"])
async def test_a_block_that_only_reads_goes_on_refusing_writes(filled, block):
    async with filled.transaction(readonly=True) if block == "readonly" else filled.replica():
        assert await filled.fetchval("select doc from t") == DOC
        with pytest.raises(ReadOnlyError):
            await filled.fetchall("delete from t returning doc")
    assert await filled.fetchval("pragma query_only") == 0


async def test_where_no_table_has_json_nothing_is_described(db):
    async with db.connection() as connection:
        await db.execute("create table t (x text)")
        await db.execute("insert into t values ('[1]')")
        traced = []
        await call(connection.raw.set_trace_callback, traced.append)
        assert await db.fetchval("select x from t") == "[1]"
        assert await db.fetchval("select x from t where x = ?", "[1]") == "[1]"
        assert await db.fetchval("select x from t") == "[1]"
        assert "select x from t" == traced[0] == traced[-1]
        assert not any("VIEW" in text for text in traced)


@pytest.mark.targets(memory=False)
async def test_a_file_that_is_locked_meanwhile_fails_nothing(make_database):
    db = await make_database(pragmas={"journal_mode": "delete", "busy_timeout": 1})
    await db.execute(TABLE)
    await db.execute("insert into t (doc) values ('[1]')")
    path = await db.fetchval("select file from pragma_database_list where name = 'main'")
    async with db.connection():
        other = sqlite3.connect(path, isolation_level=None)
        try:
            other.execute("begin exclusive")
            assert await db.fetchval("select 1") == 1
            assert await db.fetchval("select 'a' from (select 1)") == "a"
        finally:
            other.close()
        assert await db.fetchval("select doc from t") == [1]


async def test_what_names_no_table_does_not_ask_for_the_schema(filled):
    async with filled.connection() as connection:
        traced = []
        await call(connection.raw.set_trace_callback, traced.append)
        assert await filled.fetchval("select 1") == 1
        assert traced == ["select 1"]


@pytest.mark.parametrize(
    "query",
    [
        "select id, doc from t union all select id, doc from u union all select id, doc from t",
        "select t.id, (select doc from u where u.id = t.id and exists (select * from v)) as doc from t",
    ],
)
async def test_what_is_half_read_goes_on_while_other_texts_are_new(filled, query):
    await filled.execute("create table u (id integer primary key, doc json)")
    await filled.execute("insert into t (doc) values ('[2]'), ('[3]')")
    await filled.execute("insert into u select id, doc from t")
    async with filled.connection() as connection:
        by_hand = await call(connection.raw.execute, query)
        expected = [list(row) for row in await filled.fetchall(query)]
        found = []
        async for row in filled.iterate(query, chunk_size=1):
            assert await filled.fetchval(f"select doc from t where id = 1 and {len(found)} = {len(found)}") == DOC
            found.append(list(row))
        assert found == expected
        assert 3 <= len(expected) == len(await call(by_hand.fetchall))
        await call(by_hand.close)


async def test_a_table_of_another_connection_is_known_at_once(filled, monkeypatch):
    monkeypatch.setattr(sqlite_json, "_FOR", 3600.0)  # seconds
    async with filled.connection() as connection:
        assert await connection.fetchval("select doc from t") == DOC
        async with anyio.create_task_group() as tasks:  # the new task has a connection of its own
            tasks.start_soon(filled.execute, "create table u (doc json)")
        await connection.execute("insert into u values ('[1]')")
        assert await connection.fetchval("select doc from u") == [1]


async def test_a_schema_of_the_same_version_is_another_one(filled):
    async with filled.connection():
        for kind, expected in (("json", [1]), ("text", "[1]"), ("json", [1])):
            async with filled.transaction() as transaction:
                await filled.execute(f"create table o (doc {kind})")
                await filled.execute("insert into o values ('[1]')")
                assert await filled.fetchval("select doc from o") == expected
                await transaction.rollback()
            await filled.execute("attach ':memory:' as other")
            await filled.execute(f"create table other.o (doc {kind})")
            await filled.execute("insert into o values ('[1]')")
            assert await filled.fetchval("select doc from o") == expected
            await filled.execute("detach other")


async def test_names_that_have_to_be_quoted(filled):
    async with filled.connection():
        await filled.execute("attach ':memory:' as \"a 't\"")
        await filled.execute('create table "a \'t"."b""`c" ("d""e" json, "select" "jsonb", f text)')
        insert = 'insert into "a \'t"."b""`c" values (?, ?, ?) returning "d""e" as "select", *'
        assert list(await filled.fetchone(insert, "[1]", "[2]", "[3]")) == [[1], [1], [2], "[3]"]
        assert list(await filled.fetchone('select * from `b"``c`')) == [[1], [2], "[3]"]


async def test_functions_and_collations_of_the_caller(filled):
    class Sum:
        def step(self, *_):
            pass

        def value(self):
            return 5

        finalize = value
        inverse = step

    async with filled.connection() as connection:
        raw = connection.raw
        await call(raw.create_function, "mine", 1, lambda value: value)
        await call(getattr(raw, "_conn", raw).create_window_function, "total_of", 1, Sum)
        await call(getattr(raw, "_conn", raw).create_collation, "odd", lambda a, b: (a > b) - (a < b))
        await connection.execute("create view w as select mine(x) as y, doc from t")
        for query in (
            "select mine(x), doc from t where mine(doc) is not null order by x collate odd",
            "select y, doc from w order by y collate odd",
        ):
            assert list(await connection.fetchone(query)) == ["{}", DOC]
        for query in ("total_of(id)", "total_of(id) over ()", "total_of(id) filter (where true)"):
            assert list(await connection.fetchone(f"select {query}, doc from t")) == [5, DOC]


async def test_virtual_tables(filled):
    await filled.execute("create virtual table f using fts5(a)")
    await filled.execute("insert into f values ('word')")
    query = (
        "select f.*, g.*, doc, e.* from f('word') as f join f_content as g on g.id = f.rowid, t, json_each(doc) as e"
    )
    async with filled.connection():
        assert list(await filled.fetchone(query))[:6] == ["word", 1, "word", DOC, "a", "[1,null]"]
        query = "select doc, s.name from t, sqlite_master as s, pragma_table_info('t') where s.name = 'f'"
        assert list(await filled.fetchone(query)) == [DOC, "f"]


async def test_a_text_factory_of_the_caller(filled):
    async with filled.connection() as connection:
        raw = connection.raw
        raw.text_factory = bytes
        try:
            assert await connection.fetchval("select doc from t") == b'{"a": [1, null]}'
        finally:
            raw.text_factory = str


@pytest.mark.parametrize("answer", [sqlite3.SQLITE_DENY, sqlite3.SQLITE_IGNORE])
async def test_an_authorizer_of_the_caller_that_hides_the_schema(filled, answer):
    def authorize(action, *_):
        return answer if action == sqlite3.SQLITE_PRAGMA else sqlite3.SQLITE_OK

    async with filled.connection() as connection:
        raw = connection.raw
        await call(raw.set_authorizer, authorize)
        try:
            assert await connection.fetchval("select doc from t") == '{"a": [1, null]}'
        finally:
            await call(raw.set_authorizer, None)
        assert await connection.fetchval("select doc from t -- a new text") == DOC


async def call(function, *args):
    """Call a method of sqlite3's connection, or of aiosqlite's."""
    result = function(*args)
    return await result if isawaitable(result) else result


@pytest.mark.parametrize(
    ("sql", "query"),
    [
        ("select ?, :a, @b, $c, ?1, '?', \"?\", [?] -- ?", "select NULL, NULL, NULL, NULL, NULL, '?', \"?\", [?] -- ?"),
        ("values (?)", "values (NULL)"),
        ("insert into a.b as c values (?) returning c.x, ? + 1;", "SELECT  c.x, NULL + 1\nFROM a.b as c"),
        (
            "insert into t select 1 from u where true returning (select returning from v)",
            "SELECT  (select returning from v)\nFROM t",
        ),
        ('update or replace "t" set x = 1 returning *; -- c', 'SELECT  *\nFROM "t"'),
        ("delete from t where x in (select x from u) returning x", "SELECT  x\nFROM t"),
        ("with c as (select ?) delete from t returning ?, x", "with c as (select NULL) SELECT  NULL, x\nFROM t"),
        ('insert into "a""b" . `c``d` values (1) returning x', 'SELECT  x\nFROM "a""b" . `c``d`'),
        (";;select x from t", "select x from t"),
        ("insert into t values (1)", None),
        ("update t set x = 1", None),
        ("pragma table_info(t)", None),
        ("", None),
    ],
)
@pytest.mark.targets(scheme="sqlite", loop="asyncio", memory=False)
def test_a_query_that_has_the_columns_of_a_statement(sql, query):
    assert query == query_of(sql)
