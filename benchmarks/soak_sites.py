"""The databases of the soak: how each is made, what goes wrong with it, and what is left in it at the end."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from servers import MariaDBServer, PostgresServer, odbc_driver
from servers.proxy import Proxy
from soak_workload import ACCOUNTS, BALANCE, FACTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from servers import PrivateServer

TABLES = (
    "create table facts (id integer primary key, payload varchar(40) not null)",
    "create table accounts (id integer primary key, balance bigint not null)",
    # No key: a row that is written twice has to show.
    "create table writes (id bigint not null, source integer, target integer, amount integer)",
    "create index writes_id on writes (id)",
)
SETTLED = 10.0  # seconds that a server may take to notice that a client is gone


class Driver(NamedTuple):
    """A driver on an event loop, such as ``psycopg@trio``, ``asyncpg@uvloop`` or ``pyodbc+mysql``."""

    scheme: str
    dialect: str
    loop: str

    @classmethod
    def parse(cls, name: str) -> Driver:
        """Read a name."""
        driver, _, loop = name.partition("@")
        scheme, _, kind = driver.partition("+")
        return cls(scheme, kind or DIALECTS[scheme], loop or "asyncio")

    def __str__(self) -> str:
        kind = f"+{self.dialect}" if self.scheme.endswith("odbc") else ""
        return f"{self.scheme}{kind}{'' if self.loop == 'asyncio' else f'@{self.loop}'}"

    def url(self, address: str) -> str:
        """Return the URL of a database for this driver."""
        option = f"?driver={quote(odbc_driver(self.dialect), safe='')}" if self.scheme.endswith("odbc") else ""
        return f"{self.scheme}://{address.partition('://')[2]}{option}"


DIALECTS = {
    **dict.fromkeys(("sqlite", "aiosqlite"), "sqlite"),
    **dict.fromkeys(("asyncpg", "psycopg", "aiopg"), "postgresql"),
    **dict.fromkeys(("asyncmy", "aiomysql", "pymysql", "trio-mysql"), "mysql"),
}
DRIVERS = (
    *("sqlite", "sqlite@uvloop", "sqlite@trio", "aiosqlite", "aiosqlite@uvloop"),
    *("asyncpg", "asyncpg@uvloop", "psycopg", "psycopg@uvloop", "psycopg@trio", "aiopg", "aiopg@uvloop"),
    *("asyncmy", "asyncmy@uvloop", "aiomysql", "aiomysql@uvloop", "pymysql", "pymysql@trio", "trio-mysql@trio"),
    *(f"{scheme}+{kind}" for kind in ("sqlite", "postgresql", "mysql") for scheme in ("aioodbc", "pyodbc")),
    *(f"pyodbc+{kind}@trio" for kind in ("sqlite", "postgresql", "mysql")),
)
SERVERS: dict[str, Any] = {
    "postgresql": lambda: PostgresServer(
        {"max_connections": "300", "deadlock_timeout": "100ms", "lock_timeout": "5s", "full_page_writes": "on"}
    ),
    "mysql": lambda: MariaDBServer(
        {"max-connections": "300", "innodb-lock-wait-timeout": "5", "innodb-doublewrite": "1"}
    ),
}
"""Servers that survive being killed: what they have acknowledged is with the operating system."""


class Site(ABC):
    """A database of one driver."""

    url: str
    """The URL that the driver is given."""

    @abstractmethod
    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement as administrator, past everything that is out of order."""

    @abstractmethod
    def open_transactions(self) -> int:
        """Count transactions that are open on the server, or locks held on the file."""

    @abstractmethod
    def sessions(self) -> int:
        """Count the sessions of the driver."""

    @abstractmethod
    def close(self) -> None:
        """Free what the site holds."""

    def fill(self, concatenated: str) -> None:
        """Make the tables; ``concatenated`` is how the dialect makes a payload of `i`."""
        for table in TABLES:
            self.ask(table)
        for table, last, values in (("facts", FACTS, f"i, {concatenated}"), ("accounts", ACCOUNTS, f"i, {BALANCE}")):
            self.ask(f"insert into {table} select {values} from {self.numbers(last)}")

    def numbers(self, last: int) -> str:
        """Return a table expression for the numbers `i` from 1 to `last`."""
        return (
            "(with recursive n (i) as (select 1 union all select i + 1 from n where i < "
            f"{last}) select i from n) as numbers"
        )

    def settled(self, count: Any) -> int:
        """Return what a count is as soon as it is 0, or in the end."""
        deadline = monotonic() + SETTLED
        while (left := count()) and monotonic() < deadline:
            sleep(0.05)
        return int(left)

    def written(self) -> Iterable[int]:
        """Return the ids of all rows that were written."""
        return [number for (number,) in self.ask("select id from writes")]

    def money(self) -> tuple[dict[int, int], list[tuple[Any, ...]]]:
        """Return the balances and the transfers."""
        balances: Any = self.ask("select id, balance from accounts")
        return dict(balances), self.ask("select source, target, amount from writes where source is not null")


