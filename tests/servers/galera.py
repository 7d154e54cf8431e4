"""A Galera cluster of MariaDB servers: each can be written to, and all agree on every transaction."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pymysql

from servers.errors import ServerError, ServerMissing
from servers.mysql import MariaDBServer
from servers.process import run_folder
from servers.programs import library_folders, unpacked_folder
from servers.system import free_port, give_to_account

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NEED = "galera"
"""The name under which `servers.install` fetches it."""
SYSTEM = Path("/")
LIBRARIES = [f"usr/{folder}/galera{version}/libgalera_smm.so" for folder in ("lib", "lib64") for version in ("", "-4")]
WAIT_SECONDS = 20.0
LOST = 2013
SETTINGS = {
    "binlog-format": "row",
    "innodb-autoinc-lock-mode": "2",
    "wsrep-on": "1",
    "wsrep-cluster-name": "aiodb",
    "wsrep-slave-threads": "2",
    "wsrep-sst-method": "missed",
}
PROVIDER = {
    "gcache.size": "8M",
    "gcache.recover": "yes",
    # How soon a node that says nothing is doubted, and how soon the others go on without it.
    "evs.keepalive_period": "PT0.2S",
    "evs.inactive_check_period": "PT0.2S",
    "evs.suspect_timeout": "PT1S",
    "evs.inactive_timeout": "PT2S",
    "evs.install_timeout": "PT2S",
    "evs.join_retrans_period": "PT0.1S",
    "pc.announce_timeout": "PT1S",
    # Who runs decides, not who ran before a crash.
    "pc.recovery": "no",
}
TRANSFER = """#!/bin/sh
set -eu
bypass=
while [ $# -gt 0 ]; do
    case $1 in
        --role) role=$2; shift ;;
        --address) address=$2; shift ;;
        --gtid) gtid=$2; shift ;;
        --bypass) bypass=yes ;;
    esac
    shift
