"""Pgpool-II before a PostgreSQL primary and its standbys: reads go to the standbys and all else to the primary."""

from __future__ import annotations

import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Self

import psycopg

from servers.access import APP
from servers.errors import ServerError
from servers.postgres import SUPERUSER
from servers.process import ServerProcess
from servers.programs import environment_of, find_program
from servers.standby import StandbyCluster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from servers.postgres import PostgresServer

PROGRAM = "pgpool"
WAIT_SECONDS = 20.0
WRITER = "writer"
"""An application_name."""
SETTINGS: dict[str, Any] = {
    "backend_clustering_mode": "streaming_replication",
    "load_balance_mode": "on",
    # Who calls himself so is always led to the primary.
    "app_name_redirect_preference_list": f"{WRITER}:primary",
    "num_init_children": 32,
    # It asks the client for the password and logs in with it: its own file of passwords cannot hold one with a colon.
    "allow_clear_text_frontend_auth": "on",
    "pool_passwd": "",
    # In seconds.
    "sr_check_period": 1,
    "health_check_period": 1,
    "log_line_prefix": "%p ",
}


class Pgpool(ServerProcess):
    """A private Pgpool-II; reads go to the standbys only.

    Args:
        primary: the server that can be written to.
        standbys: those that follow it.

    Raises:
        ServerMissing: Pgpool-II is not installed.
    """

    name = PROGRAM
    stop_signal = signal.SIGINT
    death_signal = "QUIT"  # it has children, which would stay

    def __init__(self, primary: PostgresServer, standbys: Sequence[PostgresServer]) -> None:
        self.program = find_pgpool()
        super().__init__()
        self._servers = (primary, *standbys)

    def url(self, database: str | None = None) -> str:
        """Return the URL of a database of the servers, through Pgpool-II, for `APP`."""
        return f"postgresql://{APP.userinfo}@{self.host}:{self.port}/{database or 'postgres'}"

    def command(self) -> Sequence[str | Path]:
        """Tell the program and its arguments."""
        settings = {
            **SETTINGS,
            "listen_addresses": self.host,
            "port": self.port,
            "socket_dir": self.folder,
            "pcp_socket_dir": self.folder,
            "pcp_listen_addresses": "",
            "logdir": self.folder,
            "work_dir": self.folder,
            "pid_file_name": self.folder / "pgpool.pid",
        }
        for check in ("sr_check", "health_check"):
            settings |= {f"{check}_user": SUPERUSER.user, f"{check}_password": SUPERUSER.password}
        for number, server in enumerate(self._servers):
            settings |= {
                f"backend_hostname{number}": server.host,
                f"backend_port{number}": server.port,
                f"backend_weight{number}": min(number, 1),
                f"backend_flag{number}": "ALLOW_TO_FAILOVER",
            }
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        administrators = self._write("administrators", "")
        return [self.program, "-n", "-D", "-f", self._write("settings", text), "-F", administrators]

    def environment(self) -> Mapping[str, str]:
        """Tell the environment of the program, without the user's own settings of database clients."""
        return {name: value for name, value in environment_of(PROGRAM).items() if not name.startswith("PG")}

    def is_ready(self) -> bool:
        """Tell whether the log of *this* process says that it listens, and it does."""
        if f"{self.pid} LOG:  pgpool-II successfully started" not in (self.folder / "log").read_text(errors="replace"):
            return False
        with socket.socket() as client:
            return client.connect_ex((self.host, self.port)) == 0

    def wait_until_used(self, *servers: PostgresServer) -> None:
        """Wait until it uses these of its servers and leaves the others out.

        Raises:
            ServerError: it does not within `WAIT_SECONDS`.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while self._used_ports() != {str(server.port) for server in servers}:
            if time.monotonic() > deadline:
                raise ServerError(f"{self!r} does not use {servers} after {WAIT_SECONDS:g} s:\n{self.log_tail()}")
            time.sleep(0.05)

    def _used_ports(self) -> set[str]:
        # It answers this question itself, if it comes as asyncpg would not ask it: without preparing the statement.
        try:
            with psycopg.connect(self.url()) as connection:
                nodes = connection.execute("show pool_nodes").fetchall()
        except psycopg.OperationalError:  # it lets nobody in while it is about to leave a server out
            return set()
        return {port for _, _, port, state, *_ in nodes if state == "up"}


class PgpoolCluster(StandbyCluster):
    """A primary, its standbys and a Pgpool-II before them, for the length of a block.

    Args:
        standbys: how many.
    """

    def __init__(self, standbys: int = 1) -> None:
        super().__init__(standbys)

    def __enter__(self) -> Self:
        """Start the servers."""
        find_pgpool()
        super().__enter__()
        self.pgpool = Pgpool(self.primary, self.standbys)
        self._stack.enter_context(self.pgpool)
        return self

    def url(self, database: str | None = None) -> str:
        """Return the URL of a database, through Pgpool-II, for `APP`."""
        return self.pgpool.url(database)

    def heal(self) -> None:
        """Undo what was done to the servers; Pgpool-II forgets which of them it has left out."""
        super().heal()
        self.pgpool.restart()


def find_pgpool() -> Path:
    """Find Pgpool-II.

    Raises:
        ServerMissing: there is none.
    """
    return find_program(PROGRAM, "Pgpool-II", PROGRAM)
