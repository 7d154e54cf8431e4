"""Values within composite values, whole rows and arrays come as they do alone, JSON and UUIDs too.

Hostile tests, MagicStack/asyncpg#1267 (JSON within a composite value), MagicStack/asyncpg#604 (and in a COPY),
MagicStack/asyncpg#512 (a class of its own for UUIDs).
"""

from __future__ import annotations

from uuid import UUID

import pytest

ONE = UUID("a1b2c3d4-0000-4000-8000-00000000000f")


@pytest.fixture
async def things(make_database):
    """Give a database with a table of JSON, which reads it as Python objects."""
    database = await make_database(json=True)
    await database.execute("create table things (id int, j jsonb, k json)")
    await database.executemany("insert into things values (:id, :j, :k)", [{"id": 1, "j": {"a": 1}, "k": {"b": "ü"}}])
    return database


@pytest.mark.targets(scheme="asyncpg")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("""select row(1, '{"a": 1}'::jsonb, '[2]'::json)""", (1, {"a": 1}, [2])),
        ("select things from things", (1, {"a": 1}, {"b": "ü"})),
        ("select array_agg(things) from things", [(1, {"a": 1}, {"b": "ü"})]),
        ("select array_agg(j) from things", [{"a": 1}]),
        ("select array['null'::jsonb, null]", [None, None]),
    ],
)
async def test_json_within_other_values(things, query, expected):
    assert await things.fetchval(query) == expected
    assert [row[0] async for row in things.iterate(query)] == [expected]


@pytest.mark.targets(scheme="asyncpg")
async def test_json_travels_within_parameters_and_copies(things):
    row = (2, {"c": [1]}, {"d": None})
    assert await things.fetchval("select (cast(:row as things)).j", {"row": row}) == {"c": [1]}
    text = "insert into things select * from unnest(cast(:rows as things[]))"
    await things.execute(text, {"rows": [row, (3, None, {})]})
    async with things.connection() as connection:
        await connection.raw.copy_records_to_table("things", records=[(4, {"e": 1}, {})])
    expected = [(1, {"a": 1}), (2, {"c": [1]}), (3, None), (4, {"e": 1})]
    assert [tuple(row) for row in await things.fetchall("select id, j from things order by id")] == expected


@pytest.mark.targets(dialect="postgresql", loop={"asyncio", "trio"})
async def test_uuids_are_of_pythons_own_class(db, target):
    assert UUID is type(await db.fetchval("select cast(:id as uuid)", {"id": ONE}))
    if not target.odbc:
        found = await db.fetchone("select array[cast(:id as uuid)] as ids, null::uuid as nothing", {"id": ONE})
        assert (found.ids, [type(each) for each in found.ids], found.nothing) == ([ONE], [UUID], None)
    if target.scheme == "asyncpg":
        assert await db.fetchval("select cast(:id as uuid)", {"id": str(ONE)}) == ONE
