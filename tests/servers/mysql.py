"""MariaDB for the tests: a private server, or a MariaDB or MySQL that TEST_MYSQL_URL names."""

from __future__ import annotations

import functools
import secrets
import signal
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pymysql

from servers.access import APP, GivenServer, Login, PrivateServer, ServerAccess
from servers.process import template_folder
from servers.programs import find_mariadb
from servers.system import give_to_account
from servers.tls import certificate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SUPERUSER = Login("root", "super secret #1")
SETTINGS = {
    # Commits reach the operating system, so that they outlive a killed server, but nobody waits for the disk.
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-flush-method": "nosync",
    "innodb-doublewrite": "0",
    "innodb-log-file-size": "8M",
    "innodb-buffer-pool-size": "32M",
    "innodb-buffer-pool-dump-at-shutdown": "0",
    "max-connections": "100",
    "skip-name-resolve": "1",
    "character-set-server": "utf8mb4",
    "default-time-zone": "+00:00",
}
UNKNOWN_THREAD = 1094
LOCK_SECONDS = 10

ACCOUNTS = f"""
delete from mysql.global_priv where user in ('root', '');
delete from mysql.proxies_priv;
flush privileges;
create user {SUPERUSER.user}@'%' identified by '{SUPERUSER.password}';
grant all on *.* to {SUPERUSER.user}@'%' with grant option;
create user {APP.user}@'%' identified by '{APP.password}';
grant all on `test%`.* to {APP.user}@'%';
create database test;
"""
"""Replaces the users that every new data folder has, who need no password."""


class MySQLAccess(ServerAccess):
    """What tests ask of any MariaDB or MySQL server; the databases of tests have names that begin with `test`."""

    scheme = "mysql"
    default_database = "test"

    def create_database(self, name: str | None = None) -> str:
        """Create an empty database of UTF-8 text and return its name, a new one by default."""
        name = name or f"test_{secrets.token_hex(6)}"
        self.execute(f"create database `{name}` character set utf8mb4")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database and every connection to it."""
        connections = "select id from information_schema.processlist where db = %s and id <> connection_id()"
        for (thread,) in self.execute(connections, name):
            try:
                self.execute(f"kill {thread}")
            except pymysql.err.OperationalError as error:
                if error.args[0] != UNKNOWN_THREAD:  # it has ended meanwhile
                    raise
        self.execute(f"drop database if exists `{name}`")

    def execute(self, sql: str, *params: Any, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement as administrator on a connection of its own, from any thread, and return its rows."""
        url = urlsplit(self.admin_url(database))
        with closing(
            pymysql.connect(
                host=url.hostname,
                port=url.port or 3306,
                user=unquote(url.username or ""),
                password=unquote(url.password or ""),
                database=unquote(url.path.lstrip("/")),
                autocommit=True,
                ssl_disabled=isinstance(self, PrivateServer),  # it takes longer than all the rest
                # Without it a table that somebody has locked would be waited for all day.
                init_command=f"set session lock_wait_timeout = {LOCK_SECONDS}",
            )
        ) as connection:
            cursor = connection.cursor()
            cursor.execute(sql, params or None)
            return list(cursor.fetchall())


class GivenMySQL(GivenServer, MySQLAccess):
    """The server that TEST_MYSQL_URL names."""

    variable = "TEST_MYSQL_URL"


class MariaDBServer(PrivateServer, MySQLAccess):
    """A private MariaDB server, with the administrator `SUPERUSER`.

    `APP` may do everything in databases whose names begin with `test`, and nothing else.

    Args:
        settings: options of mariadbd beside, or instead of, those in `SETTINGS`.

    Raises:
        ServerMissing: MariaDB is not installed.
        ServerError: its data folder could not be made.
    """

    name = "my"
    stop_signal = signal.SIGTERM
    death_signal = "KILL"
    superuser = SUPERUSER

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(find_mariadb(), _template(), certificate(), {**SETTINGS, **(settings or {})})

    @property
    def socket(self) -> Path:
        """Tell the unix socket that the server listens on."""
        return self.sockets / "mysqld.sock"

    def command(self) -> Sequence[str | Path]:
        """Tell the program and its arguments."""
        options: dict[str, Any] = {
            "datadir": self.data,
            "bind-address": self.host,
            "port": self.port,
            "socket": self.socket,
            "tmpdir": self.sockets,  # servers that share one take each other's temporary tables away
        }
        if self.programs.base:
            options["basedir"] = self.programs.base
        if self._certificate:
            authority, chain, key = self._certificate
            options |= {"ssl-ca": authority, "ssl-cert": chain, "ssl-key": key}
        settings = [f"--{name}={value}" for name, value in {**options, **self.settings}.items()]
        # Only in the first place does it keep the system's configuration away.
        return [self.programs.server, "--no-defaults", *settings]

    def is_ready(self) -> bool:
        """Tell whether somebody says hello at the unix socket, which cannot be a stranger.

        The file with its process id comes too early: the signal to stop would be lost on the server then.
        """
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(str(self.socket))
                return bool(client.recv(1))
            except OSError:
                return False


@functools.cache
def _template() -> Path:
    """Make the data folder that every server of this run starts from."""
    programs = find_mariadb()
    folder = template_folder(MariaDBServer.name)
    accounts = folder / "accounts.sql"
    accounts.write_text(ACCOUNTS)
    give_to_account(accounts)
    data = folder / "data"
    base = [f"--basedir={programs.base}"] if programs.base else []
    options = [f"--datadir={data}", f"--tmpdir={folder}", f"--extra-file={accounts}", "--skip-test-db", "--force"]
    settings = [f"--{name}={SETTINGS[name]}" for name in ("innodb-flush-method", "innodb-log-file-size")]
    authentication = "--auth-root-authentication-method=normal"
    programs.run(programs.setup, "--no-defaults", *base, *options, authentication, *settings)
    return data
