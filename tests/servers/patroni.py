"""A cluster of PostgreSQL nodes of which Patroni makes one the leader, and another one when it is gone."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Self

from servers.access import APP
from servers.errors import ServerError
from servers.etcd import Etcd, find_etcd
from servers.haproxy import HAProxy, Node, find_haproxy
from servers.postgres import PostgresServer
from servers.programs import environment_of, find_postgres, find_program, unpacked_folder
from servers.system import command_line, free_port, process_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

NEED = "patroni"
"""The name under which `servers.install` fetches it."""
WAIT_SECONDS = 60.0
"""Newer versions of Patroni take no leader for dead before 20 seconds."""
CONFIGURATION = {
    # Seconds: how long a dead leader stays the leader, how often each node looks, and how long it tries.
    "ttl": 5,
    "loop_wait": 1,
    "retry_timeout": 3,
    # A commit is answered when a standby has it too: nothing that was answered is lost with the leader.
    "synchronous_mode": True,
    "postgresql": {"use_pg_rewind": True},
}
"""What Patroni keeps in etcd: https://patroni.readthedocs.io/en/latest/dynamic_configuration.html."""
SETTINGS = {
    # What pg_rewind wants, with which a node that led before its crash follows again.
    "full_page_writes": "on",
    "wal_keep_size": "256MB",
    "wal_retrieve_retry_interval": "50ms",
}
ROLES = {"write": "/primary", "read": "/replica"}
"""The ports of HAProxy and the health checks that say who is behind them."""


class PatroniNode(PostgresServer):
    """A private PostgreSQL server that Patroni starts, promotes and stops.

    Args:
        number: its number in the cluster.
        scope: the name of the cluster.
        etcd: where its nodes agree.

    Raises:
        ServerMissing: Patroni or PostgreSQL is not installed.
    """

    name = "node"
    stop_signal = signal.SIGTERM
    death_signal = "TERM"  # PostgreSQL is no child of Patroni, which therefore has to stop it

    def __init__(self, number: int, scope: str, etcd: Etcd) -> None:
        self.program = find_program("patroni", "Patroni", NEED)
        super().__init__(SETTINGS)
        self.member = f"node{number}"
        self.health_port = free_port()
        self._scope = scope
        self._etcd = etcd

    def command(self) -> Sequence[str | Path]:
        """Tell the program and its arguments."""
        login = {"username": self.superuser.user, "password": self.superuser.password, "sslmode": "disable"}
        health = f"{self.host}:{self.health_port}"
        postgres = {
            "listen": f"{self.host}:{self.port}",
            "connect_address": f"{self.host}:{self.port}",
            "data_dir": str(self.data),
            "bin_dir": str(self.programs.server.parent),
            "pgpass": str(self.folder / "data.pgpass"),
            "authentication": {"superuser": login, "replication": login, "rewind": login},
            "parameters": {name: str(value) for name, value in self.configuration().items()},
        }
        settings = {
            "scope": self._scope,
            "name": self.member,
            "restapi": {"listen": health, "connect_address": health},
            "etcd3": {"host": f"{self._etcd.host}:{self._etcd.port}"},
            "postgresql": postgres,
        }
        return [self.program, self._write("settings.yml", json.dumps(settings))]

    def environment(self) -> Mapping[str, str]:
        """Tell the environment of Patroni, which hands it on to PostgreSQL."""
        both = (environment_of(NEED), super().environment())
        libraries = ":".join(each["LD_LIBRARY_PATH"] for each in both if each.get("LD_LIBRARY_PATH"))
        kept = {name: value for name, value in both[1].items() if not name.startswith(("PATRONI", "PYTHON"))}
        modules = {"PYTHONPATH": str(unpacked_folder(NEED) / "usr/lib/python3/dist-packages")}
        return {**kept, **modules, **({"LD_LIBRARY_PATH": libraries} if libraries else {})}

    def is_ready(self) -> bool:
        """Tell whether Patroni answers, and this cluster's."""
        _, answer = self._ask("GET", "/patroni")
        return bool(answer.get("patroni", {}).get("scope") == self._scope)

    def has_role(self, role: str) -> bool:
        """Tell whether the node serves the role `write` or `read`."""
        status, answer = self._ask("GET", ROLES[role])
        # A new leader is in recovery for a moment, in which HAProxy leads writers to it already.
        in_recovery = answer.get("role") == "replica"
        return status == http.HTTPStatus.OK and in_recovery == (role == "read")

    @property
    def has_every_commit(self) -> bool:
        """Tell whether commits wait for this standby, so that it may take the leader's place."""
        return self._ask("GET", "/sync")[0] == http.HTTPStatus.OK

    def streaming_standbys(self) -> int:
        """Tell how many nodes stream from this one."""
        _, answer = self._ask("GET", "/patroni")
        return [standby["state"] for standby in answer.get("replication", ())].count("streaming")

    def switch_over_to(self, other: PatroniNode) -> None:
        """Hand the leadership over to another node.

        Raises:
            ServerError: Patroni refused.
        """
        status, answer = self._ask("POST", "/switchover", {"leader": self.member, "candidate": other.member})
        if status != http.HTTPStatus.OK:
            raise ServerError(f"no switchover from {self!r} to {other!r}: {answer}")

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        """Ask the REST interface; return status and answer, status 0 when nobody answers."""
        with closing(http.client.HTTPConnection(self.host, self.health_port, timeout=WAIT_SECONDS)) as connection:
            try:
                connection.request(method, path, json.dumps(body) if body else None)
                answer = connection.getresponse()
                text = answer.read().decode()
            except (OSError, http.client.HTTPException):
                return 0, {}
        return answer.status, json.loads(text) if text.startswith("{") else {"text": text}

    def _tree(self) -> list[int]:
        try:
            postmaster = int((self.data / "postmaster.pid").read_text().partition("\n")[0])
        except (FileNotFoundError, ValueError):
            return super()._tree()
        # The file outlives a crash, after which the number may be another process's.
        is_ours = str(self.folder) in command_line(postmaster)
        return [*super()._tree(), *(process_tree(postmaster) if is_ours else ())]


