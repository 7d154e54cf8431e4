"""Libraries subclass `Database`, override its verbs and call `super()`."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import aio_databases
from aio_databases.database import Database

VERBS = {"execute", "executemany", "fetchall", "fetchmany", "fetchone", "fetchval", "iterate"}


class Mapped(Database):
    """What object mappers do: note each call, pass it on, and make something of the answer."""

    def __init__(self, url, **options):
        self.calls = []
        super().__init__(url, **options)

    async def execute(self, query, *params, **options):
        self.calls.append("execute")
        return (await super().execute(query, *params, **options))[0]

    async def fetchall(self, query, *params, **options):
        self.calls.append("fetchall")
        return [dict(row.items()) for row in await super().fetchall(query, *params, **options)]

    async def fetchmany(self, size, query, *params, **options):
        self.calls.append("fetchmany")
        return [dict(row.items()) for row in await super().fetchmany(size, query, *params, **options)]

    async def fetchone(self, query, *params, **options):
        self.calls.append("fetchone")
        row = await super().fetchone(query, *params, **options)
        return row and dict(row.items())

    async def fetchval(self, query, *params, **options):
        self.calls.append("fetchval")
        return f"value {await super().fetchval(query, *params, **options)}"

    async def iterate(self, query, *params, **options):
        self.calls.append("iterate")
        async for row in super().iterate(query, *params, **options):
            yield dict(row.items())


@pytest.fixture
async def mapped(make_database):
    db = make_database(Mapped)
    await db.connect()
    await db.execute("create table users (id integer primary key, name text)")
    await db.executemany("insert into users (id, name) values ($1, $2)", (1, "Ann"), (2, "Bob"))
    db.calls.clear()
    return db


async def test_each_overridden_verb_is_called_once_and_its_answer_comes_through(mapped):
    assert await mapped.execute("update users set name = $1 where id = 2", "Eve") == 1
    assert await mapped.fetchall("select id from users order by id") == [{"id": 1}, {"id": 2}]
    assert await mapped.fetchmany(1, "select id from users order by id") == [{"id": 1}]
    assert await mapped.fetchone("select name from users where id = $1", 2) == {"name": "Eve"}
    assert await mapped.fetchone("select name from users where id = $1", 99) is None
    assert await mapped.fetchval("select count(*) from users") == "value 2"
    assert [row async for row in mapped.iterate("select id from users order by id")] == [{"id": 1}, {"id": 2}]
    assert mapped.calls == ["execute", "fetchall", "fetchmany", "fetchone", "fetchone", "fetchval", "iterate"]


async def test_blocks_and_transactions_do_not_call_the_overridden_verbs(mapped):
    async with mapped.connection(reconnect=True), mapped.transaction() as outer:
        async with mapped.transaction() as inner:
            await inner.rollback()
        await outer.commit()
    async with mapped.replica() as conn:
        assert await conn.fetchval("select count(*) from users") == 2
    await mapped.disconnect()
    assert mapped.calls == []


async def test_overridden_verbs_use_the_connection_of_their_block(mapped):
    with pytest.raises(LookupError):
        async with mapped.transaction():
            await mapped.execute("delete from users")
            assert [row async for row in mapped.iterate("select * from users")] == []
            raise LookupError
    assert await mapped.fetchval("select count(*) from users") == "value 2"


async def test_an_iterate_that_is_an_async_generator_may_be_left_early(mapped):
    async with mapped.transaction():
        rows = mapped.iterate("select id from users order by id")
        async for row in rows:
            assert row == {"id": 1}
            break
        await rows.aclose()
        assert await mapped.execute("update users set name = 'x'") == 2


async def test_the_loop_of_a_generator_may_write(mapped):
    async with mapped.transaction():
        async for row in mapped.iterate("select id from users order by id"):
            await mapped.execute("update users set name = $1 where id = $2", str(row["id"]), row["id"])
    assert await mapped.fetchall("select name from users order by id") == [{"name": "1"}, {"name": "2"}]


def test_nothing_inside_calls_a_public_verb_of_a_database():
    """A subclass gives those verbs another meaning."""
    found = []
    for path in Path(inspect.getfile(aio_databases)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in VERBS and isinstance(node.value, ast.Name):
                found += [f"{path.name}:{node.lineno}"] * (node.value.id in {"self", "owner", "db", "database"})
            if isinstance(node, ast.Attribute) and node.attr in VERBS and isinstance(node.value, ast.Attribute):
                found += [f"{path.name}:{node.lineno}"] * (node.value.attr in {"owner", "_owner", "db", "database"})
    assert found == []
