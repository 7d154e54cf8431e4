"""What becomes of transactions when something fails: the database, the link, a cleanup, or another task's end of it."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import (
    CommitUncertainError,
    ConnectionLost,
    DatabaseError,
    Error,
    InternalError,
    TransactionError,
    TransactionState,
)
from aio_databases.testing.fake_driver import FakeError, LinkError, connected


class Boom(Exception):
    """The user's own exception."""


async def test_the_users_exception_is_never_replaced_by_a_failing_rollback(caplog):
    async with connected() as (db, fake):
        fake.fail("ROLLBACK")
        with pytest.raises(Boom):
            async with db.transaction():
                raise Boom
        assert (fake.terminates, db._pool.lent) == (1, 0)
    assert "ROLLBACK failed" in caplog.text


async def test_the_users_exception_is_never_replaced_by_a_failing_release(caplog):
    async with connected() as (db, fake):
        fake.fail("reset", RuntimeError("reset failed"))
        fake.fail("close", RuntimeError("close failed"))
        with pytest.raises(Boom):
            async with db.connection():
                await db.execute("set x = 1")
                raise Boom
        assert (fake.terminates, db._pool.lent) == (1, 0)
    assert "reset failed" in caplog.text


async def test_the_users_exception_is_never_replaced_by_a_failing_close():
    async with connected() as (db, fake):
        fake.fail("close", RuntimeError("close failed"))
        with pytest.raises(Boom):
            async with db.connection() as connection:
                connection.physical.expires_at = 0.0
                raise Boom
        assert (fake.terminates, db._pool.lent) == (1, 0)


async def test_a_link_that_breaks_in_commit_leaves_the_outcome_uncertain():
    async with connected() as (db, fake):
        fake.drop("COMMIT")
        with pytest.raises(CommitUncertainError) as caught:
            async with db.transaction() as transaction:
                await db.execute("insert 1")
        assert isinstance(caught.value, OSError)
        assert (transaction.state, transaction.failure) == (TransactionState.FAILED, "its connection was lost")


async def test_a_commit_without_an_answer_is_uncertain_after_the_timeout():
    async with connected(commit_timeout=0.02) as (db, fake):
        fake.wait("COMMIT")
        with pytest.raises(CommitUncertainError, match=r"no answer for 0.02 s"):
            async with db.transaction():
                await db.execute("insert 1")
        assert (fake.terminates, db._pool.lent) == (1, 0)


async def test_a_commit_that_takes_the_library_too_long_is_uncertain():
    async with connected() as (db, fake):
        fake.fail("COMMIT", TimeoutError("the library's own"))
        with pytest.raises(CommitUncertainError, match="had no answer within the time limit"):
            async with db.transaction() as transaction:
                await db.execute("insert 1")
        assert (transaction.may_be_committed, 1) == (True, fake.terminates)


async def test_without_an_answer_to_the_commit_of_a_nested_one_nothing_is_committed():
    calls = []
    async with connected(commit_timeout=0.02) as (db, fake):
        fake.wait("RELEASE")
        with pytest.raises(ConnectionLost, match=r"nested transaction had no answer for 0.02 s") as caught:
            async with db.transaction() as outer, db.transaction() as nested:
                outer.on_rollback(calls.append, "outer")
                nested.on_rollback(calls.append, "nested")
        assert not isinstance(caught.value, CommitUncertainError)
        assert (fake.terminates, db._pool.lent) == (1, 0)
    assert calls == ["outer", "nested"]


async def test_a_rollback_without_an_answer_cuts_the_connection():
    async with connected(cleanup_timeout=0.02) as (db, fake):
        fake.wait("ROLLBACK")
        with pytest.raises(Boom):
            async with db.transaction() as transaction:
                raise Boom
        assert (fake.terminates, transaction.state) == (1, TransactionState.FAILED)


async def test_a_commit_that_the_database_turned_into_a_rollback_is_not_rolled_back_again():
    async with connected() as (db, fake):
        fake.fail("COMMIT", ends_transaction=True)
        with pytest.raises(DatabaseError):
            async with db.transaction() as transaction:
                await db.execute("insert 1")
        assert fake.sent == ["BEGIN", "insert 1", "COMMIT"]
        assert TransactionState.ROLLED_BACK is transaction.state