done
place=$(dirname -- "$0")/${address%%/*}
if [ "$role" = joiner ]; then
    rm -f "$place"
    echo "ready $address"
    until [ -s "$place" ]; do sleep 0.02; done
    cat "$place"
elif [ "$bypass" ]; then
    echo "$gtid" > "$place.new"
    mv "$place.new" "$place"
    echo "done $gtid"
else
    echo "the node has missed more than the others remember" >&2
    exit 1
fi
"""
"""Called on both sides when a node joins.  The servers themselves send what it has missed: this tells from where on.

The scripts of MariaDB's packages would do too, but need programs that a machine may lack, to copy all data, which is
never needed here: all nodes start with the same.
"""


class GaleraNode(MariaDBServer):
    """A private MariaDB server that is one node of a Galera cluster.

    Args:
        data: the data folder of a node to start from; none for the first node of all.

    Raises:
        ServerMissing: Galera or MariaDB is not installed.
    """

    name = "galera"

    def __init__(self, data: Path | None = None) -> None:
        self.library = find_galera()
        super().__init__(SETTINGS)
        if data is not None:
            # The template of all MariaDB servers knows nothing of the cluster.
            shutil.rmtree(self.data)
            subprocess.run(["cp", "-a", data, self.data], check=True)
        self.peers: Sequence[GaleraNode] = ()
        """The other nodes, to which it speaks when it starts; it forms a cluster of its own where none of them runs."""
        self._group_port, self._missed_port, self._transfer_port = free_port(), free_port(), free_port()
        self._position: str | None = None

    def start(self) -> None:
        """Start the server and wait until it is ready; it joins the nodes that run, or starts the cluster anew."""
        self._position = self.last_position()
        if self._state.exists():
            # Else it would start the cluster only if it was the last one to stop.
            self._state.write_text(self._state.read_text().replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"))
        super().start()

    def last_position(self) -> str | None:
        """Tell how far the cluster was when the node ended, as `uuid:seqno`; None if it has never run.

        Raises:
            ServerError: it has crashed, and its data does not tell.
        """
        if not self._state.exists():
            return None
        fields = dict(re.findall(r"(\w+): +(\S+)", self._state.read_text()))
        if fields["seqno"] != "-1":
            return f"{fields['uuid']}:{fields['seqno']}"
        self._position = None
        program, *options = map(str, self.command())
        said = self.programs.run(Path(program), *options, "--wsrep-recover")
        found = re.search(r"Recovered position: (\S+)", said)
        if found is None:
            raise ServerError(f"{self!r} does not know its position after a crash; it said:\n{said}")
        return found[1]

    def command(self) -> Sequence[str | Path]:
        """Tell the program and its arguments."""
        addresses = [f"{peer.host}:{peer._group_port}" for peer in self.peers if peer.is_running]  # of our own kind
        provider = {
            **PROVIDER,
            "gmcast.listen_addr": f"tcp://{self.host}:{self._group_port}",
            "ist.recv_addr": f"{self.host}:{self._missed_port}",
        }
        options: dict[str, Any] = {
            "wsrep-provider": self.library,
            "wsrep-provider-options": ";".join(f"{name}={value}" for name, value in provider.items()),
            "wsrep-cluster-address": f"gcomm://{','.join(addresses)}",
            "wsrep-node-address": self.host,
            "wsrep-sst-receive-address": f"{self.host}:{self._transfer_port}",
        }
        if self._position:
            options["wsrep-start-position"] = self._position
        return [*super().command(), *(f"--{name}={value}" for name, value in options.items())]

    def environment(self) -> Mapping[str, str]:
        """Tell an environment in which the server finds the script that it calls when a node joins."""
        environment = dict(super().environment())
        unpacked = [environment.get("LD_LIBRARY_PATH", ""), *map(str, library_folders(unpacked_folder(NEED)))]
        libraries = {"LD_LIBRARY_PATH": ":".join(filter(None, unpacked))} if any(unpacked) else {}
        return {**environment, **libraries, "PATH": f"{_scripts()}:{environment['PATH']}"}

    @property
    def cluster_size(self) -> int:
        """Tell how many nodes it sees, itself included."""
        return int(self._status()["cluster_size"])

    @property
    def is_primary(self) -> bool:
        """Tell whether it belongs to the part of the cluster that works."""
        return self._status()["cluster_status"] == "Primary"

    @property
    def is_synced(self) -> bool:
        """Tell whether it can be used: it belongs to the part of the cluster that works and has caught up with it."""
        status = self._status()
        return (status["ready"], status["local_state_comment"]) == ("ON", "Synced")

    def wait_until_sees(self, cluster_size: int) -> None:
        """Wait until it sees so many nodes, itself included.

        Raises:
            ServerError: it does not within `WAIT_SECONDS`.
        """
        self._wait_until(f"sees {cluster_size} nodes", lambda: self.cluster_size == cluster_size)

    def wait_until_synced(self) -> None:
        """Wait until it can be used.

        Raises:
            ServerError: it cannot within `WAIT_SECONDS`.
        """
        self._wait_until("is synced", lambda: self.is_synced)

    def bootstrap(self) -> None:
        """Make it work on without the nodes that it has lost."""
        self.execute("set global wsrep_provider_options = 'pc.bootstrap=1'")
        self.wait_until_synced()

    def _status(self) -> dict[str, str]:
        return {name.removeprefix("wsrep_"): value for name, value in self.execute("show status like 'wsrep%'")}

    def _wait_until(self, text: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not _is_true(condition):
            if time.monotonic() > deadline:
                raise ServerError(f"it is not true after {WAIT_SECONDS:g} s that {self!r} {text}:\n{self.log_tail()}")
            time.sleep(0.01)

    @property
    def _state(self) -> Path:
        return self.data / "grastate.dat"


class GaleraCluster:
    """Nodes that replicate to each other, for the length of a block.

    Args:
        nodes: how many.
    """

    def __init__(self, nodes: int = 3) -> None:
        self._count = nodes
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start the nodes, one after the other: those that join at the same time wait for each other."""
        with ExitStack() as stack:
            data = _template()
            self.nodes = [GaleraNode(data) for _ in range(self._count)]
            for node in self.nodes:
                node.peers = [other for other in self.nodes if other is not node]
                stack.enter_context(node)
            self._wait_until_synced()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def urls(self, database: str | None = None) -> list[str]:
        """List the URLs of a database on each node, for `APP`."""
        return [node.url(database=database) for node in self.nodes]

    def create_database(self) -> str:
        """Create an empty database on all nodes and return its name."""
        name = self.nodes[0].create_database()
        self.wait_until_caught_up()
        return name

    def wait_until_caught_up(self) -> None:
        """Wait until every node shows what any of them has committed by now."""
        for node in self.nodes:
            node.execute("set statement wsrep_sync_wait = 1 for select 1")

    def heal(self) -> None:
        """Undo what was done to the nodes: all run and are synced."""
        running = [node for node in self.nodes if node.is_running]
        for node in running:
            node.resume()
        stopped = [node for node in self.nodes if node not in running]
        if running and stopped:
            # Who joins before the others have noticed a loss would be lost too.
            for node in running:
                node.wait_until_sees(len(running))
            if not any(node.is_primary for node in running):
                running[0].bootstrap()
        if not running:
            stopped.sort(key=lambda node: int(str(node.last_position()).rpartition(":")[2]), reverse=True)
        for node in stopped:
            node.start()
        self._wait_until_synced()

    def _wait_until_synced(self) -> None:
        for node in self.nodes:
            node.wait_until_sees(len(self.nodes))
        for node in self.nodes:  # one that was frozen knows by now that it has to catch up
            node.wait_until_synced()


def _is_true(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except pymysql.err.OperationalError as error:
        if error.args[0] != LOST:
            raise
        return False  # a node that begins to catch up cuts its clients' connections


@functools.cache
def _template() -> Path:
    """Make the data folder that the nodes of all clusters start from, which is one cluster's."""
    node = GaleraNode()
    node.start()
    node.wait_until_synced()
    node.stop()
    return node.data


@functools.cache
def _scripts() -> Path:
    """Make the folder of the script that is called when a node joins."""
    folder = run_folder() / "galera-scripts"
    folder.mkdir()
    give_to_account(folder)
    script = folder / f"wsrep_sst_{SETTINGS['wsrep-sst-method']}"
    script.write_text(TRANSFER)
    script.chmod(0o755)
    return folder


def find_galera() -> Path:
    """Find Galera's library for MariaDB.

    Raises:
        ServerMissing: there is none.
    """
    for root in (SYSTEM, unpacked_folder(NEED)):
        for place in LIBRARIES:
            if (root / place).exists():
                return root / place
    raise ServerMissing("Galera is not installed on this machine: run scripts/test, which gets it")
