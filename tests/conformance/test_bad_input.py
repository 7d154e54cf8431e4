"""Bad input gets one clear sentence: what happened, to what, what to do, and never a password or a value."""

from __future__ import annotations

import logging
import socket
import sys
import traceback
from functools import partial

import anyio
import pytest

from aio_databases import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    Database,
    DriverNotInstalled,
    InterfaceError,
    NotSupportedError,
    PoolClosed,
    ProgrammingError,
    ReadOnlyError,
    UnknownDriver,
)

SECRET = "hunter2"  # a password or value that nothing may show


def everything_told(error):
    """Return what an error, and those that led to it, show of themselves, in messages, reprs and tracebacks."""
    told = traceback.format_exception(error)
    while error is not None:
        told.append(repr(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(told)


async def use(make_database, address, **options):
    """Connect, if that is the target's mode, and run a statement."""
    database = await make_database(address, **options)
    return await database.fetchval("select 1")


# URLs


@pytest.mark.parametrize(
    ("scheme", "near"),
    [
        ("posgresql", "'postgresql'"),
        ("postgre", "'postgres'"),
        ("sqlit", "'sqlite'"),
        ("asyncgp", "'asyncpg'"),
        ("aiosqllite", "'aiosqlite'"),
        ("postgresql+asyncgp", "'asyncpg'"),
    ],
)
def test_an_unknown_scheme_is_refused_with_what_is_near(scheme, near):
    with pytest.raises(UnknownDriver) as caught:
        Database(f"{scheme}://app:{SECRET}@localhost/test")
    message = str(caught.value)
    assert repr(scheme) in message
    assert "did you mean" in message
    assert near in message.partition("; known are")[0]
    assert SECRET not in everything_told(caught.value)
    assert isinstance(caught.value, ConfigurationError)
    assert isinstance(caught.value, ValueError)


def test_an_unknown_scheme_that_is_near_to_none_is_refused_with_the_known_ones():
    with pytest.raises(UnknownDriver) as caught:
        Database("gopher://localhost/test")
    assert "did you mean" not in str(caught.value)
    known = str(caught.value).partition("known are ")[2].split(", ")
    assert {"aiosqlite", "asyncpg", "postgres", "postgresql", "sqlite"} == set(known)


@pytest.mark.parametrize("url", ["sqlite+asyncpg://", "postgresql+aiosqlite://localhost/test"])
def test_a_driver_for_another_database_is_refused(url):
    with pytest.raises(UnknownDriver, match=r"is for \w+, not for \w+"):
        Database(url)


@pytest.mark.parametrize(
    "url",
    [
        f"asyncpg://app:{SECRET}@localhost:port/test",
        f"asyncpg://app:{SECRET}@localhost:99999/test",
        f"asyncpg://app:{SECRET}/2@localhost/test",
        f"asyncpg://app:{SECRET}?2@localhost/test",
        f"asyncpg://app:{SECRET}#2@localhost/test",
        f"asyncpg://app:{SECRET}@2@localhost/te@st",
        f"asyncpg://app:{SECRET}@[::1/test",
        f"app:{SECRET}@localhost/test",
        f"//app:{SECRET}@localhost/test",
        "test.db",
        "",
        "://",
    ],
)
def test_a_malformed_url_is_refused_without_its_password(url):
    with pytest.raises(ConfigurationError) as caught:
        Database(url)
    assert "URL" in str(caught.value)
    assert SECRET not in everything_told(caught.value)


@pytest.mark.parametrize("url", [None, 5, b"sqlite://", ["sqlite://"]])
def test_a_url_that_is_no_text_is_refused(url):
    with pytest.raises(ConfigurationError, match=f"must be a str, not {type(url).__name__}"):
        Database(url)


def test_a_sqlite_url_with_too_few_slashes_is_refused():
    for scheme in ("sqlite", "aiosqlite"):
        with pytest.raises(ConfigurationError, match="takes three slashes"):
            Database(f"{scheme}://folder/test.db")


def test_a_bad_replica_is_refused_like_a_bad_primary():
    with pytest.raises(UnknownDriver, match="sqlit"):
        Database("sqlite://", replicas=["sqlit:///test.db"])
    with pytest.raises(ConfigurationError, match="max_siz"):
        Database("sqlite://", replicas=["sqlite:///test.db?max_siz=5"])


# Libraries


@pytest.mark.parametrize("library", ["asyncpg", "aiosqlite"])
def test_a_missing_library_is_refused_with_the_command_that_installs_it(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # so that its import fails as if it were not installed
    monkeypatch.delitem(sys.modules, f"aio_databases.drivers.{library}")
    with pytest.raises(DriverNotInstalled) as caught:
        Database(f"{library}:///test?password={SECRET}")
    assert f"pip install 'aio-databases[{library}]'" in str(caught.value)
    assert library in str(caught.value).partition("pip")[0]
    assert SECRET not in everything_told(caught.value)
    assert isinstance(caught.value, ConfigurationError)
    assert isinstance(caught.value, ImportError)


def test_a_broken_library_shows_its_own_error(monkeypatch, tmp_path):
    (tmp_path / "asyncpg.py").write_text("import what_it_needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "asyncpg")
    monkeypatch.delitem(sys.modules, "aio_databases.drivers.asyncpg")
    with pytest.raises(ModuleNotFoundError, match="what_it_needs") as caught:
        Database("asyncpg://localhost/test")
    assert not isinstance(caught.value, DriverNotInstalled)


@pytest.mark.parametrize(("url", "instead"), [("asyncpg://localhost/test", ""), ("aiosqlite://", "sqlite://")])
def test_an_event_loop_that_the_driver_cannot_run_on_is_told(url, instead):
    for first in (Database.connect, partial(Database.fetchval, query="select 1")):
        with pytest.raises(NotSupportedError, match="asyncio only, not on trio") as caught:
            anyio.run(first, Database(url), backend="trio")
        assert instead in str(caught.value)


# Options


@pytest.mark.parametrize("url", ["sqlite://", "aiosqlite://", "asyncpg://localhost/test"])
@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("max_siz", "'max_size'"),
        ("maxsiz", "'maxsize'"),
        ("timeot", "'timeout'"),
        ("convert_parms", "'convert_params'"),
    ],
)
def test_an_unknown_option_is_named_with_what_is_near(url, name, near):
    for make in (lambda: Database(url, **{name: SECRET}), lambda: Database(f"{url}?{name}={SECRET}")):
        with pytest.raises(ConfigurationError) as caught:
            make()
        message = str(caught.value)
        assert repr(name) in message
        assert near in message
        assert url in message
        assert "connect_args" in message
        assert SECRET not in everything_told(caught.value)


def test_an_option_of_another_driver_is_unknown():
    with pytest.raises(ConfigurationError, match="'pragmas'"):
        Database("asyncpg://localhost/test", pragmas={})
    with pytest.raises(ConfigurationError, match="'application_name'"):
        Database("sqlite://", application_name="test")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_size": "ten"}, "'ten'"),
        ({"max_size": -1}, "0 or more"),
        ({"max_size": 2.5}, "whole number"),
        ({"max_size": None}, "'max_size'"),
        ({"timeout": "soon"}, "'soon'"),
        ({"timeout": -1}, "0 or more"),
        ({"timeout": float("nan")}, "0 or more"),
        ({"max_lifetime": []}, "'max_lifetime'"),
        ({"pool_recycle": "x"}, "'pool_recycle'"),
        ({"reset": "sometimes"}, "'auto', 'always', 'never'"),
        ({"json": "perhaps"}, "true or false"),
        ({"convert_params": 2}, "true or false"),
        ({"pragmas": 5}, "'pragmas'"),
        ({"uri": "maybe"}, "true or false"),
        ({"init": 5}, "'init'"),
        ({"functions": 5}, "'functions'"),
        ({"functions": [("twice", 1)]}, "'functions'"),
        ({"functions": [("twice", 1, 5)]}, "'functions'"),
    ],
    ids=str,
)
def test_an_option_with_a_bad_value_is_named(options, told):
    with pytest.raises(ConfigurationError) as caught:
        Database("sqlite:///test.db", **options)
    assert told in str(caught.value)
    assert repr(next(iter(options))) in str(caught.value)
    assert "sqlite:///test.db" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"max_size": 0}, {"min_size": 3, "max_size": 2}, {"min_size": 11}, {"minsize": 2, "maxsize": 1}],
    ids=str,
)
def test_sizes_that_contradict_each_other_are_refused(options):
    with pytest.raises(ConfigurationError, match=r"max_size of sqlite:///test.db is"):
        Database("sqlite:///test.db", **options)


