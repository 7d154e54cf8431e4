"""The databases: files of SQLite, private servers, or given ones."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

# Where the servers are; at the end, because a module beside them is called like a library that is compared.
sys.path.append(str(Path(__file__).parent.parent / "tests"))

from machine import server_version
from servers import GivenMySQL, GivenPostgres, MariaDBServer, PostgresServer, PrivateServer, ServerMissing
from systems.address import Address
from workloads import ITEMS, WRITTEN, item

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servers import ServerAccess

__all__ = ("Place", "ServerMissing", "open_place")

CHUNK = 1000  # rows of one insert
PRAGMAS = "pragma journal_mode = wal; pragma synchronous = normal"


class Place(ABC):
    """Tables to work on.

    Args:
        rows: how many the table ``items`` has.
    """

    version: str
    product: str

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def address(self, system: str) -> Address:
        """Return where a system works."""

    @abstractmethod
    def empty(self) -> None:
        """Remove the rows that were written."""

    @abstractmethod
    def close(self) -> None:
        """Remove everything."""


class Files(Place):
    """A file of SQLite for each system, so that none waits for another, or empties the log of another."""

    product = "SQLite"
    version = sqlite3.sqlite_version

    def __init__(self, rows: int) -> None:
        super().__init__(rows)
        self._folder = tempfile.TemporaryDirectory(prefix="benchmarks-")
        self._files: dict[str, Path] = {}

    def address(self, system: str) -> Address:
        """Make a file, and return its path."""
        self._files[system] = path = Path(self._folder.name) / f"{len(self._files)}.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(PRAGMAS)
            connection.execute(ITEMS.format(double="double"))
            connection.execute(WRITTEN.format(serial="integer primary key"))
            connection.executemany("insert into items values (?, ?, ?, ?, ?)", map(item, range(1, self.rows + 1)))
            connection.commit()
        return Address(str(path))

    def empty(self) -> None:
        """Delete the rows, and empty the logs, too."""
        for path in self._files.values():
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("delete from written")
                connection.execute("pragma wal_checkpoint(truncate)")

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()


class ServerPlace(Place):
    """A database of a server, which all systems share.

    Args:
        server: what runs, or can be started.
        transport: ``tcp`` or ``unix``.
    """

    def __init__(self, server: ServerAccess, rows: int, transport: str) -> None:
        super().__init__(rows)
        self._server = server
        if isinstance(server, PrivateServer):
            server.start()
        self._name = server.create_database()
        self._socket = self._find_socket(server) if transport == "unix" else ""
        self.version = server_version(self._ask("select version()")[0][0])
        self._fill()

    def address(self, system: str) -> Address:  # noqa: ARG002 - all systems work on the same tables
        """Return where the database is."""
        return Address.parse(self._server.url(database=self._name), self._socket)

    def empty(self) -> None:
        """Empty the table."""
        self._ask("truncate table written")

    def close(self) -> None:
        """Remove the server if it is private, else the database."""
        if isinstance(self._server, PrivateServer):
            self._server.remove()
        else:
            self._server.drop_database(self._name)

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self._server.execute(sql, database=self._name)

    def _find_socket(self, server: ServerAccess) -> str:
        if isinstance(server, MariaDBServer):
            return str(server.socket)
        if isinstance(server, PostgresServer):
            return str(server.sockets)
        raise SystemExit("--transport unix is for private servers: the socket of a given one is not known")

    @property
    @abstractmethod
    def spelling(self) -> Mapping[str, str]:
        """How the dialect spells types."""

    def _fill(self) -> None:
        self._ask(ITEMS.format(**self.spelling))
        self._ask(WRITTEN.format(**self.spelling))
        for first in range(1, self.rows + 1, CHUNK):
            rows = (item(number) for number in range(first, min(first + CHUNK, self.rows + 1)))
            # A list of numbers and texts looks in SQL as it does in Python, but for its brackets.
            self._ask(f"insert into items values {', '.join(str(tuple(row)) for row in rows)}")


class PostgreSQL(ServerPlace):
    product = "PostgreSQL"
    spelling = {"double": "double precision", "serial": "bigint generated always as identity primary key"}  # noqa: RUF012 - a property

    def _fill(self) -> None:
        super()._fill()
        self._ask(f'grant all on items, written to "{self._server.app_user}"')
        self._ask("vacuum analyze items")


class MariaDB(ServerPlace):
    product = "MariaDB"
    spelling = {"double": "double", "serial": "bigint auto_increment primary key"}  # noqa: RUF012 - a property


def open_place(database: str, rows: int, *, url: str | None, transport: str) -> Place:
    """Make the tables on a given server, else on a private one that does not wait for the disk."""
    if database == "sqlite":
        return Files(rows)
    if database == "postgresql":
        server: ServerAccess = GivenPostgres(url) if url else PostgresServer(POSTGRESQL)
        return PostgreSQL(server, rows, transport)
    return MariaDB(GivenMySQL(url) if url else MariaDBServer(MARIADB), rows, transport)


POSTGRESQL = {
    "autovacuum": "off",  # it would come at any time
    "max_connections": "300",
    "shared_buffers": "256MB",
    "synchronous_commit": "off",
}
MARIADB = {"innodb-buffer-pool-size": "256M", "innodb-flush-log-at-trx-commit": "2", "max-connections": "300"}
