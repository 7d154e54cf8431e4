"""asyncpg without a server: arguments, errors, and what is made of its answers."""

from __future__ import annotations

import ssl as tls

import asyncpg
import pytest

from aio_databases import Database, errors
from aio_databases.drivers.postgresql.asyncpg import (
    AsyncpgConnection,
    AsyncpgCursor,
    AsyncpgRecord,
    _affected,
)
from aio_databases.drivers.postgresql.asyncpg_schema import Schema
from aio_databases.physical_connection.error_translation import translate_error


@pytest.fixture
def anyio_backend():
    """Run on asyncio, as asyncpg does."""
    return "asyncio"


class Raw:
    """Plays a connection of asyncpg: answers each statement with the next of `answers`."""

    def __init__(self, *answers, closed=False, in_transaction=False):
        self.answers = list(answers)
        self.closed = closed
        self.in_transaction = in_transaction
        self.sent = []

    async def execute(self, sql, *params):
        self.sent.append((sql, *params))
        answer = self.answers.pop(0) if self.answers else ""
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def is_closed(self):
        return self.closed

    def is_in_transaction(self):
        return self.in_transaction


@pytest.mark.parametrize(
    ("status", "affected"),
    [("INSERT 0 3", 3), ("UPDATE 12", 12), ("SELECT 0", 0), ("CREATE TABLE", -1), ("BEGIN", -1), ("", -1)],
)
async def test_a_command_tag_tells_how_many_rows_were_changed(status, affected):
    assert affected == _affected(status)
    raw = Raw(status)
    assert affected == (await AsyncpgConnection(raw).execute("sql", (1, 2))).rowcount
    assert raw.sent == [("sql", 1, 2)]


async def test_an_empty_statement_over_which_asyncpg_stumbles_changes_nothing():
    assert (await AsyncpgConnection(Raw(AttributeError("decode"))).execute("", ())).rowcount == -1


class Disconnected(Raw):
    """Plays a connection of asyncpg that was cut in the same pass of the event loop: it has no protocol any more."""

    def __init__(self):
        super().__init__(closed=True)
        self.protocol = None

    async def execute(self, sql, *params):
        return self.protocol.bind_execute(sql, *params)


async def test_a_statement_on_a_connection_that_was_just_cut_is_no_success():
    with pytest.raises(AttributeError) as caught:
        await AsyncpgConnection(Disconnected()).execute("delete from t", ())
    driver = Database("asyncpg://").backend
    assert errors.ConnectionLost is type(translate_error(driver, caught.value, closed=True))


class Remembering(Raw):
    """Plays a connection of asyncpg that knows statements and types."""

    forgotten = 0
    kept = "kept"

    @property
    def _protocol(self):
        return self

    _stmt_cache = _protocol

    def get_record_class(self):
        return AsyncpgRecord

    def has(self, known):
        return known == (self.kept, AsyncpgRecord, False)

    def _drop_local_type_cache(self):
        self.forgotten += 1

    def _drop_local_statement_cache(self):
        self.forgotten += 1


def test_only_a_statement_that_changes_again_is_prepared_each_time():
    schema, one, other, closed = Schema(), Remembering(), Remembering(), Remembering(closed=True)
    for raw in (one, other, closed):
        schema.join(raw)
    changed = asyncpg.InvalidCachedStatementError("cached plan must not change result type")
    for raw in (one, other):  # by one change of the schema, which both have met
        assert schema.has_changed(raw, "select *", changed)
    assert (set(), 4, 4, 0) == (schema.moving, one.forgotten, other.forgotten, closed.forgotten)
    schema.has_changed(one, "select 2", changed)
    schema.has_changed(other, "select *", asyncpg.InternalServerError("cache lookup failed for type 1"))
    assert set() == schema.moving
    schema.has_changed(one, "select *", changed)
    assert {"select *"} == schema.moving


