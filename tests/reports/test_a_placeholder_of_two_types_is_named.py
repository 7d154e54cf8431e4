"""One named parameter in places of two types, or of none: the error names it, and the types.

Use: the message spoke of ``$1``, which no text of the user's had, `parameter` was None, and PostgreSQL's DETAIL, which
has the types, was dropped.
"""

from __future__ import annotations

import pytest

from aio_databases import ProgrammingError

pytestmark = pytest.mark.targets(scheme={"asyncpg", "psycopg"}, pooled=True, loop={"asyncio", "trio"})


@pytest.fixture
async def things(db):
    """Give a database with a table of two types."""
    await db.execute("create table things (a int, b text)")
    return db


async def fails(database, verb, text, *params):
    with pytest.raises(ProgrammingError) as caught:
        await getattr(database, verb)(text, *params)
    return caught.value


@pytest.mark.targets(scheme="asyncpg")
@pytest.mark.parametrize("verb", ["execute", "fetchall", "executemany"])
async def test_two_types(things, verb):
    error = await fails(things, verb, "insert into things values (:v, :v)", {"v": 1})
    assert (error.sqlstate, error.parameter) == ("42P08", ":v")
    assert ":v (integer versus text); say which type it has" in str(error)
    assert "$1" not in str(error)


@pytest.mark.targets(scheme="asyncpg")
async def test_no_type(things):
    error = await fails(things, "fetchall", "select :v is null and :w = 1", {"v": 1, "w": 1})
    assert (error.sqlstate, error.parameter) == ("42P18", ":v")
    error = await fails(things, "fetchall", "select ? is null", 1)
    assert (error.sqlstate, error.parameter, "$1; say which type" in str(error)) == ("42P18", "1", True)


@pytest.mark.parametrize("verb", ["execute", "fetchall"])
async def test_a_type_that_is_not_the_columns(things, verb):
    text = "insert into things (b, a) values (:w, cast(:v as text))"
    error = await fails(things, verb, text, {"v": "1", "w": "x"})
    assert (error.sqlstate, error.parameter) == ("42804", ":v")
    assert "is of type integer but expression is of type text (parameter :v)" in str(error)


async def test_other_mistakes_are_left_as_they_are(things):
    error = await fails(things, "fetchall", "select nothing from things where a = :v", {"v": 1})
    assert (error.sqlstate, error.parameter) == ("42703", None)
    error = await fails(things, "execute", "insert into things (a) values (now())")
    assert (error.sqlstate, error.parameter) == ("42804", None)
