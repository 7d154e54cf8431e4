"""The library behind each driver: its modules, and the classes of its errors."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from conformance.conftest import Target

__all__ = ("LIBRARIES", "Library", "library_error", "run_raw")


class Library(NamedTuple):
    """What a driver imports."""

    modules: frozenset[str]
    """The packages that are imported with the driver, of those that serve a database."""
    errors: str
    """The module in which the classes of :pep:`249` are."""
    by_sqlstate: str = ""
    """The function that finds the class for a SQLSTATE, if there is one for each."""


LIBRARIES = {
    "sqlite": Library(frozenset({"sqlite3"}), "sqlite3"),
    "aiosqlite": Library(frozenset({"aiosqlite", "sqlite3"}), "sqlite3"),
    "asyncpg": Library(frozenset({"asyncpg"}), "asyncpg", "PostgresError.get_message_class_for_sqlstate"),
    "psycopg": Library(frozenset({"psycopg"}), "psycopg", "errors.lookup"),
    "aiopg": Library(frozenset({"aiopg", "psycopg2"}), "psycopg2", "errors.lookup"),
    "asyncmy": Library(frozenset({"asyncmy"}), "asyncmy.errors"),
    "aiomysql": Library(frozenset({"aiomysql", "pymysql"}), "pymysql.err"),
    "pymysql": Library(frozenset({"pymysql"}), "pymysql.err"),
    "trio-mysql": Library(frozenset({"trio", "trio_mysql"}), "trio_mysql.err"),
    "aioodbc": Library(frozenset({"aioodbc", "pyodbc"}), "pyodbc"),
    "pyodbc": Library(frozenset({"pyodbc"}), "pyodbc"),
}


def library_error(target: Target, name: str = "Error", sqlstate: str | None = None) -> type[Exception]:
    """Return the class that the library has for a SQLSTATE, else its class with a name of :pep:`249`.

    In MySQL's libraries the class has little to do with what happened, so there it is the base of all.
    """
    library = LIBRARIES[target.scheme]
    if sqlstate is None or not library.by_sqlstate:
        name = "Error" if target.dialect == "mysql" or target.odbc else name
        if target.scheme == "asyncpg" and name in {"Error", "OperationalError", "ProgrammingError"}:
            name = "PostgresError"
        found: Any = getattr(import_module(library.errors), name)
    else:
        found = attrgetter(library.by_sqlstate)(import_module(library.errors))(sqlstate)
    return found  # type: ignore[no-any-return]


async def run_raw(raw: Any, sql: str) -> None:
    """Run a statement with the library's own connection, whether it has such a method or only its cursors have one."""
    executor = raw if hasattr(raw, "execute") else await _awaited(raw.cursor())
    await _awaited(executor.execute(sql))
    if executor is not raw:
        await _awaited(getattr(executor, "aclose", executor.close)())


async def _awaited(answer: Any) -> Any:
    return await answer if hasattr(answer, "__await__") else answer