def test_what_has_nothing_to_do_with_the_schema_is_not_taken_for_a_change():
    schema, raw = Schema(), Remembering()
    schema.join(raw)
    for exc in (
        asyncpg.FeatureNotSupportedError("x"),
        asyncpg.DatatypeMismatchError("x"),
        asyncpg.InternalServerError("x"),
        asyncpg.InvalidSQLStatementNameError('prepared statement "mine" does not exist'),
        asyncpg.DataError("invalid input for query argument $1"),
    ):
        assert not schema.has_changed(raw, "sql", exc)
    within = asyncpg.UndefinedFunctionError("of a statement in a function")
    within.context = "PL/pgSQL function f()"
    assert not schema.has_changed(raw, raw.kept, within)
    assert raw.forgotten == 0
    assert schema.has_changed(raw, raw.kept, asyncpg.DatatypeMismatchError("x"))
    assert raw.forgotten == 2


async def test_no_rows_are_not_sent():
    raw = Raw()
    assert (await AsyncpgConnection(raw).executemany("sql", [])).rowcount == 0
    assert raw.sent == []


async def test_a_commit_that_postgresql_answers_with_rollback_is_an_error():
    with pytest.raises(errors.TransactionError, match="was rolled back instead of committed"):
        await AsyncpgConnection(Raw("ROLLBACK")).commit()
    await AsyncpgConnection(Raw("COMMIT")).commit()


@pytest.mark.parametrize(
    ("answers", "pings"),
    [
        (["SELECT 1"], 1),
        ([asyncpg.QueryCanceledError("late"), "SELECT 1"], 2),
        ([asyncpg.InFailedSQLTransactionError("x")], 1),
    ],
)
async def test_settling_takes_one_ping_more_when_a_cancel_request_comes_late(answers, pings):
    raw = Raw(*answers)
    assert await AsyncpgConnection(raw).settle()
    assert [("SELECT 1",)] * pings == raw.sent


async def test_a_closed_connection_is_not_settled():
    raw = Raw(closed=True)
    connection = AsyncpgConnection(raw)
    assert (await connection.settle(), connection.in_transaction, connection.is_closed) == (False, False, True)
    assert raw.sent == []


def test_a_connection_whose_loop_is_closed_is_cut_in_silence():
    cut = []

    def terminate():
        cut.append(1)
        raise RuntimeError("Event loop is closed")

    raw = Raw()
    raw.terminate = terminate
    AsyncpgConnection(raw).terminate()
    assert cut == [1]


@pytest.mark.parametrize(
    ("closed", "in_transaction", "sent"), [(False, True, [("COMMIT",)]), (True, True, []), (False, False, [])]
)
async def test_a_cursor_commits_only_what_it_began_and_what_is_still_open(closed, in_transaction, sent):
    raw = Raw(closed=closed, in_transaction=in_transaction)
    cursor = AsyncpgCursor(AsyncpgConnection(raw), "sql", ())
    await cursor.close()
    assert raw.sent == []
    cursor._began = True
    await cursor.close()
    await cursor.close()
    assert sent == raw.sent


class Connecting(Exception):
    """asyncpg was about to connect."""


@pytest.fixture
def arguments(monkeypatch):
    """Give a function that returns the arguments that asyncpg is called with."""
    found = {}

    async def connect(**given):
        found.update(given)
        raise Connecting

    async def arguments(url, *, read_only=False, **options):
        monkeypatch.setattr(asyncpg, "connect", connect)
        with pytest.raises(Connecting):
            await Database(url, **options).backend.connect(read_only=read_only)
        assert found.pop("record_class") is AsyncpgRecord
        assert found.pop("timeout") > 10, "the deadline of the pool comes first"
        return found

    return arguments


async def test_the_url_and_the_options_become_arguments_of_asyncpg(arguments):
    url = "asyncpg://me:pw@server:99/db?application_name=app&ssl=disable&statement_timeout=1.5"
    expected = {
        "host": "server",
        "port": 99,
        "user": "me",
        "password": "pw",
        "database": "db",
        "ssl": "disable",
        "statement_cache_size": 0,
        "server_settings": {"application_name": "app", "statement_timeout": "1500"},
    }
    assert await arguments(url, statement_cache_size=0) == expected


async def test_what_the_url_leaves_out_is_left_to_asyncpg(arguments):
    assert await arguments("asyncpg://") == {"server_settings": {}, "password": None}


async def test_options_win_over_the_url_and_connect_args_over_both(arguments):
    options = {"user": "e", "database": "f", "connect_args": {"database": "g", "loop": None}}
    found = await arguments("asyncpg://a:b@c/d", **options)
    assert tuple(found[name] for name in ("user", "password", "host", "database", "loop")) == ("e", "b", "c", "g", None)


