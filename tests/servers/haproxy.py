"""HAProxy before the nodes of a cluster: one port for each role, which leads to the nodes that have it."""

from __future__ import annotations

import csv
import io
import signal
import socket
from typing import TYPE_CHECKING, NamedTuple

from servers.process import ServerProcess
from servers.programs import environment_of, find_program
from servers.system import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NEED = "patroni"
"""The name under which `servers.install` fetches it."""
CHECK_MILLISECONDS = 200
SETTINGS = f"""
global
    maxconn 200
    stats socket {{socket}} mode 600
defaults
    mode tcp
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    option httpchk
    http-check expect status 200
    default-server inter {CHECK_MILLISECONDS}ms fall 1 rise 1 on-marked-down shutdown-sessions
"""


class Node(NamedTuple):
    """A server behind HAProxy."""

    name: str
    host: str
    port: int
    health_port: int
    """Answers the health checks."""


class HAProxy(ServerProcess):
    """A private HAProxy.

    Args:
        nodes: the servers behind it.
        roles: the path of the health check that says 200 on the nodes of each role.

    Raises:
        ServerMissing: HAProxy is not installed.
    """

    name = "haproxy"
    stop_signal = signal.SIGTERM
    death_signal = "KILL"

    def __init__(self, nodes: Sequence[Node], roles: Mapping[str, str]) -> None:
        self.program = find_haproxy()
        super().__init__()
        self.ports = {role: free_port() for role in roles}
        self._nodes = nodes
        self._roles = roles

    def command(self) -> Sequence[str | Path]:
        """Tell the program and its arguments."""
        settings = SETTINGS.format(socket=self._socket)
        for role, path in self._roles.items():
            settings += (
                f"listen {role}\n    bind {self.host}:{self.ports[role]}\n    http-check send meth OPTIONS uri {path}\n"
            )
            for node in self._nodes:
                settings += f"    server {node.name} {node.host}:{node.port} check port {node.health_port}\n"
        return [self.program, "-f", self._write("settings", settings)]

    def environment(self) -> Mapping[str, str]:
        """Tell the environment of the program."""
        return environment_of(NEED)

    def is_ready(self) -> bool:
        """Tell whether *this* process has checked every node."""
        try:
            return all(status != "INI" for _, _, _, status in self._states())
        except OSError:
            return False

    def routes(self, role: str) -> set[str]:
        """Tell the names of the nodes that the role's port leads to."""
        return {name for known, name, state, _ in self._states() if known == role and state.startswith("UP")}

    @property
    def _socket(self) -> Path:
        return self.folder / "socket"

    def _states(self) -> list[tuple[str, str, str, str]]:
        """List role, node, state and result of the last check."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self._socket))
            client.sendall(b"show stat\n")
            with client.makefile() as answer:
                rows = csv.DictReader(io.StringIO(answer.read().removeprefix("# ")))
        return [
            (row["pxname"], row["svname"], row["status"], row["check_status"].removeprefix("* "))
            for row in rows
            if row["svname"] not in ("FRONTEND", "BACKEND")
        ]


def find_haproxy() -> Path:
    """Find HAProxy.

    Raises:
        ServerMissing: there is none.
    """
    return find_program("haproxy", "HAProxy", NEED)
