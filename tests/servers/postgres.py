"""PostgreSQL for the tests: a private server, or one that TEST_POSTGRES_URL names."""

from __future__ import annotations

import asyncio
import functools
import secrets
import signal
import subprocess
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import asyncpg

from servers.errors import ServerError
from servers.process import ServerProcess, run_folder
from servers.programs import find_postgres
from servers.system import account_options, give_to_account

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Login:
    """A user of the database and its password."""

    user: str
    password: str = field(repr=False)


SUPERUSER = Login("postgres", "super secret #1")
APP = Login("app", "p@ss:w/rd%")
"""An ordinary user whose password has to be percent-encoded in a URL."""

SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    # Commits stay synchronous: otherwise they would be lost when a server is killed, and reach a standby late.
    "synchronous_commit": "on",
}
READY_LINE = 7
"""The line of postmaster.pid, counted from 0, that says whether connections are accepted."""


class PostgresAccess(ABC):
    """What tests ask of any PostgreSQL server: URLs, databases of their own, statements by its administrator."""

    @abstractmethod
    def url(self, user: str | None = None, password: str | None = None, database: str = "postgres") -> str:
        """Return the URL of a database, for the ordinary user of the tests unless another one is named."""

    @abstractmethod
    def admin_url(self, database: str = "postgres") -> str:
        """Return the URL of a database for a user who may create databases."""

    @property
    @abstractmethod
    def app_user(self) -> str:
        """Tell the ordinary user who owns the databases of the tests."""

    def create_database(self, name: str | None = None) -> str:
        """Create an empty database that belongs to the ordinary user and return its name, a new one by default."""
        name = name or f"test_{secrets.token_hex(6)}"
        self.execute(f'create database "{name}" owner "{self.app_user}"')
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database and every connection to it."""
        self.execute(f'drop database if exists "{name}" with (force)')

    def execute(self, sql: str, *params: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as administrator on a connection of its own, from any thread, and return its rows."""
        # A thread of its own, because the caller's may have an event loop running.
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(asyncio.run, _fetch(self.admin_url(database), sql, params)).result()


class GivenPostgres(PostgresAccess):
    """The server that a URL names; its user must be allowed to create databases."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        if not self._url.username:
            raise ServerError("TEST_POSTGRES_URL names no user: write postgresql://user:password@host:port/database")

    def url(self, user: str | None = None, password: str | None = None, database: str = "postgres") -> str:
        """Return the URL of a database, for the given user unless another one is named."""
        address = self._url.netloc.rpartition("@")[2]
        login = self._url.netloc.rpartition("@")[0] if user is None else _userinfo(Login(user, password or ""))
        return self._url._replace(netloc=f"{login}@{address}", path=f"/{quote(database, safe='')}").geturl()

    def admin_url(self, database: str = "postgres") -> str:
        """Return the URL of a database for the given user."""
        return self.url(database=database)

    @property
    def app_user(self) -> str:
        """Tell the given user."""
        return unquote(self._url.username or "")


class PostgresServer(ServerProcess, PostgresAccess):
    """A private PostgreSQL server, made from a template in a tenth of a second.

    It asks for passwords (scram-sha-256), listens on 127.0.0.1 and in the folder `sockets`, and has the superuser
    `SUPERUSER` and the ordinary user `APP`.

    Args:
        settings: settings of postgresql.conf beside, or instead of, those in `SETTINGS`.

    Raises:
        ServerMissing: PostgreSQL is not installed.
        ServerError: its data folder could not be made.
    """

    name = "pg"
    stop_signal = signal.SIGINT
    death_signal = "QUIT"

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self.programs = find_postgres()
        template = _template()
        super().__init__()
        self.settings = {**SETTINGS, **(settings or {})}
        self.data = self.folder / "data"
        self.sockets = self.folder / "sockets"
        subprocess.run(["cp", "-a", template, self.data], check=True)
        self.sockets.mkdir()
        give_to_account(self.sockets)

    def url(self, user: str | None = None, password: str | None = None, database: str = "postgres") -> str:
        """Return the URL of a database, for `APP` unless another user is named."""
        login = APP if user is None else Login(user, password or "")
        return f"postgresql://{_userinfo(login)}@{self.host}:{self.port}/{quote(database, safe='')}"

    def admin_url(self, database: str = "postgres") -> str:
        """Return the URL of a database for `SUPERUSER`."""
        return self.url(SUPERUSER.user, SUPERUSER.password, database)

    @property
    def app_user(self) -> str:
        """Tell the user `APP`."""
        return APP.user

    def command(self) -> Sequence[str | Path]:
        """Tell the program and its arguments."""
        addresses = {"listen_addresses": self.host, "port": self.port, "unix_socket_directories": self.sockets}
        settings = [f"--{name}={value}" for name, value in {**addresses, **self.settings}.items()]
        return [self.programs.folder / "postgres", "-D", self.data, *settings]

    def environment(self) -> Mapping[str, str]:
        """Tell an environment without the user's own PostgreSQL settings."""
        return self.programs.environment()

    def is_ready(self) -> bool:
        """Tell whether postmaster.pid says that *this* process accepts connections."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > READY_LINE and int(lines[0]) == self.pid and lines[READY_LINE].strip() == "ready"


@functools.cache
def _template() -> Path:
    """Make the data folder that every server of this run starts from."""
    programs = find_postgres()
    folder = run_folder() / "pg-template"
    folder.mkdir()
    give_to_account(folder)
    passwords = folder / "password"
    passwords.write_text(f"{SUPERUSER.password}\n")
    passwords.chmod(0o600)
    give_to_account(passwords)
    data = folder / "data"
    options = ["-A", "scram-sha-256", "-U", SUPERUSER.user, f"--pwfile={passwords}", "-E", "UTF8", "--no-locale"]
    quick = ["--no-sync", "--no-instructions", "--wal-segsize=1"]
    _run([programs.folder / "initdb", "-D", data, *options, *quick])
    role = f"create role {APP.user} login password '{APP.password}'\n"
    scram = "--password_encryption=scram-sha-256"
    _run([programs.folder / "postgres", "--single", "-D", data, "-F", scram, "postgres"], role)
    return data


def _run(command: Sequence[str | Path], text: str = "") -> None:
    """Run one of PostgreSQL's programs to its end as the servers' user."""
    program = Path(command[0])
    answer = subprocess.run(
        command,
        input=text,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=find_postgres().environment(),
        check=False,
        **account_options(),
    )
    if answer.returncode or "ERROR:" in answer.stdout:
        raise ServerError(f"{program} failed with exit status {answer.returncode}; it said:\n{answer.stdout[-2000:]}")


async def _fetch(url: str, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql, *params)]
    finally:
        await connection.close()


def _userinfo(login: Login) -> str:
    return f"{quote(login.user, safe='')}:{quote(login.password, safe='')}"
