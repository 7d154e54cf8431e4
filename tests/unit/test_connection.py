"""Connections: leases, verbs, reconnection, and how failures of a statement are treated."""

from __future__ import annotations

import copy

import anyio
import pytest

from aio_databases import (
    ConnectError,
    ConnectionLost,
    DatabaseError,
    Error,
    InterfaceError,
    ProgrammingError,
    ReadOnlyError,
    Result,
)
from aio_databases.testing.fake_driver import FakeError, connected


async def test_every_verb_works_on_a_connection():
    async with connected() as (db, fake), db.connection() as connection:
        fake.rows["select 2"] = 2
        assert Result(1) == await connection.execute("insert 1")
        assert Result(2) == await connection.executemany("insert $1", (1,), (2,))
        assert await connection.fetchall("select 2") == [("select 2",), ("select 2",)]
        assert await connection.fetchmany(1, "select 2") == [("select 2",)]
        assert await connection.fetchone("select 2") == ("select 2",)
        assert await connection.fetchval("select 2", column="value") == "select 2"
        assert [row async for row in connection.iterate("select 2")] == [("select 2",)] * 2


async def test_queries_without_rows_give_none():
    async with connected() as (db, fake):
        fake.rows["select 0"] = 0
        assert (await db.fetchone("select 0"), await db.fetchval("select 0")) == (None, None)
        assert (await db.fetchall("select 0"), await db.fetchall("select 0", into=dict)) == ([], [])


async def test_rows_become_what_into_says():
    async with connected() as (db, _):
        assert await db.fetchall("select 1", into=str) == ["select 1"]
        assert await db.fetchmany(1, "select 1", into=str) == ["select 1"]
        assert await db.fetchone("select 1", into=str) == "select 1"
        assert [value async for value in db.iterate("select 1", into=str)] == ["select 1"]


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (((1,), (2,)), 2),
        (([(1,), (2,)],), 2),
        (([[1], [2]],), 2),
        (([1],), 1),
        (((1,),), 1),
    ],
)
async def test_executemany_takes_rows_one_by_one_or_in_one_list(rows, count):
    async with connected() as (db, fake):
        await db.executemany("insert $1", *rows)
        assert [f"insert $1 x{count}"] == fake.sent


async def test_executemany_takes_an_iterator_of_rows():
    async with connected() as (db, fake):
        await db.executemany("insert $1", iter([(1,), (2,), (3,)]))
        assert fake.sent == ["insert $1 x3"]


async def test_executemany_without_rows_changes_nothing():
    async with connected() as (db, _):
        assert (await db.executemany("insert $1", [])).rowcount == 0


async def test_executemany_refuses_what_is_no_row():
    async with connected() as (db, fake):
        with pytest.raises(ProgrammingError):
            await db.executemany("insert $1, $2", 5)
        assert fake.sent == []


async def test_a_lease_tells_its_state():
    async with connected() as (db, fake):
        async with db.connection() as connection:
            assert (connection.is_ready, connection.is_usable) == (True, True)
            assert repr(connection) == "<Connection ready to fake://server/db>"
            fake.connections[0].terminate()
            assert not connection.is_ready
        assert repr(connection) == "<Connection released to fake://server/db>"
        async with db.replica() as replica:
            assert repr(replica) == "<Connection ready read-only to fake://server/db>"


async def test_a_connection_can_be_acquired_again():
    async with connected() as (db, _):
        block = db.connection()
        connection = await block.acquire()
        assert connection is await block.acquire()
        await block.release()
        await block.release()
        await connection.acquire()
        assert await connection.fetchval("select 1") == "select 1"
        await connection.release()


async def test_reconnect_takes_another_connection():
    async with connected() as (db, _), db.connection() as connection:
        connection.driver.terminate()
        await connection.reconnect()
        assert await connection.fetchval("select 1") == "select 1"


async def test_with_reconnect_a_lost_connection_is_replaced_and_the_error_raised():
    async with connected() as (db, fake), db.connection(reconnect=True) as connection:
        fake.drop("select 1")
        with pytest.raises(ConnectionLost):
            await db.fetchval("select 1")
        assert await db.fetchval("select 2") == "select 2"
        assert (connection, 2) == (db.current_conn, fake.opens)


async def test_with_reconnect_a_server_that_comes_back_later_is_found_by_the_next_statement(caplog):
    async with connected() as (db, fake), db.connection(reconnect=True) as connection:
        fake.drop("select 1")
        fake.fail("connect", FakeError("starting", ConnectError))
        with pytest.raises(ConnectionLost):
            await db.fetchval("select 1")
        assert (connection.is_ready, connection.is_usable) == (False, True)
        assert await db.fetchval("select 2") == "select 2"
    assert "could not be replaced yet" in caplog.text


async def test_an_error_of_the_driver_is_caught_by_its_own_class_and_by_ours():
    async with connected() as (db, fake):
        fake.fail("insert 1")
        with pytest.raises(FakeError, match="refused") as caught:
            await db.execute("insert 1")
        assert isinstance(caught.value, DatabaseError)


