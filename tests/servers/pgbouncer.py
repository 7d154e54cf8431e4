"""PgBouncer before a PostgreSQL server of the tests, in transaction mode: each transaction gets another session."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.rows import dict_row

from servers.process import ServerProcess
from servers.programs import environment_of, find_program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from servers.access import ServerAccess

PROGRAM = "pgbouncer"
SESSIONS = 2
"""How many sessions of the server all clients share."""
SETTINGS: dict[str, Any] = {
    "auth_type": "scram-sha-256",
    "pool_mode": "transaction",
    "default_pool_size": SESSIONS,
    "max_client_conn": 200,
    "server_login_retry": 0.1,  # seconds; by default a server that was down is left alone for 15
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

    def tell(self, command: Literal["PAUSE", "RESUME", "SHOW POOLS"]) -> list[dict[str, Any]]:
        """Run a command of its console and return its rows, if any."""
        with psycopg.connect(
            self.url("pgbouncer"), autocommit=True, cursor_factory=psycopg.ClientCursor, row_factory=dict_row
        ) as console:
            cursor = console.execute(command)
            return cursor.fetchall() if cursor.description else []

    def command(self) -> Sequence[str | Path]:
        """Tell the program and its arguments."""
        user, password = unquote(self._behind.username or ""), unquote(self._behind.password or "")
        accounts = self._write("accounts", f'"{user}" "{password}"\n')
        place = {"listen_addr": self.host, "listen_port": self.port}
        settings = {**SETTINGS, **place, "auth_file": accounts, "admin_users": user}
        server = f"host={self._behind.hostname} port={self._behind.port or 5432}"
        lines = [f"[databases]\n* = {server}\n[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
        return [self.program, self._write("settings", "\n".join(lines) + "\n")]

    def environment(self) -> Mapping[str, str]:
        """Tell the environment of the program."""
        return environment_of(PROGRAM)

    def is_ready(self) -> bool:
        """Tell whether the log of *this* process says that it listens, and it does."""
        if f"listening on {self.host}:{self.port}" not in self.log_tail():
            return False
        with socket.socket() as client:
            return client.connect_ex((self.host, self.port)) == 0


def find_pgbouncer() -> Path:
    """Find PgBouncer.

    Raises:
        ServerMissing: there is none.
    """
    return find_program(PROGRAM, "PgBouncer", PROGRAM)
