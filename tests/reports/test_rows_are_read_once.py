"""The rows of an executemany() that runs later, or again, are those that it was given (a hostile test)."""

from __future__ import annotations

import csv
import io
import itertools
from contextlib import suppress
from functools import partial
from inspect import iscoroutine

import anyio
import pytest
import sqlalchemy as sa

from aio_databases import ConnectError, ConnectionLost, Database, DeadlockDetected, Error, ProgrammingError
from aio_databases.testing.fake_driver import FakeError, connected

TABLE = sa.table("t", sa.column("a"))


async def after_the_block(db, gate, call):
    """Return what a call returns that waits for its turn in a block until the block has ended."""
    results = []

    async def run():
        results.append(await call())

    async with anyio.create_task_group() as tasks, db.connection():
        tasks.start_soon(db.fetchval, "select busy")
        await gate.reached()
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(open_in_the_end, gate)
    return results[0]


async def open_in_the_end(gate):
    """Have the busy statement end when the block waits for that."""
    await anyio.wait_all_tasks_blocked()
    gate.open()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
@pytest.mark.parametrize(
    "rows",
    [
        lambda: ((number,) for number in range(3)),
        lambda: iter([(1,), (2,), (3,)]),
        lambda: map(tuple, ["1", "2", "3"]),
        lambda: [(1,), (2,), (3,)],
    ],
)
async def test_a_batch_that_waited_for_a_block_which_ended_has_all_its_rows(rows, loop):
    async with connected() as (db, fake):
        await after_the_block(db, fake.wait("select busy"), lambda: db.executemany("insert $1", rows()))
        assert fake.sent[-1] == "insert $1 x3"


@pytest.mark.parametrize("verb", ["execute", "executemany", "fetchall"])
async def test_a_statement_of_sqlalchemy_is_compiled_once_when_it_waits(verb):
    made = []
    default = sa.Column("b", sa.Integer, default=lambda: made.append(1) or len(made))
    insert = sa.Table("t", sa.MetaData(), sa.Column("a", sa.Integer), default).insert()
    async with connected() as (db, fake):
        call = partial(getattr(db, verb), insert, {"a": 1})
        await after_the_block(db, fake.wait("select busy"), call)
        assert made == [1]


async def test_an_iterator_of_mappings_is_read_once_when_a_statement_waits():
    async with connected() as (db, fake):
        rows = ({"a": number} for number in range(3))
        await after_the_block(db, fake.wait("select busy"), lambda: db.executemany(TABLE.insert(), rows))
        assert fake.sent[-1] == "INSERT INTO t (a) VALUES ($1) x3"


async def test_a_stream_that_reads_at_once_compiles_its_statement_once():
    made = []
    default = sa.Column("b", sa.Integer, default=lambda: made.append(1) or len(made))
    table = sa.Table("t", sa.MetaData(), sa.Column("a", sa.Integer), default)
    async with connected() as (db, _):
        assert len([row async for row in db.iterate(table.insert().returning(table.c.a), {"a": 1})]) == 1
        assert made == [1]


async def test_a_batch_in_a_block_that_reconnects_has_all_its_rows():
    async with connected() as (db, fake), db.connection(reconnect=True) as connection:
        fake.drop("select 1")
        fake.fail("connect", FakeError("starting", ConnectError))
        with pytest.raises(ConnectionLost):
            await connection.fetchval("select 1")
        assert not connection.is_ready
        await connection.executemany("insert $1", ((number,) for number in range(3)))
        assert fake.sent[-1] == "insert $1 x3"


@pytest.mark.parametrize(
    "arguments",
    [
        lambda db: (db.executemany, "insert $1", ((number,) for number in range(3))),
        lambda db: (db.executemany, "insert $1", iter([(1,)])),
        lambda db: (db.executemany, "insert $1", map(tuple, ["1"])),
        lambda db: (partial(db.executemany, "insert $1", iter([(1,)])),),
        lambda db: (partial(db.executemany, query="insert $1", rows=iter([(1,)])),),
    ],
)
async def test_run_transaction_refuses_what_is_used_up_at_its_second_try(arguments):
    async with connected() as (db, fake):
        with pytest.raises(TypeError, match=r"is used up: pass a list, make it inside of the function, or set ret"):
            await db.run_transaction(*arguments(db))
        assert fake.sent == []


async def _consume(*_):
    raise AssertionError("it is not called")


async def _coroutine():
    """Be closed by the test."""


async def _asynchronous():
    yield 1