def test_an_unknown_way_to_treat_child_tasks_is_refused():
    with pytest.raises(ConfigurationError, match="'share', 'isolate' or 'forbid', not 'foster'"):
        Database("sqlite://", child_tasks="foster")


@pytest.mark.targets(dialect="sqlite", pooled=True)
async def test_a_pragma_that_is_none_is_told_when_connecting(make_database):
    with pytest.raises(ConnectError, match=r"cannot connect to .*syntax error"):
        await make_database(pragmas={"bad name": 1})


# Connecting


@pytest.mark.targets(dialect="postgresql")
@pytest.mark.parametrize("who", ["app", "nobody"])
async def test_a_wrong_user_or_password_is_told(make_database, postgres, caplog, who):
    address = postgres.url(user=postgres.app_user if who == "app" else who, password=SECRET)
    with caplog.at_level(logging.DEBUG), pytest.raises(AuthenticationError) as caught:
        await use(make_database, address.replace("postgresql", "asyncpg", 1))
    message = str(caught.value)
    assert message.startswith("cannot connect to asyncpg://")
    assert "password authentication failed" in message
    assert message.endswith("check user and password")
    assert "\n" not in message
    assert isinstance(caught.value, ConnectError)
    assert SECRET not in everything_told(caught.value) + caplog.text