async def test_a_lost_link_fails_every_open_transaction_and_later_statements_say_so():
    async with connected() as (db, fake):
        with pytest.raises(TransactionError, match="its connection was lost"):
            async with db.transaction() as outer, db.transaction() as inner:
                fake.drop("insert 1")
                with pytest.raises(ConnectionLost):
                    await db.execute("insert 1")
                await db.execute("insert 2")
        assert [outer.state, inner.state] == [TransactionState.FAILED] * 2
        assert "insert 2" not in fake.sent


async def test_a_transaction_that_the_database_rolled_back_refuses_further_statements():
    async with connected() as (db, fake):
        with pytest.raises(TransactionError, match="the database rolled it back"):
            async with db.transaction():
                fake.fail("insert 1", FakeError("deadlock"), ends_transaction=True)
                with pytest.raises(DatabaseError):
                    await db.execute("insert 1")
                await db.execute("insert 2")
        assert fake.sent == ["BEGIN", "insert 1"]


async def test_its_connection_refuses_further_statements_too():
    async with connected() as (db, fake), db.connection() as connection:
        with pytest.raises(TransactionError, match="the database rolled it back"):
            async with db.transaction():
                fake.fail("insert 1", FakeError("deadlock"), ends_transaction=True)
                with pytest.raises(DatabaseError):
                    await connection.execute("insert 1")
                await connection.execute("insert 2")
        assert fake.sent == ["BEGIN", "insert 1"]
        await connection.execute("insert 3")
        assert fake.sent == ["BEGIN", "insert 1", "insert 3"]


def refusal():
    """Return the error by which PostgreSQL refuses whatever follows a failed statement."""
    error = FakeError("current transaction is aborted", InternalError)
    error.sqlstate = "25P02"
    return error


@pytest.mark.parametrize("place", ["insert 2", "SAVEPOINT", "COMMIT"])
async def test_an_error_that_follows_from_another_one_names_it(place):
    async with connected() as (db, fake):
        fake.fail("insert 1")
        fake.fail(place, refusal())
        with pytest.raises(InternalError) as caught:
            async with db.transaction():
                with pytest.raises(FakeError) as first:
                    await db.execute("insert 1")
                if place == "SAVEPOINT":
                    await db.transaction().start()
                elif place != "COMMIT":
                    await db.execute(place)
        assert first.value is caught.value.__cause__


async def test_a_block_that_swallows_the_loss_still_tells_that_nothing_was_committed():
    async with connected() as (db, fake):
        with pytest.raises(TransactionError, match="its connection was lost, and nothing of it was committed"):
            async with db.transaction():
                fake.drop("insert 1")
                with pytest.raises(Error):
                    await db.execute("insert 1")


@pytest.mark.parametrize("verb", ["commit", "rollback"])
async def test_silent_takes_a_lost_connection_for_no_error(verb):
    async with connected() as (db, fake):
        async with db.transaction(silent=True) as transaction:
            fake.drop("insert 1")
            with pytest.raises(Error):
                await db.execute("insert 1")
            await getattr(transaction, verb)()
        assert TransactionState.FAILED is transaction.state


@pytest.mark.parametrize("verb", ["commit", "rollback"])
async def test_ending_a_lost_transaction_by_hand_gives_its_lease_back(verb):
    async with connected() as (db, fake):
        transaction = await db.transaction().start()
        fake.drop("insert 1")
        with pytest.raises(Error):
            await db.execute("insert 1")
        with pytest.raises(TransactionError, match="its connection was lost"):
            await getattr(transaction, verb)()
        assert (db._pool.lent, db.current_conn) == (0, None)


async def test_releasing_the_connection_rolls_its_transaction_back():
    async with connected() as (db, fake):
        connection = await db.connection().acquire()
        transaction = await connection.transaction().start()
        await connection.release()
        assert fake.sent == ["BEGIN", "ROLLBACK"]
        with pytest.raises(TransactionError, match="its connection was released"):
            await transaction.commit()
        await transaction.rollback(silent=True)


async def test_a_statement_of_the_users_own_that_commits_ends_the_transaction():
    async with connected() as (db, fake):
        fake.fail("commit", None, ends_transaction=True)
        with pytest.raises(TransactionError, match="it was ended by a statement"):
            async with db.transaction():
                await db.execute("commit")
                await db.execute("insert 1")
        assert fake.sent == ["BEGIN", "commit", "reset"]


