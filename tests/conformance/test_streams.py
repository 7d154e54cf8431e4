"""Streams give rows one by one, in any kind of block, and are out of the way when they are left."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import pytest

from aio_databases import Error, InterfaceError, RecordStream

IDS = "select id from users order by id"


@pytest.fixture
def many(words):
    return words.numbers.format


@pytest.fixture(params=["no block", "connection", "transaction", "nested"])
async def block(request, users):
    """Give a function that returns the kind of block that a stream is read in."""
    return {
        "no block": _NoBlock,
        "connection": users.connection,
        "transaction": users.transaction,
        "nested": lambda: _Nested(users),
    }[request.param]


class _NoBlock:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None


class _Nested(AsyncExitStack):
    def __init__(self, db):
        super().__init__()
        self._db = db

    async def __aenter__(self):
        await self.enter_async_context(self._db.transaction())
        await self.enter_async_context(self._db.transaction())


async def test_a_stream_gives_every_row(users, block):
    async with block():
        assert [row.id async for row in users.iterate(IDS)] == [1, 2, 3]
        assert [row async for row in users.iterate("select id, name from users where id = ?", 2)] == [(2, "Bob")]


@pytest.mark.parametrize(("rows", "chunk_size"), [(10_000, 1000), (2000, 1000), (999, 1000), (7, 1), (6, 3), (7, 3)])
async def test_a_stream_gives_every_row_whatever_the_size_of_the_chunks(db, many, rows, chunk_size):
    stream = db.iterate(many(rows), chunk_size=chunk_size)
    assert isinstance(stream, RecordStream)
    assert list(range(1, rows + 1)) == [row.i async for row in stream]
    assert [row async for row in stream] == []


@pytest.mark.needs("lazy_rows")
async def test_only_the_chunks_that_are_wanted_are_fetched(db, many):
    """Nobody could wait for all of these rows."""
    async with db.transaction():
        async with db.iterate(many(10**12), chunk_size=10) as stream:
            assert [(await anext(stream)).i for _ in range(3)] == [1, 2, 3]
        assert await db.fetchval(f"{many(5)} order by i desc") == 5


@pytest.mark.parametrize("chunk_size", [0, -1])
@pytest.mark.targets(pooled=True)
async def test_chunks_have_at_least_one_row(db, chunk_size):
    with pytest.raises(InterfaceError, match="chunk_size"):
        db.iterate("select 1", chunk_size=chunk_size)


async def test_a_loop_may_be_left_early(users, block, many):
    async with block():
        for _ in range(3):
            async for row in users.iterate(many(5000), chunk_size=10):
                if row.i == 15:
                    break
            assert await users.fetchall(IDS, into=int) == [1, 2, 3]
        await users.execute("insert into users (id, name) values (4, 'Dan')")
    assert await users.fetchval("select count(*) from users") == 4


@pytest.mark.parametrize("close", ["aclose", "async with"])
async def test_closing_a_stream_frees_its_cursor_at_once(users, target, block, many, close):
    async with block():
        stream = users.iterate(many(5000), chunk_size=10)
        if close == "aclose":
            assert (await anext(stream)).i == 1
            await stream.aclose()
            await stream.aclose()
        else:
            async with stream:
                assert (await anext(stream)).i == 1
        assert [row async for row in stream] == []
        await users.execute("delete from users" if target.lacks("transactional_ddl") else "drop table users")


async def test_a_stream_that_was_not_begun_is_closed_without_ado(users, block):
    async with block():
        stream = users.iterate("this is no SQL")
        await stream.aclose()
        assert [row async for row in stream] == []


async def test_the_loop_may_use_the_database(users, block):
    async with block():
        seen = []
        async for row in users.iterate(IDS, chunk_size=1):
            seen.append(await users.fetchval("select name from users where id = ?", row.id))
            await users.execute("update users set name = ? where id = ?", f"{row.id}!", row.id)
            async with users.transaction():
                await users.execute("insert into users (id, name) values (?, 'new')", -row.id)
        assert seen == ["Ann", "Bob", "Cid"]
    assert await users.fetchall("select id, name from users order by id") == [
        (-3, "new"),
        (-2, "new"),
        (-1, "new"),
        (1, "1!"),
        (2, "2!"),
        (3, "3!"),
    ]


async def test_what_a_loop_writes_outside_a_transaction_stays_when_the_loop_fails(users):
    with pytest.raises(ZeroDivisionError):
        async for row in users.iterate(IDS, chunk_size=1):
            await users.execute("update users set name = 'x' where id = ?", row.id)
            raise ZeroDivisionError
    async with users.connection():
        assert await users.fetchval("select name from users where id = 1") == "x"


async def test_streams_may_be_nested(users, block):
    async with block():
        pairs = [
            (outer.id, inner.id)
            async for outer in users.iterate(IDS, chunk_size=1)
            async for inner in users.iterate("select id from users where id > ? order by id", outer.id, chunk_size=1)
        ]
    assert pairs == [(1, 2), (1, 3), (2, 3)]


async def test_streams_may_be_read_in_turns(users, block, many):
    async with (
        block(),
        users.iterate(many(50), chunk_size=4) as left,
        users.iterate(many(50), chunk_size=7) as right,
    ):
        pairs = [((await anext(left)).i, (await anext(right)).i) for _ in range(50)]
    assert [(n, n) for n in range(1, 51)] == pairs


async def test_a_stream_reads_what_its_transaction_wrote(users):
    async with users.transaction() as transaction:
        await users.execute("insert into users (id, name) values (4, 'Dan')")
        assert [row.id async for row in users.iterate(IDS)] == [1, 2, 3, 4]
        await transaction.rollback()
    assert [row.id async for row in users.iterate(IDS)] == [1, 2, 3]


async def test_a_stream_of_a_transaction_ends_with_it(users, many):
    async with users.transaction():
        stream = users.iterate(many(100), chunk_size=10)
        assert (await anext(stream)).i == 1
    with pytest.raises(InterfaceError, match="ended"):
        _ = [row async for row in stream]
    assert await users.fetchval("select count(*) from users") == 3


async def test_a_stream_of_a_connection_ends_with_its_release(users, many):
    connection = await users.connection().acquire()
    async with connection.transaction():
        stream = connection.iterate(many(100), chunk_size=10)
        assert (await anext(stream)).i == 1
    await connection.release()
    with pytest.raises(InterfaceError):
        _ = [row async for row in stream]


async def read(db, query):
    return [row async for row in db.iterate(query, chunk_size=10)]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("held", [False, True])
async def test_a_stream_that_fails_leaves_a_usable_connection(users, words, late, held):
    query = words.fails_late if late else "select * from nowhere"
    async with users.connection() if held else _NoBlock():
        stream = users.iterate(query, chunk_size=10)
        with pytest.raises(Error):
            _ = [row async for row in stream]
        with pytest.raises(InterfaceError, match="the rest of this stream is lost"):
            await anext(stream)
        assert [row.id for row in await read(users, IDS)] == [1, 2, 3]
        await users.execute("drop table users")


@pytest.mark.parametrize("late", [False, True])
async def test_a_stream_that_fails_in_a_nested_transaction_spares_the_outer_one(users, words, late):
    async with users.transaction():
        await users.execute("insert into users (id, name) values (4, 'Dan')")
        with pytest.raises(Error):
            async with users.transaction():
                await read(users, words.fails_late if late else "select * from nowhere")
        assert [row.id for row in await read(users, IDS)] == [1, 2, 3, 4]
    assert await users.fetchval("select count(*) from users") == 4


async def test_an_exception_of_the_loop_is_not_replaced(users, block, many):
    reason = ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError) as caught:
        async with block():
            async for _ in users.iterate(many(100), chunk_size=10):
                raise reason
    assert reason is caught.value
    assert await users.fetchval("select count(*) from users") == 3


async def test_rows_of_a_stream_become_what_is_asked_for(users, block):
    async with block():
        assert [number async for number in users.iterate(IDS, into=int, chunk_size=2)] == [1, 2, 3]
        assert [row async for row in users.iterate("select id from users where id = 1", into=dict)] == [{"id": 1}]


async def test_streams_forgotten_half_way_give_their_connections_back(users, many):
    for _ in range(5):
        stream = users.iterate(many(100), chunk_size=10)
        await anext(stream)
        del stream
        await anyio.lowlevel.checkpoint()  # the connection comes back with the next round of the event loop
    assert await users.fetchval("select count(*) from users") == 3
    with anyio.fail_after(5):
        while (stats := users.stats()["primary"]).size != stats.idle:
            await anyio.sleep(0.01)
            await users.fetchval("select 1")


async def test_a_stream_outside_a_block_holds_at_most_one_connection(make_database, many):
    database = await make_database(max_size=1, timeout=2)
    rows = [row.i async for row in database.iterate(many(5000))]
    assert len(rows) == 5000
    async for row in database.iterate(many(100), chunk_size=10):
        if row.i == 5:
            break
    assert await database.fetchval(many(1)) == 1


@pytest.mark.targets(dialect="postgresql")
async def test_a_held_connection_whose_pool_is_exhausted_reads_everything_at_once(make_database, many):
    database = await make_database(max_size=1, timeout=2)
    await database.execute("create table copies (i integer)")
    async with database.connection():
        async for row in database.iterate(many(30), chunk_size=10):
            await database.execute("insert into copies (i) values (?)", row.i)
        assert await database.fetchval("select count(*) from copies") == 30


@pytest.mark.targets(dialect="postgresql")
async def test_a_stream_sees_what_only_its_session_has(db):
    async with db.connection():
        await db.execute("create temporary table mine (i integer)")
        await db.execute("insert into mine (i) values (7)")
        assert [row async for row in db.iterate("select i from mine")] == [(7,)]


@pytest.mark.parametrize("query", ["update users set name = 'x' where id = 1", "create table others (id integer)"])
async def test_a_statement_without_rows_is_an_empty_stream(users, query):
    assert await read(users, query) == []
    await users.fetchall("select * from others" if "others" in query else IDS)


async def test_tasks_read_streams_at_the_same_time(users, many):
    found = []

    async def count():
        found.append(len([row async for row in users.iterate(many(300), chunk_size=50)]))

    async with users.connection(), anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(count)
    assert found == [300] * 4
