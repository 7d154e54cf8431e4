"""A list behind IN is a list of values on every driver, elsewhere one value (hostile test, encode/databases#58)."""

from __future__ import annotations

import pytest

from aio_databases import DataError, Error, ProgrammingError

pytestmark = pytest.mark.targets(pooled=True)

EXPECTED = [
    ("id in (:ids)", ({"ids": [1, 3]},), [1, 3]),
    ("id in :ids", ({"ids": (1, 3)},), [1, 3]),
    ("id IN ( /* which */ %(ids)s )", ({"ids": {1, 3}},), [1, 3]),
    ("id not in (:ids)", ({"ids": frozenset({1, 3})},), [2, 4]),
    ("id in (?) and id < ?", ([1, 2, 3], 3), [1, 2]),
    ("id in %s or id in %s", ([1], [2, 3, 3, 3, 3]), [1, 2, 3]),
    ("id in ($2) and id < $1", (3, [1, 2, 3]), [1, 2]),
    ("id in (?)", ([2],), [2]),
    ("id in (?)", (2,), [2]),
    ("id in (:a, :b)", ({"a": 1, "b": 3},), [1, 3]),
    ("id in (select id from users where id > :a)", ({"a": 2},), [3, 4]),
    ("name like '%' and id in (:ids) and '(:ids)' <> 'in :ids' and id <= :most", ({"ids": [4, 3], "most": 3},), [3]),
    ("id in (:ids)", ({"ids": []},), []),
    ("id in :ids or id = 2", ({"ids": ()},), [2]),
    ("id not in (?)", ([],), [1, 2, 3, 4]),
    ("not id in (?)", ([],), [1, 2, 3, 4]),
    ("name in (:names)", ({"names": []},), []),
    ("name not in (:names)", ({"names": []},), [1, 2, 3, 4]),
    ("name in (:names)", ({"names": ["Ann", "Cid", None]},), [1, 3]),
    ("id in (:ids)", ({"ids": list(range(3, 1500))},), [3, 4]),
]


@pytest.fixture
async def people(users):
    await users.execute("insert into users (id, name) values (4, null)")
    return users


async def test_a_list_behind_in_is_a_list_of_values_in_each_style_of_placeholders(people, target):
    async with people.connection():
        for condition, params, expected in EXPECTED:
            if target.odbc and params and any(len(p) > 1000 for p in params if isinstance(p, list)):
                continue
            query = f"select id from users where {condition} order by id"
            assert await people.fetchall(query, *params, into=int) == expected, condition
        assert [
            row.id async for row in people.iterate(f"select id from users where {EXPECTED[4][0]}", *EXPECTED[4][1])
        ] == [1, 2]
        for bare in (False, True):  # written out, and as it is
            query = "select count(*) from users where id in (:id)"
            assert await people.fetchval(query, {"id": 2 if bare else [2]}) == 1


async def test_rows_of_a_batch_may_have_lists_of_many_lengths(people):
    async with people.connection():
        rows = [{"ids": [1, 2, 3], "name": "x"}, {"ids": [], "name": "y"}, {"ids": 4, "name": "z"}]
        await people.executemany("update users set name = :name where id in (:ids)", rows)
        assert await people.fetchall("select name from users order by id", into=str) == ["x", "x", "x", "z"]
        with pytest.raises(ProgrammingError, match="one by one"):
            await people.executemany("update users set name = :name where id not in (:ids)", rows)
        await people.executemany("delete from users where id not in (?)", [([1, 2],), ([2, 3, 4],)])
        assert await people.fetchall("select id from users", into=int) == [2]


@pytest.mark.targets(dialect="postgresql", odbc=False)
async def test_arrays_stay_arrays(people):
    query = (
        "select id from users where id = any(:ids::int[]) and (id in (:ids) or cardinality(:ids::int[]) = 0) order by 1"
    )
    assert await people.fetchall(query, {"ids": [1, 2]}, into=int) == [1, 2]
    assert await people.fetchall(query, {"ids": []}, into=int) == []


@pytest.mark.targets(odbc=False)
async def test_a_list_in_place_of_the_values_is_told(people):
    async with people.connection():
        for verb in (people.fetchall, people.execute):
            for habit in (["Ann"], ("Ann",)):
                with pytest.raises(DataError, match="one by one"):
                    await verb("select id from users where name = ?", habit)
        with pytest.raises(ProgrammingError, match="one by one"):
            await people.execute("insert into users (id, name) values (?, ?)", [5, "Eve"])
        with pytest.raises(DataError, match="one by one"):
            await people.execute("insert into users (id, name) values (5, ?)", ["Eve"])
        assert await people.fetchval("select count(*) from users") == 4


async def test_a_text_with_a_zero_byte_is_refused_before_anything_is_sent(people):
    r"""A library took it for the end: `delete from users \0 where id = 1` deleted all."""
    for text in ("delete from users \0 where id = ?", "\0", "delete from users \0 where id = 1"):
        params = (1,) if "?" in text else ()
        for verb in (people.execute, people.fetchall, people.fetchval, people.executemany):
            with pytest.raises(ProgrammingError, match="NUL"):
                await verb(text, *params)
        with pytest.raises(ProgrammingError, match="NUL"):
            await anext(people.iterate(text, *params))
    assert await people.fetchval("select count(*) from users") == 4


@pytest.mark.targets(dialect="postgresql", odbc=False)
async def test_names_behind_a_bracket_are_placeholders_where_the_mapping_has_them(people):
    for query, values, expected in (
        ("select array[:a, :b]::int[]", {"a": 1, "b": 2}, [1, 2]),
        ("select 2 = any(array[:x, 2]::int[])", {"x": 1}, True),
        ("select (array[[:a::int, 1], [:b, 2]])[2][1]", {"a": 1, "b": 5}, 5),
        ("select j[:key] = to_jsonb(:v::int) from (select '{\"k\": 1}'::jsonb as j) x", {"key": "k", "v": 1}, True),
        ("select a[:n] from (select array[1, 2, 3] as a, 2 as n where :one = 1) x", {"one": 1}, [1, 2]),
        ("select a[:n] from (select array[1, 2, 3] as a) x", {"n": 3}, 3),
    ):
        assert await people.fetchval(query, values) == expected, query
    with pytest.raises(Error):
        await people.fetchval("select array[:a]", {})
