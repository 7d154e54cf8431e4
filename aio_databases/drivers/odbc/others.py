"""What is particular to SQL Server, Oracle and Db2 behind ODBC: the words of their transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from aio_databases import errors
from aio_databases.drivers.base import Capabilities
from aio_databases.drivers.odbc.dialect import OdbcDialect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aio_databases.drivers.base import TransactionOptions

_DB2_LEVELS: Mapping[str, str] = {
    "read committed": "CS",
    "read uncommitted": "UR",
    "repeatable read": "RS",
    "serializable": "RR",
}
"""What standard SQL's levels are called."""


class SQLServer(OdbcDialect):
    """Microsoft SQL Server, whose savepoints cannot be released."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        exclusive_cursor=True,
        isolation_levels=frozenset(
            {"read uncommitted", "read committed", "repeatable read", "serializable", "snapshot"}
        ),
    )
    savepoint: ClassVar[str] = "SAVE TRANSACTION {}"
    rollback_to: ClassVar[str] = "ROLLBACK TRANSACTION {}"
    release: ClassVar[str] = ""
    keeps_failed_rows: ClassVar[bool] = True

    def begin(self, options: TransactionOptions, *, read_only: bool) -> Sequence[str]:
        """Return the statement that sets the level, which holds for the session."""
        super().begin(options, read_only=read_only)
        return (f"SET TRANSACTION ISOLATION LEVEL {options.isolation.upper()}",) if options.isolation else ()

    def after(self, options: TransactionOptions, *, read_only: bool) -> Sequence[str]:
        """Return the statement that sets the level of a new session."""
        del read_only
        return ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED",) if options.isolation else ()


class Oracle(OdbcDialect):
    """Oracle, whose savepoints cannot be released, and whose queries want a table."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        exclusive_cursor=True, isolation_levels=frozenset({"read committed", "serializable"}), ddl_commits=True
    )
    savepoint: ClassVar[str] = "SAVEPOINT {}"
    rollback_to: ClassVar[str] = "ROLLBACK TO SAVEPOINT {}"
    release: ClassVar[str] = ""
    question: ClassVar[str] = "SELECT 1 FROM DUAL"
    keeps_failed_rows: ClassVar[bool] = True

    def begin(self, options: TransactionOptions, *, read_only: bool) -> Sequence[str]:
        """Return nothing: what sets the level is the first statement of a transaction."""
        del options, read_only
        return ()

    def first(self, options: TransactionOptions) -> Sequence[str]:
        """Return the statement that sets the level, or that lets the transaction only read."""
        if options.readonly and options.isolation:
            message = "Oracle has no transaction that only reads and has an isolation level: leave one of them out"
            raise errors.NotSupportedError(message)
        if options.readonly:
            return ("SET TRANSACTION READ ONLY",)
        return (f"SET TRANSACTION ISOLATION LEVEL {options.isolation.upper()}",) if options.isolation else ()


class Db2(OdbcDialect):
    """IBM's Db2, which says what becomes of cursors, and whose queries want a table."""

    capabilities: ClassVar[Capabilities] = Capabilities(exclusive_cursor=True, isolation_levels=frozenset(_DB2_LEVELS))
    savepoint: ClassVar[str] = "SAVEPOINT {} ON ROLLBACK RETAIN CURSORS"
    rollback_to: ClassVar[str] = "ROLLBACK TO SAVEPOINT {}"
    release: ClassVar[str] = "RELEASE SAVEPOINT {}"
    question: ClassVar[str] = "SELECT 1 FROM SYSIBM.SYSDUMMY1"
    keeps_failed_rows: ClassVar[bool] = True

    def begin(self, options: TransactionOptions, *, read_only: bool) -> Sequence[str]:
        """Return the statement that sets the level, which holds for the session."""
        super().begin(options, read_only=read_only)
        return (f"SET CURRENT ISOLATION = {_DB2_LEVELS[options.isolation.lower()]}",) if options.isolation else ()

    def after(self, options: TransactionOptions, *, read_only: bool) -> Sequence[str]:
        """Return the statement that sets the level of a new session."""
        del read_only
        return ("SET CURRENT ISOLATION = RESET",) if options.isolation else ()
