"""Which driver serves which URL: a table of names, resolved when a `Database` is made."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING

from aio_databases.config.url import near_misses
from aio_databases.errors import DriverNotInstalled, UnknownDriver

if TYPE_CHECKING:
    from collections.abc import Generator
    from importlib.metadata import EntryPoints

    from aio_databases.drivers.base import Driver

__all__ = ("ENTRY_POINTS", "driver_class", "serving")

ENTRY_POINTS = "aio_databases.drivers"
"""The entry-point group in which other packages offer drivers, under the name of their URL scheme."""

_DRIVERS = {
    "sqlite": "aio_databases.drivers.sqlite.driver:SQLiteDriver",
    "aiosqlite": "aio_databases.drivers.sqlite.aiosqlite:AiosqliteDriver",
    "postgresql": "aio_databases.drivers.postgresql.family:AutoPostgreSQL",
    "asyncpg": "aio_databases.drivers.postgresql.asyncpg:AsyncpgDriver",
    "psycopg": "aio_databases.drivers.postgresql.psycopg:PsycopgDriver",
    "aiopg": "aio_databases.drivers.postgresql.aiopg:AiopgDriver",
    "mysql": "aio_databases.drivers.mysql.family:AutoMySQL",
    "asyncmy": "aio_databases.drivers.mysql.asyncmy:AsyncmyDriver",
    "aiomysql": "aio_databases.drivers.mysql.aiomysql:AiomysqlDriver",
    "pymysql": "aio_databases.drivers.mysql.pymysql:PyMySQLDriver",
    "trio-mysql": "aio_databases.drivers.mysql.trio_mysql:TrioMySQLDriver",
    "odbc": "aio_databases.drivers.odbc.family:AutoODBC",
    "aioodbc": "aio_databases.drivers.odbc.aioodbc:AioodbcDriver",
    "pyodbc": "aio_databases.drivers.odbc.pyodbc:PyodbcDriver",
    "dummy": "aio_databases.drivers.dummy:DummyDriver",
}

_BY_ODBC = {"mssql": "SQL Server", "sqlserver": "SQL Server", "oracle": "Oracle", "db2": "Db2", "ibm_db": "Db2"}

# The other spellings are those of PostgreSQL's own tools and the misspellings that 1.x took.
_ALIASES = {"mariadb": "mysql", "postgres": "postgresql", "postgressql": "postgresql", "sqllite": "sqlite"}


_serving: ContextVar[type[Driver] | None] = ContextVar("aio_databases_serving", default=None)


@contextmanager
def serving(driver: type[Driver]) -> Generator[None]:
    """Have the databases that are made in a ``with`` block use a driver, whatever their URL says: for tests."""
    token = _serving.set(driver)
    try:
        yield
    finally:
        _serving.reset(token)


def driver_class(scheme: str, url: str) -> type[Driver]:
    """Return the driver for a URL scheme: ``sqlite``, ``asyncpg``, ``postgresql+asyncpg``, ``asyncpg+pool``, ...

    ``url`` is the redacted URL, for messages.  Raises UnknownDriver, naming near misses, or DriverNotInstalled, naming
    the command that installs what is missing.  An error in an installed library is left as it is.
    """
    if (given := _serving.get()) is not None:
        return given
    dialect, _, library = scheme.partition("+")
    dialect = _ALIASES.get(dialect, dialect)
    name = dialect if library in {"", "pool"} else library  # "+pool" is how 1.x spelled a pool: now there always is one
    driver = _load(name, scheme, url)
    if dialect not in {name, driver.dialect, *driver.serves}:
        message = f"the driver {name!r} of the URL {url!r} is for {driver.dialect}, not for {dialect}"
        raise UnknownDriver(message)
    return driver


def _load(name: str, scheme: str, url: str) -> type[Driver]:
    path = _DRIVERS.get(name)
    if path is None:
        return _load_third_party(name, scheme, url)
    module_name, _, class_name = path.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as exc:
        library = module_name.rpartition(".")[2]
        if exc.name not in {library, "trio"}:
            raise
        message = f"the URL {url!r} needs the library {library}: pip install 'aio-databases[{name}]'"
        raise DriverNotInstalled(message) from exc
    driver: type[Driver] = getattr(module, class_name)
    return driver


def entry_points(*, group: str) -> EntryPoints:
    """Return what other packages offer in a group."""
    # It takes longer to import than all of this package.
    from importlib.metadata import entry_points  # noqa: PLC0415 - for third parties' drivers only

    return entry_points(group=group)


def _load_third_party(name: str, scheme: str, url: str) -> type[Driver]:
    others = entry_points(group=ENTRY_POINTS)
    if name in others.names:
        driver: type[Driver] = others[name].load()
        return driver
    if (reason := _BY_ODBC.get(name)) is not None:
        message = f"no driver for the scheme {scheme!r} of the URL {url!r}; {reason} is reached by its ODBC driver: "
        raise UnknownDriver(message + "write 'odbc://', and install 'aio-databases[odbc]'")
    known = {*_DRIVERS, "mariadb", "postgres", *others.names} - {"dummy"}
    message = f"no driver for the scheme {scheme!r} of the URL {url!r}{near_misses(name, known)}"
    message += f"; known are {', '.join(sorted(known))}"
    raise UnknownDriver(message)
