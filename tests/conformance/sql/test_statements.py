"""What single statements may be: several at once, statements that return what they wrote, very long answers."""

from __future__ import annotations

import json
import tracemalloc

import anyio
import pytest

from aio_databases import Error

IDS = "select id from users order by id"


# Several at once


async def test_several_statements_are_run_as_a_whole_or_refused_as_a_whole(users):
    try:
        await users.execute("insert into users (id) values (4); insert into users (id) values (5)")
    except Error:
        expected = [1, 2, 3]
    else:
        expected = [1, 2, 3, 4, 5]
    assert await users.fetchval("select 'own'") == "own"
    assert await users.fetchall(IDS, into=int) == expected


@pytest.mark.needs("several_queries")
@pytest.mark.parametrize("verb", ["fetchall", "fetchone", "fetchval"])
async def test_several_queries_leave_nothing_for_the_next_one(users, verb):
    async with users.connection():
        try:
            answer = await getattr(users, verb)("select 1 as a; select 2 as b; select 3 as c")
        except Error:
            answer = None
        assert (
            answer in {"fetchall": ([(1,)], [(3,)]), "fetchone": ((1,), (3,)), "fetchval": (1, 3)}[verb] or not answer
        )
        for _ in range(3):
            assert await users.fetchval("select 'own'") == "own"
        async with users.transaction():
            assert await users.fetchall(IDS, into=int) == [1, 2, 3]


async def test_a_semicolon_at_the_end_changes_nothing(users):
    assert await users.fetchall(f"{IDS};", into=int) == [1, 2, 3]
    assert await users.fetchall("select name from users where id = ? ; ", 2, into=str) == ["Bob"]
    assert [row.id async for row in users.iterate(f"{IDS};")] == [1, 2, 3]
    assert (await users.execute("delete from users where id = 1;")).rowcount == 1


# RETURNING


@pytest.mark.parametrize("verb", ["fetchall", "fetchmany", "fetchone", "fetchval", "iterate"])
@pytest.mark.needs("returning")
async def test_delete_returning_deletes_all_rows_and_commits(users, verb):
    query = "delete from users where id > 1 returning id"
    if verb == "iterate":
        assert {2, 3} == {row.id async for row in users.iterate(query)}
    elif verb == "fetchmany":
        assert len(await users.fetchmany(1, query)) == 1
    else:
        assert await getattr(users, verb)(query)
    async with users.connection():
        assert await users.fetchall(IDS, into=int) == [1]


@pytest.mark.needs("update_returning")
async def test_update_returning_returns_what_was_written(users):
    query = "update users set name = :name where id > :id returning name"
    assert await users.fetchall(query, {"name": "x", "id": 1}, into=str) == ["x", "x"]
    assert await users.fetchval(query, {"name": "y", "id": 2}) == "y"
    assert await users.fetchall("select name from users order by id", into=str) == ["Ann", "x", "y"]


@pytest.mark.needs("returning")
async def test_the_id_that_the_database_gives_is_returned(db, words):
    await db.execute(f"create table counted (id {words.types['counted']}, x integer)")
    insert = "insert into counted (x) values (?) returning id"
    assert [await db.fetchval(insert, x) for x in (7, 8, 9)] == [1, 2, 3]


# Values as JSON


async def test_a_dictionary_is_json(db, words):
    value = {"a": [1, None, True, 1.5, "ü 🐘"], "b": {"c": 'it\'s \\ "q" %s :x ?'}, "": []}
    await db.execute(f"create table t (value {words.types['json']})")
    await db.execute("insert into t (value) values (:value)", {"value": value})
    await db.executemany("insert into t (value) values (?)", [(value,), ({},)])
    found = await db.fetchall("select value from t", into=lambda value: value)
    assert [value, value, {}] == [json.loads(found) if isinstance(found, str) else found for found in found]


# Long answers

PAYLOAD = "x" * 100


async def test_long_answers_are_read_without_being_kept(db, words, target):
    rows, limit = 20_000, 1_500_000  # all of them would be some 4 000 000 bytes
    if (target.scheme, target.loop) == ("asyncmy", "uvloop"):
        # uvloop reads 32 portions before it can be told to wait, so what is kept shows in longer answers only.
        rows, limit = 600_000, 60_000_000  # all of them would be some 150 000 000
    query = f"select i, concat_text from ({words.numbers.format(rows)}) as n, (select '{PAYLOAD}' as concat_text) as p"
    await consume(db, query, 1000)
    tracemalloc.start()
    try:
        assert rows == await consume(db, query, rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit


async def consume(db, query, rows):
    count = 0
    async with db.iterate(query, chunk_size=500) as stream:
        async for row in stream:
            assert row[1] == PAYLOAD
            count += 1
            if count == rows:
                break
    return count


@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.needs("lazy_rows")
async def test_an_answer_without_end_is_read_as_far_as_it_is_wanted(users, words, in_transaction):
    """Nobody could wait for all of these rows, nor keep them."""
    query = words.numbers.format(10**12)
    with anyio.fail_after(60):
        if in_transaction:
            async with users.transaction():
                assert await count_up(users, query) == 5000
                assert await users.fetchall(IDS, into=int) == [1, 2, 3]
        else:
            assert await count_up(users, query) == 5000
    assert await users.fetchall(IDS, into=int) == [1, 2, 3]


async def count_up(db, query):
    async for row in db.iterate(query):
        if row.i == 5000:
            return row.i
    return None


async def test_a_hundred_thousand_rows_come_at_once(db, words):
    rows = await db.fetchall(words.numbers.format(100_000))
    assert (len(rows), rows[0].i, rows[-1].i) == (100_000, 1, 100_000)
