"""Replicas of a MariaDB server of the tests, which follow it by global transaction ids."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from servers.errors import ServerError
from servers.mysql import SUPERUSER, MariaDBServer
from servers.replicated import ReplicatedCluster

if TYPE_CHECKING:
    from collections.abc import Mapping

CAUGHT_UP_SECONDS = 10
PRIMARY = {"log-bin": "binlog", "server-id": "1", "gtid-strict-mode": "1"}
"""Options of a server that replicas can follow."""
REPLICA = {
    **PRIMARY,
    "log-slave-updates": "1",
    "read-only": "1",
    # What was fetched, but not applied yet, is fetched again after a crash.
    "relay-log": "relay",
    "relay-log-recovery": "1",
}


class MariaDBReplica(MariaDBServer):
    """A private replica that starts empty, and therefore of a primary that has kept its whole binary log.

    It is read-only for everybody but the administrator.

    Args:
        primary: the server that it follows, with the options `PRIMARY`.
        settings: options of mariadbd beside, or instead of, those of the primary and those in `REPLICA`.
    """

    name = "replica"

    def __init__(self, primary: MariaDBServer, settings: Mapping[str, str] | None = None) -> None:
        super().__init__({**primary.settings, **REPLICA, **(settings or {})})
        self.settings["server-id"] = str(self.port)  # no two servers of a cluster may have the same
        self.primary = primary
        self._follows = False
        self._seconds_behind = 0

    def start(self) -> None:
        """Start the server, the first time with orders to follow its primary, and wait until it is ready."""
        super().start()
        if not self._follows:
            self._follow()

    @property
    def is_replica(self) -> bool:
        """Tell whether it still follows its primary."""
        return bool(self.execute("show slave status"))

    def stop_applying(self) -> None:
        """Keep the replica at what it has applied now, while it goes on receiving and answering."""
        self.execute("stop slave sql_thread")

    def start_applying(self) -> None:
        """Let the replica go on applying; a delay stays."""
        self.execute("start slave sql_thread")

    def delay(self, seconds: int) -> None:
        """Apply each transaction so long after it happened; 0 ends that."""
        self._seconds_behind = seconds
        self.execute("stop slave")
        self.execute(f"change master to master_delay = {seconds}")
        self.execute("start slave")

    def wait_until_caught_up(self) -> None:
        """Wait until it has applied what its primary has committed by now.

        Raises:
            ServerError: it has not within `CAUGHT_UP_SECONDS`.
        """
        [(position,)] = self.primary.execute("select @@global.gtid_binlog_pos")
        if self.execute("select master_gtid_wait(%s, %s)", position, CAUGHT_UP_SECONDS) != [(0,)]:
            raise ServerError(f"{self!r} has not got to {position} in {CAUGHT_UP_SECONDS} s")

    def promote(self) -> None:
        """Make it a primary of its own; the connections to it stay open."""
        self.execute("stop slave")
        self.execute("reset slave all")
        self.execute("set global read_only = 0")

    def rebuild(self) -> None:
        """Start again from nothing: the way back after `promote`."""
        self.stop()
        shutil.rmtree(self.data)
        self._fill()
        self._follows = False
        self._seconds_behind = 0
        self.start()

    def heal(self) -> None:
        """Undo everything that the methods of this class and of its servers' process can do to it."""
        if not self.is_running:
            self.start()
        self.resume()
        if not self.is_replica:
            self.rebuild()
        if self._seconds_behind:
            self.delay(0)
        self.execute("start slave")
        self.wait_until_caught_up()

    def _follow(self) -> None:
        self.execute(
            "change master to master_host = %s, master_port = %s, master_user = %s, master_password = %s, "
            "master_use_gtid = slave_pos, master_connect_retry = 1",
            self.primary.host,
            self.primary.port,
            SUPERUSER.user,
            SUPERUSER.password,
        )
        self.execute("start slave")
        self._follows = True


class ReplicaCluster(ReplicatedCluster):
    """A primary and its replicas, for the length of a block.

    Args:
        replicas: how many.
    """

    def __init__(self, replicas: int = 1) -> None:
        super().__init__(lambda: MariaDBServer(PRIMARY), MariaDBReplica, replicas)

    @property
    def replicas(self) -> list[MariaDBReplica]:
        """List the servers that follow the primary."""
        return self.followers
