"""A database that cannot be reached is told in one clear sentence, without a password."""

from __future__ import annotations

import logging
import socket

import anyio
import pytest

from aio_databases import AuthenticationError, ConnectError, Database, ReadOnlyError
from conformance.addresses import placed
from conformance.conftest import LOOPS
from conformance.secrets_told import SECRET, everything_told


async def use(make_database, address, **options):
    """Connect, if that is the target's mode, and run a statement."""
    database = await make_database(address, **options)
    return await database.fetchval("select 1")


# Connecting


NETWORK = pytest.mark.targets(dialect={"postgresql", "mysql"})


@NETWORK
@pytest.mark.parametrize("wrong", [{}, {"user": "nobody"}], ids=["password", "user"])
async def test_a_wrong_user_or_password_is_told(make_database, url, words, caplog, wrong):
    with caplog.at_level(logging.DEBUG), pytest.raises(AuthenticationError) as caught:
        await use(make_database, placed(url, password=SECRET, **wrong))
    message = str(caught.value)
    assert message.startswith("cannot connect to ")
    assert words.refusal in message
    assert message.endswith("check user and password")
    assert "\n" not in message
    assert isinstance(caught.value, ConnectError)
    assert SECRET not in everything_told(caught.value) + caplog.text


@NETWORK
async def test_a_database_that_is_not_there_is_told(make_database, url, words):
    with pytest.raises(
        ConnectError, match=r"^cannot connect to .*test_missing.*; check that the server runs"
    ) as caught:
        await use(make_database, placed(url, database="test_missing"))
    assert words.no_database in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, AuthenticationError)
    assert "p%40ss" not in everything_told(caught.value)
    assert "p@ss" not in everything_told(caught.value)


@NETWORK
async def test_a_server_that_is_not_there_is_told(make_database, url, caplog):
    with socket.socket() as refusing:  # bound, but it does not listen
        refusing.bind(("127.0.0.1", 0))
        port = refusing.getsockname()[1]
        address = placed(url, host="127.0.0.1", port=port, password=SECRET)
        with caplog.at_level(logging.DEBUG), pytest.raises(ConnectError, match="check that the server runs") as caught:
            await use(make_database, address)
    assert f"127.0.0.1:{port}/" in str(caught.value).partition(": ")[0]
    assert not isinstance(caught.value, AuthenticationError)
    assert SECRET not in everything_told(caught.value) + caplog.text


@NETWORK
async def test_a_server_that_does_not_answer_is_told(make_database, url):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = placed(url, host="127.0.0.1", port=silent.getsockname()[1], password=SECRET)
        with anyio.fail_after(5), pytest.raises(ConnectError, match=r"no answer within 0\.2 s; check") as caught:
            await use(make_database, address, connect_timeout=0.2)
    assert SECRET not in everything_told(caught.value)


@NETWORK
async def test_a_socket_that_is_not_there_is_told(make_database, url, tmp_path):
    with pytest.raises(ConnectError, match=r"cannot connect to .*; check that the server runs"):
        await use(make_database, placed(url, host="", port=""), unix_socket=f"{tmp_path}/nowhere")


def no_folder(folder):
    return folder / "missing" / "test.db"


def a_file_for_a_folder(folder):
    (folder / "file").touch()
    return folder / "file" / "test.db"


def a_folder_for_a_file(folder):
    return folder


@pytest.mark.targets(dialect="sqlite", memory=False)
@pytest.mark.parametrize("place", [no_folder, a_file_for_a_folder, a_folder_for_a_file])
async def test_a_file_that_cannot_be_opened_is_told(make_database, url, tmp_path, place):
    address = url.replace(f"{tmp_path}/test.db", f"{place(tmp_path)}")
    with pytest.raises(ConnectError) as caught:
        await use(make_database, address)
    message = str(caught.value)
    assert message.startswith(f"cannot connect to {address.partition('?')[0]}: ")
    assert any(words in message for words in ("unable to open", "connect failed (14)"))
    assert "; check that its folder exists and that the file and the folder are writable" in message


