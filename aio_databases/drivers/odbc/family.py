"""What the ODBC drivers have in common, and the scheme ``odbc``, which picks one of them.

A data source is named in one of three ways:

* ``Database("odbc://", dsn="Driver={PostgreSQL Unicode};Server=localhost;Database=shop;Uid=app;Pwd=secret")``;
* ``odbc://app:secret@localhost:5432/shop?driver=PostgreSQL+Unicode``, from which such a string is made;
* ``odbc://app:secret@shop``, or ``dsn="DSN=shop"``: a data source that the ODBC manager knows, as in odbc.ini.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, ClassVar

from aio_databases.drivers.auto import AutoDriver
from aio_databases.drivers.network import NetworkDriver
from aio_databases.drivers.odbc.connection_strings import extended, in_braces, is_plain, keywords
from aio_databases.drivers.odbc.dialect import LibraryDriver, OdbcDialect, refusal
from aio_databases.drivers.odbc.mysql import MySQL
from aio_databases.drivers.odbc.others import Db2, Oracle, SQLServer
from aio_databases.drivers.odbc.postgresql import PostgreSQL
from aio_databases.drivers.odbc.sqlite import SQLite
from aio_databases.drivers.postgresql.options import LIBPQ_OPTIONS
from aio_databases.errors import ConfigurationError
from aio_databases.sql.translator import Translator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aio_databases.config.url import Address
    from aio_databases.drivers.base import Capabilities, Driver

ODBC: Capabilities = OdbcDialect.capabilities
"""Of a database of which nothing is known yet."""


def _db_type(value: Any) -> str:
    name = str(value).lower()
    return {"mariadb": "mysql", "postgres": "postgresql", "sqlserver": "mssql"}.get(name, name)


ODBC_OPTIONS: Mapping[str, Callable[[Any], Any]] = {
    **NetworkDriver.option_types,
    **LIBPQ_OPTIONS,
    "db_type": _db_type,
    "driver": str,
    "dsn": str,
}


_SERVED = frozenset({"db2", "mssql", "mysql", "oracle", "postgresql", "sqlite"})


def _keywords_of(options: Mapping[str, Any]) -> frozenset[str]:
    """Return the keywords of the ODBC driver in a URL: they have a capital letter, options of ours have none."""
    return frozenset(name for name in options if name != name.lower())


class AutoODBC(AutoDriver):
    """ODBC by the best library for the running event loop."""

    name: ClassVar[str] = "odbc"
    dialect: ClassVar[str] = "odbc"
    paramstyle: ClassVar[str] = "qmark"
    capabilities: ClassVar[Capabilities] = ODBC
    serves: ClassVar[frozenset[str]] = _SERVED
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = ODBC_OPTIONS
    asyncio: ClassVar[tuple[str, ...]] = ("aioodbc", "pyodbc")
    trio: ClassVar[tuple[str, ...]] = ("pyodbc",)

    @classmethod
    def url_parameters(cls, options: Mapping[str, Any]) -> frozenset[str]:
        return _keywords_of(options)

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Keep where and how to connect.  Raises ConfigurationError if no data source is named."""
        _speak(self, _dialect_of(address, _source(address, options), options, {}))
        super().__init__(address, options, connect_args)
        _check_hosts(self)


