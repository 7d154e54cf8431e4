"""What a driver has to know of the database behind ODBC, and what holds where nothing is known of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from aio_databases import errors
from aio_databases.dialects.error_codes import kind_of_sqlstate
from aio_databases.drivers.base import Capabilities
from aio_databases.drivers.network import NetworkDriver
from aio_databases.drivers.odbc.values import for_any
from aio_databases.errors import ConfigurationError, Diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aio_databases.drivers.base import TransactionOptions


def beginning_with(words: str) -> re.Pattern[str]:
    """Return a pattern of statements that begin with one of these words, after comments."""
    return re.compile(rf"(?is)(?:[\s;]|--.*?\n|/\*.*?\*/)*+(?:{words})\b")


BEGINS = r"BEGIN(?!\s+NOT\s+ATOMIC)|START\s+TRANSACTION"
ENDS = r"ABORT|COMMIT|END|ROLLBACK(?!\s+(?:\w+\s+)?TO\b)"


class Failure(NamedTuple):
    """What an exception of pyodbc says."""

    kind: type[errors.Error]
    """What its class stands for."""
    sqlstate: str
    number: int
    """The database's own number, where it has one."""
    text: str

    @property
    def message(self) -> str:
        """What the database said, without what the ODBC driver and pyodbc put around it."""
        return _AROUND.sub("", self.text)


_AROUND = re.compile(r"^(?:\[[^\]]*\] ?)+|(?: \(-?\d+\))+ \(SQL\w+\).*", re.DOTALL)


class LibraryDriver(NetworkDriver):
    """A driver that knows the name of its ODBC driver."""

    library: str