@pytest.mark.parametrize(
    "make",
    [
        lambda _: (number for number in range(3)),
        lambda _: map(str, [1]),
        lambda _: filter(None, [1]),
        lambda _: zip([1], [2], strict=True),
        lambda _: enumerate([1]),
        lambda _: reversed([1]),
        lambda _: iter([1]),
        lambda _: iter((1,)),
        lambda _: iter({1}),
        lambda _: iter({1: 2}.items()),
        lambda _: iter(range(3)),
        lambda _: iter("ab"),
        lambda _: iter([1].pop, None),
        lambda _: itertools.chain([1], [2]),
        lambda _: itertools.islice([1, 2], 1),
        lambda _: itertools.tee([1])[0],
        lambda _: _coroutine(),
        lambda _: _asynchronous(),
        lambda db: db.iterate("select 1"),
    ],
)
@pytest.mark.parametrize("how", ["argument", "partial", "keyword"])
async def test_a_function_is_not_given_what_its_first_try_uses_up(make, how):
    async with connected() as (db, fake):
        argument = make(db)
        calls = {
            "argument": (_consume, argument),
            "partial": (partial(_consume, argument),),
            "keyword": (partial(_consume, rows=argument),),
        }
        with pytest.raises(TypeError, match="is used up"):
            await db.run_transaction(*calls[how])
        if iscoroutine(argument):
            argument.close()
        assert fake.sent == []


class _Ids:
    """Give one number after the other."""

    def __init__(self):
        self.last = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.last += 1
        return self.last


@pytest.mark.parametrize(
    "make",
    [
        itertools.count,
        lambda: itertools.cycle([1, 2]),
        lambda: itertools.repeat(1),
        _Ids,
        lambda: io.StringIO("1\n2\n"),
        lambda: io.BytesIO(b"1\n2\n"),
        lambda: csv.reader(["1", "2"]),
    ],
)
async def test_a_function_may_take_iterators_that_are_its_tools(make):
    async def use(source):
        await db.execute("insert $1", next(iter(source)))

    async with connected() as (db, fake):
        fake.fail("insert", FakeError("deadlock", DeadlockDetected))
        await db.run_transaction(use, make(), backoff=0)
        assert fake.sent == ["BEGIN", "insert $1", "ROLLBACK", "BEGIN", "insert $1", "COMMIT"]


@pytest.mark.parametrize("make", [lambda: csv.reader(["1"]), _Ids, lambda: itertools.repeat((1,), 2)])
@pytest.mark.parametrize("given", ["database", "connection", "class", "partial"])
async def test_a_verb_is_not_given_an_iterator_of_whatever_making(make, given):
    async with connected() as (db, fake), db.connection() as connection:
        verbs = {
            "database": (db.executemany,),
            "connection": (connection.executemany,),
            "class": (Database.executemany, db),
            "partial": (partial(db.executemany),),
        }
        with pytest.raises(TypeError, match="is used up"):
            await db.run_transaction(*verbs[given], "insert $1", make())
        assert fake.sent == []


async def test_run_transaction_takes_an_iterator_where_it_tries_once():
    async with connected() as (db, fake):
        await db.run_transaction(db.executemany, "insert $1", iter([(1,), (2,)]), retries=0)
        assert fake.sent == ["BEGIN", "insert $1 x2", "COMMIT"]


async def test_run_transaction_sends_all_rows_of_a_list_again():
    async with connected() as (db, fake):
        fake.fail("insert", FakeError("deadlock", DeadlockDetected))
        await db.run_transaction(db.executemany, "insert $1", [(1,), (2,)], backoff=0)
        assert fake.sent.count("insert $1 x2") == 2


async def test_a_generator_that_was_read_is_refused():
    async with connected() as (db, fake):
        fake.fail("insert", FakeError("deadlock", DeadlockDetected))
        rows = ((number,) for number in range(3))

        async def write():
            await db.executemany("insert $1", rows)

        with pytest.raises(ProgrammingError, match="the generator of the rows was read to its end before"):
            await db.run_transaction(write, backoff=0)
        assert fake.sent[-1] == "ROLLBACK"


async def test_an_error_of_the_generator_is_raised_as_it_is():
    def rows():
        yield (1,)
        raise TypeError("of the caller")

    async with connected() as (db, fake):
        with pytest.raises(TypeError, match="of the caller"):
            await db.executemany("insert $1", rows())
        assert fake.sent == []


@pytest.mark.targets(pooled=True, memory=False)
async def test_all_rows_are_written_after_a_wait(make_database, words):
    db = await make_database(cleanup_timeout=0.1)
    await db.execute("create table t (a integer)")

    async def be_busy():
        with suppress(Error):  # it is cut
            await db.fetchval(words.endless)

    async with anyio.create_task_group() as tasks, db.connection() as connection:
        turns = connection.lock
        tasks.start_soon(be_busy)
        await until(lambda: turns.locked)
        tasks.start_soon(db.executemany, "insert into t values (?)", ((number,) for number in range(10)))
        await until(lambda: turns._waiting)
    assert await db.fetchval("select count(*) from t") == 10


async def until(condition):
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - nothing tells
            await anyio.sleep(0.001)
