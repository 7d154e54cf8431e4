"""PostgreSQL for the tests: a private server, or one that TEST_POSTGRES_URL names."""

from __future__ import annotations

import asyncio
import functools
import secrets
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import asyncpg

from servers.access import APP, GivenServer, Login, PrivateServer, ServerAccess
from servers.process import template_folder
from servers.programs import find_postgres
from servers.system import give_to_account
from servers.tls import certificate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from servers.tls import Certificate

SUPERUSER = Login("postgres", "super secret #1")
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


class PostgresAccess(ServerAccess):
    """What tests ask of any PostgreSQL server."""

    scheme = "postgresql"
    default_database = "postgres"

    def create_database(self, name: str | None = None) -> str:
        """Create an empty database that belongs to the ordinary user and return its name, a new one by default."""
        name = name or f"test_{secrets.token_hex(6)}"
        self.execute(f'create database "{name}" owner "{self.app_user}"')
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database and every connection to it."""
        self.execute(f'drop database if exists "{name}" with (force)')

    def execute(self, sql: str, *params: Any, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement as administrator on a connection of its own, from any thread, and return its rows."""
        # A thread of its own, because the caller's may have an event loop running.
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(asyncio.run, _fetch(self.admin_url(database), sql, params)).result()


class GivenPostgres(GivenServer, PostgresAccess):
    """The server that TEST_POSTGRES_URL names."""

    variable = "TEST_POSTGRES_URL"


class PostgresServer(PrivateServer, PostgresAccess):
    """A private PostgreSQL server, with the superuser `SUPERUSER` and passwords stored as scram-sha-256.

    Args:
        settings: settings of postgresql.conf beside, or instead of, those in `SETTINGS`.

    Raises:
        ServerMissing: PostgreSQL is not installed.
        ServerError: its data folder could not be made.
    """

    name = "pg"
    stop_signal = signal.SIGINT
    death_signal = "QUIT"
    superuser = SUPERUSER

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(find_postgres(), _template(), _certificate(), {**SETTINGS, **(settings or {})})

    def configuration(self) -> dict[str, Any]:
        """Tell the settings of postgresql.conf."""
        options: dict[str, Any] = {"unix_socket_directories": self.sockets}
        if self._certificate:
            options |= {"ssl": "on", "ssl_cert_file": self._certificate.chain, "ssl_key_file": self._certificate.key}
        return {**options, **self.settings}

    def command(self) -> Sequence[str | Path]:
        """Tell the program and its arguments."""
        options = {"listen_addresses": self.host, "port": self.port, **self.configuration()}
        return [self.programs.server, "-D", self.data, *(f"--{name}={value}" for name, value in options.items())]

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
    folder = template_folder(PostgresServer.name)
    passwords = folder / "password"
    passwords.write_text(f"{SUPERUSER.password}\n")
    passwords.chmod(0o600)
    give_to_account(passwords)
    data = folder / "data"
    options = ["-A", "scram-sha-256", "-U", SUPERUSER.user, f"--pwfile={passwords}", "-E", "UTF8", "--no-locale"]
    quick = ["--no-sync", "--no-instructions", "--wal-segsize=1"]
    programs.run(programs.setup, "-D", data, *options, *quick)
    role = f"create role {APP.user} login password '{APP.password}'\n"
    scram = "--password_encryption=scram-sha-256"
    programs.run(programs.server, "--single", "-D", data, "-F", scram, "postgres", text=role)
    return data


@functools.cache
def _certificate() -> Certificate | None:
    """Give the run's certificate to builds that can use it."""
    programs = find_postgres()
    library = programs.run(programs.server, "-C", "ssl_library", "-D", _template()).strip()
    return certificate() if library else None


async def _fetch(url: str, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql, *params)]
    finally:
        await connection.close()
