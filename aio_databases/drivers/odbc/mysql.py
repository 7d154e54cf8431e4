"""What is particular to MySQL and MariaDB behind ODBC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from aio_databases import errors
from aio_databases.dialects.error_codes import kind_of_mysql_errno
from aio_databases.drivers.base import Capabilities
from aio_databases.drivers.mysql.family import MYSQL, details
from aio_databases.drivers.network import certificate_authorities
from aio_databases.drivers.odbc.dialect import BEGINS, ENDS, OdbcDialect, beginning_with, positional, refusal
from aio_databases.drivers.odbc.values import duration, for_mysql
from aio_databases.errors import Diagnosis

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aio_databases.drivers.base import TransactionOptions
    from aio_databases.drivers.odbc.dialect import Failure, LibraryDriver


class MySQL(OdbcDialect):
    """MySQL or MariaDB, through the ODBC driver of either."""

    # LAST_INSERT_ID() would cost a round trip, and is that of an older row where this one has got its id from the user.
    capabilities: ClassVar[Capabilities] = Capabilities(
        isolation_levels=MYSQL.isolation_levels, ddl_commits=True, reusable_after_cancel=True
    )
    identity: ClassVar[str] = "SELECT CONNECTION_ID(), @@hostname, @@port, @@server_id"
    stop: ClassVar[str] = "KILL QUERY {}"
    savepoint: ClassVar[str] = "SAVEPOINT {}"
    begins: ClassVar[re.Pattern[str] | None] = beginning_with(BEGINS)
    ends: ClassVar[re.Pattern[str]] = beginning_with(
        rf"{ENDS}|ALTER|(?:CREATE|DROP)(?!\s+(?:OR\s+REPLACE\s+)?TEMPORARY)|GRANT|LOCK|RENAME|REVOKE|TRUNCATE"
    )
    # MariaDB's driver ends the process when it is asked for the next result of a compound statement.
    has_several: ClassVar[re.Pattern[str] | None] = beginning_with(r"CALL|EXECUTE|\{\s*(?:\?\s*=\s*)?CALL")
    keeps_failed_rows: ClassVar[bool] = True

    def place(self, driver: LibraryDriver, *, read_only: bool) -> dict[str, Any]:
        if driver.socket:
            return {"Socket": driver.socket, "Database": driver.located("database")}
        return super().place(driver, read_only=read_only)

    def defaults(self, driver: LibraryDriver) -> Mapping[str, Any]:
        """Have UPDATE count the rows that it finds, as everywhere else, and the thread give up connecting some time."""
        return {"OPTION": 2, **({"CONN_TIMEOUT": driver.gives_up_after} if _is_of_mariadb(driver) else {})}

    def encryption(self, driver: LibraryDriver) -> dict[str, Any]:
        files = {"SSLCA": "sslrootcert", "SSLCERT": "sslcert", "SSLKEY": "sslkey"}
        given = {word: driver.options[name] for word, name in files.items() if name in driver.options}
        if driver.ssl is None and not given:
            return {}
        if not _is_of_mariadb(driver):
            return super().encryption(driver)
        if driver.ssl == "verify-full":
            return {"FORCETLS": 1, "SSLVERIFY": 1, "SSLCA": certificate_authorities(), **given}
        if driver.ssl == "disable" and not given:
            return {}
        raise refusal(driver, "ssl", "MariaDB's ODBC driver encrypts for certain with 'verify-full' only, or 'disable'")

    def check(self, driver: LibraryDriver) -> None:
        if "application_name" in driver.options:
            raise refusal(driver, "application_name", "the ODBC drivers for MySQL send their own")

    def prepare(self, db: Any, driver: LibraryDriver) -> None:
        """Keep long texts whole, and read TIME with its fraction, as the duration that it is."""
        del driver
        db.maxwrite = _ALL_AT_ONCE  # of a text that is sent in pieces, MariaDB's driver loses each 256th character
        if "maodbc" in db.getinfo(_SQL_DRIVER_NAME):
            db.add_output_converter(_SQL_TYPE_TIME, duration)

    def session(self, driver: LibraryDriver, product: str, *, read_only: bool) -> Iterator[str]:
        timeout = driver.options.get("statement_timeout")
        if timeout and product == "MariaDB":
            yield f"SET SESSION max_statement_time = {timeout:f}"
        elif timeout:
            yield f"SET SESSION max_execution_time = {max(1, round(timeout * 1000))}"
        if read_only:
            yield "SET SESSION TRANSACTION READ ONLY"

    def adapted(self, params: Any, to_json: Callable[[Any], str]) -> Any:
        """Return parameters as text where the ODBC driver would cut them, or pyodbc does not know them."""
        return for_mysql(positional(params), to_json)

    def diagnosis(self, failure: Failure) -> Diagnosis:
        """Tell what a failure means, by its number."""
        found = super().diagnosis(failure)
        kind = kind_of_mysql_errno(failure.number)
        if kind is errors.DatabaseError:  # an unknown number
            kind = errors.ConnectionLost if failure.number == _SOCKET_ERROR else found.kind
        return Diagnosis(kind, found.sqlstate, found.errno, **details(failure.message))

    def is_broken_by(self, sql: str, diagnosis: Diagnosis) -> bool:
        """Return whether a connection is of no use any more: after two statements in one, MariaDB's driver hangs."""
        several = diagnosis.errno == _SYNTAX_ERROR and ";" in sql.rstrip("; \t\r\n")
        return several or super().is_broken_by(sql, diagnosis)

    def begin(self, options: TransactionOptions, *, read_only: bool) -> Sequence[str]:
        mode = {None: "", True: " READ ONLY", False: " READ WRITE"}[read_only or options.readonly]
        isolation = [f"SET TRANSACTION ISOLATION LEVEL {options.isolation.upper()}"] if options.isolation else []
        return (*isolation, f"START TRANSACTION{mode}")

    def survives(self, sql: str, diagnosis: Diagnosis, ask: Callable[[str], object]) -> bool:
        """Return whether the transaction is still open: a deadlock ends it, and so does DDL, even if it fails."""
        try:
            return bool(ask("SELECT @@in_transaction"))  # on MariaDB
        except Exception:  # noqa: BLE001 - the class is pyodbc's, which is not to be imported here
            return diagnosis.kind is not errors.DeadlockDetected and super().survives(sql, diagnosis, ask)


def _is_of_mariadb(driver: LibraryDriver) -> bool:
    return any(word in driver.library.lower() for word in ("maria", "maodbc"))


_ALL_AT_ONCE = (1 << 31) - 1  # bytes
_SOCKET_ERROR = 5014  # of MariaDB's client
_SQL_DRIVER_NAME = 6
_SQL_TYPE_TIME = 92
_SYNTAX_ERROR = 1064