class OdbcDriver(LibraryDriver):
    """Knows the connection string, and what the database needs when a session begins."""

    dialect: ClassVar[str] = "odbc"
    paramstyle: ClassVar[str] = "qmark"
    capabilities: ClassVar[Capabilities] = ODBC
    serves: ClassVar[frozenset[str]] = _SERVED
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = ODBC_OPTIONS
    odbc_dialect: OdbcDialect

    @classmethod
    def url_parameters(cls, options: Mapping[str, Any]) -> frozenset[str]:
        return _keywords_of(options)

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Find out what database it is.  Raises ConfigurationError for what its ODBC driver cannot do."""
        self._source = _source(address, options)
        sources = self.data_sources()
        self.library = _library(self._source, sources)
        _speak(self, _dialect_of(address, self._source, options, sources))
        super().__init__(address, options, connect_args)
        _check_hosts(self)
        self.is_known = self.dialect != "odbc"
        if self.options.get("json") is True:
            message = f"json=True does not go with {address}: ODBC does not report which columns are JSON"
            raise ConfigurationError(message)
        if isinstance(self.ssl, SSLContext):
            message = f"ODBC drivers encrypt by themselves, and cannot use the SSLContext for {address}: give it a word"
            raise ConfigurationError(message + ", as in ssl='verify-full', and files by sslrootcert, sslcert, sslkey")
        self._check()

    def data_sources(self) -> Mapping[str, str]:
        """Return the names of the data sources that the ODBC manager knows, each with that of its ODBC driver."""
        return {}

    def open(self, text: str) -> Any:
        """Connect by a connection string, in the thread of the connection."""
        raise NotImplementedError

    def get_to_know(self, product: str) -> None:
        """Note what the database calls itself."""
        self.is_known = True
        _speak(self, _name_in(product))
        self.translator = Translator(self.dialect, self.paramstyle, convert=self.options.get("convert_params", True))
        self._check()

    def _check(self) -> None:
        self.odbc_dialect = _DIALECTS.get(self.dialect, _UNKNOWN)
        if self.dialect != "postgresql" and (given := self.options.keys() & {"keepalive", *LIBPQ_OPTIONS}):
            raise refusal(self, min(given), "only PostgreSQL's ODBC driver has an option for it")
        self.odbc_dialect.check(self)
        self.odbc_dialect.encryption(self)

    def connection_string(self, password: str | None, *, read_only: bool) -> str:
        """Return the connection string.  Raises ConfigurationError for a value that cannot stand in one."""
        said = keywords(self._source)
        wanted = {**self._place(read_only=read_only), "UID": self.located("user"), **self.odbc_dialect.encryption(self)}
        more = {name: self._written(name, f"{value}") for name, value in wanted.items() if value not in {None, ""}}
        more |= self._keywords(more)
        if password:
            more["PWD"] = password if re.fullmatch(r"\w+", password) else in_braces(password)
        if twice := [name for name in more if name.lower() in said]:
            message = f"the dsn of {self.address} says {twice[0]}, and so does the URL or an option: say it once"
            raise ConfigurationError(message)
        for name, value in self.odbc_dialect.defaults(self).items():
            if name.lower() not in said:
                more.setdefault(name, f"{value}")
        text = extended(self._source, more)
        if "\0" in text:  # where the ODBC manager would cut it
            raise ConfigurationError(f"a NUL character cannot stand in the connection string of {self.address}")
        if self.dialect == "sqlite" and os.name == "posix" and not text.isascii():
            message = f"SQLite's ODBC driver garbles the path of {self.address}, which is not ASCII: "
            raise ConfigurationError(message + "use the scheme sqlite://")
        return text

    def _keywords(self, others: Mapping[str, str]) -> dict[str, str]:
        """Return what the URL says to the ODBC driver itself.  Raises ConfigurationError for what is said twice."""
        options = self.address.options
        known = {name.lower() for name in (*others, "PWD", "UID")}
        for name in (given := _keywords_of(options)):
            if name.lower() in known:
                message = f"the URL of {self.address} says {name}, which user, password, place or an option say: say it"
                raise ConfigurationError(f"{message} once")
            if not re.fullmatch(r"[A-Za-z][\w ]*\w", name, re.ASCII):
                message = f"the URL of {self.address} has a parameter that cannot be a keyword of an ODBC driver"
                raise ConfigurationError(message)
        return {name: self._written(name, options[name]) for name in options if name in given}

    def _place(self, *, read_only: bool) -> dict[str, Any]:
        if "dsn" in self.options:
            return {}
        if "driver" in self.options:
            return self.odbc_dialect.place(self, read_only=read_only)
        return {"Port": self.located("port"), "Database": self.located("database")}

    def _written(self, name: str, value: str) -> str:
        if is_plain(value) or name == "pqopt":
            return value
        if self.odbc_dialect.takes_braces:
            return in_braces(value)
        message = f"the ODBC driver for {self.address} understands no {name} with a brace, a semicolon or outer spaces"
        raise ConfigurationError(message)


def _source(address: Address, options: Mapping[str, Any]) -> str:
    """Return the part of the connection string that names the ODBC driver or the data source."""
    dsn, library = options.get("dsn"), options.get("driver")
    if len(address.hosts) > 1 and (dsn is not None or library is None):
        message = f"{address} has several hosts: that goes with the option 'driver', as in 'driver=PostgreSQL+Unicode'"
        raise ConfigurationError(message)
    if dsn is not None:
        if beside := options.keys() & {"database", "driver", "host", "port", "unix_socket"}:
            message = f"the option {min(beside)!r} of {address} does not go with dsn: write it into that"
            raise ConfigurationError(message)
        return dsn if "=" in dsn else f"DSN={dsn}"
    if library is not None:
        return f"Driver={library if _IS_FILE.fullmatch(library) else in_braces(library)}"
    if address.host and is_plain(address.host) and not options.get("host"):
        return f"DSN={address.host}"
    message = f"{address} names no data source: add dsn='Driver={{...}};Server=...', or driver='...' to a URL with the "
    raise ConfigurationError(message + "host, or write odbc://NAME for one that odbc.ini names")


_IS_FILE = re.compile(r"[\w./\\:-]+|\{(?:[^}]|\}\})*\}")  # or has its braces already


def _library(source: str, sources: Mapping[str, str]) -> str:
    """Return the name or the file of the ODBC driver, as far as it is known."""
    said = keywords(source)
    known = {name.lower(): library for name, library in sources.items()}
    return said.get("driver") or known.get(said.get("dsn", "").lower(), "")


def _dialect_of(address: Address, source: str, options: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    said = options.get("db_type") or _db_type(address.scheme.partition("+")[0])
    return said if said in _DIALECTS or "db_type" in options else _name_in(_library(source, sources))


def _check_hosts(driver: Driver) -> None:
    if len(driver.address.hosts) > 1 and driver.dialect not in {"mysql", "postgresql"}:
        message = f"{driver.address} has several hosts, but the name of the ODBC driver does not show what they are"
        raise ConfigurationError(f"{message}: add db_type='postgresql' or db_type='mysql', if they are like it")


def _speak(driver: Driver, dialect: str) -> None:
    # What the class of another driver knows is a matter of the data source here.
    spoken = _DIALECTS.get(dialect, _UNKNOWN)
    capabilities = replace(spoken.capabilities, trio=type(driver).capabilities.trio)
    vars(driver).update(dialect=dialect, capabilities=capabilities, connect_hint=spoken.connect_hint)


def _name_in(text: str) -> str:
    """Return the dialect that the name of an ODBC driver or of a database product stands for, else ``odbc``."""
    return next((name for word, name in _WORDS.items() if word in text.lower()), "odbc")


_UNKNOWN = OdbcDialect()
_DIALECTS: dict[str, OdbcDialect] = {
    "db2": Db2(),
    "mssql": SQLServer(),
    "mysql": MySQL(),
    "oracle": Oracle(),
    "postgresql": PostgreSQL(),
    "sqlite": SQLite(),
}
_WORDS = {
    "maodbc": "mysql",
    "maria": "mysql",
    "myodbc": "mysql",
    "mysql": "mysql",
    "postgres": "postgresql",
    "psqlodbc": "postgresql",
    "sqlite": "sqlite",
    "sql server": "mssql",
    "msodbcsql": "mssql",
    "oracle": "oracle",
    "db2": "db2",
}
