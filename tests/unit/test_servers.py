"""The harness itself: private PostgreSQL servers start, survive a crash, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from servers import GivenPostgres, PostgresServer, ServerError, ServerMissing
from servers.postgres import APP, SUPERUSER
from servers.process import FOLDER_PREFIX, run_folder, sweep
from servers.programs import find_postgres
from servers.system import command_line, die_with_parent, free_port, is_alive

TESTS = Path(__file__).parents[1]


@pytest.fixture
def postgres_programs(require_server):
    with require_server("postgres"):
        find_postgres()


@pytest.fixture(scope="module")
def server(require_server):
    """Give a private server to the tests that leave it as they found it."""
    with require_server("postgres"):
        server = PostgresServer()
    with server:
        yield server


def query(url, sql):
    async def fetch():
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def test_the_url_carries_the_percent_encoded_password(server):
    url = server.url()
    assert "p%40ss%3Aw%2Frd%25" == urlsplit(url).password
    assert APP.user == query(url, "select current_user")


def test_a_wrong_password_is_refused(server):
    with pytest.raises(asyncpg.InvalidPasswordError):
        query(server.url("app", "wrong"), "select 1")


def test_passwords_are_stored_as_scram(server):
    rows = server.execute("select distinct left(rolpassword, 14) from pg_authid where rolcanlogin")
    assert [("SCRAM-SHA-256$",)] == rows


def test_the_app_user_owns_the_databases_made_for_tests(server):
    name = server.create_database()
    assert name == query(server.url(database=name), "select current_database()")
    assert None is query(server.url(database=name), "create table made_in_public (id int)")
    assert [(APP.user,)] == server.execute("select pg_get_userbyid(datdba) from pg_database where datname = $1", name)


def test_the_app_user_is_no_superuser(server):
    assert [(False,)] == server.execute("select rolsuper from pg_roles where rolname = $1", APP.user)


def test_a_dropped_database_is_gone(server):
    name = server.create_database("short_lived")
    server.drop_database(name)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        query(server.url(database=name), "select 1")


def test_data_survives_a_crash_and_the_port_stays(own_postgres):
    own_postgres.execute("create table kept as select 42 as answer")
    port, pid = own_postgres.port, own_postgres.pid
    own_postgres.kill()
    own_postgres.start()
    assert port == own_postgres.port
    assert pid != own_postgres.pid
    assert [(42,)] == own_postgres.execute("select answer from kept")


def test_restart_closes_connections_and_keeps_data(own_postgres):
    own_postgres.execute("create table kept as select 7 as answer")
    own_postgres.restart()
    assert [(7,)] == own_postgres.execute("select answer from kept")


def test_a_stopped_server_refuses_connections(own_postgres):
    own_postgres.stop()
    with pytest.raises(ConnectionRefusedError):
        query(own_postgres.url(), "select 1")
    with pytest.raises(ServerError, match="does not run"):
        own_postgres.pause()


def test_a_paused_server_answers_nobody_until_it_is_resumed(own_postgres):
    own_postgres.pause()
    with pytest.raises(TimeoutError):
        asyncio.run(asyncpg.connect(own_postgres.url(), timeout=0.3))
    own_postgres.resume()
    assert 1 == query(own_postgres.url(), "select 1")


def test_a_paused_server_can_be_stopped(own_postgres):
    own_postgres.pause()
    own_postgres.stop()
    assert repr(own_postgres).endswith(" stopped>")


def test_starting_twice_is_refused(server):
    with pytest.raises(ServerError, match="runs already"):
        server.start()


def test_a_bad_setting_shows_the_end_of_the_log(own_postgres):
    own_postgres.stop()
    own_postgres.settings["no_such_setting"] = "1"
    with pytest.raises(ServerError, match=r"ended at once(?s:.*)no_such_setting"):
        own_postgres.start()


def test_a_port_taken_meanwhile_is_replaced(own_postgres):
    own_postgres.stop()
    with socket.create_server(("127.0.0.1", own_postgres.port)) as stranger:
        own_postgres.start()
        assert stranger.getsockname()[1] != own_postgres.port
    assert 1 == query(own_postgres.url(), "select 1")


def test_statements_of_the_administrator_run_inside_an_event_loop(server):
    async def inside():
        return server.execute("select current_user::text")

    assert [(SUPERUSER.user,)] == asyncio.run(inside())


def test_a_server_is_not_started_from_a_thread(own_postgres):
    own_postgres.stop()
    errors = []

    def start():
        try:
            own_postgres.start()
        except ServerError as error:
            errors.append(str(error))

    thread = threading.Thread(target=start, name="worker")
    thread.start()
    thread.join()
    assert 1 == len(errors)
    assert "start servers from the main thread" in errors[0]


OWNER = """
import sys, time
sys.path.insert(0, {tests!r})
from servers import PostgresServer
server = PostgresServer()
server.start()
print(server.pid, server.folder.parent, flush=True)
{then}
"""


def run_owner(then):
    """Start another process that starts a server, and return it with the server's pid and its folder."""
    program = textwrap.dedent(OWNER).format(tests=str(TESTS), then=then)
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid, folder = owner.stdout.readline().split()
    return owner, int(pid), Path(folder)


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@pytest.mark.usefixtures("postgres_programs")
def test_the_end_of_the_owner_ends_the_server_and_removes_its_folder():
    owner, pid, folder = run_owner(then="")
    with owner:
        assert 0 == owner.wait(20)
    assert not is_alive(pid)
    assert not folder.exists()


