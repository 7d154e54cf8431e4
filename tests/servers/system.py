"""What the harness asks of the operating system: users, ports and processes."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from servers.errors import ServerError

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable

GONE_SECONDS = 10.0


class Account(NamedTuple):
    """The ordinary user that servers run as when the tests run as root."""

    uid: int
    gid: int


@functools.cache
def server_account() -> Account | None:
    """Choose who the servers run as: most refuse root; None means the user who runs the tests."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return Account(known[name].pw_uid, known[name].pw_gid)
    raise ServerError("servers refuse to run as root and there is no user `nobody`: run the tests as an ordinary user")


def account_options() -> dict[str, Any]:
    """Return the options of `subprocess.Popen` that switch to the servers' user."""
    account = server_account()
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def give_to_account(path: Path) -> None:
    """Make the servers' user the owner of the path."""
    account = server_account()
    if account:
        os.chown(path, account.uid, account.gid)


def free_port() -> int:
    """Find a TCP port that is free now and that this run has not used before."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
        if port not in _ports:
            _ports.add(port)
            return port


@functools.cache
def die_with_parent(signal_name: str) -> tuple[str, ...]:
    """Return the prefix of a command that makes the kernel end it together with this process, where that exists."""
    prefix = ("setpriv", "--pdeathsig", signal_name)
    if not shutil.which("setpriv"):
        return ()
    works = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if works else ()


def process_tree(pid: int) -> list[int]:
    """List the process and its descendants, parents first; only the process itself where there is no procfs."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended since it was listed
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    tree = [pid]
    for member in tree:
        tree.extend(children.get(member, ()))
    return tree


def send_signal(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal those of the processes that still exist."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until_gone(pids: Iterable[int]) -> None:
    """Wait until none of the processes runs any more."""
    deadline = time.monotonic() + GONE_SECONDS
    for pid in pids:
        while is_alive(pid) and command_line(pid):
            if time.monotonic() > deadline:
                raise ServerError(f"the process {pid} still runs {GONE_SECONDS:g} s after it was killed")
            time.sleep(0.002)


def wait_until_frozen(pids: Iterable[int]) -> None:
    """Wait until every thread of the processes has stopped or ended, where the system tells: it takes its time."""
    deadline = time.monotonic() + GONE_SECONDS
    for stat in [stat for pid in pids for stat in Path(f"/proc/{pid}/task").glob("*/stat")]:
        with suppress(OSError):  # ended since it was listed
            while stat.read_text(errors="replace").rpartition(")")[2].split()[0] not in "TtXZ":
                if time.monotonic() > deadline:
                    raise ServerError(f"{stat} still runs {GONE_SECONDS:g} s after it was stopped")
                time.sleep(0.001)


def is_alive(pid: int) -> bool:
    """Tell whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def command_line(pid: int) -> str:
    """Return the command line of a process; empty when it is gone or waits for its parent to notice its end."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
        except OSError:
            return ""
    answer = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


_ports: set[int] = set()
