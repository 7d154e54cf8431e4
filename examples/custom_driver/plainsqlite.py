"""A driver for aio_databases: SQLite by the synchronous library sqlite3, for URLs such as plainsqlite:///file.db."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar

from aio_databases import DatabaseError, NotSupportedError
from aio_databases.drivers.api import Capabilities, Diagnosis, Driver, ThreadConnection, kind_of_sqlite_name, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aio_databases.drivers.api import DriverConnection, Result, TransactionOptions


class PlainConnection(ThreadConnection):
    """A connection in a worker thread; the verbs are inherited."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return not self.is_closed and self.db.in_transaction

    async def begin(self, options: TransactionOptions) -> None:
        """Begin a transaction; the capabilities below keep all options but this one away."""
        if options.readonly:
            raise NotSupportedError("plainsqlite has no read-only transactions")
        await self.execute("BEGIN IMMEDIATE", ())

    def _executemany(self, sql: str, rows: Sequence[Any]) -> Result:
        # All or nothing; the library would commit row by row.
        self.db.execute("SAVEPOINT many")
        try:
            result = super()._executemany(sql, rows)
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK TO many")
                self.db.execute("RELEASE many")
            raise
        self.db.execute("RELEASE many")
        return result

    def interrupt(self) -> None:
        """Stop the statement that runs in the thread."""
        if self.db is not None:
            self.db.interrupt()


class PlainDriver(Driver):
    """Opens SQLite files."""

    name: ClassVar[str] = "plainsqlite"
    dialect: ClassVar[str] = "sqlite"
    paramstyle: ClassVar[str] = "qmark"
    capabilities: ClassVar[Capabilities] = Capabilities(lastrowid=True, single_writer=True, reusable_after_cancel=True)
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = {"busy_timeout": seconds}

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection, which the database itself keeps from writing if it is to be read-only."""
        connection = PlainConnection()
        await connection.open(lambda: self.open(read_only=read_only))
        return connection

    def open(self, *, read_only: bool) -> sqlite3.Connection:
        """Open a connection of the library, in autocommit mode; this happens in the thread."""
        options: dict[str, Any] = {"timeout": self.options.get("busy_timeout", 5.0), **self.connect_args}
        path = self.address.database
        db: sqlite3.Connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, **options)
        db.execute(f"PRAGMA query_only = {read_only}")
        return db

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an error of the library means; None for exceptions that are not the library's."""
        if not isinstance(exc, sqlite3.Error):
            return None
        name = getattr(exc, "sqlite_errorname", None)
        return Diagnosis(kind_of_sqlite_name(name) if name else DatabaseError)