@pytest.mark.targets(dialect="postgresql")
async def test_a_database_that_is_not_there_is_told(make_database, url):
    with pytest.raises(
        ConnectError, match=r'^cannot connect to .*: database "missing" does not exist; check'
    ) as caught:
        await use(make_database, url.rpartition("/")[0] + "/missing")
    assert "3D000" == caught.value.sqlstate
    assert not isinstance(caught.value, AuthenticationError)
    assert "p%40ss" not in everything_told(caught.value)
    assert "p@ss" not in everything_told(caught.value)


@pytest.mark.targets(dialect="postgresql")
async def test_a_server_that_is_not_there_is_told(make_database, caplog):
    with socket.socket() as refusing:  # bound, but it does not listen
        refusing.bind(("127.0.0.1", 0))
        address = f"asyncpg://app:{SECRET}@127.0.0.1:{refusing.getsockname()[1]}/test"
        with caplog.at_level(logging.DEBUG), pytest.raises(ConnectError, match="check that the server runs") as caught:
            await use(make_database, address)
    assert str(caught.value).startswith(f"cannot connect to {address.replace(f'app:{SECRET}@', '')}: ")
    assert isinstance(caught.value, OSError)
    assert SECRET not in everything_told(caught.value) + caplog.text


@pytest.mark.targets(dialect="postgresql")
async def test_a_server_that_does_not_answer_is_told(make_database):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"asyncpg://app:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/test"
        with anyio.fail_after(5), pytest.raises(ConnectError, match=r"no answer within 0\.2 s; check") as caught:
            await use(make_database, address, connect_timeout=0.2)
    assert SECRET not in everything_told(caught.value)


@pytest.mark.targets(dialect="postgresql")
async def test_a_socket_that_is_not_there_is_told(make_database, tmp_path):
    with pytest.raises(ConnectError, match=r"cannot connect to asyncpg:///test: .*; check that the server runs"):
        await use(make_database, f"asyncpg:///test?host={tmp_path}")


def no_folder(folder):
    return folder / "missing" / "test.db"


def a_file_for_a_folder(folder):
    (folder / "file").touch()
    return folder / "file" / "test.db"


def a_folder_for_a_file(folder):
    return folder


def no_database(folder):
    (folder / "test.db").write_text("This is a letter and no database. " * 100)
    return folder / "test.db"


@pytest.mark.targets(dialect="sqlite", memory=False)
@pytest.mark.parametrize("place", [no_folder, a_file_for_a_folder, a_folder_for_a_file, no_database])
async def test_a_file_that_cannot_be_opened_is_told(make_database, target, tmp_path, place):
    address = f"{target.scheme}:///{place(tmp_path)}"
    with pytest.raises(ConnectError) as caught:
        await use(make_database, address)
    message = str(caught.value)
    assert message.startswith(f"cannot connect to {address}: ")
    assert "file is not a database" in message if place is no_database else "unable to open" in message
    assert message.endswith("check that its folder exists and that the file and the folder are writable")


@pytest.mark.targets(dialect="sqlite", memory=False)
async def test_a_file_that_is_not_writable_is_told(users, make_database, target, tmp_path):
    database = await make_database(f"{target.scheme}:///file:{tmp_path}/test.db?mode=ro", uri=True)
    assert 3 == await database.fetchval("select count(*) from users")
    for query in ("delete from users", "create table other (id integer)"):
        with pytest.raises(ReadOnlyError, match="readonly database"):
            await database.execute(query)
    with pytest.raises(ReadOnlyError):
        async with database.transaction():
            await database.execute("delete from users")


@pytest.mark.targets(dialect="sqlite", memory=False)
async def test_a_file_that_is_not_there_and_must_not_be_made_is_told(make_database, target, tmp_path):
    with pytest.raises(ConnectError, match="unable to open"):
        await use(make_database, f"{target.scheme}:///file:{tmp_path}/test.db?mode=rw", uri=True)
    assert not (tmp_path / "test.db").exists()


