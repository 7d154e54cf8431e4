"""What is particular to MySQL and MariaDB, with each of their libraries: results, values, many rows, transactions."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from ipaddress import ip_address

import anyio
import pytest

from aio_databases import (
    ConnectionLost,
    Database,
    DataError,
    DeadlockDetected,
    Error,
    LockTimeout,
    ProgrammingError,
    ReadOnlyError,
    Result,
    SerializationFailure,
    TransactionError,
    UniqueViolation,
)
from aio_databases.drivers.base import TransactionOptions

pytestmark = pytest.mark.targets(scheme={"asyncmy", "aiomysql", "pymysql", "trio-mysql"}, pooled=True)
FOR_ONE = pytest.mark.targets(scheme="asyncmy")  # for what is done by code that all libraries share

BIGINT = 8  # the protocol's number of the type
LONG = 1_100_000  # bytes, more than goes into one batch
ENDLESS = "select seq, repeat('x', 5000) from seq_1_to_9999999999"


@pytest.fixture
async def counted(db):
    """Give a database with an empty table whose rows get numbers."""
    await db.execute("create table t (id integer auto_increment primary key, a longtext unique, b longblob)")
    return db


async def count_of(db, *kinds):
    """Count the statements of some kinds that the connection in use has run."""
    rows = await db.fetchall("show session status where Variable_name in ?", [f"Com_{kind}" for kind in kinds])
    return sum(int(row.Value) for row in rows)


# Results


@FOR_ONE
@pytest.mark.parametrize(("query", "rowcount"), [("", 3), ("?found_rows=true", 3), ("?found_rows=false", 0)])
async def test_an_update_counts_the_rows_that_it_found_or_that_it_changed(make_database, url, users, query, rowcount):
    database = await make_database(url + query)
    assert rowcount == (await database.execute("update users set name = name")).rowcount


async def test_the_first_of_many_new_ids_is_told_and_none_where_there_is_none(counted):
    assert Result(1, 1) == await counted.execute("insert into t (a) values ('x')")
    assert Result(2, 2) == await counted.execute("insert into t (a) values ('y'), ('z')")
    assert Result(1, 9) == await counted.execute("insert into t (id) values (9)")
    assert Result(4, None) == await counted.execute("update t set b = 'b'")
    assert Result(4, None) == await counted.execute("select id from t")
    await counted.execute("create table plain (id integer primary key)")
    assert Result(1, None) == await counted.execute("insert into plain values (7)")


async def test_names_of_columns_may_repeat(db):
    row = await db.fetchone("select 1 as a, 2 as a, 3 as `:b`")
    assert (row, row.keys()) == ((1, 2, 3), ("a", "a", ":b"))
    assert [row async for row in db.iterate("select 1 as a, 2 as a")] == [(1, 2)]


PROCEDURE = """
create procedure several(in n integer)
begin
    select seq from seq_1_to_10000 where seq <= n;
    select 'second';
    insert into t (b) values ('by procedure');