class OdbcDialect:
    """A database of which nothing is known but that ODBC leads to it."""

    capabilities: ClassVar[Capabilities] = Capabilities(exclusive_cursor=True)
    connect_hint: ClassVar[str] = (
        "check that the server runs, that host, port and database are right, and that the ODBC driver is installed "
        "(pyodbc.drivers() names those that are)"
    )
    takes_braces: ClassVar[bool] = True
    """Whether the ODBC driver understands ``Database={a;b}``."""
    begins: ClassVar[re.Pattern[str] | None] = None
    """Statements that begin a transaction; None: only ODBC's autocommit, switched off, does."""
    ends: ClassVar[re.Pattern[str]] = beginning_with(ENDS)
    """Statements that end a transaction."""
    has_several: ClassVar[re.Pattern[str] | None] = None
    """Statements that may give several results; None: any may, and the ODBC driver can be asked after all of them."""
    counts: ClassVar[re.Pattern[str] | None] = None
    """Statements whose rows the ODBC driver counts; None: it says of any statement whether it does."""
    keeps_failed_rows: ClassVar[bool] = False
    """In a transaction, what executemany() did before it failed is still there, unless a savepoint takes it back."""
    keeps_refused_rows: ClassVar[bool] = False
    """Whether a row that the driver itself refuses leaves the rows before it in a transaction that goes on."""

    savepoint: ClassVar[str] = ""
    """The statement that begins a nested transaction; empty: no way is known."""
    rollback_to: ClassVar[str] = "ROLLBACK TO SAVEPOINT {}"
    """The statement that rolls a nested transaction back."""
    release: ClassVar[str] = "RELEASE SAVEPOINT {}"
    """The statement that forgets a savepoint; empty: it is forgotten with the transaction."""
    question: ClassVar[str] = "SELECT 1"
    """What a server answers as long as it is there."""

    release_sql: ClassVar[str] = ""
    """The statement that frees what others may wait for, which a server does a little late for a closed connection."""

    identity: ClassVar[str] = ""
    """A query for the number of the connection, and for what distinguishes its server behind a load balancer."""
    stop: ClassVar[str] = ""
    """The statement by which another connection stops what the one with this number runs."""

    # Connecting

    def place(self, driver: LibraryDriver, *, read_only: bool) -> dict[str, Any]:
        """Return the keywords that say where the database is."""
        del read_only
        host, port = driver.located("host"), driver.located("port")
        if "sql server" in driver.library.lower() and "freetds" not in driver.library.lower() and host and port:
            host, port = f"{host},{port}", None
        return {"Server": host, "Port": port, "Database": driver.located("database")}

    def defaults(self, driver: LibraryDriver) -> Mapping[str, Any]:
        """Return what the connection string says unless its author says something else."""
        del driver
        return {}

    def encryption(self, driver: LibraryDriver) -> dict[str, Any]:
        """Return the keywords that say how to encrypt."""
        if driver.ssl is not None or driver.options.keys() & {"sslrootcert", "sslcert", "sslkey"}:
            raise refusal(driver, "ssl", "every ODBC driver has words of its own for it")
        return {}

    def check(self, driver: LibraryDriver) -> None:
        """Raise ConfigurationError for options that cannot be followed."""
        if "application_name" in driver.options:
            raise refusal(driver, "application_name", "there is no word for it that every ODBC driver knows")

    def prepare(self, db: Any, driver: LibraryDriver) -> None:
        """Make a new connection of pyodbc's bind and read values as they are."""
        if driver.options.get("statement_timeout"):
            db.timeout = ceil(driver.options["statement_timeout"])

    def session(self, driver: LibraryDriver, product: str, *, read_only: bool) -> Iterator[str]:
        """Give the statements that a session begins with; ``product`` is what the server calls itself."""
        if read_only:
            message = f"no way is known to have {product} refuse writes on a connection, so {driver.address} has no "
            raise errors.NotSupportedError(message + "replica(); if it is like another database, name that by db_type=")
        yield from ()

    def canceller(self, db: Any, connect: Callable[[], Any]) -> Callable[[], object] | None:
        """Return what stops the statement that runs on a connection, or None where nothing is known to be safe.

        It is not SQLCancel, by which some ODBC drivers crash and others lose track of what they do.  ``connect`` opens
        another connection.
        """
        if not self.identity:
            return None
        number, *server = db.execute(self.identity).fetchone()

        def stop() -> None:
            other = connect()
            try:
                _, *reached = other.execute(self.identity).fetchone()
                if server == reached:
                    other.execute(self.stop.format(number))
            finally:
                other.close()

        return stop

    # Statements

    def adapted(self, params: Any, to_json: Callable[[Any], str]) -> Any:
        """Return parameters as pyodbc is to bind them; ``to_json`` writes a dict."""
        return for_any(positional(params), to_json)

    def redact(self, text: str) -> str:
        """Return the text of an error without what may be values of a user."""
        return text

    def column(self, name: str) -> str:
        """Return the name of a column of a result."""
        return name

    def diagnosis(self, failure: Failure) -> Diagnosis:
        """Tell what a failure means."""
        state, text = failure.sqlstate, failure.text
        kind = _STATES.get(state) or _STATES.get(state[:2])
        if kind is None:
            known = state and not state.startswith(("HY", "01", "00"))
            kind = kind_of_sqlstate(state) if known else failure.kind
        if "Can't open lib" in text:
            kind = errors.ConnectError
        elif "closed connection" in text:
            kind = errors.ConnectionLost
        return Diagnosis(kind, state or None, failure.number or None)

    def is_broken_by(self, sql: str, diagnosis: Diagnosis) -> bool:
        """Return whether a connection is of no use any more after a statement has failed."""
        del sql
        return issubclass(diagnosis.kind, errors.ConnectionLost)

    # Transactions

    def begin(self, options: TransactionOptions, *, read_only: bool) -> Sequence[str]:
        """Return the statements that begin a transaction; on a read-only connection none can write."""
        del read_only
        if options.readonly:
            message = "no way is known to make a transaction of this database read-only"
            raise errors.NotSupportedError(message)
        return ()

    def first(self, options: TransactionOptions) -> Sequence[str]:
        """Return the statements that have to be the first within a transaction."""
        del options
        return ()

    def after(self, options: TransactionOptions, *, read_only: bool) -> Sequence[str]:
        """Return the statements that are due when the transaction has ended."""
        del options, read_only
        return ()

    def survives(self, sql: str, diagnosis: Diagnosis, ask: Callable[[str], object]) -> bool:
        """Return whether a transaction is still open after a statement has failed in it.

        ``ask`` runs another statement and returns its first value.
        """
        del diagnosis, ask
        return self.ends.match(sql) is None


def positional(params: Any) -> Sequence[Any]:
    """Return parameters that have an order.  Raises ProgrammingError for a mapping."""
    if isinstance(params, Mapping):
        message = "ODBC takes no parameters named with @ or $; write :name instead"
        raise errors.ProgrammingError(message)
    return cast("Sequence[Any]", params)


def refusal(driver: LibraryDriver, option: str, reason: str) -> ConfigurationError:
    """Return the error for an option that cannot be followed."""
    return ConfigurationError(
        f"the option {option!r} of {driver.address} cannot be followed: {reason}; leave it out, and write what the "
        "ODBC driver itself has for it into dsn"
    )


# https://learn.microsoft.com/sql/odbc/reference/appendixes/appendix-a-odbc-error-codes
_STATES: dict[str, type[errors.Error]] = {
    "07": errors.ProgrammingError,
    "08001": errors.ConnectError,
    "08004": errors.ConnectError,
    "HY008": errors.QueryTimeout,
    "HYC00": errors.NotSupportedError,
    "HYT00": errors.QueryTimeout,
    "HYT01": errors.ConnectionLost,
    "IM": errors.ConnectError,
}