async def test_a_foreign_exception_passes_unchanged():
    async with connected() as (db, fake):
        fake.fail("insert 1", ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            await db.execute("insert 1")
        assert db._pool.lent == 0


async def test_a_statement_that_times_out_in_the_driver_is_settled():
    async with connected() as (db, fake):
        fake.fail("select 1", TimeoutError("slow"))
        with pytest.raises(TimeoutError, match="slow"):
            await db.fetchval("select 1")
        assert fake.sent == ["select 1", "settle"]


async def test_a_call_that_is_closed_instead_of_finished_is_settled_before_the_next():
    async with connected() as (db, fake), db.connection() as connection:
        call = connection.fetchval("select 1")
        call.send(None)
        call.close()
        assert await connection.fetchval("select 2") == "select 2"
        assert fake.sent == ["select 1", "settle", "select 2"]


async def test_a_call_without_a_block_that_is_closed_leaves_its_connection_to_the_next():
    async with connected(max_size=1) as (db, fake):
        call = db.fetchval("select 1")
        call.send(None)
        call.close()
        assert await db.fetchval("select 2") == "select 2"
        assert (db._pool.lent, fake.sent[-1]) == (0, "select 2")


async def test_statements_are_logged_without_values(caplog):
    caplog.set_level("DEBUG", "aio_databases")
    async with connected() as (db, _):
        await db.execute("insert $1", "secret value")
    assert "insert $1" in caplog.text
    assert "secret value" not in caplog.text


@pytest.mark.parametrize(
    ("verb", "sql"), [("execute", "select 1"), ("executemany", "select 1"), ("fetchall", "insert 1")]
)
async def test_a_replica_refuses_execute_and_what_writes(verb, sql):
    async with connected() as (db, fake), db.replica():
        with pytest.raises(ReadOnlyError, match="a replica only reads"):
            await getattr(db, verb)(sql)
        assert fake.sent == []


async def test_a_query_that_is_no_text_is_turned_into_text():
    class Query:
        def __str__(self):
            return "select 1"

    async with connected() as (db, _):
        assert await db.fetchval(Query()) == "select 1"
        with pytest.raises(ProgrammingError, match="bytes"):
            await db.fetchval(b"select 1")


async def test_a_wrong_number_of_values_is_refused_before_a_connection_is_taken_out_of_order():
    async with connected() as (db, fake):
        with pytest.raises(ProgrammingError):
            await db.fetchval("select $1, $2", 1)
        assert (fake.sent, db._pool.lent) == ([], 0)


async def test_a_sibling_lease_is_of_the_same_kind():
    async with connected() as (db, _), db.replica() as replica:
        sibling = replica.sibling()
        assert (sibling.read_only, sibling.is_ready) == (True, False)
        with pytest.raises(InterfaceError, match="after its release"):
            await sibling.fetchval("select 1")


async def test_a_released_connection_has_neither_driver_nor_physical_connection():
    async with connected() as (db, _):
        connection = await db.connection().acquire()
        await connection.release()
        for name in ("driver", "physical", "raw"):
            with pytest.raises(InterfaceError, match="after its release"):
                getattr(connection, name)


async def test_an_error_of_a_built_in_class_is_raised_as_one_of_ours_from_it():
    async with connected() as (db, fake):
        fake.fail("insert 1", OSError(5, "broken"))
        with pytest.raises(ConnectionLost, match="broken") as caught:
            await db.execute("insert 1")
        assert type(caught.value.__cause__) is OSError


async def test_a_shared_connection_that_cannot_be_cleared_says_that_it_is_lost():
    async with connected(shared=True, reusable_after_cancel=False) as (db, _):
        async with db.connection() as connection:
            connection.driver._in_transaction = True
        with pytest.raises(ConnectionLost, match="when an earlier statement on it was cancelled"):
            await db.fetchval("select 1")
        assert await db.fetchval("select 2") == "select 2"


async def test_tasks_that_reconnect_one_connection_lease_one():
    async with connected() as (db, fake), db.connection(reconnect=True) as connection:
        fake.drop("select 0")
        fake.fail("connect", FakeError("starting", ConnectError))
        with pytest.raises(ConnectionLost):
            await connection.fetchval("select 0")
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(connection.fetchval, "select 1")
        assert db._pool.lent == 1


async def test_errors_are_all_caught_by_one_class():
    async with connected() as (db, fake):
        fake.drop("select 1")
        with pytest.raises(Error):
            await db.fetchval("select 1")


async def test_the_error_of_a_released_connection_can_be_copied():
    async with connected() as (db, _):
        connection = await db.connection().acquire()
        await connection.release()
        with pytest.raises(InterfaceError, match="was used after its release") as caught:
            await connection.fetchval("select 1")
    assert str(caught.value) == str(copy.copy(caught.value))  # by the way that pickle goes
