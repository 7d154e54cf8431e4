"""What the drivers on PostgreSQL's own client library have in common."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aio_databases.dialects.error_codes import kind_of_dbapi_class
from aio_databases.drivers.network import certificate_authorities
from aio_databases.drivers.postgresql.family import PostgreSQLDriver, diagnosis, refused_login
from aio_databases.drivers.postgresql.options import as_options
from aio_databases.errors import (
    ConfigurationError,
    ConnectionLost,
    DataError,
    Diagnosis,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aio_databases.config.url import Address
    from aio_databases.drivers.postgresql.libpq_lists import Types


class LibpqDriver(PostgreSQLDriver):
    """Knows libpq's parameters: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS."""

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Keep where and how to connect.  Raises ConfigurationError for an SSLContext, which libpq cannot use."""
        super().__init__(address, options, connect_args)
        self.list_types: Types = {}
        if isinstance(self.ssl, ssl.SSLContext):
            message = (
                f"{self.name} encrypts by libpq, which cannot use the SSLContext for {address}: give it a word, as in "
            )
            raise ConfigurationError(message + "ssl='verify-full', and files as sslrootcert, sslcert and sslkey")

    async def keywords(self, *, read_only: bool) -> dict[str, Any]:
        """Return the parameters to connect with."""
        copied = (
            *("application_name", "channel_binding", "fallback_application_name", "gssencmode", "passfile"),
            *("sslcert", "sslkey", "sslrootcert"),
        )
        parameters: dict[str, Any] = {
            "client_encoding": "UTF8",
            "connect_timeout": self.gives_up_after,
            "dbname": self.located("database"),
            "password": await self.password(),
            "sslmode": self.ssl,
            "user": self.located("user"),
            **self.place(),
            **self.keepalive_words,
            **{name: self.options.get(name) for name in copied},
        }
        if str(self.ssl).startswith("verify") and parameters["sslrootcert"] is None:
            parameters["sslrootcert"] = certificate_authorities()
        settings = self.settings(read_only=read_only)
        settings.pop("application_name", None)
        connect_args = dict(self.connect_args)
        words = (self.options.get("options"), connect_args.pop("options", None))
        parameters["options"] = as_options(settings, filter(None, words)) or None
        return {**{name: value for name, value in parameters.items() if value is not None}, **connect_args}

    def diagnosed(self, exc: Exception, sqlstate: str | None, diag: Any) -> Diagnosis:
        """Tell what an exception of a library on libpq means, by its SQLSTATE where it has one."""
        if sqlstate:
            exc.args = (diag.message_primary,)  # the rest quotes values; it stays in `diag`
            return diagnosis(sqlstate, diag)
        kind = kind_of_dbapi_class(exc)
        text = str(exc)
        if kind is OperationalError:
            # A refused login, a lost link, or something that libpq did not even send
            return refused_login(text) or Diagnosis(
                ConnectionLost, if_open=ProgrammingError if _TOO_MANY in text else OperationalError
            )
        if kind is InterfaceError and "closed" in text:
            kind = ConnectionLost
        elif kind is ProgrammingError and text.startswith(_BAD_PARAMETERS):
            kind = ConfigurationError
        elif kind is ProgrammingError and "t adapt type" in text:  # "cannot" in psycopg 3, "can't" in psycopg 2
            kind = DataError
        return Diagnosis(kind)


_TOO_MANY = "number of parameters must be"
_BAD_PARAMETERS = ("invalid connection option", "invalid dsn", 'missing "="')


def shut_down(fileno: int) -> None:
    """Shut the socket behind a file descriptor, so that a thread which waits for it wakes up."""
    with suppress(OSError):  # it is closed already
        duplicate = socket.socket(fileno=os.dup(fileno))
        try:
            duplicate.shutdown(socket.SHUT_RDWR)
        finally:
            duplicate.close()