@pytest.mark.usefixtures("postgres_programs")
def test_what_a_killed_owner_leaves_is_swept_away():
    owner, pid, folder = run_owner(then="time.sleep(60)")
    with owner:
        owner.kill()
    assert folder.exists()
    sweep()
    assert wait_for(lambda: not is_alive(pid) or not command_line(pid))
    assert not folder.exists()


@pytest.mark.usefixtures("postgres_programs")
@pytest.mark.skipif(not die_with_parent("QUIT"), reason="setpriv --pdeathsig is not available here")
def test_a_killed_owner_takes_its_server_along():
    owner, pid, folder = run_owner(then="time.sleep(60)")
    with owner:
        owner.send_signal(signal.SIGKILL)
    assert wait_for(lambda: not is_alive(pid) or not command_line(pid))
    sweep()
    assert not folder.exists()


def test_the_folder_of_a_living_run_is_not_swept_away():
    folder = run_folder()
    sweep()
    assert folder.is_dir()


def test_a_folder_without_an_owner_in_its_name_is_left_alone():
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER_PREFIX}mine-") as folder:
        sweep()
        assert Path(folder).is_dir()


def test_a_port_is_never_given_twice():
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)


def test_a_named_folder_without_postgres_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("AIODB_POSTGRES_BIN", str(tmp_path))
    with pytest.raises(ServerMissing, match="there is no initdb and postgres in it"):
        find_postgres()


def test_a_given_server_keeps_its_login_and_options():
    server = GivenPostgres("postgresql://me:p%40ss@db.example:5433/postgres?sslmode=disable")
    assert "postgresql://me:p%40ss@db.example:5433/x%20y?sslmode=disable" == server.url(database="x y")
    assert "postgresql://you:a%2Fb@db.example:5433/postgres?sslmode=disable" == server.url("you", "a/b")
    assert "me" == server.app_user


def test_a_given_url_without_a_user_is_refused():
    with pytest.raises(ServerError, match="names no user"):
        GivenPostgres("postgresql://db.example/postgres")


def test_settings_of_the_user_do_not_reach_the_server(monkeypatch, tmp_path):
    monkeypatch.setenv("AIODB_POSTGRES_BIN", os.fspath(tmp_path))
    for program in ("initdb", "postgres"):
        (tmp_path / program).touch(mode=0o755)
    monkeypatch.setenv("PGPORT", "1")
    assert "PGPORT" not in find_postgres().environment()
