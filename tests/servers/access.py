"""What tests ask of any database server: URLs, databases of their own, statements by its administrator."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

from servers.errors import ServerError, ServerMissing
from servers.process import ServerProcess
from servers.system import give_to_account

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from servers.programs import Programs
    from servers.tls import Certificate


@dataclass(frozen=True)
class Login:
    """A user of the database and its password."""

    user: str
    password: str = field(repr=False)

    @property
    def userinfo(self) -> str:
        """Tell user and password as they stand in a URL."""
        return f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"


APP = Login("app", "p@ss:w/rd%")
"""The ordinary user of the private servers, whose password has to be percent-encoded in a URL."""


class ServerAccess(ABC):
    """A server that runs, private or given."""

    scheme: ClassVar[str]
    default_database: str
    """The database of a URL for which none is named; every user may connect to it."""

    @abstractmethod
    def url(self, user: str | None = None, password: str | None = None, database: str | None = None) -> str:
        """Return the URL of a database, for the ordinary user of the tests unless another one is named."""

    @abstractmethod
    def admin_url(self, database: str | None = None) -> str:
        """Return the URL of a database for a user who may create databases."""

    @property
    @abstractmethod
    def app_user(self) -> str:
        """Tell the ordinary user who may do everything in the databases of the tests."""

    @abstractmethod
    def create_database(self, name: str | None = None) -> str:
        """Create an empty database for the ordinary user and return its name, a new one by default."""

    @abstractmethod
    def drop_database(self, name: str) -> None:
        """Drop a database and every connection to it."""

    @abstractmethod
    def execute(self, sql: str, *params: Any, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement as administrator on a connection of its own, from any thread, and return its rows."""


class GivenServer(ServerAccess):
    """The server that a URL names; its user must be allowed to create databases.

    Raises:
        ServerError: the URL names no user.
    """

    variable: ClassVar[str]
    """The environment variable that holds the URL."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        if not self._url.username:
            raise ServerError(f"{self.variable} names no user: write {self.scheme}://user:password@host:port/database")
        self.default_database = unquote(self._url.path.lstrip("/")) or self.default_database

    def url(self, user: str | None = None, password: str | None = None, database: str | None = None) -> str:
        """Return the URL of a database, for the given user unless another one is named."""
        given, _, address = self._url.netloc.rpartition("@")
        login = given if user is None else Login(user, password or "").userinfo
        path = f"/{quote(database or self.default_database, safe='')}"
        return self._url._replace(netloc=f"{login}@{address}", path=path).geturl()

    def admin_url(self, database: str | None = None) -> str:
        """Return the URL of a database for the given user."""
        return self.url(database=database)

    @property
    def app_user(self) -> str:
        """Tell the given user."""
        return unquote(self._url.username or "")


class PrivateServer(ServerProcess, ServerAccess):
    """A server of one's own, made from a template in a tenth of a second.

    It asks for passwords, listens on 127.0.0.1 and in the folder `sockets`, serves TLS unless it was built without,
    and has the administrator `superuser` and the ordinary user `APP`.

    Args:
        programs: what it is run with.
        template: the data folder that it starts from.
        certificate: what it shows to clients that ask for TLS, None if it can not.
        settings: its options on the command line.

    Raises:
        ServerError: its data folder could not be made.
    """

    superuser: ClassVar[Login]

    def __init__(
        self, programs: Programs, template: Path, certificate: Certificate | None, settings: Mapping[str, str]
    ) -> None:
        super().__init__()
        self.programs = programs
        self.settings = dict(settings)
        self.data = self.folder / "data"
        self.sockets = self.folder / "sockets"
        self._template = template
        self._certificate = certificate
        self._fill()
        self.sockets.mkdir()
        give_to_account(self.sockets)

    def url(self, user: str | None = None, password: str | None = None, database: str | None = None) -> str:
        """Return the URL of a database, for `APP` unless another user is named."""
        login = APP if user is None else Login(user, password or "")
        path = quote(database or self.default_database, safe="")
        return f"{self.scheme}://{login.userinfo}@{self.host}:{self.port}/{path}"

    def admin_url(self, database: str | None = None) -> str:
        """Return the URL of a database for `superuser`."""
        return self.url(self.superuser.user, self.superuser.password, database)

    @property
    def app_user(self) -> str:
        """Tell the user `APP`."""
        return APP.user

    @property
    def has_tls(self) -> bool:
        """Tell whether the server can serve TLS, which some builds cannot."""
        return self._certificate is not None

    @property
    def certificate_authority(self) -> Path:
        """Tell the PEM file of the authority that vouches for the server as `localhost` and as 127.0.0.1.

        Raises:
            ServerMissing: the server was built without TLS.
        """
        if self._certificate is None:
            raise ServerMissing(f"{self.programs.server} was built without TLS: install a server that has it")
        return self._certificate.authority

    def environment(self) -> Mapping[str, str]:
        """Tell an environment without the user's own settings of database clients."""
        return self.programs.environment()

    def _fill(self) -> None:
        """Make the data folder."""
        subprocess.run(["cp", "-a", self._template, self.data], check=True)
