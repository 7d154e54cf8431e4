"""An empty list becomes `[]` in JSON and `{}` in an array, or is refused, whatever the statement (hostile test).

The libraries on libpq know no types.  What they were not told, they sent as an array: `{}` was stored for `[]`.
"""

from __future__ import annotations

import pytest

from aio_databases import DataError, Error

pytestmark = pytest.mark.targets(dialect="postgresql", odbc=False, pooled=True)


class Tags(list):
    """A list of a program's own."""


STATEMENTS = [
    "insert into t (j, note) values (:v, 'a; b')",
    "insert into t (j, note) values (:v, $$;$$); -- done",
    "insert into t (j) -- this; that\n values (:v)",
    "/* ; */ insert into t (j) values (:v) ; ;",
    "explain analyze insert into t (j) values (:v)",
    "explain (analyze, verbose) insert into t (j) values (:v)",
    "with d as (delete from t) insert into t (j) values (:v)",
    "insert into t (d) values (:v)",
    "insert into t (e) values (:v)",
]


@pytest.mark.parametrize("within", [False, True])
async def test_json_is_stored_whatever_the_statement_looks_like(db, within):
    await db.execute("create domain document as jsonb")
    await db.execute("create domain list as document")
    await db.execute("create table t (note text, j jsonb, d document, e list)")
    async with db.connection():
        if within:
            await db.transaction().start()
        for statement in STATEMENTS:
            for value, stored in (([], "[]"), (Tags(), "[]"), ([1, ["a"]], '[1, ["a"]]'), (Tags("a"), '["a"]')):
                await db.execute("delete from t")
                await db.execute(statement, {"v": value})
                assert stored == await db.fetchval("select coalesce(j, d, e)::text from t"), statement
        await db.current_conn.execute("rollback")


async def test_arrays_of_json_take_what_json_takes(db):
    await db.execute("create table t (j jsonb[], k json[])")
    for value in ([{"a": []}, 5, None, '"x"', True], [[1], [{"b": 'c"\\'}]], [], ["[1]"]):
        await db.execute("delete from t")
        await db.execute("insert into t values (:j, :k)", {"j": value, "k": value})
        expected = ["x" if each == '"x"' else [1] if each == "[1]" else each for each in value]
        assert await db.fetchone("select * from t") == (expected, expected)


async def test_a_domain_of_text_is_no_place_for_a_list(db):
    await db.execute("create domain name as text")
    await db.execute("create type mood as enum ('good')")
    await db.execute("create table t (n name, m mood, ms mood[])")
    async with db.transaction():
        for column in ("n", "m"):
            for value in ([], ["good"], Tags(["good"])):
                with pytest.raises(DataError):
                    await db.execute(f"insert into t ({column}) values (:v)", {"v": value})
        await db.execute("insert into t (ms) values (:v)", {"v": []})
        await db.execute("insert into t (ms) values (:v)", {"v": ["good"]})
        assert await db.fetchall("select ms::text[] from t", into=lambda ms: ms) == [[], ["good"]]


@pytest.mark.targets(scheme={"psycopg", "aiopg"})
async def test_where_the_server_cannot_be_asked_an_empty_list_is_refused(db):
    await db.execute("create table t (j jsonb, a text[])")
    await db.execute("create procedure store(x jsonb) language sql as 'insert into t values (x)'")
    await db.execute("create procedure keep(x text[]) language sql as 'insert into t (a) values (x)'")
    async with db.transaction():
        for name in ("store", "keep"):
            with pytest.raises(DataError, match="pass the text"):
                await db.execute(f"call {name}(:v)", {"v": []})
        await db.execute("call keep(:v)", {"v": ["x"]})
        await db.execute("call store(:v)", {"v": "[]"})
        await db.execute("call keep(:v)", {"v": "{}"})
    stored = {tuple(row) for row in await db.fetchall("select j::text, a::text from t")}
    assert {("[]", None), (None, "{}"), (None, "{x}")} == stored


async def test_a_column_that_another_program_has_changed_stores_nothing_wrong(db, target, make_database):
    """The server refuses the type that the column had; where nothing remembers it, the statement runs."""
    other = await make_database()
    for number, (kind, changed, stored) in enumerate((("text[]", "jsonb", "[]"), ("json", "int[]", "{}"))):
        await db.execute(f"create table t{number} (v {kind})")
        insert = f"insert into t{number} values (:v)"
        await db.execute(insert, {"v": []})
        await other.execute(f"/* */ alter table t{number} drop v; alter table t{number} add v {changed}")
        try:
            await db.execute(insert, {"v": []})
        except Error:
            assert target.scheme != "asyncpg"
            await db.execute(insert, {"v": []})
        assert [stored] == await db.fetchall(f"select v::text from t{number} where v is not null", into=str)