async def test_a_begin_that_is_cancelled_too_late_is_rolled_back():
    async with connected() as (db, fake):
        begin = fake.wait("BEGIN")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.transaction().start)
            await begin.reached()
            fake.connections[0]._in_transaction = True
            tasks.cancel_scope.cancel()
        assert fake.sent == ["BEGIN", "settle", "ROLLBACK"]


async def test_a_link_error_that_is_no_error_of_ours_keeps_its_own_class():
    async with connected() as (db, fake):
        fake.fail("insert 1", LinkError("broken pipe"))
        with pytest.raises(LinkError, match="broken pipe") as caught:
            await db.execute("insert 1")
        assert isinstance(caught.value, ConnectionLost)
        assert fake.terminates == 1


async def test_a_link_that_breaks_between_statements_does_not_replace_the_users_exception():
    async with connected() as (db, fake):
        with pytest.raises(Boom):
            async with db.transaction() as transaction:
                fake.connections[0].terminate()
                raise Boom
        assert (transaction.state, fake.sent) == (TransactionState.FAILED, ["BEGIN"])


async def test_a_built_in_error_in_commit_is_raised_as_uncertain_from_it():
    async with connected() as (db, fake):
        fake.fail("COMMIT", OSError(5, "broken"))
        with pytest.raises(CommitUncertainError, match="broken") as caught:
            async with db.transaction():
                await db.execute("insert 1")
        assert type(caught.value.__cause__) is OSError


@pytest.mark.parametrize("verb", ["commit", "rollback"])
async def test_a_commit_does_not_seem_to_work_when_another_task_ends_the_transaction_first(verb):
    async with connected() as (db, fake), db.transaction() as transaction:
        gate = fake.wait("select slow")

        async def commit():
            with pytest.raises(TransactionError):
                await transaction.commit()

        first, second = (transaction.commit, commit) if verb == "commit" else (commit, transaction.rollback)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.fetchval, "select slow")
            await gate.reached()
            for task in (first, second):
                tasks.start_soon(task)
                await pause()
            gate.open()
        assert ["BEGIN", "select slow", verb.upper()] == fake.sent


@pytest.mark.parametrize("verb", ["commit", "rollback"])
async def test_the_exit_of_a_block_that_a_child_ends_meanwhile_does_nothing(verb):
    async with connected() as (db, fake):
        gate = fake.wait("select slow")

        async def child(transaction):
            await getattr(transaction, verb)()

        async with anyio.create_task_group() as tasks, db.transaction() as transaction:
            tasks.start_soon(db.fetchval, "select slow")
            await gate.reached()
            tasks.start_soon(child, transaction)
            await pause()
            tasks.start_soon(open_soon, gate)
        assert ["BEGIN", "select slow", verb.upper()] == fake.sent


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio's awaits want answers
async def test_a_block_whose_coroutine_is_closed_leaves_its_transaction_to_be_rolled_back(anyio_backend):
    async with connected(max_size=1) as (db, fake):
        states = []

        async def work():
            async with db.transaction() as transaction:
                states.append(transaction)
                await db.execute("insert 1")

        coroutine = work()
        while "insert 1" not in fake.sent:
            coroutine.send(None)
        coroutine.close()
        assert TransactionState.FAILED is states[0].state
        assert await db.fetchval("select 1") == "select 1"
        assert "COMMIT" not in fake.sent
        assert fake.log[1:5] == ["1 BEGIN", "1 insert 1", "1 terminate", "2 connect"]


async def pause(awaits=5):
    for _ in range(awaits):
        await checkpoint()


async def open_soon(gate):
    await pause()
    gate.open()


async def test_a_link_that_is_known_to_be_broken_before_commit_leaves_no_doubt():
    async with connected() as (db, fake):
        called = []
        with pytest.raises(ConnectionLost, match="before COMMIT was sent") as caught:
            async with db.transaction() as transaction:
                transaction.on_rollback(called.append, "rolled back")
                await db.execute("insert 1")
                fake.connections[0].terminate()
        assert not isinstance(caught.value, CommitUncertainError)
        assert called == ["rolled back"]
        assert not transaction.may_be_committed
