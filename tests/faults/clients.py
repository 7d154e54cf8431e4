"""The drivers that the faults are tried on, and how to say to their databases what the tests want."""

from __future__ import annotations

from typing import NamedTuple


class Client(NamedTuple):
    """A driver on an event loop."""

    scheme: str
    dialect: str
    loop: str

    @property
    def odbc(self) -> bool:
        """Tell whether the database is reached by ODBC."""
        return self.scheme.endswith("odbc")

    @property
    def needs_server(self) -> bool:
        """Tell whether the database is more than a file: a server, or what unixODBC reaches."""
        return self.odbc or self.dialect != "sqlite"

    @property
    def keeps_alive(self) -> bool:
        """Tell whether there is the option `keepalive`."""
        return not (self.odbc and self.dialect == "mysql")

    def __str__(self) -> str:
        return "-".join([self.scheme, *[self.dialect] * self.odbc, self.loop])


class Words(NamedTuple):
    """How things are said to a server."""

    sleep: str
    """Keeps the server busy, and not the machine."""
    change: str
    """Changes the session, which has to be reset then."""
    rows: str
    """A query for the texts `row-1` to `row-20000`."""
    sessions: str
    """The administrator's query for the sessions of a database, other than its own: number, statement."""
    transactions: str
    """The administrator's query for those that are inside of a transaction."""
    end: str
    """The administrator's statement that ends a session."""


_POSTGRESQL_SESSIONS = (
    "select pid, query from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
    "and backend_type = 'client backend'"
)
_MYSQL_SESSIONS = "select id, info from information_schema.processlist where db = database() and id <> connection_id()"

WORDS = {
    "postgresql": Words(
        sleep="select pg_sleep(60)",
        change="set application_name = 'mine'",
        rows="select 'row-' || i from generate_series(1, 20000) as s (i)",
        sessions=_POSTGRESQL_SESSIONS,
        transactions=f"{_POSTGRESQL_SESSIONS} and xact_start is not null",
        end="select pg_terminate_backend({})",
    ),
    "mysql": Words(
        sleep="select sleep(60)",
        change="set @mine = 7",
        rows="select concat('row-', seq) from seq_1_to_20000",
        sessions=_MYSQL_SESSIONS,
        transactions=f"{_MYSQL_SESSIONS} and id in (select trx_mysql_thread_id from information_schema.innodb_trx)",
        end="kill {}",
    ),
}

NETWORK = [
    Client("asyncpg", "postgresql", "asyncio"),
    Client("psycopg", "postgresql", "asyncio"),
    Client("psycopg", "postgresql", "trio"),
    Client("aiopg", "postgresql", "asyncio"),
    Client("aioodbc", "postgresql", "asyncio"),
    Client("pyodbc", "postgresql", "trio"),
    Client("asyncmy", "mysql", "asyncio"),
    Client("aiomysql", "mysql", "asyncio"),
    Client("pymysql", "mysql", "asyncio"),
    Client("pymysql", "mysql", "trio"),
    Client("trio-mysql", "mysql", "trio"),
    Client("aioodbc", "mysql", "asyncio"),
    Client("pyodbc", "mysql", "trio"),
]
FILES = [
    Client("sqlite", "sqlite", "asyncio"),
    Client("sqlite", "sqlite", "trio"),
    Client("aiosqlite", "sqlite", "asyncio"),
    Client("aioodbc", "sqlite", "asyncio"),
    Client("pyodbc", "sqlite", "trio"),
]
CLIENTS = {str(client): client for client in (*NETWORK, *FILES)}
