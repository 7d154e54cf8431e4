"""What is particular to PostgreSQL behind ODBC, which is psqlodbc."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from aio_databases import errors
from aio_databases.drivers.base import begin_statement
from aio_databases.drivers.network import certificate_authorities
from aio_databases.drivers.odbc.dialect import BEGINS, OdbcDialect, beginning_with, positional
from aio_databases.drivers.odbc.values import for_postgresql, uuid
from aio_databases.drivers.postgresql.family import POSTGRESQL, key_columns, refused_login

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aio_databases.drivers.base import Capabilities, TransactionOptions
    from aio_databases.drivers.odbc.dialect import Failure, LibraryDriver
    from aio_databases.errors import Diagnosis


class PostgreSQL(OdbcDialect):
    """PostgreSQL through psqlodbc."""

    capabilities: ClassVar[Capabilities] = POSTGRESQL
    release_sql: ClassVar[str] = "DISCARD ALL"
    identity: ClassVar[str] = (
        "SELECT pg_backend_pid(), pg_postmaster_start_time(), inet_server_addr(), inet_server_port()"
    )
    stop: ClassVar[str] = "SELECT pg_cancel_backend({})"
    takes_braces: ClassVar[bool] = False
    keeps_refused_rows: ClassVar[bool] = True
    savepoint: ClassVar[str] = "SAVEPOINT {}"
    begins: ClassVar[re.Pattern[str] | None] = beginning_with(BEGINS)

    def place(self, driver: LibraryDriver, *, read_only: bool) -> dict[str, Any]:
        place = super().place(driver, read_only=read_only)
        if driver.socket:  # libpq wants the folder, and the number at the end of the socket's name as the port
            folder, _, port = driver.socket.partition("/.s.PGSQL.")
            place |= {"Server": folder, "Port": int(port) if port else place["Port"]}
        return place

    def defaults(self, driver: LibraryDriver) -> Mapping[str, Any]:
        """Have bools read as such, and a failed statement fail its transaction as it does with other libraries."""
        return {"BoolsAsChar": 0, "Protocol": "7.4-0", **_for_libpq(driver, {})}

    def encryption(self, driver: LibraryDriver) -> dict[str, Any]:
        files = {name: driver.options.get(name) for name in ("sslrootcert", "sslcert", "sslkey")}
        if str(driver.ssl).startswith("verify") and files["sslrootcert"] is None:
            files["sslrootcert"] = certificate_authorities()
        given = {name: path for name, path in files.items() if path}
        return {"SSLmode": driver.ssl, **(_for_libpq(driver, given) if given else {})}

    def check(self, driver: LibraryDriver) -> None:
        """Take all options."""

    def prepare(self, db: Any, driver: LibraryDriver) -> None:
        """Read UUIDs as what they are."""
        del driver
        db.add_output_converter(_SQL_GUID, uuid)

    def session(self, driver: LibraryDriver, product: str, *, read_only: bool) -> Iterator[str]:
        del product
        if "application_name" in driver.options:
            yield f"SET application_name = {_literal(driver.options['application_name'])}"
        if driver.options.get("statement_timeout"):
            yield f"SET statement_timeout = {driver.options['statement_timeout'] * 1000:.0f}"  # milliseconds
        if read_only:
            yield "SET default_transaction_read_only = on"

    def adapted(self, params: Any, to_json: Callable[[Any], str]) -> Any:
        """Return parameters as text where psqlodbc would cut them, or pyodbc does not know them."""
        return for_postgresql(positional(params), to_json)

    def redact(self, text: str) -> str:
        """Return the first line: the others quote values."""
        return text.partition("\n")[0]

    def diagnosis(self, failure: Failure) -> Diagnosis:
        found = super().diagnosis(failure)._replace(errno=None)  # psqlodbc's own, which mean nothing to anybody
        if failure.sqlstate == "08001" and (refused := refused_login(failure.text)):
            found = found._replace(kind=refused.kind, sqlstate=refused.sqlstate or found.sqlstate)
        if failure.sqlstate in {"HY000", "XX000"} and any(words in failure.text for words in _LOST):
            found = found._replace(kind=errors.ConnectionLost)
        if not failure.sqlstate.startswith("23"):
            return found
        constraint = re.search(r'constraint "([^"]*)"', failure.text)
        column = re.search(r'column "([^"]*)" of relation "([^"]*)"', failure.text)
        if column:
            return found._replace(column=column[1], table=column[2])
        detail = re.search(r"\nDETAIL: *(.*)", failure.text)
        columns = key_columns(detail[1], None) if detail and failure.sqlstate == "23505" else ()
        return found._replace(constraint=constraint[1], columns=columns) if constraint else found

    def begin(self, options: TransactionOptions, *, read_only: bool) -> Sequence[str]:
        del read_only
        return (begin_statement(options),)


_SQL_GUID = -11


_LOST = (  # psqlodbc has no SQLSTATE for a link that breaks in a transaction; FATAL is what ends a session
    "FATAL:",
    "PANIC:",
    "server closed the connection",
    "no connection to the server",
    "could not send data to server",
    "could not receive data from server",
    "SSL connection has been closed",
    "SSL SYSCALL error",
)


def _literal(text: str) -> str:
    # Backslashes mean the same in this one whatever standard_conforming_strings says.
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _for_libpq(driver: LibraryDriver, files: Mapping[str, str]) -> dict[str, str]:
    """Return the keyword with the parameters of libpq, which psqlodbc hands on."""
    words = ("channel_binding", "fallback_application_name", "gssencmode", "options")
    told: dict[str, Any] = {
        **files,
        **driver.keepalive_words,
        **{name: driver.options[name] for name in words if name in driver.options},
    }
    written = " ".join(f"{name}='{_escaped(name, f'{value}', driver)}'" for name, value in told.items())
    return {"pqopt": f"{{{written}}}"} if written else {}


def _escaped(name: str, value: str, driver: LibraryDriver) -> str:
    if re.search("[{}]", value):
        message = f"the ODBC driver for {driver.address} understands no {name} with a brace"
        raise errors.ConfigurationError(message)
    return re.sub(r"([\\'])", r"\\\1", value)
