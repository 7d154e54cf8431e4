"""What is particular to ODBC: how a data source is named, and what its drivers would garble, forget or crash by."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time as clock
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID, uuid4

import anyio
import pytest

import aio_databases
from aio_databases import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    Database,
    DataError,
    Error,
    NotSupportedError,
    ProgrammingError,
    ReadOnlyError,
    TransactionError,
    UniqueViolation,
)

KINDS = ("sqlite", "postgresql", "mysql")
LIBRARIES = (("aioodbc", "asyncio"), ("pyodbc", "asyncio"), ("pyodbc", "trio"))
EMOJI = "é€😀'\"\\"
SLOW = {
    "sqlite": "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n",
    "postgresql": "select pg_sleep(30)",
    "mysql": "select sleep(30)",
}
ROWS = {
    "sqlite": "with recursive n (i) as (select 1 union all select i + 1 from n where i < {}) select i from n",
    "postgresql": "select i from generate_series(1, {}) as s (i)",
    "mysql": "select seq as i from seq_1_to_{}",
}


@pytest.fixture(params=LIBRARIES, ids="-".join)
def library(request):
    """Give the scheme and the event loop."""
    return request.param


@pytest.fixture
def anyio_backend(request):
    """Run on the event loop of the library."""
    return request.getfixturevalue("library")[1] if "library" in request.fixturenames else "asyncio"


@pytest.fixture(params=KINDS)
def kind(request):
    """Give the kind of database."""
    return request.param


@pytest.fixture
def place(kind, odbc, request, tmp_path):
    """Give what a connection string says of an empty database, apart from the ODBC driver."""
    if kind == "sqlite":
        return {"Database": f"{tmp_path}/test.db"}
    parts = urlsplit(request.getfixturevalue({"postgresql": "postgres_url", "mysql": "mysql_url"}[kind]))
    login = {"UID": unquote(parts.username), "PWD": f"{{{unquote(parts.password)}}}"}
    return {"Server": parts.hostname, "Port": parts.port, "Database": parts.path.lstrip("/"), **login}


@pytest.fixture
def dsn(kind, odbc, place):
    """Give the connection string of an empty database."""
    return ";".join(f"{name}={value}" for name, value in {"Driver": odbc(kind), **place}.items())


@pytest.fixture
async def db(library, dsn):
    """Give a connected database with the table `things`."""
    async with Database(f"{library[0]}://", dsn=dsn) as database:
        async with database.connection() as connection:
            await connection.execute("drop table if exists things")
            await connection.execute("create table things (id integer primary key, name varchar(300))")
        yield database


async def count(database):
    return await database.fetchval("select count(*) from things")


# Naming a data source


@pytest.mark.parametrize("scheme", ["odbc", "aioodbc", "pyodbc", "odbc+pyodbc", "aioodbc+pool"])
async def test_a_dsn_works_as_in_1x(scheme, kind, dsn):
    for database in (
        Database(f"{scheme}://localhost", dsn=dsn, db_type=kind, minsize=1, maxsize=2),
        Database(f"{scheme}://?dsn={quote(dsn, safe='')}"),
    ):
        assert kind == database.backend.db_type
        async with database:
            assert kind == database.backend.dialect
            assert await database.fetchval("select 1") == 1


async def test_a_url_with_a_driver_works(library, kind, odbc, place):
    login = f"{quote(place['UID'])}:{quote(place['PWD'][1:-1], safe='')}@" if "UID" in place else ""
    host = f"{place['Server']}:{place['Port']}" if "Server" in place else ""
    url = f"{library[0]}://{login}{host}/{place['Database']}?driver={quote(odbc(kind), safe='')}"
    async with Database(url) as database:
        assert await database.fetchval("select 1") == 1


async def test_the_scheme_odbc_picks_a_library_for_the_event_loop(library, dsn):
    async with Database("odbc://", dsn=dsn) as database:
        expected = "pyodbc" if library[1] == "trio" else "aioodbc"
        assert database.backend.name == expected


@pytest.fixture
def named(kind, odbc, place, tmp_path, monkeypatch):
    """Give the login and name of a data source in an odbc.ini; the name of its ODBC driver does not tell its kind."""
    name = f"Shop{uuid4().hex[:8]}"  # the ODBC manager remembers what it has read
    library = tmp_path / "mystery.so"
    library.symlink_to(odbc(kind))
    said = {"Driver": library, **place, "Servername": place.get("Server", "")}  # as psqlodbc calls it in this file
    lines = [f"{key} = {value}" for key, value in said.items() if key not in {"UID", "PWD"}]
    (tmp_path / "odbc.ini").write_text("\n".join([f"[{name}]", *lines, ""]))
    monkeypatch.setenv("ODBCINI", str(tmp_path / "odbc.ini"))
    login = f"{quote(place['UID'])}:{quote(place['PWD'][1:-1], safe='')}@" if "UID" in place else ""
    return login + name


async def test_a_data_source_of_the_manager_is_asked_what_it_is(library, kind, named):
    database = Database(f"{library[0]}://{named}")
    assert database.backend.dialect == "odbc"
    async with database:
        assert await database.fetchval("select 1") == 1
        assert kind == database.backend.dialect
        if kind == "postgresql":
            assert await database.fetchval("select true") is True
        elif kind == "sqlite":
            assert await database.fetchval("select 1099511627776") == 2**40


# Logging in


async def test_a_missing_odbc_driver_or_data_source_is_told(library):
    for dsn in ("Driver=/no/such/driver.so;PWD=hunter2", "DSN=no_such_source;PWD=hunter2", "Driver={No;PWD=hunter2"):
        with pytest.raises(ConnectError, match=r"check that .*the ODBC driver is installed") as caught:
            await Database(f"{library[0]}://", dsn=dsn).connect()
        assert "hunter2" not in f"{caught.value!r}{caught.value}{caught.value.__cause__!r}"


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
async def test_a_wrong_password_is_told_but_not_shown(library, dsn):
    dsn = dsn[: dsn.index("PWD=")] + "PWD={hun;ter2}"
    with pytest.raises(AuthenticationError, match="check user and password") as caught:
        await Database(f"{library[0]}://", dsn=dsn).connect()
    assert "ter2" not in f"{caught.value!r}{caught.value}{caught.value.__cause__!r}"


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
async def test_a_password_may_be_asked_for_each_time(library, dsn, place):
    asked = []

    async def password():
        await anyio.lowlevel.checkpoint()
        asked.append(1)
        return place["PWD"][1:-1]

    async with Database(f"{library[0]}://", dsn=dsn[: dsn.index(";PWD=")], password=password) as database:
        assert await database.fetchval("select 1") == 1
    assert asked


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
@pytest.mark.parametrize("password", ["se;mi", "clo}se", "{both}", "eq=x", "per%cent", "plus+", "ünï", "quo'te\"\\"])
def test_any_password_gets_through_to_the_server(kind, odbc, request, password):
    server = request.getfixturevalue({"postgresql": "postgres", "mysql": "mysql"}[kind])
    parts = urlsplit(request.getfixturevalue({"postgresql": "postgres_url", "mysql": "mysql_url"}[kind]))
    name = parts.path.lstrip("/")
    literal = password.replace("\\", "\\\\").replace("'", "\\'") if kind == "mysql" else password.replace("'", "''")
    make, drop = {
        "postgresql": (f"create role odbc_user login password '{literal}'", "drop role odbc_user"),
        "mysql": (f"create user odbc_user identified by '{literal}'", "drop user odbc_user"),
    }[kind]
    server.execute(make)
    try:
        if kind == "mysql":
            server.execute(f"grant all on `{name}`.* to odbc_user")

        async def ask():
            url = f"pyodbc://odbc_user:{quote(password, safe='')}@{parts.hostname}:{parts.port}/{name}"
            async with Database(url, driver=odbc(kind)) as database:
                return await database.fetchval("select 1")

        assert anyio.run(ask) == 1
    finally:
        server.execute(drop)


async def test_a_server_that_does_not_answer_blocks_nobody_else(library, odbc, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        begun = clock.monotonic()
        hanging = [
            Database(f"{library[0]}://x@127.0.0.1:{port}/x", driver=odbc(kind), connect_timeout=0.3)
            for kind in ("postgresql", "mysql")
        ]

        async def connect(database):
            with pytest.raises(ConnectError, match=r"no answer within 0\.3 s"):
                await database.connect()

        async with anyio.create_task_group() as tasks:
            for database in hanging:
                tasks.start_soon(connect, database)
            async with Database(f"{library[0]}:///{tmp_path}/x.db", driver=odbc("sqlite")) as database:
                assert await database.fetchval("select 1") == 1
            assert clock.monotonic() - begun < 0.3
        assert clock.monotonic() - begun < 2


# Encryption


@pytest.mark.parametrize(
    ("kind", "modes"),
    [
        (
            "postgresql",
            {False: False, "prefer": True, "require": True, "verify-ca": True, "verify-full": True, True: True},
        ),
        ("mysql", {False: False, "verify-full": True, True: True}),
    ],
)
async def test_each_word_for_tls_does_what_it_says(kind, modes, dsn, request):
    authority = str(request.getfixturevalue({"postgresql": "postgres", "mysql": "mysql"}[kind] + "_authority"))
    query = {
        "postgresql": "select ssl::int from pg_stat_ssl where pid = pg_backend_pid()",
        "mysql": "select variable_value <> '' from information_schema.session_status "
        "where variable_name = 'ssl_cipher'",
    }[kind]
    for mode, encrypted in modes.items():
        files = {"sslrootcert": authority} if mode is True or str(mode).startswith("verify") else {}
        async with Database("pyodbc://", dsn=dsn, ssl=mode, **files) as database:
            assert encrypted is bool(int(await database.fetchval(query))), mode
    with pytest.raises(ConnectError, match=r"(?i)certificate|verif"):
        await Database("pyodbc://", dsn=dsn, ssl="verify-full").connect()


# Values


VALUES = {
    "postgresql": (
        ("bigint", 2**62),
        ("text", EMOJI * 20_000),
        ("bytea", b"\0\1\xff" * 30_000),
        ("boolean", True),
        ("numeric", Decimal("12345678901234567890.12345")),
        ("timestamp", datetime(2024, 2, 29, 12, 1, 2, 123456)),  # noqa: DTZ001 - what the type holds
        ("time", time(12, 1, 2, 123456)),
        ("uuid", UUID(int=5)),
    ),
    "mysql": (
        ("bigint", 2**62),
        ("longtext", "x" * 256),
        ("longtext", EMOJI * 20_000),
        ("longblob", b"\0\1\xff" * 30_000),
        ("decimal(30, 5)", Decimal("12345678901234567890.12345")),
        ("datetime(6)", datetime(2024, 2, 29, 12, 1, 2, 123456)),  # noqa: DTZ001 - what the type holds
        ("time(6)", timedelta(hours=-112, microseconds=5)),
    ),
    "sqlite": (
        ("integer", 2**62),
        ("integer", -(2**40)),
        ("text", EMOJI * 20_000),
        ("blob", b"\0\1\xff" * 30_000),
        ("boolean", True),
        ("timestamp", datetime(2024, 2, 29, 12, 1, 2, 123456)),  # noqa: DTZ001 - what the type holds
    ),
}


async def test_values_come_back_as_they_were(db, kind):
    for type_name, value in VALUES[kind]:
        async with db.connection() as connection:
            await connection.execute(f"create temporary table one (v {type_name})")
            await connection.execute("insert into one values (?)", value)
            await connection.execute("insert into one values (?)", None)
            rows = [row[0] for row in await connection.fetchall("select v from one order by v is null")]
            assert [value, None] == rows, type_name
            assert type(value) is type(rows[0]), type_name
            await connection.execute("drop table one")


async def test_sql_and_names_are_not_garbled(db, kind):
    name = "ünï 🐘" if kind != "mysql" else "ünï €"  # MariaDB's names end where Unicode's first plane does
    mark = "`" if kind == "mysql" else '"'
    row = await db.fetchone(f"select 'ünï 🐘 ?' as {mark}{name}{mark}, ? as other", "🐘")
    assert {name: "ünï 🐘 ?", "other": "🐘"} == dict(row)


async def test_a_moment_with_a_zone_is_stored_as_that_moment(db, kind):
    moment = datetime(2024, 2, 29, 12, 1, 2, 5, timezone(timedelta(hours=5)))
    queries = {
        "postgresql": ("select cast(? as timestamptz) = '2024-02-29 07:01:02.000005+00'", True),
        "mysql": ("select cast(? as datetime(6)) = '2024-02-29 07:01:02.000005'", 1),
        "sqlite": ("select cast(? as text)", "2024-02-29 12:01:02.000005+05:00"),
    }
    query, expected = queries[kind]
    assert await db.fetchval(query, moment) == expected


async def test_arrays_are_parameters_of_postgresql(library, request, odbc):
    url = request.getfixturevalue("postgres_url").replace("postgresql", library[0])
    async with Database(url, driver=odbc("postgresql")) as database:
        assert [
            row.i for row in await database.fetchall("select i from generate_series(1, 5) i where i = any(?)", [2, 3])
        ] == [2, 3]
        assert await database.fetchval("select (?::text[])[2]", ["x", "a'\"\\"]) == "a'\"\\"


async def test_what_would_be_cut_is_refused(db):
    for value in ("a\0b", 2**70):
        with pytest.raises(DataError):
            await db.execute("insert into things values (1, ?)", value)
    assert await count(db) == 0


# Transactions


async def test_many_rows_are_all_or_nothing(db):
    rows = [(number, "x") for number in range(2000)]
    assert (await db.executemany("insert into things values (?, ?)", rows)).rowcount == 2000
    with pytest.raises(UniqueViolation):
        await db.executemany("insert into things values (?, ?)", [(5000, "x"), (5001, "x"), (1, "x")])
    assert await count(db) == 2000
    async with db.transaction():
        await db.execute("insert into things values (6000, 'x')")
        with pytest.raises(UniqueViolation):
            async with db.transaction():
                await db.executemany("insert into things values (?, ?)", [(5000, "x"), (5001, "x"), (1, "x")])
        assert await count(db) == 2001
    assert await count(db) == 2001


async def test_a_failed_transaction_of_postgresql_is_not_committed_in_silence(library, request, odbc):
    url = request.getfixturevalue("postgres_url").replace("postgresql", library[0])
    async with Database(url, driver=odbc("postgresql")) as database:
        with pytest.raises(TransactionError, match="rolled back instead of committed"):
            async with database.transaction():
                with pytest.raises(Error):
                    await database.execute("select 1 / 0")
        async with database.transaction():
            for value in ("\0", object()):
                with pytest.raises(DataError):
                    await database.execute("select ?::text", value)  # not even sent


async def test_a_transaction_that_sqlite_has_ended_is_noticed(library, odbc, tmp_path):
    async with Database(f"{library[0]}:///{tmp_path}/x.db", driver=odbc("sqlite")) as database:
        await database.execute("create table one (id integer primary key)")
        with pytest.raises(TransactionError, match="rolled it back"):
            async with database.transaction():
                await database.execute("insert into one values (1)")
                with pytest.raises(UniqueViolation):
                    await database.execute("insert or rollback into one values (1)")
                await database.execute("insert into one values (2)")
        assert await database.fetchval("select count(*) from one") == 0


async def test_a_transaction_that_ddl_has_committed_is_noticed(library, request, odbc):
    url = request.getfixturevalue("mysql_url").replace("mysql", library[0])
    async with Database(url, driver=odbc("mysql")) as database:
        await database.execute("create or replace table one (id integer primary key)")
        for sql in ("create or replace table other (id integer)", "create table one (id integer)"):
            with pytest.raises((TransactionError, Error), match=r"ended by a statement|already exists"):
                async with database.transaction():
                    await database.execute("delete from one")
                    await database.execute(sql)
                    await database.execute("insert into one values (1)")
        assert await database.fetchval("select count(*) from one") == 0


async def test_a_transaction_may_be_begun_by_hand(db, kind):
    async with db.connection() as connection:
        await connection.execute("start transaction" if kind == "mysql" else "begin")
        await connection.executemany("insert into things values (?, ?)", [(1, "x"), (2, "x")])
        await connection.execute("rollback")
        assert await count(db) == 0


async def test_two_statements_in_one_do_not_hang_the_next(library, request, odbc):
    url = request.getfixturevalue("mysql_url").replace("mysql", library[0])
    async with Database(url, driver=odbc("mysql"), max_size=1) as database:
        with pytest.raises(ProgrammingError):
            await database.execute("select 1; select 2")
        with anyio.fail_after(3):
            assert await database.fetchval("select 3") == 3


async def test_an_unknown_database_has_what_odbc_has(library, odbc, tmp_path):
    async with Database(
        f"{library[0]}://", dsn=f"Driver={odbc('sqlite')};Database={tmp_path}/x.db", db_type="acme", max_size=1
    ) as database:
        await database.execute("create table one (id integer primary key)")
        async with database.transaction():
            await database.executemany("insert into one values (?)", [(1,), (2,)])
        with pytest.raises(ZeroDivisionError):
            async with database.transaction():
                await database.execute("insert into one values (3)")
                _ = 1 / 0
        with pytest.raises(Error):
            await database.executemany("insert into one values (?)", [(4,), (1,)])
        assert await database.fetchval("select count(*) from one") == 2
        with pytest.raises(NotSupportedError, match="no isolation level"):
            await database.transaction(isolation="serializable").start()
        with pytest.raises(NotSupportedError, match="refuse writes"):
            async with database.replica():
                await database.fetchval("select 1")


async def test_a_relative_of_a_database_need_not_have_all_of_it(library, odbc, tmp_path):
    dsn = f"Driver={odbc('sqlite')};Database={tmp_path}/x.db"
    async with Database(f"{library[0]}://", dsn=dsn, db_type="mysql", max_size=1) as database:
        with anyio.move_on_after(0.05) as scope:
            await database.fetchval(ROWS["sqlite"].format(3_000_000))  # nobody knows how to stop it
        assert scope.cancelled_caught
        async with database.connection() as connection:
            await connection.execute("begin")
            with pytest.raises(Error):
                await connection.execute("nonsense")
            await connection.execute("create temporary table one (id integer)")
            await connection.execute("rollback")
            assert await connection.fetchval("select 1") == 1


async def test_the_database_itself_keeps_replicas_from_writing(db):
    connection = await db.backend.connect(read_only=True)
    try:
        with pytest.raises(Exception, match=r"(?i)read.?only") as caught:
            await connection.execute("insert into things values (1, 'x')", ())
        assert ReadOnlyError is db.backend.diagnose(caught.value).kind
    finally:
        await connection.close()


# Streams and cancellation


async def test_a_stream_of_postgresql_is_a_cursor_of_the_server(library, request, odbc):
    url = request.getfixturevalue("postgres_url").replace("postgresql", library[0])
    query = "select i from generate_series(1, ?::int) i"
    async with (
        Database(url, driver=odbc("postgresql")) as database,
        database.transaction(),
        database.iterate(query, 100_000, chunk_size=10) as stream,
    ):
        assert [(await anext(stream)).i for _ in range(3)] == [1, 2, 3]
        assert await database.fetchval("select count(*) from pg_cursors where name like 'aiodb%'") == 1


async def test_a_stream_gives_all_rows_while_others_write(db, kind):
    number = 0
    async for row in db.iterate(ROWS[kind].format(2500), chunk_size=1000):
        number += 1
        if row.i % 1000 == 1:
            await db.execute("insert into things values (?, 'x')", row.i)
    assert (number, await count(db)) == (2500, 3)


async def test_a_cancelled_statement_is_stopped_and_its_connection_goes_on(db, kind):
    async with db.connection() as connection:
        raw = connection.raw
        for _ in range(2):
            begun = clock.monotonic()
            with anyio.move_on_after(0.05) as scope:
                await connection.fetchval(SLOW[kind])
            assert scope.cancelled_caught
            assert clock.monotonic() - begun < 3
            assert int(await connection.fetchval("select 7")) == 7
        assert raw is connection.raw


async def test_a_request_to_stop_hits_no_other_statement(db, kind):
    generator = random.Random(1)  # noqa: S311 - for moments, not for secrets
    async with db.connection() as connection:
        for number in range(30):
            with anyio.move_on_after(generator.random() * 0.004):
                if number % 3:
                    await connection.fetchall(ROWS[kind].format(generator.choice([10, 3000])))
                else:
                    async with connection.transaction():
                        await connection.execute("insert into things values (?, 'x')", number)
                        await connection.executemany(
                            "insert into things values (?, 'x')", [(number * 1000 + i,) for i in range(1000, 1050)]
                        )
            assert number == int(await connection.fetchval(f"select {number}"))
            assert await count(db) % 51 == 0


async def test_the_connection_of_aioodbc_works_beside_ours(dsn):
    async with Database("aioodbc://", dsn=dsn) as database, database.connection() as connection:
        cursor = await connection.raw.cursor()
        await cursor.execute("select 1")
        assert [tuple(row) for row in await cursor.fetchall()] == [(1,)]
        await cursor.close()
        assert await connection.fetchval("select 2") == 2


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
async def test_a_lost_connection_says_so(db, kind):
    own, kill = {
        "postgresql": ("select pg_backend_pid()", "select pg_terminate_backend({})"),
        "mysql": ("select connection_id()", "kill {}"),
    }[kind]
    connection = await db.backend.connect()
    number = (await connection.fetch(own, (), 1))[0][0]
    await db.fetchall(kill.format(number))
    with pytest.raises(Exception, match=r"Lost|terminating|Write error") as caught:
        await connection.fetch("select 1", (), 1)
    assert aio_databases.ConnectionLost is db.backend.diagnose(caught.value).kind
    assert connection.is_closed
    await connection.close()


PROGRAM = """
import sys, anyio
from aio_databases import Database

async def main(scheme, dsn):
    database = await Database(f"{scheme}://", dsn=dsn).connect()
    kept.append((database, await database.connection().acquire(), await database.connection().acquire()))
    print(await kept[0][1].fetchval("select 1"))

kept = []
anyio.run(main, *sys.argv[2:], backend=sys.argv[1])
"""


@pytest.mark.parametrize("kind", ["postgresql"])
def test_an_open_connection_keeps_no_interpreter_from_ending(library, dsn):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, library[1], library[0], dsn],
        capture_output=True,
        check=False,
        cwd=Path(aio_databases.__file__).parents[1],
        env={**os.environ, "PYTHONPATH": "tests"},
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_a_wrong_option_is_refused_before_anything_is_opened(kind, dsn):
    with pytest.raises(ConfigurationError, match="unknown option 'pragmas'"):
        Database("odbc://", dsn=dsn, pragmas={})
    with pytest.raises(ConfigurationError, match="json=True"):
        _ = Database("pyodbc://", dsn=dsn, json=True)
