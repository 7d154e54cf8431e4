"""The harness itself: private servers of each kind start, survive a crash, and leave nothing behind."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest

from servers import MariaDBServer, PostgresServer, ServerError, ServerMissing
from servers.process import FOLDER_PREFIX, run_folder, sweep
from servers.programs import find_mariadb, find_postgres
from servers.system import command_line, die_with_parent, free_port, is_alive
from unit.clients import ERRORS, REFUSED, SILENT, query

TESTS = Path(__file__).parents[2]


@pytest.fixture(params=["postgres", "mysql"])
def own(request, require_server):
    """Give a private server of each kind to a test that does what it likes with it."""
    return request.getfixturevalue(f"own_{request.param}")


def test_data_survives_a_crash_and_the_port_stays(own):
    own.execute("create table kept as select 42 as answer")
    port, pid = own.port, own.pid
    own.kill()
    own.start()
    assert port == own.port
    assert pid != own.pid
    assert own.execute("select answer from kept") == [(42,)]


def test_restart_closes_connections_and_keeps_data(own):
    own.execute("create table kept as select 7 as answer")
    own.restart()
    assert own.execute("select answer from kept") == [(7,)]


def test_a_stopped_server_refuses_connections(own):
    own.stop()
    with pytest.raises(ERRORS, match=REFUSED):
        query(own.url(), "select 1")
    with pytest.raises(ServerError, match="does not run"):
        own.pause()


def test_a_paused_server_answers_nobody_until_it_is_resumed(own):
    own.pause()
    with pytest.raises(ERRORS, match=SILENT):
        query(own.url(), "select 1", timeout=0.3)
    own.resume()
    assert query(own.url(), "select 1") == 1


def test_a_paused_server_can_be_stopped(own):
    own.pause()
    own.stop()
    assert repr(own).endswith(" stopped>")


def test_starting_twice_is_refused(own):
    with pytest.raises(ServerError, match="runs already"):
        own.start()


def test_a_bad_setting_shows_the_end_of_the_log(own):
    own.stop()
    own.settings["no_such_setting"] = "1"
    with pytest.raises(ServerError, match=r"ended at once(?s:.*)no_such_setting"):
        own.start()


def test_a_port_taken_meanwhile_is_replaced(own):
    own.stop()
    with socket.create_server(("127.0.0.1", own.port)) as stranger:
        own.start()
        assert stranger.getsockname()[1] != own.port
    assert query(own.url(), "select 1") == 1


def test_statements_of_the_administrator_run_inside_an_event_loop(own):
    async def inside():
        return own.execute("select 1")

    assert asyncio.run(inside()) == [(1,)]


def test_a_server_is_not_started_from_a_thread(own):
    own.stop()
    errors = []

    def start():
        try:
            own.start()
        except ServerError as error:
            errors.append(str(error))

    thread = threading.Thread(target=start, name="worker")
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "start servers from the main thread" in errors[0]


OWNER = """
import sys, time
sys.path.insert(0, {tests!r})
from servers import {kind}
server = {kind}()
server.start()
print(server.pid, server.folder.parent, flush=True)
{then}
"""


@pytest.fixture(params=[(PostgresServer, "postgres", find_postgres), (MariaDBServer, "mysql", find_mariadb)])
def kind(request, require_server):
    """Name a kind of server that can be started on this machine."""
    server, name, find = request.param
    with require_server(name):
        find()
    return server.__name__


def run_owner(kind, then):
    """Start another process that starts a server, and return it with the server's pid and its folder."""
    program = textwrap.dedent(OWNER).format(tests=str(TESTS), kind=kind, then=then)
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid, folder = owner.stdout.readline().split()
    return owner, int(pid), Path(folder)


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_the_end_of_the_owner_ends_the_server_and_removes_its_folder(kind):
    owner, pid, folder = run_owner(kind, then="")
    with owner:
        assert owner.wait(20) == 0
    assert not is_alive(pid)
    assert not folder.exists()


def test_what_a_killed_owner_leaves_is_swept_away(kind):
    owner, pid, folder = run_owner(kind, then="time.sleep(60)")
    with owner:
        owner.kill()
    assert folder.exists()
    sweep()
    assert wait_for(lambda: not is_alive(pid) or not command_line(pid))
    assert not folder.exists()


@pytest.mark.skipif(not die_with_parent("KILL"), reason="setpriv --pdeathsig is not available here")
def test_a_killed_owner_takes_its_server_along(kind):
    owner, pid, folder = run_owner(kind, then="time.sleep(60)")
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


@pytest.mark.parametrize("required", ["all", "mysql", "odbc,mysql"])
def test_what_is_required_and_missing_fails_its_tests(monkeypatch, require_server, required):
    monkeypatch.setenv("AIODB_REQUIRE", required)
    with pytest.raises(pytest.fail.Exception, match=r"^it is not there$"), require_server("mysql"):
        raise ServerMissing("it is not there")


@pytest.mark.parametrize("required", ["", "postgres,odbc"])
def test_what_is_missing_and_not_required_skips_its_tests(monkeypatch, require_server, required):
    monkeypatch.setenv("AIODB_REQUIRE", required)
    with pytest.raises(pytest.skip.Exception, match=r"^it is not there$"), require_server("mysql"):
        raise ServerMissing("it is not there")


def test_a_server_that_a_killed_run_had_another_program_start_is_swept_away():
    owner = subprocess.Popen(["true"])
    owner.wait()
    draft = Path(tempfile.mkdtemp(prefix="draft-"))
    folder = draft.with_name(f"{FOLDER_PREFIX}{owner.pid}-{draft.name}")
    (draft / "node/data").mkdir(parents=True)
    with subprocess.Popen(["sh", "-c", "sleep 60; :", folder]) as server:
        (draft / "node/data/postmaster.pid").write_text(f"{server.pid}\n{folder}/node/data\n")
        assert wait_for(lambda: command_line(server.pid))  # it is empty for a moment
        # Not before it is complete: other runs sweep too.
        draft.rename(folder)
        sweep()
        assert server.wait(10) == -signal.SIGKILL
    assert wait_for(lambda: not folder.exists())