class PatroniCluster:
    """Nodes under Patroni, an etcd, and a HAProxy with a port for writing and one for reading, for a block's length.

    Args:
        nodes: how many.
    """

    def __init__(self, nodes: int = 2) -> None:
        self._count = nodes
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start the servers, and wait until there are a leader and its standbys."""
        find_patroni()
        with ExitStack() as stack:
            self.etcd = stack.enter_context(Etcd())
            scope = self.etcd.folder.name
            self.etcd.put(f"/service/{scope}/config", json.dumps(CONFIGURATION))
            self.nodes = [PatroniNode(number, scope, self.etcd) for number in range(1, self._count + 1)]
            for node in self.nodes:
                stack.callback(node.kill)
                node.start()
            behind = [Node(node.member, node.host, node.port, node.health_port) for node in self.nodes]
            self._wait_until("has standbys", self._is_whole)
            self.haproxy = stack.enter_context(HAProxy(behind, ROLES))
            self.wait_until_routed()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def leader(self) -> PatroniNode:
        """Tell who leads now.

        Raises:
            ServerError: nobody does.
        """
        for node in self._leading():
            return node
        raise ServerError("no node of the cluster leads: wait_for_leader() first")

    @property
    def replicas(self) -> list[PatroniNode]:
        """List the nodes that can be read from and do not lead."""
        return [node for node in self.nodes if node.is_running and node.has_role("read")]

    def write_url(self, database: str | None = None) -> str:
        """Return the URL of a database that HAProxy leads to the leader, for `APP`."""
        return self._url("write", database)

    def read_url(self, database: str | None = None) -> str:
        """Return the URL of a database that HAProxy leads to the other nodes, for `APP`."""
        return self._url("read", database)

    def urls(self, database: str | None = None) -> list[str]:
        """List the URLs of a database on each node, for `APP`."""
        return [node.url(database=database) for node in self.nodes]

    def kill_leader(self) -> PatroniNode:
        """Kill the leader's Patroni and PostgreSQL, and return it."""
        leader = self.leader
        leader.kill()
        return leader

    def switch_over(self) -> PatroniNode:
        """Make another node the leader, wait until it is, and return it."""
        other = self.replicas[0]
        self.leader.switch_over_to(other)
        self._wait_until("leads", lambda: other.has_role("write"))
        return other

    def wait_for_leader(self) -> PatroniNode:
        """Wait until a node leads that runs, and return it."""
        self._wait_until("leads", self._leading)
        return self.leader

    def wait_until_routed(self) -> None:
        """Wait until HAProxy leads to the nodes that have each role now."""

        def is_routed() -> bool:
            running = [node for node in self.nodes if node.is_running]
            return all(
                self.haproxy.routes(role) == {node.member for node in running if node.has_role(role)} for role in ROLES
            )

        self._wait_until("is routed to", is_routed)

    def create_database(self) -> str:
        """Create an empty database for the ordinary user on all nodes and return its name."""
        name = self.leader.create_database()
        self.wait_until_caught_up()
        return name

    def wait_until_caught_up(self) -> None:
        """Wait until every replica has replayed what the leader has committed by now."""
        [(position,)] = self.leader.execute("select pg_current_wal_flush_lsn()::text")
        replayed = "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
        self._wait_until(
            "has caught up", lambda: all(node.execute(replayed, position) == [(True,)] for node in self.replicas)
        )

    def heal(self) -> None:
        """Undo what was done to the servers: all run, one leads, the others follow, and HAProxy knows."""
        stopped = [node for node in self.nodes if not node.is_running]
        for server in (self.etcd, self.haproxy, *self.nodes):
            if server.is_running:
                server.resume()
            elif server not in stopped:
                server.start()
        if len(stopped) < len(self.nodes):
            self.wait_for_leader()
            # A node whose data is gone is back in a quarter of the time that one with data from before takes.
            for node in stopped:
                shutil.rmtree(node.data)
        for node in stopped:
            node.start()
        self._wait_until("has standbys", self._is_whole)
        self.wait_until_routed()

    def _is_whole(self) -> bool:
        others = len(self.nodes) - 1
        standbys = [node.streaming_standbys() for node in self._leading()]
        return standbys == [others] and sum(node.has_every_commit for node in self.replicas) == 1

    def _leading(self) -> list[PatroniNode]:
        return [node for node in self.nodes if node.is_running and node.has_role("write")]

    def _url(self, role: str, database: str | None) -> str:
        return f"postgresql://{APP.userinfo}@{self.haproxy.host}:{self.haproxy.ports[role]}/{database or 'postgres'}"

    def _wait_until(self, text: str, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(node.log_tail() for node in self.nodes)
                raise ServerError(f"no node of the cluster {text} within {WAIT_SECONDS:g} s; the nodes say:\n{logs}")
            time.sleep(0.02)


def find_patroni() -> None:
    """Look for all that a cluster under Patroni needs.

    Raises:
        ServerMissing: something is not there.
    """
    find_postgres()
    find_etcd()
    find_haproxy()
    find_program("patroni", "Patroni", NEED)
