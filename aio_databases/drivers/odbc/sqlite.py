"""What is particular to SQLite behind ODBC, which is sqliteodbc."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from aio_databases.dialects.error_codes import SQLITE_RESULTS, kind_of_sqlite_name
from aio_databases.drivers.odbc.dialect import BEGINS, OdbcDialect, beginning_with, positional, refusal
from aio_databases.drivers.odbc.values import for_sqlite
from aio_databases.drivers.sqlite.family import CAPABILITIES, CONNECT_HINT, details, failed_constraint, refuse_uri
from aio_databases.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aio_databases.drivers.base import Capabilities, TransactionOptions
    from aio_databases.drivers.odbc.dialect import Failure, LibraryDriver
    from aio_databases.errors import Diagnosis


class SQLite(OdbcDialect):
    """SQLite through sqliteodbc."""

    capabilities: ClassVar[Capabilities] = CAPABILITIES
    savepoint: ClassVar[str] = "SAVEPOINT {}"
    connect_hint: ClassVar[str] = CONNECT_HINT
    takes_braces: ClassVar[bool] = False
    begins: ClassVar[re.Pattern[str] | None] = beginning_with(BEGINS)
    # For others it reports 0, and for a comment what the statement before has changed.
    counts: ClassVar[re.Pattern[str] | None] = beginning_with("INSERT|REPLACE|UPDATE|DELETE")
    keeps_failed_rows: ClassVar[bool] = True

    def place(self, driver: LibraryDriver, *, read_only: bool) -> dict[str, Any]:
        """Return the keyword that says which file it is, as a URI, which may have any characters and be read-only."""
        path = driver.located("database")
        if driver.located("host") or path in {None, "", ":memory:"}:
            message = f"{driver.address} is no file, and ODBC leads to SQLite's files only: a relative path takes three"
            raise ConfigurationError(message + " slashes, as in 'odbc:///file.db?driver=SQLite3', an absolute one four")
        if "database" not in driver.options:
            refuse_uri(driver.address, "leave 'file:' out, as ODBC takes the path alone")
        return {"Database": f"file:{quote(re.sub('^/+', '/', path))}{'?mode=ro' if read_only else ''}"}

    def defaults(self, driver: LibraryDriver) -> Mapping[str, Any]:
        """Have integers of 64 bits, and what the other drivers for SQLite begin with.

        The ODBC driver waits for a lock twice, once in SQLite and once around it.
        """
        del driver
        return {"BigInt": 1, "FKSupport": 1, "JournalMode": "WAL", "Timeout": 2500}

    def encryption(self, driver: LibraryDriver) -> dict[str, Any]:
        """Return nothing, as there is no network to encrypt."""
        if driver.ssl not in {None, "disable"}:
            raise refusal(driver, "ssl", "SQLite has no network connection that could be encrypted")
        return {}

    def check(self, driver: LibraryDriver) -> None:
        if driver.options.get("statement_timeout"):
            raise refusal(driver, "statement_timeout", "SQLite's ODBC driver has none; the scheme sqlite:// has")

    def prepare(self, db: Any, driver: LibraryDriver) -> None:
        """Make SQL reach the ODBC driver whole: where that is built without wide characters, each loses a half."""
        del driver
        if db.execute("SELECT '🐘'").fetchval() != "🐘":
            db.setencoding("utf-8")

    def column(self, name: str) -> str:
        """Return the name of a column: such an ODBC driver reports its bytes, or too large a length."""
        name = name.partition("\0")[0]
        try:
            return name.encode("latin-1").decode()
        except UnicodeError:
            return name

    def session(self, driver: LibraryDriver, product: str, *, read_only: bool) -> Iterator[str]:
        """Give the statement that makes a session read-only."""
        del driver, product
        if read_only:
            yield "PRAGMA query_only = ON"

    def canceller(self, db: Any, connect: Callable[[], Any]) -> Callable[[], object] | None:
        """Return SQLCancel for an idle cursor: it stops all of the connection, and frees the rows of its own cursor."""
        del connect
        return db.cursor().cancel  # type: ignore[no-any-return]  # pyodbc's classes are not known here

    def adapted(self, params: Any, to_json: Callable[[Any], str]) -> Any:
        """Return parameters as the text that the other drivers for SQLite store."""
        return for_sqlite(positional(params), to_json)

    def diagnosis(self, failure: Failure) -> Diagnosis:
        """Tell what a failure means, by SQLite's result code and, for constraints, by its message."""
        found = super().diagnosis(failure)
        name = SQLITE_RESULTS.get(failure.number & 0xFF)
        if name is None or failure.sqlstate != "HY000":
            return found
        which, what = failed_constraint(failure.message)
        kind = kind_of_sqlite_name(f"{name}_{which.replace(' ', '')}" if which else name)
        return found._replace(kind=kind, sqlstate=None, **details(which, what))

    def begin(self, options: TransactionOptions, *, read_only: bool) -> Sequence[str]:
        """Return the statements that begin a transaction, which takes the write lock at once if it may write."""
        mode = options.mode or ("DEFERRED" if options.readonly or read_only else "IMMEDIATE")
        return (f"BEGIN {mode.upper()}", *(["PRAGMA query_only = ON"] if options.readonly else []))

    def after(self, options: TransactionOptions, *, read_only: bool) -> Sequence[str]:
        """Return the statement that lets later transactions write."""
        return ("PRAGMA query_only = OFF",) if options.readonly and not read_only else ()

    def survives(self, sql: str, diagnosis: Diagnosis, ask: Callable[[str], object]) -> bool:
        """Return whether the transaction is still open; SQLite has to be asked, and takes no second BEGIN in one."""
        del sql, diagnosis
        try:
            ask("BEGIN")
        except Exception:  # noqa: BLE001 - the class is pyodbc's, which is not to be imported here
            return True
        ask("ROLLBACK")
        return False