class FileSite(Site):
    """A file of SQLite."""

    def __init__(self, driver: Driver, folder: Path) -> None:
        self.path = folder / f"{driver}.db"
        self.url = driver.url(f"sqlite:///{self.path}")
        self.ask("pragma journal_mode = wal")
        self.fill("'fact ' || i")

    def connect(self) -> sqlite3.Connection:
        """Connect without Python's own transactions."""
        return sqlite3.connect(self.path, timeout=0.2, isolation_level=None)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement."""
        with closing(self.connect()) as connection:
            return connection.execute(sql).fetchall()

    def open_transactions(self) -> int:
        """Tell whether somebody writes, or reads and so keeps the log from being emptied."""
        try:
            self.ask("begin immediate")
            ((blocked, *_),) = self.ask("pragma wal_checkpoint(truncate)")
        except sqlite3.OperationalError:
            return 1
        return int(blocked)

    def sessions(self) -> int:
        """Return 0: the process counts its own files."""
        return 0

    def close(self) -> None:
        """Do nothing: the folder goes as a whole."""


class ServerSite(Site):
    """A database of a server, reached through a proxy."""

    def __init__(self, driver: Driver, server: PrivateServer) -> None:
        self.server = server
        self.name = server.create_database(f"test_{str(driver).translate(str.maketrans('+@-', '___'))}")
        self.proxy = Proxy("127.0.0.1", server.port)
        self.proxy.__enter__()
        address = server.url(database=self.name)
        self.url = driver.url(self.proxy.through(address))
        self._words = _WORDS[driver.dialect]
        self.fill("concat('fact ', i)")
        if driver.dialect == "postgresql":
            self.ask(f'grant all on facts, accounts, writes to "{server.app_user}"')

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement."""
        return self.server.execute(sql, database=self.name)

    def open_transactions(self) -> int:
        """Count the transactions of the driver."""
        return int(self.ask(self._words.transactions)[0][0])

    def sessions(self) -> int:
        """Count the sessions of the driver."""
        return len(self.backends())

    def backends(self) -> list[int]:
        """Return the numbers of the sessions."""
        return [number for (number,) in self.ask(self._words.sessions)]

    def terminate(self, backend: int) -> None:
        """End a session, as an administrator does."""
        self.ask(self._words.terminate.format(backend))

    def close(self) -> None:
        """Stop the proxy."""
        self.proxy.__exit__()


class _Words(NamedTuple):
    sessions: str
    transactions: str
    terminate: str


_OTHERS = "datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
_WORDS = {
    "postgresql": _Words(
        sessions=f"select pid from pg_stat_activity where {_OTHERS}",
        transactions=f"select count(*) from pg_stat_activity where {_OTHERS} and xact_start is not null",
        terminate="select pg_terminate_backend({})",
    ),
    "mysql": _Words(
        sessions="select id from information_schema.processlist where db = database() and id <> connection_id()",
        transactions="select count(*) from information_schema.innodb_trx as t join information_schema.processlist as p "
        "on p.id = t.trx_mysql_thread_id where p.db = database() and p.id <> connection_id()",
        terminate="kill {}",
    ),
}