async def test_after_a_failed_connect_nothing_is_left_open(make_database, url, target, tmp_path):
    wrong = (
        f"{target.scheme}:///{tmp_path}/a/b.db" if target.dialect == "sqlite" else url.rpartition("/")[0] + "/missing"
    )
    database = Database(wrong)
    with pytest.raises(ConnectError):
        await database.connect()
    assert not database.is_connected
    assert 0 == database.stats()["primary"].size
    with pytest.raises(ConnectError):
        await database.fetchval("select 1")
    assert 0 == database.stats()["primary"].size


# Statements


@pytest.mark.targets(pooled=True)
async def test_parameters_that_do_not_match_are_told(users):
    for query, params, told in (
        ("select * from users where id = :id and name = :name", ({"id": 1, "nmae": SECRET},), (":name", ":nmae")),
        ("select * from users where id = :id", ({},), (":id",)),
        ("select * from users where id = :id", ({"id": 1, "more": SECRET},), (":more",)),
        ("select * from users where id = ? and name = ?", (1,), ("2", "1")),
        ("select * from users where id = ?", (1, SECRET), ("1", "2")),
        ("select * from users", (SECRET,), ("0", "1")),
    ):
        with pytest.raises(ProgrammingError) as caught:
            await users.fetchall(query, *params)
        assert all(words in str(caught.value) for words in told), str(caught.value)
        assert SECRET not in everything_told(caught.value)


@pytest.mark.targets(pooled=True)
@pytest.mark.parametrize("query", [None, 5, b"select 1", object()], ids=lambda query: type(query).__name__)
async def test_what_is_no_statement_is_refused(users, query):
    for verb in (users.fetchall, users.execute):
        with pytest.raises((ConfigurationError, InterfaceError, ProgrammingError)) as caught:
            await verb(query)
        assert type(query).__name__ in str(caught.value)


# Use at the wrong time or place


async def test_use_after_the_release_is_told(users, target):
    async with users.connection() as connection:
        pass
    transaction = connection.transaction()
    for use_it in (
        partial(connection.execute, "select 1"),
        partial(connection.executemany, "select ?", 1),
        partial(connection.fetchall, "select 1"),
        partial(connection.fetchone, "select 1"),
        partial(connection.fetchval, "select 1"),
        partial(connection.fetchmany, 1, "select 1"),
        partial(anext, connection.iterate("select 1")),
        transaction.start,
        lambda: connection.raw,
    ):
        with pytest.raises(
            InterfaceError, match=r"released.* was used after its release; use it inside its block"
        ) as caught:
            await use_it()
        assert "p%40ss" not in str(caught.value)
    assert not connection.is_ready
    assert 3 == await users.fetchval("select count(*) from users")


@pytest.mark.targets(pooled=True)
async def test_use_after_disconnect_is_told(users):
    await users.disconnect()
    for use_it in (
        partial(users.execute, "select 1"),
        partial(users.fetchall, "select 1"),
        partial(anext, users.iterate("select 1")),
        users.connection().acquire,
        users.transaction().start,
        users.replica().__aenter__,
    ):
        with pytest.raises(PoolClosed, match=r"was disconnected; call connect\(\) before using it again"):
            await use_it()
    await users.connect()
    assert 1 == await users.fetchval("select 1")


@pytest.mark.targets(pooled=True)
async def test_use_from_another_event_loop_is_told(users, target):
    async def use_elsewhere():
        for use_it in (partial(users.fetchval, "select 1"), users.connection().acquire, users.transaction().start):
            with pytest.raises(InterfaceError, match="belongs to another event loop") as caught:
                await use_it()
            assert "make a Database for each event loop" in str(caught.value)

    await anyio.to_thread.run_sync(partial(anyio.run, use_elsewhere, backend=target.loop))
    assert 3 == await users.fetchval("select count(*) from users")


# Passwords


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (f"asyncpg://app:{SECRET}@localhost/test", {}),
        (f"asyncpg://app@localhost/test?password={SECRET}", {}),
        ("asyncpg://app@localhost/test", {"password": SECRET}),
        ("asyncpg://app@localhost/test", {"connect_args": {"password": SECRET}}),
    ],
    ids=["user", "query", "option", "connect_args"],
)
def test_nothing_that_is_printed_shows_a_password(url, options):
    database = Database(url, replicas=[url], **options)
    things = [database, database.url, database.backend, database.backend.url, database.backend.address]
    things += [database.replica_backends, database.connection(), database.transaction(), database._pool]
    for thing in things:
        assert SECRET not in f"{thing} {thing!r}"


@pytest.mark.targets(dialect="postgresql")
async def test_the_log_does_not_show_the_password(url, make_database, caplog):
    with caplog.at_level(logging.DEBUG):
        database = await make_database()
        async with database.transaction(), database.connection():
            await database.fetchval("select 1")
        await database.disconnect()
    assert "disconnecting from asyncpg://" in caplog.text
    assert "p%40ss" not in caplog.text
    assert "p@ss" not in caplog.text
