"""PostgreSQL through asyncpg, on asyncio."""

from __future__ import annotations

import re
from dataclasses import replace
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, ClassVar

from aio_databases import errors
from aio_databases.drivers.base import diagnose_builtin
from aio_databases.drivers.postgresql.asyncpg_codecs import read_json, read_uuids
from aio_databases.drivers.postgresql.asyncpg_connection import AsyncpgConnection, AsyncpgRecord
from aio_databases.drivers.postgresql.asyncpg_schema import UNREADABLE, Schema
from aio_databases.drivers.postgresql.family import POSTGRESQL, PostgreSQLDriver, diagnosis
from aio_databases.drivers.postgresql.options import ASYNCPG_OPTIONS, POSTGRESQL_OPTIONS
from aio_databases.errors import (
    ConfigurationError,
    ConnectionLost,
    DataError,
    Diagnosis,
    InterfaceError,
    NotSupportedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aio_databases.config.url import Address
    from aio_databases.drivers.base import Capabilities, DriverConnection

    asyncpg: Any  # it brings no types
else:
    import asyncpg

__all__ = ("AsyncpgDriver",)


class AsyncpgDriver(PostgreSQLDriver):
    """Opens connections to PostgreSQL with asyncpg."""

    name: ClassVar[str] = "asyncpg"
    loop_hint: ClassVar[str] = "; the scheme psycopg:// runs on both"
    capabilities: ClassVar[Capabilities] = replace(POSTGRESQL, trio=False)
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = {**POSTGRESQL_OPTIONS, **ASYNCPG_OPTIONS}

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Keep where and how to connect.  Raises ConfigurationError for a protection that asyncpg cannot give."""
        super().__init__(address, options, connect_args)
        self._schema = Schema()
        if self._binds and super().ssl in {"allow", "disable", "prefer"}:
            message = (
                f"channel_binding='require' does not go with the ssl of {address}: leave that out, as the channel "
            )
            raise ConfigurationError(message + "is that of TLS")
        if self.options.get("gssencmode") == "require":
            message = f"asyncpg does not encrypt by GSSAPI, as gssencmode='require' of {address} wants it: "
            raise ConfigurationError(message + "use the scheme psycopg://, or ssl='verify-full'")

    @property
    def _binds(self) -> bool:
        return self.options.get("channel_binding") == "require"

    @property
    def ssl(self) -> str | SSLContext | None:
        """How to encrypt; asyncpg cannot bind channels, so the certificate has to prove which server it talks to."""
        mode = super().ssl
        return "verify-full" if self._binds and not isinstance(mode, SSLContext) else mode

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection; with ``read_only`` the server refuses writes on it."""
        args = {name: value for name, value in self.connect_args.items() if name != "server_settings"}
        arguments = {**self.arguments(read_only=read_only), "password": await self.password(), **args}
        raw = await asyncpg.connect(**arguments, record_class=AsyncpgRecord)
        if self.keepalive:
            self.keepalive.watch(raw._transport.get_extra_info("socket"))  # noqa: SLF001 - there is no other way
        connection = AsyncpgConnection(raw, self._schema)
        await self.style(connection)
        await read_uuids(raw)
        await read_json(raw, self.json.text, self.json.read)
        return self.fenced(connection, connection.writes_by_default, read_only=read_only)

    def arguments(self, *, read_only: bool) -> dict[str, Any]:
        """Return the arguments to connect with, but for the password."""
        copied = ("passfile", *ASYNCPG_OPTIONS)
        arguments: dict[str, Any] = {
            "database": self.located("database"),
            "timeout": self.gives_up_after,
            "server_settings": self._all_settings(read_only=read_only),
            # asyncpg tries without encryption, too, if it is told so by a word
            "ssl": self.ssl if self.ssl in {"allow", "prefer"} else self.ssl_context() or self.ssl,
            "user": self.located("user"),
            **self.place(),
            **{name: self.options.get(name) for name in copied},
        }
        if self.sessionless:
            arguments["statement_cache_size"] = 0  # the next statement may run on another connection of the server
        return {name: value for name, value in arguments.items() if value is not None}

    def _all_settings(self, *, read_only: bool) -> dict[str, str]:
        """Return the server settings with those that asyncpg has no arguments for, and those of connect_args."""
        settings = self.settings(read_only=read_only)
        if "options" in self.options:
            settings["options"] = self.options["options"]
        if "fallback_application_name" in self.options:
            settings.setdefault("application_name", self.options["fallback_application_name"])
        return {**settings, **(self.connect_args.get("server_settings") or {})}

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of asyncpg means, by its SQLSTATE where it has one."""
        if isinstance(exc, asyncpg.PostgresError):
            refused = _REFUSED.match(f"{exc.args[0]}") if exc.args else None
            if refused:
                exc.args, exc.__cause__ = (_VALUE.sub("", refused[0].replace(refused[2] or "", "", 1)),), None
            row = int(refused[3]) + 1 if refused and refused[3] else None
            found = diagnosis(getattr(exc, "sqlstate", None) or "", exc)
            vars(exc)["position"] = found.position  # asyncpg leaves the digits
            return found._replace(parameter=refused[1], row=row) if refused else found
        if isinstance(exc, TimeoutError) and exc.errno is None:
            limit = self.connect_args.get("command_timeout", self.options.get("command_timeout"))
            return Diagnosis(errors.QueryTimeout, text=limit and errors.too_slow("command_timeout", limit))
        if isinstance(exc, asyncpg.InterfaceError):
            return Diagnosis(_kind_of_interface_error(exc))
        if isinstance(exc, asyncpg.InternalClientError):
            return _of_internal_error(exc)
        return diagnose_builtin(exc)


_REFUSED = re.compile(
    r"invalid input for query argument \$(\d+)( in element #(\d+) of executemany\(\) sequence)?.*", re.DOTALL
)
# The parameter, which no message shall show: as asyncpg quotes it, and then the type's own complaint about it.
_VALUE = re.compile(r"(?<=\d|e): .*(?= \()|(?<= \()(?:.* (?=does not appear to be)|invalid UUID '.*': )", re.DOTALL)


def _of_internal_error(exc: Exception) -> Diagnosis:
    if isinstance(exc, asyncpg.OutdatedSchemaCacheError):
        return Diagnosis(DataError, text=UNREADABLE)
    # Unless it is about a type, it has lost its place in the conversation with the server.
    return Diagnosis(NotSupportedError if _ABOUT_TYPES.search(str(exc)) else ConnectionLost)


_ABOUT_TYPES = re.compile("codec|coder|type record|argument types|array|multirange|data format")


def _kind_of_interface_error(exc: Exception) -> type[errors.Error]:
    if isinstance(exc, asyncpg.exceptions.ClientConfigurationError):
        return errors.ConfigurationError
    if isinstance(exc, asyncpg.UnsupportedClientFeatureError | asyncpg.UnsupportedServerFeatureError):
        return NotSupportedError
    if "number of query arguments" in str(exc):
        return errors.ProgrammingError
    if isinstance(exc, ValueError):
        return DataError
    closed = "closed" in str(exc) or "released" in str(exc)  # asyncpg has no class of its own for it
    return ConnectionLost if closed else InterfaceError