async def test_a_replica_is_read_only_by_the_servers_own_means(arguments):
    found = await arguments("asyncpg://s/d", read_only=True, server_settings={"jit": "off"})
    assert found["server_settings"] == {"jit": "off", "default_transaction_read_only": "on"}


@pytest.mark.parametrize("word", ["allow", "prefer"])
async def test_asyncpg_itself_tries_without_encryption_where_that_is_allowed(arguments, word):
    assert word == (await arguments("asyncpg://s/d", ssl=word))["ssl"]


@pytest.mark.parametrize(
    ("mode", "verifies", "checks_host"),
    [("require", tls.CERT_NONE, False), ("verify-ca", tls.CERT_REQUIRED, False), (True, tls.CERT_REQUIRED, True)],
)
async def test_encryption_is_pythons(arguments, mode, verifies, checks_host):
    context = (await arguments("asyncpg://s/d", ssl=mode))["ssl"]
    assert (verifies, checks_host) == (context.verify_mode, context.check_hostname)


class BadArgument(asyncpg.InterfaceError, ValueError):
    """A value that asyncpg cannot send."""


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (asyncpg.UniqueViolationError("x"), errors.UniqueViolation),
        (asyncpg.DeadlockDetectedError("x"), errors.DeadlockDetected),
        (asyncpg.InvalidPasswordError("x"), errors.AuthenticationError),
        (asyncpg.PostgresError("x"), errors.DatabaseError),
        (TimeoutError(), errors.QueryTimeout),
        (BadArgument("x"), errors.DataError),
        (asyncpg.InterfaceError("connection is closed"), errors.ConnectionLost),
        (asyncpg.InterfaceError("cannot call: connection has been released back"), errors.ConnectionLost),
        (asyncpg.InterfaceError("another operation is in progress"), errors.InterfaceError),
        (asyncpg.InternalClientError("cannot switch to state 11"), errors.ConnectionLost),
        (asyncpg.InternalClientError("got result for unknown protocol state 3"), errors.ConnectionLost),
        (asyncpg.InternalClientError("unknown error in protocol implementation"), errors.ConnectionLost),
        (
            asyncpg.InternalClientError("waiter is not done while handling critical protocol error"),
            errors.ConnectionLost,
        ),
        (asyncpg.InternalClientError("no decoder for composite type element in position 1"), errors.NotSupportedError),
        (asyncpg.InternalClientError("could not resolve query result and/or argument types"), errors.NotSupportedError),
        (asyncpg.ProtocolError("number of array dimensions (7) exceed the maximum"), errors.NotSupportedError),
        (asyncpg.OutdatedSchemaCacheError("unexpected number of attributes"), errors.DataError),
        (asyncpg.UnsupportedClientFeatureError("anonymous composite types"), errors.NotSupportedError),
        (asyncpg.InterfaceError("the number of query arguments cannot exceed 32767"), errors.ProgrammingError),
        (asyncpg.InvalidSQLStatementNameError("prepared statement x does not exist"), errors.ProgrammingError),
        (TimeoutError(110, "timed out"), errors.ConnectionLost),
        (ConnectionResetError(104, "reset"), errors.ConnectionLost),
        (KeyError("not asyncpg's"), None),
    ],
)
def test_errors_of_asyncpg_are_told_by_sqlstate_else_by_class(exc, kind):
    diagnosis = Database("asyncpg://").backend.diagnose(exc)
    assert kind is (diagnosis and diagnosis.kind)


@pytest.mark.parametrize(
    ("severity", "kind"),
    [("FATAL", errors.ConnectionLost), ("PANIC", errors.ConnectionLost), ("ERROR", errors.InternalError)],
)
def test_an_internal_error_that_ends_the_session_is_a_lost_connection(severity, kind):
    exc = asyncpg.InternalServerError("unable to read data from DB node 1")
    exc.severity_en = severity
    assert kind is Database("asyncpg://").backend.diagnose(exc).kind


def test_details_of_a_servers_error_are_kept():
    exc = asyncpg.UniqueViolationError("x")
    exc.constraint_name, exc.table_name = "users_pkey", "users"
    found = Database("asyncpg://").backend.diagnose(exc)
    assert (errors.UniqueViolation, "23505", None, "users_pkey", "users", None) == found[:6]
