"""An etcd of one node: where the nodes of a Patroni cluster agree who leads."""

from __future__ import annotations

import base64
import http.client
import json
import signal
from contextlib import closing
from typing import TYPE_CHECKING

from servers.errors import ServerError
from servers.process import ServerProcess
from servers.programs import environment_of, find_program
from servers.system import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NEED = "patroni"
"""The name under which `servers.install` fetches it."""


class Etcd(ServerProcess):
    """A private etcd.

    Raises:
        ServerMissing: etcd is not installed.
    """

    name = "etcd"
    stop_signal = signal.SIGTERM
    death_signal = "KILL"

    def __init__(self) -> None:
        self.program = find_etcd()
        super().__init__()
        self._peers = f"http://{self.host}:{free_port()}"

    def command(self) -> Sequence[str | Path]:
        """Tell the program and its arguments."""
        url = f"http://{self.host}:{self.port}"
        options = {
            "name": "only",
            "data-dir": self.folder / "data",
            "listen-client-urls": url,
            "advertise-client-urls": url,
            "listen-peer-urls": self._peers,
            "initial-advertise-peer-urls": self._peers,
            "initial-cluster": f"only={self._peers}",
            # Milliseconds: the only node needs no patience with others before it elects itself.
            "heartbeat-interval": 20,
            "election-timeout": 200,
        }
        return [self.program, *(f"--{name}={value}" for name, value in options.items())]

    def environment(self) -> Mapping[str, str]:
        """Tell the environment of the program, without the user's own settings."""
        return {name: value for name, value in environment_of(NEED).items() if not name.startswith("ETCD")}

    def is_ready(self) -> bool:
        """Tell whether the log of *this* process says that it answers."""
        return "serving insecure client requests on" in self.log_tail()

    def put(self, key: str, value: str) -> None:
        """Set a key."""
        body = {name: base64.b64encode(text.encode()).decode() for name, text in (("key", key), ("value", value))}
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=5)) as connection:
            connection.request("POST", "/v3/kv/put", json.dumps(body))
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise ServerError(f"{self!r} has not set {key}: {answer.status} {answer.read()!r}")


def find_etcd() -> Path:
    """Find etcd.

    Raises:
        ServerMissing: there is none.
    """
    return find_program("etcd", "etcd", NEED)
