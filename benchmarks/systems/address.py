"""Where a database is, in the spellings of all libraries."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode, urlsplit


class Address(NamedTuple):
    """The path of a file of SQLite, or a database of a server and who logs in.

    Args:
        database: the path or the name.
        socket: the folder of PostgreSQL's unix socket, or the path of MySQL's, when it is used instead of the host.
    """

    database: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""
    socket: str = ""

    @classmethod
    def parse(cls, url: str, socket: str = "") -> Address:
        """Read the URL of a server's database."""
        parts = urlsplit(url)
        login = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(unquote(parts.path.lstrip("/")), parts.hostname or "localhost", parts.port or 0, *login, socket)

    def url(self, scheme: str, **options: str) -> str:
        """Return a URL; ``options`` stand in its query."""
        query = f"?{urlencode(options)}" if options else ""
        if not self.user:
            return f"{scheme}:///{self.database}{query}"
        host = f"{self.host}:{self.port}" if self.port else self.host
        return f"{scheme}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{host}/{self.database}{query}"

    def login(self, *, socket: str = "host", database: str = "database") -> dict[str, Any]:
        """Return keyword arguments for a function that connects, with its names for a unix socket and the database."""
        found: dict[str, Any] = {"user": self.user, "password": self.password, database: self.database}
        if not self.socket:
            found["host"] = self.host
        if self.port:
            found["port"] = self.port
        return found | ({socket: self.socket} if self.socket else {})
