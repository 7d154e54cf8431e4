"""The databases that are cancelled on, each with the checks that its kind allows."""

from __future__ import annotations

import sqlite3
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aio_databases import Database
from aio_databases.testing.fake_driver import FakeDriver, make_database, script_of, verify_closed
from faults.cancelling import CURRENT

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SIZE = 2
"""Connections of the pool."""


class FakeSite:
    """The scripted fake."""

    hardly_waits = False
    """Whether a scenario may meet no await at all."""

    def make(self) -> Database:
        """Return a database."""
        return make_database(max_size=SIZE, driver=AnsweringFake)

    def check(self, db: Database) -> None:
        """Fail if a promise was broken or a transaction is open."""
        script_of(db).check()
        assert sum(not each.is_closed and not each.read_only for each in script_of(db).connections) <= SIZE

    def close(self, db: Database) -> None:
        """Fail if anything is left."""
        verify_closed(db)


class AnsweringFake(FakeDriver):
    """A fake that answers a query by its literal, as a database does."""

    async def connect(self, *, read_only: bool = False) -> Any:
        """Open a connection."""
        connection: Any = await super().connect(read_only=read_only)
        answer = connection.answer
        connection.answer = lambda sql: answer(sql.removeprefix("select ").strip("'"))
        return connection


class SQLiteSite:
    """A file, or memory, which is lost with its connection."""

    hardly_waits = False

    _openings = 0

    def __init__(self, scheme: str, path: Path | None, query: str = "") -> None:
        self._scheme = scheme
        self._path = path
        self._query = query
        if path is not None:
            with sqlite3.connect(path) as db:
                db.execute("create table t (x integer)")
            db.close()

    def make(self, size: int = SIZE) -> Database:
        """Return a database."""
        self._openings = 0
        return Database(f"{self._scheme}:///{self._path or ':memory:'}{self._query}", max_size=size, init=self._init)

    async def _init(self, db: Any) -> None:
        self._openings += 1
        if self._path is None:
            await db.execute("create table if not exists t (x integer)")

    def check(self, db: Database) -> None:
        """Fail if the file is locked, or holds half a transaction."""
        del db
        if self._path is None:
            return
        other = sqlite3.connect(self._path, timeout=5, isolation_level=None)
        try:
            other.execute("begin immediate")
            other.execute("commit")
            (count,) = other.execute("select count(*) from t").fetchone()
            assert count % 2 == 0
        finally:
            other.close()

    def remove(self) -> None:
        """Do nothing: the file goes with its folder."""

    def close(self, db: Database) -> None:
        """Fail if the memory was lost on the way; warnings tell what was left open."""
        assert self._path or self._openings == 1 or CURRENT.reopens, db.stats()


class ServerSite:
    """A database of a server."""

    def __init__(self, scheme: str, server: Any, query: str = "") -> None:
        self.hardly_waits = scheme == "aiopg"  # it takes an answer that is there already without waiting for it
        self._server = server
        self._name = server.create_database()
        self._url = server.url(database=self._name).replace(server.scheme, scheme, 1) + query
        self.ask("create table t (x integer)")
        if server.scheme == "postgresql":
            self.ask("grant all on t to public")

    def ask(self, sql: str) -> Any:
        """Run a statement as administrator."""
        return self._server.execute(sql, database=self._name)

    def make(self, size: int = SIZE) -> Database:
        """Return a database."""
        return Database(self._url, max_size=size)

    def check(self, db: Database) -> None:
        """Do nothing: `recovered` asks the server."""

    def close(self, db: Database) -> None:
        """Fail if a session is left, or half a transaction was committed."""
        del db
        deadline = monotonic() + 5
        while left := self.ask(_SESSIONS[self._server.scheme]):  # one that was cut takes a moment to end
            assert monotonic() < deadline, left
            sleep(0.005)
        assert self.ask("select count(*) % 2 from t")[0][0] == 0

    def remove(self) -> None:
        """Drop the database."""
        self._server.drop_database(self._name)


_SESSIONS = {
    "postgresql": "select state, query from pg_stat_activity where datname = current_database() "
    "and pid <> pg_backend_pid() and backend_type = 'client backend'",
    "mysql": "select command, info from information_schema.processlist where db = database() and id <> connection_id()",
}


def site_of(driver: str, request: pytest.FixtureRequest, path: Path | None) -> Any:
    """Return a database for a driver such as ``asyncpg``, or ``pyodbc+mysql`` with the kind of database behind ODBC."""
    scheme, _, kind = driver.partition("+")
    query = f"?driver={quote(request.getfixturevalue('odbc')(kind), safe='')}" if kind else ""
    if "sqlite" in driver:
        return SQLiteSite(scheme, path, query)
    is_mysql = "mysql" in driver or driver == "asyncmy"
    return ServerSite(scheme, request.getfixturevalue("mysql" if is_mysql else "postgres"), query)
