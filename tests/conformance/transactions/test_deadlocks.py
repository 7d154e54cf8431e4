"""Transactions that meet each other in real databases: what the one that loses is told, and what is left of it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import anyio
import pytest

from aio_databases import (
    DeadlockDetected,
    Error,
    LockTimeout,
    SerializationFailure,
    TransactionError,
    TransactionState,
)

SERVERS = {"postgresql", "mysql"}
UPDATE = "update users set name = ? where id = ?"
NAMES = "select name from users where id < 3 order by id"


class Meeting:
    """Where tasks wait until all of them have come."""

    def __init__(self, size):
        self.missing = size
        self.complete = anyio.Event()

    async def join(self):
        self.missing -= 1
        if self.missing <= 0:
            self.complete.set()
        await self.complete.wait()


@pytest.fixture
def impatient_server(target, url, server):
    """Have PostgreSQL look for deadlocks at once instead of after a second, on connections that are opened now."""
    if target.dialect == "postgresql":
        server.execute(f'alter database "{unquote(urlsplit(url).path[1:])}" set deadlock_timeout = 20')


@pytest.fixture
async def crossing(impatient_server, users):
    """Give a function that updates one row, waits until somebody else has the other one, and updates that."""
    meeting = Meeting(2)

    async def cross(name, first, second):
        await users.execute(UPDATE, name, first)
        await meeting.join()
        await users.execute(UPDATE, name, second)

    return cross


# Deadlocks


@pytest.mark.targets(dialect=SERVERS)
async def test_the_victim_of_a_deadlock_is_told_and_the_other_one_commits(users, crossing):
    victims = []

    async def work(name, first, second):
        try:
            async with users.transaction() as transaction:
                transaction.on_commit(outcomes.append, "committed")
                transaction.on_rollback(outcomes.append, "rolled back")
                await crossing(name, first, second)
        except DeadlockDetected as error:
            victims.append((error, transaction))

    outcomes = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, "x", 1, 2)
        tasks.start_soon(work, "y", 2, 1)
    ((error, transaction),) = victims
    assert error.retryable
    assert ("40P01" if users.backend.dialect == "postgresql" else "40001") == error.sqlstate or error.errno == 1213
    assert transaction.state in {TransactionState.ROLLED_BACK, TransactionState.FAILED}
    assert not transaction.may_be_committed
    assert sorted(outcomes) == ["committed", "rolled back"]
    assert await users.fetchall(NAMES, into=str) in (["x", "x"], ["y", "y"])


@pytest.mark.targets(dialect=SERVERS)
async def test_a_victim_that_catches_the_error_can_do_no_more_and_is_told_why(users, crossing):
    refused = []

    async def work(name, first, second):
        try:
            async with users.transaction():
                try:
                    await crossing(name, first, second)
                except DeadlockDetected as deadlock:
                    with pytest.raises(Error) as caught:
                        await users.execute(UPDATE, "lost", 3)
                    refused.append((deadlock, caught.value))
        except TransactionError as error:
            refused.append((error.__cause__, error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, "x", 1, 2)
        tasks.start_soon(work, "y", 2, 1)
    (deadlock, statement), (cause, end) = refused
    assert deadlock is statement.__cause__ is cause
    assert isinstance(end, TransactionError)
    assert await users.fetchval("select name from users where id = 3") == "Cid"
    assert await users.fetchall(NAMES, into=str) in (["x", "x"], ["y", "y"])


@pytest.mark.targets(dialect=SERVERS)
@pytest.mark.parametrize("catches", [False, True])
async def test_the_victim_is_run_again(users, crossing, catches):
    calls = []
    one_is_committed = anyio.Event()

    async def work(name, first, second):
        if name in calls:
            await one_is_committed.wait()  # PostgreSQL lets those who come back jump the queue for a row
        calls.append(name)
        transaction = users.current_transaction
        transaction.on_commit(calls.append, f"{name} committed")
        transaction.on_commit(one_is_committed.set)
        try:
            await crossing(name, first, second)
        except DeadlockDetected:
            if not catches:
                raise

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(users.run_transaction, work, "x", 1, 2)
        tasks.start_soon(users.run_transaction, work, "y", 2, 1)
    assert {"x", "y", "x committed", "y committed"} == set(calls)
    assert len(calls) == 5
    assert await users.fetchall(NAMES, into=str) in (["x", "x"], ["y", "y"])


@pytest.mark.targets(dialect="postgresql")
async def test_a_nested_victim_leaves_the_outer_transaction_alive(users, crossing):
    """PostgreSQL rolls no transaction back by itself: the one that a savepoint saves can go on."""
    victims = []

    async def work(name, first, second):
        async with users.transaction():
            try:
                async with users.transaction():
                    await crossing(name, first, second)
            except DeadlockDetected:
                victims.append(name)
                await users.execute(UPDATE, "victim", 3)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, "x", 1, 2)
        tasks.start_soon(work, "y", 2, 1)
    assert len(victims) == 1
    assert await users.fetchval("select name from users where id = 3") == "victim"


@pytest.mark.targets(dialect="mysql")
async def test_a_nested_victim_takes_the_outer_transaction_along(users, crossing):
    failures = []

    async def work(name, first, second):
        try:
            async with users.transaction():
                try:
                    async with users.transaction():
                        await crossing(name, first, second)
                except DeadlockDetected:
                    await users.execute(UPDATE, "lost", 3)
        except TransactionError as error:
            failures.append(error.__cause__)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, "x", 1, 2)
        tasks.start_soon(work, "y", 2, 1)
    assert [DeadlockDetected.__qualname__] == [type(each).__qualname__ for each in failures]
    assert await users.fetchval("select name from users where id = 3") == "Cid"


@pytest.mark.targets(dialect=SERVERS)
async def test_child_tasks_of_the_victim_make_a_group_that_is_run_again(users, impatient_server):
    """One of them meets the deadlock, the other one what follows from it."""
    calls, groups = [], []
    meeting, one_is_committed = Meeting(2), anyio.Event()

    async def work(name, first, second):
        if name in calls:
            await one_is_committed.wait()
        calls.append(name)
        transaction = users.current_transaction
        transaction.on_commit(one_is_committed.set)
        await users.execute(UPDATE, name, first)
        await meeting.join()
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(update, name, second)
        except ExceptionGroup as group:
            groups.append(group)
            raise

    async def update(name, second):
        with anyio.CancelScope(shield=True):
            await users.execute(UPDATE, name, second)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(users.run_transaction, work, "x", 1, 2)
        tasks.start_soon(users.run_transaction, work, "y", 2, 1)
    assert len(calls) == 3
    assert [len(group.exceptions) for group in groups] == [2]
    assert await users.fetchall(NAMES, into=str) in (["x", "x"], ["y", "y"])


# Locks that are not free in time


@pytest.mark.needs("busy_timeout")
@pytest.mark.targets(memory=False)
async def test_only_the_statement_is_undone_that_gets_no_lock(users, make_database, words):
    """PostgreSQL refuses to commit what is left; nowhere is the half of a transaction committed without a word."""
    other = await make_database()
    async with other.connection():
        await other.execute(words.impatience)
        error = None
        async with users.transaction():
            await users.execute(UPDATE, "held", 1)
            try:
                async with other.transaction(**deferred(other)) as transaction:
                    await other.fetchall("select * from users")
                    with pytest.raises(LockTimeout) as caught:
                        await other.execute(UPDATE, "mine", 1)
            except TransactionError as failure:
                error = failure
        assert caught.value.retryable
        if other.backend.dialect == "postgresql":
            assert error.__cause__ is caught.value
        else:
            assert error is None
            assert TransactionState.COMMITTED is transaction.state
    assert await users.fetchval("select name from users where id = 1") == "held"


@pytest.mark.needs("busy_timeout")
@pytest.mark.targets(memory=False)
async def test_it_is_run_again_until_the_lock_is_free(users, make_database, words):
    other = await make_database()
    free, called = anyio.Event(), anyio.Event()
    calls = []

    async def hold():
        async with users.transaction():
            await users.execute(UPDATE, "held", 1)
            called.set()
            await free.wait()

    async def update():
        calls.append(1)
        if len(calls) == 3:
            free.set()
            await ended.wait()
        await other.execute(UPDATE, "mine", 1)

    ended = anyio.Event()
    async with other.connection(), anyio.create_task_group() as tasks:
        await other.execute(words.impatience)

        async def hold_and_tell():
            await hold()
            ended.set()

        tasks.start_soon(hold_and_tell)
        await called.wait()
        await other.run_transaction(update, backoff=0, **deferred(other))
    assert len(calls) == 3
    assert await users.fetchval("select name from users where id = 1") == "mine"


@pytest.mark.needs("busy_timeout")
@pytest.mark.targets(dialect="sqlite", memory=False)
@pytest.mark.parametrize("mode", ["immediate", None])
async def test_a_begin_that_meets_another_writer_is_run_again(users, make_database, words, mode):
    """SQLite's transactions take the lock at their beginning, or with their first statement."""
    calls = []
    at_once = mode or users.backend.name not in {"sqlite", "aiosqlite"}
    other = await make_database()
    async with other.connection():
        await other.execute(words.impatience)
        async with users.transaction(mode="immediate"):
            with pytest.raises(LockTimeout) as caught:
                await other.run_transaction(update, other, calls, retries=1, backoff=0, mode=mode)
        assert caught.value.__notes__ == ["run_transaction() gave up after 2 tries"]
        assert ([] if at_once else [1, 1]) == calls
        calls.clear()
        await other.run_transaction(update, other, calls, mode=mode)
    assert calls == [1]


