"""ODBC through pyodbc, in one worker thread per connection, on asyncio and trio."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pyodbc

from aio_databases import errors
from aio_databases.dialects.error_codes import kind_of_dbapi_class
from aio_databases.drivers.base import diagnose_builtin
from aio_databases.drivers.odbc.connection import OdbcConnection
from aio_databases.drivers.odbc.connection_strings import redacted
from aio_databases.drivers.odbc.dialect import Failure
from aio_databases.drivers.odbc.family import OdbcDriver
from aio_databases.errors import Diagnosis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aio_databases.drivers.base import DriverConnection


class PyodbcDriver(OdbcDriver):
    """Opens connections to ODBC's data sources with pyodbc."""

    name: ClassVar[str] = "pyodbc"
    connection: ClassVar[type[OdbcConnection]] = OdbcConnection

    def data_sources(self) -> Mapping[str, str]:
        sources: dict[str, str] = pyodbc.dataSources()
        return sources

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the database refuses writes on it.

        Raises NotSupportedError where no way is known to have it do so.
        """
        password = await self.password()
        if not self.is_known:
            await self._get_to_know(self.connection_string(password, read_only=False))
        connection = self.connection(self, read_only=read_only)
        try:
            await connection.connect(self.connection_string(password, read_only=read_only))
            await connection.run(connection.begin_session)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _get_to_know(self, text: str) -> None:
        """Ask what database it is, on a connection of its own: the real ones begin with what is to be said to it."""
        connection = OdbcConnection(self, read_only=False)
        try:
            await connection.open(lambda: self.open(text))
            product = await connection.run(connection.db.getinfo, pyodbc.SQL_DBMS_NAME)
            await connection.close()
        finally:
            connection.terminate()
        self.get_to_know(product)

    def open(self, text: str) -> pyodbc.Connection:
        pyodbc.pooling = False  # the ODBC manager would keep connections and hand them on, read-only ones too
        arguments: dict[str, Any] = {"timeout": self.gives_up_after, **self.connect_args}
        try:
            return pyodbc.connect(text, autocommit=True, **arguments)
        except pyodbc.Error as exc:
            raise redact_connect_error(exc) from None

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of pyodbc means, by SQLSTATE and the database's own number."""
        if not isinstance(exc, pyodbc.Error):
            return diagnose_builtin(exc)
        failure = _failure(exc)
        exc.args = tuple(self.odbc_dialect.redact(part) if isinstance(part, str) else part for part in exc.args)
        text = self.odbc_dialect.redact(failure.message)
        if _UNBOUND.search(failure.text):  # by pyodbc, so that its SQLSTATE is not the database's
            number = _INDEX.search(failure.text)
            return Diagnosis(errors.DataError, parameter=f"{int(number[1]) + 1}" if number else None, text=text)
        found = self.odbc_dialect.diagnosis(failure)
        return found._replace(text=f"{text} ({found.errno})" if found.errno else text)


def redact_connect_error(exc: Any) -> Any:
    """Return the error of a failed connect with its text, without the password that it may quote, as its message."""
    found = _failure(exc)
    exc.args = (redacted(found.text),)
    exc.failure = found._replace(text=exc.args[0])
    return exc


def _failure(exc: Any) -> Failure:
    if hasattr(exc, "failure"):
        return cast("Failure", exc.failure)
    # pyodbc's own complaints have the SQLSTATE last, those of the ODBC drivers first.
    parts = [f"{part}" for part in exc.args]
    state = next((part for part in parts if _STATE.fullmatch(part)), "")
    text = " ".join(part for part in parts if part != state)
    number = _NUMBER.search(text)
    return Failure(kind_of_dbapi_class(exc), state, int(number[1]) if number else 0, text)


_INDEX = re.compile(r"param-index=(\d+)")
_STATE = re.compile(r"[0-9A-Z]{5}")
_UNBOUND = re.compile(r"^(?:Invalid parameter type|Cannot bind|.*\bTVP)")
_NUMBER = re.compile(r"\((-?\d+)\) \(SQL\w+\)")
