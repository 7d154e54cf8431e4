"""PgBouncer before a PostgreSQL server of the tests, in transaction mode: each transaction gets another session."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from servers.errors import ServerMissing
from servers.process import ServerProcess
from servers.programs import library_folders, unpacked_folder
from servers.system import give_to_account

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from servers.access import ServerAccess

PROGRAM = "pgbouncer"
SESSIONS = 2
"""How many sessions of the server all clients share."""
SETTINGS: dict[str, Any] = {
    "auth_type": "scram-sha-256",
    "pool_mode": "transaction",
    "default_pool_size": SESSIONS,
    "max_client_conn": 200,
    "unix_socket_dir": "",
}


class PgBouncer(ServerProcess):
    """A private PgBouncer, in transaction mode, for every database of one PostgreSQL server.

    Raises:
        ServerMissing: PgBouncer is not installed.
    """

    name = PROGRAM
    stop_signal = signal.SIGTERM
    death_signal = "KILL"

    def __init__(self, postgres: ServerAccess) -> None:
        self.program = find_pgbouncer()
        super().__init__()
        self._behind = urlsplit(postgres.url())

    def url(self, database: str) -> str:
        """Return the URL of a database of the server, through PgBouncer, for the ordinary user of the tests."""
        login = self._behind.netloc.rpartition("@")[0]
        return f"postgresql://{login}@{self.host}:{self.port}/{database}"

    def command(self) -> Sequence[str | Path]:
        """Tell the program and its arguments."""
        user, password = unquote(self._behind.username or ""), unquote(self._behind.password or "")
        accounts = self._write("accounts", f'"{user}" "{password}"\n')
        settings = {**SETTINGS, "listen_addr": self.host, "listen_port": self.port, "auth_file": accounts}
        server = f"host={self._behind.hostname} port={self._behind.port or 5432}"
        lines = [f"[databases]\n* = {server}\n[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
        return [self.program, self._write("settings", "\n".join(lines) + "\n")]

    def environment(self) -> Mapping[str, str]:
        """Tell the environment of the program."""
        libraries = library_folders(unpacked_folder(PROGRAM))
        return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))} if libraries else os.environ

    def is_ready(self) -> bool:
        """Tell whether the log of *this* process says that it listens, and it does."""
        if f"listening on {self.host}:{self.port}" not in self.log_tail():
            return False
        with socket.socket() as client:
            return client.connect_ex((self.host, self.port)) == 0

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        give_to_account(path)
        return path


def find_pgbouncer() -> Path:
    """Find PgBouncer: installed, or fetched by `servers.install`.

    Raises:
        ServerMissing: there is none.
    """
    places = (os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", str(unpacked_folder(PROGRAM) / "usr/sbin"))
    found = shutil.which(PROGRAM, path=os.pathsep.join(places))
    if found is None:
        raise ServerMissing("PgBouncer is not installed on this machine: run scripts/test, which gets it")
    return Path(found)
