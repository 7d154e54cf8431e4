"""Start, watch and end the server programs of one test run.

Every run has one folder in the system's temporary folder, named after the process that owns it.  What a killed run left
behind is therefore recognised and swept away by the next one.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from atexit import register as at_exit
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from servers.errors import ServerError
from servers.system import (
    account_options,
    command_line,
    die_with_parent,
    free_port,
    give_to_account,
    is_alive,
    process_tree,
    send_signal,
    wait_until_frozen,
    wait_until_gone,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

START_SECONDS = 30.0
STOP_SECONDS = 10.0
FOLDER_PREFIX = "aiodb-"
LOG_LINES = 25


class ServerProcess(ABC):
    """One server program with its own folder and port.

    Starts in the main thread only, and ends at the latest with this process: by `stop`, at the interpreter's exit, by
    the kernel when this process is killed (Linux), or by the sweep of the next run.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    """Ends the server cleanly without waiting for its clients."""
    death_signal: ClassVar[str]
    """Sent by the kernel when this process dies without having stopped the server."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=run_folder()))
        self.host = "127.0.0.1"
        self.port = free_port()
        self._popen: subprocess.Popen[bytes] | None = None
        give_to_account(self.folder)

    def __repr__(self) -> str:
        state = f"pid {self._popen.pid}" if self._popen else "stopped"
        return f"<{type(self).__name__} {self.host}:{self.port} {state}>"

    def __enter__(self) -> Self:
        """Start the server for the length of a block, at whose end it is removed."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def pid(self) -> int:
        """Tell the process id of the running server."""
        if self._popen is None:
            raise ServerError(f"{self!r} does not run: call start() first")
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Tell whether the server was started and not stopped or killed since."""
        return self._popen is not None

    def start(self) -> None:
        """Start the server and wait until it is ready; a second time on the same port and data."""
        if self._popen is not None:
            raise ServerError(f"{self!r} runs already")
        self._spawn()
        try:
            self._wait_ready()
        except ServerError:
            if not self._port_was_taken():
                raise
            self.port = free_port()
            self._spawn()
            self._wait_ready()

    def stop(self) -> None:
        """End the server cleanly; does nothing when it does not run."""
        if self._popen is None:
            return
        self.resume()
        self._popen.send_signal(self.stop_signal)
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._forget()

    def kill(self) -> None:
        """End the server and all its children as a crash would."""
        if self._popen is None:
            return
        tree = self._tree()
        send_signal(tree, signal.SIGKILL)
        self._popen.wait(STOP_SECONDS)
        # A server refuses to start on data that a child of its predecessor still uses.
        wait_until_gone(tree)
        self._forget()

    def restart(self) -> None:
        """Stop the server cleanly, if it runs, and start it on the same port and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the server and its children: connections stay open and nobody answers."""
        tree = self._tree()
        send_signal(tree, signal.SIGSTOP)
        wait_until_frozen(tree)

    def resume(self) -> None:
        """Let a frozen server go on."""
        send_signal(self._tree(), signal.SIGCONT)

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder)

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Tell the program and its arguments."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Tell whether *this* process accepts connections: a stranger's server may answer on the port."""

    def environment(self) -> Mapping[str, str]:
        """Tell the environment of the program."""
        return os.environ

    def log_tail(self) -> str:
        """Return the last lines of the server's log."""
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    def _tree(self) -> list[int]:
        """List the server's processes, parents first."""
        return process_tree(self.pid)

    def _write(self, name: str, text: str) -> Path:
        """Write a file for the server into its folder that nobody else can read."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        give_to_account(path)
        return path

    def _spawn(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ServerError(
                f"{self.name} was started from the thread {threading.current_thread().name!r}, at whose end the kernel "
                "would end it: start servers from the main thread"
            )
        command = [*die_with_parent(self.death_signal), *self.command()]
        with (self.folder / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environment(),
                start_new_session=True,
                **account_options(),
            )
        (self.folder / "pid").write_text(str(self._popen.pid))
        _running.add(self)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self._popen is None or self._popen.poll() is not None:
                reason = "ended at once"
            elif time.monotonic() > deadline:
                reason = f"was not ready within {START_SECONDS:g} s"
                self.kill()
            else:
                time.sleep(0.005)
                continue
            self._forget()
            raise ServerError(f"{self.name} on port {self.port} {reason}; the end of its log:\n{self.log_tail()}")

    def _port_was_taken(self) -> bool:
        return "address already in use" in self.log_tail().lower()

    def _forget(self) -> None:
        self._popen = None
        (self.folder / "pid").unlink(missing_ok=True)
        _running.discard(self)


@functools.cache
def run_folder() -> Path:
    """Make the folder of this run, after sweeping up what killed runs have left."""
    sweep()
    owner = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{owner}-"))
    # The servers' user has to pass through, but need not see what is inside.
    folder.chmod(0o711)
    at_exit(_end_run, folder, owner)
    return folder


def template_folder(name: str) -> Path:
    """Make the folder in which this run keeps the data that all servers of a kind start from."""
    folder = run_folder() / f"{name}-template"
    folder.mkdir()
    give_to_account(folder)
    return folder


def sweep() -> None:
    """End the servers and delete the folders of runs whose process is gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if not owner.isdecimal():
            continue
        try:
            is_foreign = folder.lstat().st_uid != os.geteuid()
        except FileNotFoundError:
            continue
        if is_foreign or is_alive(int(owner)):
            continue
        # A PostgreSQL that another program has started is none of that program's children.
        for pid_file in chain(folder.glob("*/pid"), folder.glob("*/data/postmaster.pid")):
            pid = int(pid_file.read_text().partition("\n")[0] or 0)
            if pid and str(folder) in command_line(pid):
                send_signal(process_tree(pid), signal.SIGKILL)
        # Another run may be sweeping the same folder at this moment.
        shutil.rmtree(folder, ignore_errors=True)


def _end_run(folder: Path, owner: int) -> None:
    # A child process made by fork inherits the exit functions, but not the servers.
    if os.getpid() != owner:
        return
    for server in list(_running):
        server.stop()
    shutil.rmtree(folder, ignore_errors=True)


_running: set[ServerProcess] = set()
