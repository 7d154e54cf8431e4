"""Streaming standbys of a PostgreSQL server of the tests."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from servers.errors import ServerError
from servers.postgres import PostgresServer
from servers.replicated import ReplicatedCluster

if TYPE_CHECKING:
    from collections.abc import Mapping

CAUGHT_UP_SECONDS = 10.0
PRIMARY = {
    # What a standby misses while it is down is kept for it: the segments of our servers are small.
    "wal_keep_size": "256MB",
}
"""Settings of a server that standbys can follow."""
SETTINGS = {
    # The default of five seconds is how long a standby would not notice that its primary is back.
    "wal_retrieve_retry_interval": "50ms",
}


class Standby(PostgresServer):
    """A private streaming standby, made from a base backup of its primary, which has to run.

    Args:
        primary: the server that it follows, with the settings `PRIMARY`.
        settings: settings of postgresql.conf beside, or instead of, those of the primary.

    Raises:
        ServerError: the base backup failed.
    """

    name = "standby"

    def __init__(self, primary: PostgresServer, settings: Mapping[str, str] | None = None) -> None:
        self.primary = primary
        self._seconds_behind = 0.0
        super().__init__({**primary.settings, **SETTINGS, **(settings or {})})

    @property
    def application_name(self) -> str:
        """Tell how the primary calls it, in `pg_stat_replication` and `synchronous_standby_names`."""
        return self.folder.name.replace("-", "_")

    @property
    def is_in_recovery(self) -> bool:
        """Tell whether it is still a standby."""
        [(answer,)] = self.execute("select pg_is_in_recovery()")
        return bool(answer)

    def pause_replay(self) -> None:
        """Keep the standby at what it has replayed now, while it goes on receiving and answering."""
        self.execute("select pg_wal_replay_pause()")
        self._wait_until("pg_get_wal_replay_pause_state() = 'paused'")

    def resume_replay(self) -> None:
        """Let the standby go on replaying; a delay stays."""
        self.execute("select pg_wal_replay_resume()")

    def delay(self, seconds: float) -> None:
        """Replay each commit so long after it happened; 0 ends that."""
        self._seconds_behind = seconds
        milliseconds = round(seconds * 1000)
        self.execute(f"alter system set recovery_min_apply_delay = {milliseconds}")
        self.execute("select pg_reload_conf()")
        self._wait_until(
            "(select setting = $1 from pg_settings where name = 'recovery_min_apply_delay')", str(milliseconds)
        )

    def wait_until_caught_up(self) -> None:
        """Wait until it has replayed what its primary has committed by now.

        Raises:
            ServerError: it has not within `CAUGHT_UP_SECONDS`.
        """
        [(position,)] = self.primary.execute("select pg_current_wal_flush_lsn()::text")
        self._wait_until("pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position)

    def promote(self) -> None:
        """Make it a primary of its own; the connections to it stay open."""
        self.execute("select pg_promote()")

    def rebuild(self) -> None:
        """Start again from a new base backup of the primary: the way back after `promote`."""
        self.stop()
        shutil.rmtree(self.data)
        self._fill()
        self._seconds_behind = 0
        self.start()

    def heal(self) -> None:
        """Undo everything that the methods of this class and of its servers' process can do to it."""
        if not self.is_running:
            self.start()
        self.resume()
        if not self.is_in_recovery:
            self.rebuild()
        self.resume_replay()
        if self._seconds_behind:
            self.delay(0)
        self.wait_until_caught_up()

    def _fill(self) -> None:
        login, address = self.superuser, f"host={self.primary.host} port={self.primary.port} sslmode=disable"
        password = login.password.replace("\\", "\\\\").replace("'", "\\'")
        primary = f"{address} user={login.user} password='{password}' application_name={self.application_name}"
        backup = self.programs.server.with_name("pg_basebackup")
        quick = ["--checkpoint=fast", "--no-sync", "--no-manifest"]
        self.programs.run(backup, "-D", self.data, "-d", primary, "--write-recovery-conf", "-X", "stream", *quick)

    def _wait_until(self, condition: str, *params: str) -> None:
        deadline = time.monotonic() + CAUGHT_UP_SECONDS
        while self.execute(f"select coalesce({condition}, false)", *params) != [(True,)]:
            if time.monotonic() > deadline:
                raise ServerError(f"{self!r} has not got to {condition} {params} in {CAUGHT_UP_SECONDS:g} s")
            time.sleep(0.002)


class StandbyCluster(ReplicatedCluster):
    """A primary and its standbys, for the length of a block.

    Args:
        standbys: how many.
    """

    def __init__(self, standbys: int = 2) -> None:
        super().__init__(lambda: PostgresServer(PRIMARY), Standby, standbys)

    @property
    def standbys(self) -> list[Standby]:
        """List the servers that follow the primary."""
        return self.followers
