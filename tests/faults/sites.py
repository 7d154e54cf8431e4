"""The databases that are cancelled on, each with the checks that its kind allows."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from aio_databases import Database
from faults.cancelling import CURRENT
from unit.fake import FakeDriver, make_database, script_of, verify_closed

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 2
"""Connections of the pool."""


class FakeSite:
    """The scripted fake."""

    def make(self) -> Database:
        """Return a database."""
        return make_database(max_size=SIZE, driver=AnsweringFake)

    def check(self, db: Database) -> None:
        """Fail if a promise was broken or a transaction is open."""
        script_of(db).check()
        assert SIZE >= sum(not each.is_closed and not each.read_only for each in script_of(db).connections)

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

    _openings = 0

    def __init__(self, scheme: str, path: Path | None) -> None:
        self._scheme = scheme
        self._path = path
        if path is not None:
            with sqlite3.connect(path) as db:
                db.execute("create table t (x integer)")
            db.close()

    def make(self) -> Database:
        """Return a database."""
        self._openings = 0
        return Database(f"{self._scheme}:///{self._path or ':memory:'}", max_size=SIZE, init=self._init)

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
            assert 0 == count % 2
        finally:
            other.close()

    def close(self, db: Database) -> None:
        """Fail if the memory was lost on the way; warnings tell what was left open."""
        assert self._path or self._openings == 1 or CURRENT.reopens, db.stats()


class PostgresSite:
    """A server."""

    def __init__(self, url: str, postgres: Any) -> None:
        self._url = url
        self._postgres = postgres
        self._database = url.rpartition("/")[2]
        postgres.execute("create table t (x integer)", database=self._database)
        postgres.execute("grant all on t to public", database=self._database)

    def make(self) -> Database:
        """Return a database."""
        return Database(self._url, max_size=SIZE)

    def check(self, db: Database) -> None:
        """Do nothing: `recovered` asks the server."""

    def close(self, db: Database) -> None:
        """Fail if a session has a transaction open or half of one was committed."""
        del db
        sql = "select state from pg_stat_activity where datname = current_database() and state like 'idle in%'"
        assert [] == self._postgres.execute(sql, database=self._database)
        assert [(0,)] == self._postgres.execute("select count(*) % 2 from t", database=self._database)
