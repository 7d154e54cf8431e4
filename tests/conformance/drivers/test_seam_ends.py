"""What every driver promises at the seam of what goes wrong: errors, the end of a connection, cancellation."""

from __future__ import annotations

import anyio
import pytest

from aio_databases import ConnectionLost, Error
from aio_databases.drivers.base import TransactionOptions
from conformance.libraries import library_error
from conformance.seam import COUNT, value, verbs

pytestmark = pytest.mark.targets(pooled=False)  # there is no pool below the pool


# Errors


async def test_errors_of_the_library_pass_unchanged(connection, driver, target):
    expected = library_error(target, "OperationalError", "42P01")
    for verb, arguments in verbs(connection, "select * from nowhere"):
        with pytest.raises(Exception, match="nowhere") as caught:
            await verb(*arguments)
        assert not isinstance(caught.value, Error)
        assert isinstance(caught.value, expected)
        assert driver.diagnose(caught.value).kind.__name__ == "ProgrammingError"
    if driver.capabilities.exclusive_cursor:
        await connection.rollback()  # of the cursor that was not closed
    assert await value(connection, COUNT) == 1


def test_what_is_no_error_of_the_library_means_nothing(driver):
    for strange in (ValueError("x"), KeyError("x"), RuntimeError("x"), ZeroDivisionError()):
        assert driver.diagnose(strange) is None


# The end of a connection


@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_a_connection_that_was_ended_says_so(driver, end):
    connection = await driver.connect()
    for _ in range(2):
        with anyio.fail_after(5):
            ended = getattr(connection, end)()
            if end == "close":
                await ended
    assert connection.is_closed
    assert not connection.in_transaction
    for verb, arguments in (*verbs(connection, "select 1"), (connection.ping, ())):
        with anyio.fail_after(5), pytest.raises(Exception, match=r"(?i)clos|lost|released") as caught:
            await verb(*arguments)
        assert not isinstance(caught.value, TimeoutError)
        error = caught.value
        kind = type(error) if isinstance(error, Error) else driver.diagnose(error).kind
        assert issubclass(kind, ConnectionLost)
    with anyio.fail_after(5):
        assert await connection.settle() is False


@pytest.mark.parametrize(("first", "second"), [("close", "terminate"), ("terminate", "close")])
async def test_a_connection_may_be_closed_and_cut(driver, first, second):
    connection = await driver.connect()
    for end in (first, second):
        with anyio.fail_after(5):
            ended = getattr(connection, end)()
            if end == "close":
                await ended
    assert connection.is_closed


async def test_a_statement_that_runs_does_not_keep_a_connection_from_being_cut(driver, words):
    connection = await driver.connect()

    async def run():
        with pytest.raises(Exception, match=r"(?i)clos|lost|interrupt|cancel"):
            await connection.fetch(words.endless, (), None)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.sleep(0.05)
            connection.terminate()
    assert connection.is_closed


@pytest.mark.targets(dialect={"postgresql", "mysql"})
async def test_a_connection_that_the_server_closed_says_so(connection, driver, server, words):
    server.execute(words.kill.format(await value(connection, words.own_id)))
    with pytest.raises(Exception, match=r"(?i)terminat|clos|reset|lost") as caught:
        await connection.execute("select 1", ())
    assert issubclass(driver.diagnose(caught.value).kind, ConnectionLost)
    assert connection.is_closed


async def test_a_sign_of_life_is_given(connection):
    await connection.ping()
    await connection.ping()
    assert not connection.is_closed


# Cancellation


@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize("verb", ["fetch", "execute", "cursor"])
async def test_a_cancelled_verb_can_be_settled_or_the_connection_is_closed(driver, words, verb, in_transaction):
    connection = await driver.connect()
    if in_transaction:
        await connection.begin(TransactionOptions())
    calls = {
        "fetch": lambda: connection.fetch(words.endless, (), None),
        "execute": lambda: connection.execute(words.endless, ()),
        "cursor": lambda: connection.cursor(words.endless, ()).fetch(1),
    }
    with anyio.move_on_after(0.05) as scope:
        await calls[verb]()
    assert scope.cancelled_caught
    with anyio.fail_after(5):
        settled = await connection.settle()
    assert driver.capabilities.reusable_after_cancel is settled
    assert settled is not connection.is_closed
    if settled:
        if connection.in_transaction:
            await connection.rollback()
        assert await value(connection, "select 'right'") == "right"
        await connection.close()


@pytest.mark.targets(dialect={"postgresql", "mysql"})
async def test_a_cancelled_statement_does_not_go_on_on_the_server(driver, words, running):
    connection = await driver.connect()
    with anyio.move_on_after(0.05):
        await connection.fetch(words.endless, (), None)
    await connection.settle()
    assert await running(0) == []
    connection.terminate()


async def test_settling_when_there_is_nothing_to_settle_does_no_harm(connection):
    with anyio.fail_after(5):
        for _ in range(3):
            assert await connection.settle()
            assert await value(connection, COUNT) == 1
