"""A primary and its replicas, PostgreSQL's or MariaDB's, for tests that run with every driver of either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import PrivateServer

__all__ = ("Client", "Followers", "clients")


class Client(NamedTuple):
    """A driver on an event loop."""

    dialect: str
    scheme: str
    loop: str

    def __str__(self) -> str:
        return f"{self.scheme}-{self.dialect}-{self.loop}"


_SCHEMES = {
    "postgresql": ("asyncpg", "psycopg", "psycopg trio", "aiopg", "aioodbc", "pyodbc trio"),
    "mysql": ("asyncmy", "aiomysql", "pymysql", "pymysql trio", "trio-mysql trio", "aioodbc", "pyodbc trio"),
}


def clients(*dialects: str) -> list[Client]:
    """Return every driver of some databases, of all by default, on each of its event loops."""
    return [
        Client(dialect, scheme.partition(" ")[0], scheme.partition(" ")[2] or "asyncio")
        for dialect in dialects or _SCHEMES
        for scheme in _SCHEMES[dialect]
    ]


class Followers:
    """A primary and its replicas, with a table `notes` of one number for each user."""

    def __init__(self, primary: Any, replicas: list[Any], as_client: Callable[[str], str]) -> None:
        """Make a new database on the primary."""
        self.primary = primary
        self.replicas = replicas
        self._as_client = as_client
        self.name = primary.create_database()

    def url(self, server: PrivateServer) -> str:
        """Return the URL of the database on a server, for the test's driver."""
        return self._as_client(server.url(database=self.name))

    @property
    def urls(self) -> list[str]:
        """The URLs of the database on the primary and on the replicas."""
        return [self.url(server) for server in (self.primary, *self.replicas)]

    def stop(self, replica: Any) -> None:
        """Keep a replica at what it has replayed now."""
        (replica.pause_replay if hasattr(replica, "pause_replay") else replica.stop_applying)()

    def go_on(self, replica: Any) -> None:
        """Let a replica go on replaying."""
        (replica.resume_replay if hasattr(replica, "resume_replay") else replica.start_applying)()

    def wait_until_caught_up(self) -> None:
        """Wait until all replicas have replayed what the primary has."""
        for replica in self.replicas:
            replica.wait_until_caught_up()
