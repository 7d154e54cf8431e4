"""Transactions as decorators, on the scripted driver."""

from __future__ import annotations

import inspect
from functools import partial

import anyio
import pytest

from aio_databases import NotSupportedError, TransactionError, TransactionTimeout
from aio_databases.testing.fake_driver import connected, make_database


class Boom(Exception):
    """The user's own exception."""


async def test_each_call_runs_in_a_transaction_of_its_own():
    async with connected() as (db, fake):

        @db.transaction(isolation="serializable")
        async def insert(number, *, twice=False):
            await db.execute(f"insert {number}")
            return number * 2 if twice else number

        assert fake.sent == []
        assert await insert(1) == 1
        assert await insert(2, twice=True) == 4
        begin = "BEGIN ISOLATION LEVEL SERIALIZABLE"
        assert [begin, "insert 1", "COMMIT", begin, "insert 2", "COMMIT"] == fake.sent


async def test_an_exception_rolls_the_call_back():
    async with connected() as (db, fake):

        @db.transaction()
        async def fail():
            raise Boom

        for _ in range(2):
            with pytest.raises(Boom):
                await fail()
        assert fake.sent == ["BEGIN", "ROLLBACK"] * 2


async def test_a_call_inside_of_a_transaction_is_nested():
    async with connected() as (db, fake):

        @db.transaction()
        async def insert(depth):
            await db.execute(f"insert {depth}")
            if depth:
                await insert(depth - 1)

        await insert(1)
        assert fake.sent == ["BEGIN", "insert 1", "SAVEPOINT aiodb_1", "insert 0", "RELEASE aiodb_1", "COMMIT"]


async def test_concurrent_calls_have_transactions_of_their_own():
    async with connected() as (db, fake):

        @db.transaction()
        async def insert():
            await db.execute("insert 1")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(insert)
            tasks.start_soon(insert)
        assert fake.sent.count("COMMIT") == 2
        assert {"1 COMMIT", "2 COMMIT"} <= set(fake.log)


async def test_it_decorates_methods_and_keeps_their_names():
    async with connected() as (db, fake):

        class Shop:
            """Sells things."""

            def __init__(self, name):
                self.name = name

            @db.transaction()
            async def sell(self, thing: str) -> str:
                """Sell a thing."""
                await db.execute(f"insert {thing}")
                return f"{self.name}: {thing}"

            @classmethod
            @db.transaction()
            async def open(cls) -> str:
                return cls.__name__

        assert await Shop("Ann").sell("bread") == "Ann: bread"
        assert await Shop.open() == "Shop"
        assert (Shop.sell.__name__, Shop.sell.__doc__) == ("sell", "Sell a thing.")
        assert list(inspect.signature(Shop.sell).parameters) == ["self", "thing"]
        assert inspect.iscoroutinefunction(Shop.sell)
        assert fake.sent == ["BEGIN", "insert bread", "COMMIT", "BEGIN", "COMMIT"]


async def test_all_options_apply_to_every_call():
    async with connected() as (db, fake), db.connection() as connection:

        @connection.transaction(timeout=0.05)
        async def on_this_connection():
            assert db.current_conn is connection
            await anyio.sleep_forever()

        @db.transaction(create=True)
        async def on_another():
            assert db.current_conn is not connection

        for _ in range(2):
            with pytest.raises(TransactionTimeout):
                await on_this_connection()
            await on_another()
        assert [x for x in fake.log if "connect" not in x] == ["1 BEGIN", "1 ROLLBACK", "2 BEGIN", "2 COMMIT"] * 2

        @db.transaction(mode="nonsense")
        async def refused():
            pytest.fail("it has no such mode")

        with pytest.raises(NotSupportedError):
            await refused()


def ordinary():
    pytest.fail("it was called")


async def generator():
    yield


class Callable:
    async def __call__(self):
        pytest.fail("it was called")


@pytest.mark.parametrize(
    "function",
    [ordinary, generator, Callable, Callable(), partial(ordinary), None, 1],
    ids=["ordinary", "generator", "class", "object", "partial", "None", "number"],
)
async def test_only_coroutine_functions_can_be_decorated(function):
    async with connected() as (db, fake):
        with pytest.raises(TypeError, match=r"transaction\(\) decorates coroutine functions"):
            db.transaction()(function)
        assert fake.sent == []


async def test_a_transaction_in_use_is_no_decorator():
    async with connected() as (db, _), db.transaction() as transaction:
        with pytest.raises(TransactionError, match="make a new one"):
            transaction(anyio.sleep)


def test_a_decorator_without_parentheses_is_refused():
    db = make_database()
    with pytest.raises(TypeError, match=r"write @db\.transaction\(\)"):

        @db.transaction
        async def work():
            pytest.fail("it was called")