end
"""


async def test_the_first_result_of_a_procedure_is_returned_and_the_others_are_read_off(counted):
    await counted.execute(PROCEDURE)
    async with counted.connection() as connection:
        assert await connection.fetchall("call several(2)", into=int) == [1, 2]
        assert await connection.fetchval("call several(?)", 50) == 1
        await connection.execute("call several(7)")
        assert await connection.fetchval("select count(*) from t") == 3
        async with connection.transaction():
            assert [row.seq async for row in connection.iterate("call several(3)")] == [1, 2, 3]
            async for row in connection.iterate("call several(9999)", chunk_size=5):
                assert row.seq == 1
                break
            assert await connection.fetchval("select 'next'") == "next"


async def test_warnings_of_the_server_are_neither_asked_for_nor_printed(counted):
    async with counted.connection():
        before = await count_of(counted, "show_warnings")
        await counted.execute("drop table if exists nowhere")
        await counted.execute("insert ignore into t (id, a) values (1, 'x'), (1, 'y')")
        assert await counted.fetchval("select cast('1x' as integer)") == 1
        assert before == await count_of(counted, "show_warnings")


# Values


class Colour(Enum):
    RED = "it's red"


# ruff: noqa: RUF001 - what looks like a quote is not one
TEXTS = ("\\", "\\'", "'", "''", '"', "\\' or 1=1 -- ", "a\0b", "\x1a", "🐘'\\", "%s", "a\nb", "\\\\'", "´‘ʼ")


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES"])
async def test_no_value_ends_its_literal_in_any_sql_mode(make_database, mode):
    database = await make_database(sql_mode=f"STRICT_ALL_TABLES,{mode}")
    async with database.connection():
        for text in TEXTS:
            assert (text, text.encode()) == await database.fetchone("select ?, ?", text, text.encode())
            assert await database.fetchone("select ? in ?, ? in ?", text, ["no", text], text, [b"no", text]) == (1, 1)
        await database.execute("create table t (a longtext, b longblob) character set utf8mb4")
        await database.executemany("insert into t (a, b) values (?, ?)", [(text, text.encode()) for text in TEXTS])
        assert [(text, text.encode()) for text in TEXTS] == await database.fetchall("select a, b from t")


async def test_the_sql_mode_may_change_while_a_connection_is_used(db):
    async with db.connection():
        for mode in ("", "NO_BACKSLASH_ESCAPES", "", "NO_BACKSLASH_ESCAPES"):
            await db.execute("set session sql_mode = ?", mode)
            assert await db.fetchone("select ?, ?", "\\'", b"\\'") == ("\\'", b"\\'")


@FOR_ONE
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Colour.RED, "it's red"),
        (True, 1),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (1e308, 1e308),
        (0.1, 0.1),
        (None, None),
        (bytearray(b"\xff"), b"\xff"),
        (memoryview(b"\xff"), b"\xff"),
        ({"a": ["\\", "'"]}, '{"a": ["\\\\", "\'"]}'),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_values_are_taken_for_what_they_are(db, value, expected):
    assert await db.fetchval("select ?", value) == expected


@FOR_ONE
async def test_durations_come_back(db):
    await db.execute("create table t (id integer auto_increment primary key, d time(6))")
    durations = [timedelta(hours=-30, microseconds=5), timedelta(), timedelta(hours=838), -timedelta(microseconds=1)]
    await db.executemany("insert into t (d) values (?)", [(duration,) for duration in durations])
    assert durations == await db.fetchall("select d from t order by id", into=timedelta)


@FOR_ONE
async def test_a_list_is_for_in(users):
    assert await users.fetchall("select name from users where id in ? order by id", [1, 3], into=str) == ["Ann", "Cid"]
    assert await users.fetchall("select name from users where (id, name) in (?)", (2, "Bob"), into=str) == ["Bob"]


@FOR_ONE
async def test_a_value_that_mysql_lacks_leaves_the_connection_usable(db):
    async with db.connection():
        for value in (object(), ip_address("::1"), float("inf"), {1, 2}, "\udcff"):
            with pytest.raises(Error):
                await db.fetchval("select ?", value)
        assert await db.fetchval("select 1") == 1


@pytest.mark.parametrize("verb", ["execute", "fetch", "fetch one", "cursor"])
async def test_a_failure_in_the_middle_of_an_answer_cannot_confuse_the_next_one(url, verb):
    driver = Database(url, connect_args={"conv": {BIGINT: lambda text: 1 / (int(text) - 700)}}).backend
    connection = await driver.connect()
    sql = "select seq from seq_1_to_5000"
    with pytest.raises(ZeroDivisionError):
        if verb == "execute":
            await connection.execute(sql, ())
        elif verb == "cursor":
            cursor = connection.cursor(sql, ())
            while await cursor.fetch(100):
                pass
        else:
            await connection.fetch(sql, (), 1000 if "one" in verb else None)
    assert connection.is_closed
    with pytest.raises(Exception, match="closed"):
        await connection.fetch("select 'next'", (), 1)
    await connection.close()


# Many rows

INSERTS = (
    "insert into t (a, b) values (?, ?)",
    "INSERT INTO t(a,b)VALUES(?,?)",
    "insert into t (a, b)\nvalues\n(\n?, -- the text\n?)",
    "replace into t (a, b) value (?, concat('', ?))",
    "insert into t (a, b) values (?, ?) on duplicate key update b = concat(values(b), '!')",
    "insert into t (a, b) values (?, ?) returning id",
    "insert ignore into `t` (`a`, `b`) values (upper(?), ?);",
)


@FOR_ONE
@pytest.mark.parametrize("sql", INSERTS)
async def test_rows_are_inserted_many_at_a_time_however_that_is_spelled(counted, sql):
    async with counted.connection():
        before = await count_of(counted, "insert", "replace")
        assert Result(500) == await counted.executemany(sql, [(f"A{i}", f"{i}%s") for i in range(500)])
        assert before + 1 == await count_of(counted, "insert", "replace")
        assert await counted.fetchval("select count(*) from t") == 500
        assert await counted.fetchval("select b from t where a = 'A7'") == b"7%s"


@FOR_ONE
async def test_each_statement_of_a_batch_has_about_a_megabyte(counted):
    rows = [(str(i), bytes([i]) * LONG) for i in range(3)] + [(f"x{i}", b"'" * 10) for i in range(100)]
    async with counted.connection():
        before = await count_of(counted, "insert")
        assert Result(103) == await counted.executemany("insert into t (a, b) values (?, ?)", rows)
        assert before + 4 == await count_of(counted, "insert")
        assert await counted.fetchval("select sum(length(b)) from t") == LONG * 3 + 1000


@FOR_ONE
@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("insert into t (a, b) values (?, ?)", [("new", b"x" * LONG), ("newer", b""), ("there", b"")]),
        ("insert into t set a = ?, b = ?", [("new", b""), ("there", b"")]),
        ("insert into t (a, b) select ?, ?", [("new", b""), ("there", b"")]),
        ("update t set a = concat('there', ?), b = ? where id = 2", [(" too", b""), ("", b"")]),
    ],
)
async def test_all_rows_are_written_or_none(counted, sql, rows, in_transaction):
    await counted.execute("insert into t (id, a) values (1, 'there'), (2, 'second')")
    async with counted.connection() as connection:
        if in_transaction:
            await connection.execute("begin")
            await connection.execute("insert into t (id, a) values (3, 'third')")
        with pytest.raises(UniqueViolation):
            await connection.executemany(sql, rows)
        assert in_transaction is connection.driver.in_transaction
        expected = ["there", "second", "third"][: 2 + in_transaction]
        assert await connection.fetchall("select a from t order by id", into=str) == expected
        assert Result(len(rows) - 1) == await connection.executemany(sql, rows[:-1])


@FOR_ONE
async def test_a_row_that_cannot_be_written_undoes_those_before_it(counted):
    rows = [("x", b"x" * LONG), ("y", b"y" * LONG), ("z", object())]
    with pytest.raises(DataError):
        await counted.executemany("insert into t (a, b) values (?, ?)", rows)
    assert await counted.fetchval("select count(*) from t") == 0


# Transactions


async def test_a_read_only_connection_stays_so_in_every_transaction(connection, driver):
    await connection.execute("create table t (i integer)", ())
    reader = await driver.connect(read_only=True)
    for begin in (None, TransactionOptions(), TransactionOptions(readonly=False)):
        for sql in ("insert into t values (1)", "create table u (i integer)", "drop table t", "lock tables t write"):
            if begin is not None:
                await reader.begin(begin)
            with pytest.raises(Exception, match="READ ONLY") as caught:
                await reader.execute(sql, ())
            assert ReadOnlyError is driver.diagnose(caught.value).kind
    await reader.rollback()
    assert await reader.reset()
    with pytest.raises(Exception, match="READ ONLY"):
        await reader.execute("insert into t values (1)", ())
    await reader.close()


@FOR_ONE
@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("read uncommitted", ["Ann", "x", "y"]),
        ("read committed", ["Ann", "Ann", "y"]),
        ("repeatable read", ["Ann", "Ann", "Ann"]),
        ("serializable", ["Ann", "locked", "Ann"]),
    ],
)
async def test_a_transaction_has_the_isolation_that_was_asked_for(users, make_database, url, level, names):
    other = await make_database(url, init_command="set session innodb_lock_wait_timeout = 0")
    seen = []

    async def look():
        seen.append(await users.fetchval("select name from users where id = 1"))

    async with users.transaction(isolation=level):
        await look()
        try:
            async with other.transaction():
                await other.execute("update users set name = 'x' where id = 1")
                await look()
                await other.execute("update users set name = 'y' where id = 1")
        except LockTimeout:
            seen.append("locked")
        await look()
    assert names == seen
    async with users.transaction():
        assert await users.fetchval("select @@tx_isolation") == "REPEATABLE-READ"


async def test_after_a_deadlock_nothing_is_committed_by_accident(users, make_database, url):
    other = await make_database(url)
    both_began, outcomes = anyio.Event(), []

    async def update(database, first, second):
        try:
            async with database.transaction():
                await database.execute("update users set name = 'x' where id = ?", first)
                outcomes.append("began")
                if len(outcomes) == 2:
                    both_began.set()
                await both_began.wait()
                try:
                    await database.execute("update users set name = 'y' where id = ?", second)
                except DeadlockDetected as error:
                    outcomes.append((error.errno, error.retryable))
                    with pytest.raises(TransactionError):
                        await database.execute("insert into users values (9, 'lost')")
        except TransactionError:
            outcomes.append("over")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(update, users, 1, 2)
            tasks.start_soon(update, other, 2, 1)
    assert outcomes == ["began", "began", (1213, True), "over"]
    names = await users.fetchall("select name from users order by id", into=str)
    assert names in (["x", "y", "Cid"], ["y", "x", "Cid"])


async def test_a_lock_that_is_not_free_keeps_the_transaction(users, make_database, url):
    other = await make_database(url)
    async with users.transaction():
        await users.execute("update users set name = 'x' where id = 1")
        async with other.connection() as connection, connection.transaction():
            await connection.execute("update users set name = 'y' where id = 2")
            with pytest.raises(LockTimeout):
                await connection.fetchall("select * from users where id = 1 for update nowait")
            assert connection.driver.in_transaction
    assert await users.fetchall("select name from users order by id", into=str) == ["x", "y", "Cid"]


@FOR_ONE
async def test_a_transaction_that_the_server_ends_with_an_error_is_over(users, make_database, url):
    database, other = await make_database(url), await make_database(url)
    with pytest.raises(TransactionError):
        async with database.transaction(isolation="repeatable read") as transaction:
            await database.execute("set session innodb_snapshot_isolation = 1")
            await database.fetchall("select * from users")
            await other.execute("update users set name = 'x' where id = 1")
            with pytest.raises(SerializationFailure):
                await database.execute("update users set name = 'y' where id = 1")
            assert not transaction.is_active
            await database.execute("update users set name = 'z' where id = 1")
    assert await users.fetchval("select name from users where id = 1") == "x"


async def test_a_statement_that_commits_ends_the_transaction(connection):
    await connection.begin(TransactionOptions())
    await connection.execute("insert into numbers values (1)", ())
    assert connection.in_transaction
    await connection.execute("create table other (i integer)", ())
    assert not connection.in_transaction


# Streams


async def test_the_loop_of_a_stream_may_use_its_transaction(db):
    async with db.transaction():
        seen = []
        async for row in db.iterate("select seq from seq_1_to_3000", chunk_size=100):
            seen.append(row.seq)
            if row.seq in {1, 150, 2999}:
                assert row.seq == await db.fetchval("select ?", row.seq)
        assert list(range(1, 3001)) == seen


async def test_a_stream_that_fails_late_does_not_fail_other_statements(db):
    numbers = "select 18446744073709551000 + seq as n from seq_1_to_9999"
    async with db.transaction():
        stream = db.iterate(numbers, chunk_size=100)
        assert (await anext(stream)).n == 18446744073709551001
        assert await db.fetchval("select 'other'") == "other"
        with pytest.raises(DataError):
            _ = [row async for row in stream]
        assert await db.fetchval("select 'other'") == "other"


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_stream_that_is_left_early_is_not_read_to_its_end(db, running, in_transaction):
    async with db.transaction() if in_transaction else db.connection():
        with anyio.fail_after(20):
            async with db.iterate(ENDLESS, chunk_size=10) as stream:
                assert [(await anext(stream)).seq for _ in range(3)] == [1, 2, 3]
            assert await db.fetchval("select 1") == 1
        await running(0)


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_the_end_of_a_transaction_does_not_read_its_streams(connection, end):
    await connection.begin(TransactionOptions())
    cursor = connection.cursor(ENDLESS, ())
    assert [row.seq for row in await cursor.fetch(2)] == [1, 2]
    with anyio.fail_after(20):
        await getattr(connection, end)()
    assert not connection.in_transaction
    assert await cursor.fetch(2) == []
    await cursor.close()


async def test_the_first_of_many_rows_can_be_fetched(db):
    async with db.connection():
        assert await db.fetchval("select seq from seq_1_to_20000") == 1
        assert await db.fetchmany(3, "select seq from seq_1_to_20000", into=int) == [1, 2, 3]
        assert await db.fetchval("select 1") == 1


# Connections


async def test_a_sign_of_life_is_not_given_by_another_connection(connection, mysql):
    (number,) = (await connection.fetch("select connection_id()", (), 1))[0]
    await connection.ping()
    mysql.execute(f"kill {number}")
    with pytest.raises(Exception, match=r"(?i)lost|gone|closed|not connected"):
        await connection.ping()
    assert connection.is_closed


@pytest.mark.parametrize("what", ["{}", "QUERY {}"])
async def test_nothing_is_killed_on_another_server(connection, driver, mysql, what):
    (number,) = (await connection.fetch("select connection_id()", (), 1))[0]
    await driver.kill(what.format(number), [("other", 3306, 1)])
    assert await connection.fetch("select 1", (), 1) == [(1,)]
    await driver.kill(str(number), connection.server)
    with pytest.raises(Exception, match=r"(?i)lost|gone|closed|killed"):
        await connection.fetch("select 1", (), 1)


async def test_a_statement_that_is_too_big_costs_the_connection_at_most(db):
    with pytest.raises((DataError, ConnectionLost)):
        await db.fetchval("select length(?)", b"x" * 17_000_000)
    assert await db.fetchval("select 1") == 1


async def test_several_statements_in_one_are_refused(users):
    with pytest.raises(ProgrammingError):
        await users.execute("delete from users; delete from users")
    assert await users.fetchval("select count(*) from users") == 3