@pytest.mark.targets(dialect="sqlite", memory=False)
async def test_a_file_that_is_no_database_is_told(make_database, tmp_path):
    (tmp_path / "test.db").write_text("This is a letter and no database. " * 100)
    with pytest.raises(ConnectError, match=r"file is not a database|file is encrypted"):
        await (await make_database()).fetchval("select count(*) from sqlite_master")


@pytest.mark.targets(dialect="sqlite", odbc=False, memory=False)
async def test_a_file_that_is_not_writable_is_told(users, make_database, target, tmp_path):
    database = await make_database(f"{target.scheme}:///file:{tmp_path}/test.db?mode=ro", uri=True)
    assert await database.fetchval("select count(*) from users") == 3
    for query in ("delete from users", "create table other (id integer)"):
        with pytest.raises(ReadOnlyError, match="readonly database"):
            await database.execute(query)
    with pytest.raises(ReadOnlyError):
        async with database.transaction():
            await database.execute("delete from users")


@pytest.mark.targets(dialect="sqlite", odbc=False, memory=False)
async def test_a_file_that_is_not_there_and_must_not_be_made_is_told(make_database, target, tmp_path):
    with pytest.raises(ConnectError, match="unable to open"):
        await use(make_database, f"{target.scheme}:///file:{tmp_path}/test.db?mode=rw", uri=True)
    assert not (tmp_path / "test.db").exists()


async def test_after_a_failed_connect_nothing_is_left_open(make_database, url, target, tmp_path):
    if target.dialect == "sqlite":
        wrong = (
            url.replace(str(tmp_path), f"{tmp_path}/a/b") if target.odbc else f"{target.scheme}:///{tmp_path}/a/b.db"
        )
    else:
        wrong = placed(url, database="test_missing")
    database = Database(wrong)
    with pytest.raises(ConnectError):
        await database.connect()
    assert not database.is_connected
    assert database.stats()["primary"].size == 0
    with pytest.raises(ConnectError):
        await database.fetchval("select 1")
    assert database.stats()["primary"].size == 0


@pytest.mark.targets(dialect="sqlite", odbc=False, pooled=True)
async def test_a_pragma_that_is_none_is_told_when_connecting(make_database):
    with pytest.raises(ConnectError, match=r"cannot connect to .*syntax error"):
        await make_database(pragmas={"bad name": 1})


# Passwords


@pytest.mark.parametrize(
    "scheme", [*sorted({*LOOPS} - {"sqlite", "aiosqlite", "aioodbc", "pyodbc"}), "postgresql", "mysql"]
)
@pytest.mark.parametrize(
    ("url", "options"),
    [
        (f"://app:{SECRET}@localhost/test", {}),
        (f"://app@localhost/test?password={SECRET}", {}),
        ("://app@localhost/test", {"password": SECRET}),
        ("://app@localhost/test", {"connect_args": {"password": SECRET}}),
    ],
    ids=["user", "query", "option", "connect_args"],
)
def test_nothing_that_is_printed_shows_a_password(scheme, url, options):
    url = scheme + url
    database = Database(url, replicas=[url], **options)
    things = [database, database.url, database.backend, database.backend.url, database.backend.address]
    things += [database.replica_backends, database.connection(), database.transaction(), database._pool]
    for thing in things:
        assert SECRET not in f"{thing} {thing!r}"


@NETWORK
async def test_the_log_does_not_show_the_password(url, target, make_database, caplog):
    with caplog.at_level(logging.DEBUG):
        database = await make_database()
        async with database.transaction(), database.connection():
            await database.fetchval("select 1")
        await database.disconnect()
    assert f"disconnecting from {target.scheme}://" in caplog.text
    assert "p%40ss" not in caplog.text
    assert "p@ss" not in caplog.text