async def update(db, calls):
    calls.append(1)
    await db.execute(UPDATE, "mine", 1)


def deferred(db):
    """Return what makes SQLite begin although somebody else writes."""
    return {"mode": "deferred"} if db.backend.dialect == "sqlite" else {}


# Serialization failures


@pytest.mark.targets(dialect="postgresql")
async def test_a_commit_that_fails_to_serialize_is_run_again(users, make_database):
    """Both read what the other one writes: no statement fails, but one of the commits."""
    calls, outcomes = [], []
    reading, writing = Meeting(2), Meeting(2)

    async def work(number):
        calls.append(number)
        transaction = users.current_transaction
        transaction.on_commit(outcomes.append, "committed")
        transaction.on_rollback(outcomes.append, "rolled back")
        count = await users.fetchval("select count(*) from users")
        await reading.join()
        await users.execute("insert into users (id, name) values (?, ?)", number, str(count))
        await writing.join()

    async with anyio.create_task_group() as tasks:
        for number in (11, 12):
            tasks.start_soon(serialize, users, work, number)
    assert len(calls) == 3
    assert sorted(outcomes) == ["committed", "committed", "rolled back"]
    assert sorted(await users.fetchall("select name from users where id > 10", into=str)) == ["3", "4"]


async def serialize(db, work, number):
    await db.run_transaction(work, number, isolation="serializable", backoff=0.01)


@pytest.mark.targets(dialect="postgresql")
async def test_an_update_of_what_has_changed_is_a_serialization_failure(users):
    attempts = []

    async def work():
        name = await users.fetchval("select name from users where id = 1")
        attempts.append(name)
        async with users.connection():
            if len(attempts) == 1:
                await users.execute(UPDATE, "other", 1)
        await users.execute(UPDATE, f"{name}!", 1)

    with pytest.raises(SerializationFailure):
        await users.run_transaction(work, isolation="repeatable read", retries=0)
    assert await users.fetchval("select name from users where id = 1") == "other"
    await users.run_transaction(work, isolation="repeatable read")
    assert await users.fetchval("select name from users where id = 1") == "other!"
