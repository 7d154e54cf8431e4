"""Placeholders of every style work on every driver, and what only looks like one is left alone."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from aio_databases import Error, ProgrammingError

WHERE = "select name from users where "
SECRET = "hunter2"  # a value that no message may show

OF_EVERY_STYLE = (
    ("id = :id and name = :name", ({"id": 2, "name": "Bob"},)),
    ("id = %(id)s and name = %(name)s", ({"id": 2, "name": "Bob"},)),
    ("id = ? and name = ?", (2, "Bob")),
    ("id = %s and name = %s", (2, "Bob")),
    ("id = $1 and name = $2", (2, "Bob")),
    ("id = $2 and name = $1", ("Bob", 2)),
    ("id = :id or id = :id", ({"id": 2},)),
    ("id = %(id)s or id = %(id)s", ({"id": 2},)),
    ("id = $1 or id = $1", (2,)),
    ("id=:id", ({"id": 2},)),
    ("(id)=(?)", (2,)),
    ("id in (?,?,?) and id > ?", (0, 1, 2, 1)),
    ("id = :id", (MappingProxyType({"id": 2}),)),
    ("id = :_id_2", ({"_id_2": 2},)),
    ("id = :id\n", ({"id": 2},)),
)


@pytest.mark.parametrize(("condition", "params"), OF_EVERY_STYLE[:6], ids=ascii)
async def test_every_verb_takes_placeholders_of_every_style(users, condition, params):
    assert await users.fetchall(WHERE + condition, *params, into=str) == ["Bob"]
    assert await users.fetchmany(5, WHERE + condition, *params) == [("Bob",)]
    assert await users.fetchone(WHERE + condition, *params) == ("Bob",)
    assert await users.fetchval(WHERE + condition, *params) == "Bob"
    assert [row.name async for row in users.iterate(WHERE + condition, *params)] == ["Bob"]
    assert (await users.execute(f"delete from users where {condition}", *params)).rowcount == 1


@pytest.mark.targets(pooled=True)
async def test_placeholders_of_every_style_are_found(users):
    for condition, params in OF_EVERY_STYLE:
        assert await users.fetchall(WHERE + condition, *params, into=str) == ["Bob"], condition


INNOCENT = (
    ("name like 'B%'", ()),
    ("name like 'B%' and id = ?", (2,)),
    ("name like 'B%' and id = %s", (2,)),
    ("name like 'B%%' and id = %s", (2,)),
    ("name like 'B%' and id = :id", ({"id": 2},)),
    ("name like 'B%' and id = $1", (2,)),
    ("name like '%s' || '' or id = 2", ()),
    ("name like ?", ("B%",)),
    ("id % 3 = ?", (2,)),
    ("id %% 3 = %s", (2,)),
    ("id = :id and '12:30' <> ':x'", ({"id": 2},)),
    ("id = ? and ':a ? %s $1 %(b)s' <> ''", (2,)),
    ("id = %s and ':a ? $1' <> ''", (2,)),
    ("id = $1 and ':a ? %s' <> ''", (2,)),
    ("id = :id and 'it''s :not' <> ''", ({"id": 2},)),
    ('id = ? and "name" <> \'"?\'', (2,)),
    ("id = 2 and ':a ? %s $1' <> ''", ()),
)


@pytest.mark.targets(pooled=True)
async def test_what_only_looks_like_a_placeholder_is_left_alone(users):
    for condition, params in INNOCENT:
        assert await users.fetchall(WHERE + condition, *params, into=str) == ["Bob"], condition


IN_COMMENTS = (
    ("id = :id -- ? :other %s it's", ({"id": 2},)),
    ("id = ? /* ? :other $9 ' */", (2,)),
)


@pytest.mark.targets(pooled=True)
@pytest.mark.needs("marks_in_comments")
async def test_what_looks_like_a_placeholder_in_a_comment_is_left_alone(users):
    for condition, params in IN_COMMENTS:
        assert await users.fetchall(WHERE + condition, *params, into=str) == ["Bob"], condition


LITERALS = ("50% :a ? %s $1 %(b)s", "it''s ''?''", "--", "/* :a", "a;b", "\\", "ünï 🐘 ?", "%%")


@pytest.mark.parametrize(("mark", "params"), [("", ()), (" where id = ?", (1,)), (" where id = :i", ({"i": 1},))])
@pytest.mark.targets(pooled=True)
async def test_literals_come_back_as_they_were_written(users, words, mark, params):
    for literal in LITERALS:
        query = f"select '{literal}' from users{mark}".replace("\\", words.backslash)
        assert literal.replace("''", "'") == await users.fetchval(query, *params)


@pytest.mark.targets(pooled=True)
async def test_values_that_look_like_sql_are_values(users):
    for value in ("", "'; drop table users; --", "%s", ":id", "?", "$1", "%", "\\", '"', "🐘", "a\nb"):
        await users.execute("update users set name = :value where id = :id", {"value": value, "id": 1})
        assert value == await users.fetchval("select name from users where name = ?", value)
    assert await users.fetchval("select count(*) from users") == 3


async def test_hundreds_of_parameters_work(users):
    numbers = list(range(-496, 4))
    marks = ", ".join("?" * len(numbers))
    assert await users.fetchval(f"select count(*) from users where id in ({marks})", *numbers) == 3


MISFITS = (
    ("id = :id and name = :name", ({"id": 1},), ["lacks :name"]),
    ("id = :id", ({"id": 1, "hint": SECRET},), ["does not name :hint"]),
    ("id = :id and name = :name", ({"id": 1, "nam": SECRET},), ["lacks :name", ":nam"]),
    ("id = :id", ({},), ["lacks :id"]),
    ("id = 1", ({"id": SECRET},), ["does not name :id"]),
    ("id = ? and name = ?", (1,), ["takes 2 values", "got 1"]),
    ("id = ?", (1, SECRET), ["takes 1 value", "got 2"]),
    ("id = %s and name = %s", (1,), ["takes 2 values", "got 1"]),
    ("id = $1 and name = $3", (1,), ["takes 3 values", "got 1", "$2"]),
    ("id = 1", (SECRET,), ["takes 0 values", "got 1"]),
    ("id = :id", (SECRET,), [":id", "mapping"]),
    ("id = ?", ({"id": SECRET}, 2), ["takes 1 value", "got 2", "mapping"]),
)


@pytest.mark.parametrize("verb", ["fetchall", "fetchone", "fetchval", "execute", "iterate"])
@pytest.mark.targets(pooled=True)
async def test_parameters_that_do_not_match_are_explained_without_their_values(users, verb):
    for condition, params, told in MISFITS:
        with pytest.raises(ProgrammingError) as caught:
            await (anext if verb == "iterate" else _same)(getattr(users, verb)(WHERE + condition, *params))
        assert all(words in str(caught.value) for words in told), str(caught.value)
        assert SECRET not in repr(caught.value)
    assert await users.fetchval("select count(*) from users") == 3


def _same(awaitable):
    return awaitable


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([(4, "Dan"), (5,)], ["row 2", "takes 2 values", "got 1"]),
        ([(4, "Dan"), (5, "Eve"), (6, "Fay", SECRET)], ["row 3", "got 3"]),
        ([(4, "Dan"), {"id": SECRET}], ["row 2", "takes 2 values", "got 1"]),
    ],
    ids=["too short", "too long", "mapping"],
)
@pytest.mark.targets(pooled=True)
async def test_a_row_that_does_not_match_is_named_and_none_is_written(users, rows, told):
    with pytest.raises(ProgrammingError) as caught:
        await users.executemany("insert into users (id, name) values (?, ?)", rows)
    assert told[0] in str(caught.value)
    assert SECRET not in str(caught.value)
    assert await users.fetchval("select count(*) from users") == 3


@pytest.mark.parametrize("query", [b"select 1", object()], ids=["bytes", "object"])
@pytest.mark.targets(pooled=True)
async def test_what_is_no_query_is_refused(db, query):
    with pytest.raises(ProgrammingError, match="pass SQL as a str"):
        await db.fetchall(query)


@pytest.mark.parametrize("query", ["selec 1", "select 'open", "select * from nowhere", "select nothing"])
@pytest.mark.targets(pooled=True)
async def test_bad_sql_is_a_programming_error_and_the_connection_stays_usable(users, query):
    async with users.connection():
        for call in (users.execute, users.fetchall, users.fetchone, users.fetchval):
            with pytest.raises(ProgrammingError):
                await call(query)
        assert await users.fetchval("select count(*) from users") == 3


@pytest.mark.parametrize("query", ["", " ", "-- nothing", ";"])
@pytest.mark.targets(pooled=True)
async def test_no_sql_finds_nothing(db, query):
    assert await db.fetchall(query) == []
    assert await db.fetchval(query) is None
    assert (await db.execute(query)).rowcount in {-1, 0}


NATIVE = {
    "qmark": "select cast(? as decimal) + cast(? as decimal)",
    "format": "select cast(%s as decimal) + cast(%s as decimal)",
    "numeric_dollar": "select $1::int + $2::int",
}


async def test_without_conversion_the_style_of_the_library_works(make_database):
    database = await make_database(convert_params=False)
    assert await database.fetchval(NATIVE[database.backend.paramstyle], 1, 3) == 4


@pytest.mark.targets(scheme={"sqlite", "aiosqlite"})
async def test_without_conversion_sqlites_numbered_parameters_work(make_database):
    database = await make_database(convert_params=False)
    assert await database.fetchval("select ?1 + ?2 + ?1", 1, 3) == 5


async def test_without_conversion_foreign_styles_are_not_understood(make_database, words):
    database = await make_database(convert_params=False)
    foreign = "$1" if database.backend.paramstyle == "format" else "%s"
    with pytest.raises(Error):
        await database.fetchval(f"select {words.text_of.format(foreign)}", "x")


async def test_convert_params_can_be_asked_for_as_in_1x(make_database):
    database = await make_database(convert_params=True)
    await database.execute("create table t (a integer, b text)")
    await database.execute("insert into t (a, b) values (%s, %s)", 1, "one %s")
    assert await database.fetchone("select a, b from t where a = %s and b like 'one %%'", 1) == (1, "one %s")


@pytest.mark.targets(dialect="postgresql", odbc=False, pooled=True)
@pytest.mark.parametrize(
    ("query", "params", "expected"),
    [
        ("select :a::int", ({"a": 1},), 1),
        ("select ?::int", (1,), 1),
        ("select '{\"k\": 1}'::jsonb ? :key", ({"key": "k"},), True),
        ("select '{\"k\": 1}'::jsonb ?? ?", ("k",), True),
        ("select '{\"k\": 1}'::jsonb ?| :keys", ({"keys": ["k"]},), True),
        ("select (array[1,2,3])[2:3] = :part::int[]", ({"part": [2, 3]},), True),
        ("select $$:a ? it's$$ || :b", ({"b": "!"},), ":a ? it's!"),
        ("select $tag$?$tag$ || ?", ("!",), "?!"),
        ("select E'\\':a' || :b", ({"b": "!"},), "':a!"),
        ("select /* /* :a */ ? */ :b", ({"b": "!"},), "!"),
        ("select 5 = any(:some)", ({"some": [4, 5]},), True),
    ],
    ids=ascii,
)
async def test_the_syntax_of_postgresql_is_understood(db, query, params, expected):
    assert await db.fetchval(query, *params) == expected


@pytest.mark.targets(dialect="sqlite", odbc=False, pooled=True)
@pytest.mark.parametrize(
    ("query", "params", "expected"),
    [
        ("select [a ?] || :b from (select 'x' as [a ?])", ({"b": "!"},), "x!"),
        ("select `a :c` || ? from (select 'x' as `a :c`)", ("!",), "x!"),
        ("select @a + @b", ({"a": 1, "b": 2},), 3),
        ("select $a + $b", ({"a": 1, "b": 2},), 3),
        ("select ?2 || ?1", ("a", "b"), "ba"),
        ("select '{\"a\": 1}' ->> :path", ({"path": "$.a"},), 1),
    ],
    ids=ascii,
)
async def test_the_syntax_of_sqlite_is_understood(db, query, params, expected):
    assert await db.fetchval(query, *params) == expected
