"""What is run again in a new transaction, and what is not, on the scripted driver."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aio_databases import (
    CommitUncertainError,
    ConnectionLost,
    DeadlockDetected,
    IntegrityError,
    LockTimeout,
    SerializationFailure,
    TransactionError,
    TransactionTimeout,
    errors,
)
from aio_databases.testing.fake_driver import FakeError, connected
from unit.attempts import again, insert

RETRYABLE = [DeadlockDetected, LockTimeout, SerializationFailure]


# What is run again


@pytest.mark.parametrize("kind", RETRYABLE)
@pytest.mark.parametrize("place", ["BEGIN", "insert 1", "COMMIT"])
async def test_it_is_run_again_after_a_retryable_error_wherever_it_comes_from(kind, place):
    async with connected() as (db, fake):
        fake.fail(place, again(kind), times=3)
        assert await db.run_transaction(insert, db, backoff=0) == 1
        assert (fake.sent.count(place), fake.sent.count("COMMIT") - 3 * (place == "COMMIT")) == (4, 1)


async def test_a_database_that_ends_the_transaction_itself_is_no_different():
    async with connected() as (db, fake):
        fake.fail("insert 1", again(DeadlockDetected), ends_transaction=True)
        fake.fail("COMMIT", again(), ends_transaction=True)
        await db.run_transaction(insert, db, backoff=0)
        assert fake.sent == ["BEGIN", "insert 1", "BEGIN", "insert 1", "COMMIT", "BEGIN", "insert 1", "COMMIT"]


async def test_after_the_last_try_the_error_is_raised_as_it_is():
    async with connected() as (db, fake):
        errors_ = [again() for _ in range(3)]
        for each in errors_:
            fake.fail("insert 1", each)
        with pytest.raises(FakeError) as caught:
            await db.run_transaction(insert, db, retries=2, backoff=0)
        assert errors_[-1] is caught.value
        assert (caught.value.__context__, caught.value.__cause__) == (None, None)
        assert caught.value.__notes__ == ["run_transaction() gave up after 3 tries"]
        assert 3 == fake.sent.count("BEGIN") == fake.sent.count("ROLLBACK")


async def test_without_retries_it_is_run_once():
    async with connected() as (db, fake):
        fake.fail("insert 1", again(), times=9)
        with pytest.raises(SerializationFailure):
            await db.run_transaction(insert, db, retries=0)
        assert fake.sent == ["BEGIN", "insert 1", "ROLLBACK"]


async def test_a_transaction_whose_error_was_caught_is_run_again_when_it_is_dead():
    async with connected() as (db, fake):
        fake.fail("insert 1", again(DeadlockDetected), ends_transaction=True)

        async def swallow():
            try:
                await insert(db)
            except DeadlockDetected:
                return "caught"

        assert await db.run_transaction(swallow, backoff=0) is None
        assert fake.sent == ["BEGIN", "insert 1", "BEGIN", "insert 1", "COMMIT"]


async def test_a_transaction_whose_error_was_caught_stands_when_it_lives():
    async with connected() as (db, fake):
        fake.fail("insert 1", again(LockTimeout))

        async def swallow():
            try:
                await insert(db)
            except LockTimeout:
                return "caught"

        assert await db.run_transaction(swallow) == "caught"
        assert fake.sent == ["BEGIN", "insert 1", "COMMIT"]


async def test_a_dead_transaction_names_the_error_that_it_died_of():
    async with connected() as (db, fake):
        fake.fail("insert 1", again(DeadlockDetected), ends_transaction=True)
        with pytest.raises(TransactionError) as caught:
            async with db.transaction(), db.transaction():
                with pytest.raises(DeadlockDetected):
                    await insert(db)
                await insert(db, 2)
        assert isinstance(caught.value.__cause__, DeadlockDetected)


async def test_a_group_is_retryable_when_every_error_of_it_is():
    async with connected() as (db, fake):
        fake.fail("insert 1", again(DeadlockDetected), ends_transaction=True)
        groups = []

        async def both():
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(insert, db, 1)
                    tasks.start_soon(insert_in_spite_of_cancellation, 2)
            except ExceptionGroup as group:
                groups.append({type(each).__qualname__ for each in group.exceptions})
                raise

        async def insert_in_spite_of_cancellation(number):
            with anyio.CancelScope(shield=True):
                await checkpoint()
                await insert(db, number)

        await db.run_transaction(both, backoff=0)
        assert [{"DeadlockDetected", "TransactionError"}] == groups
        assert fake.sent == ["BEGIN", "insert 1", "BEGIN", "insert 1", "insert 2", "COMMIT"]


async def test_a_group_with_another_error_is_not_retryable():
    async with connected() as (db, fake):

        async def fail():
            raise ExceptionGroup("both", [SerializationFailure("x"), ExceptionGroup("inner", [ValueError("mine")])])

        async def fail_often():
            calls.append(1)
            raise ExceptionGroup("both", [SerializationFailure("x"), ExceptionGroup("inner", [LockTimeout("y")])])

        calls = []
        with pytest.raises(ExceptionGroup):
            await db.run_transaction(fail)
        assert fake.sent == ["BEGIN", "ROLLBACK"]
        with pytest.raises(ExceptionGroup):
            await db.run_transaction(fail_often, backoff=0)
        assert len(calls) == 4


# What is not run again


@pytest.mark.parametrize("kind", [IntegrityError, ConnectionLost, CommitUncertainError, errors.QueryTimeout])
async def test_other_errors_are_raised_at_once(kind):
    async with connected() as (db, fake):
        fake.fail("insert 1", FakeError("refused", kind))
        with pytest.raises(kind) as caught:
            await db.run_transaction(insert, db)
        assert not hasattr(caught.value, "__notes__")
        assert fake.sent.count("BEGIN") == 1


async def test_errors_of_other_libraries_are_raised_at_once():
    class Mine(Exception):
        retryable = True

    async def fail():
        raise Mine

    async with connected() as (db, fake):
        with pytest.raises(Mine):
            await db.run_transaction(fail)
        assert fake.sent == ["BEGIN", "ROLLBACK"]


async def test_a_commit_that_nobody_knows_the_outcome_of_is_not_run_again():
    async with connected() as (db, fake):
        fake.drop("COMMIT")
        with pytest.raises(CommitUncertainError):
            await db.run_transaction(insert, db)
        assert fake.sent == ["BEGIN", "insert 1", "COMMIT"]


async def test_what_a_statement_has_committed_is_not_run_again():
    async with connected() as (db, fake):

        async def commit():
            fake.fail("commit", None, ends_transaction=True)
            await db.execute("commit")
            raise SerializationFailure("x")

        with pytest.raises(SerializationFailure):
            await db.run_transaction(commit)
        assert fake.sent == ["BEGIN", "commit", "reset"]


async def test_a_hook_that_fails_does_not_run_a_committed_transaction_again():
    async with connected() as (db, fake):

        async def fail():
            raise SerializationFailure("of the hook")

        async def register():
            transaction = db.current_transaction
            transaction.on_commit(fail)

        with pytest.raises(ExceptionGroup, match="the transaction is committed"):
            await db.run_transaction(register)
        assert fake.sent == ["BEGIN", "COMMIT"]


async def test_hooks_run_once_per_outcome():
    calls = []
    async with connected() as (db, fake):
        fake.fail("insert 1", again(), times=2)

        async def work():
            transaction = db.current_transaction
            transaction.on_commit(calls.append, "committed")
            transaction.on_rollback(calls.append, "rolled back")
            await insert(db)

        await db.run_transaction(work, backoff=0)
    assert calls == ["rolled back", "rolled back", "committed"]


async def test_a_cancellation_is_not_run_again():
    async with connected() as (db, fake):
        with anyio.CancelScope() as scope:

            async def work():
                scope.cancel()
                await checkpoint()

            await db.run_transaction(work)
        assert scope.cancelled_caught
        assert fake.sent == ["BEGIN", "ROLLBACK"]


async def test_the_timeout_is_that_of_each_try():
    async with connected() as (db, fake):
        fake.fail("insert 1", again(), times=1)

        async def work():
            await insert(db)
            await anyio.sleep_forever()

        with pytest.raises(TransactionTimeout):
            await db.run_transaction(work, timeout=0.2, backoff=0)
        assert fake.sent.count("BEGIN") == 2
