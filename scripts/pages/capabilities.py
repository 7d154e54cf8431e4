"""Write what each driver can do into docs/drivers.md, between two comments: `python scripts/pages/capabilities.py`."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aio_databases.drivers import _DRIVERS, driver_class
from aio_databases.drivers.auto import AutoDriver
from aio_databases.drivers.base import Capabilities
from aio_databases.drivers.odbc.dialect import OdbcDialect
from aio_databases.drivers.odbc.family import OdbcDriver
from aio_databases.drivers.odbc.mysql import MySQL
from aio_databases.drivers.odbc.postgresql import PostgreSQL
from aio_databases.drivers.odbc.sqlite import SQLite
from pages import renew, table

if TYPE_CHECKING:
    from pages import Pages

PAGE = Path(__file__).parents[2] / "docs" / "drivers.md"
OF_ODBC = {"postgresql": PostgreSQL, "mysql": MySQL, "sqlite": SQLite, "other": OdbcDialect}


def legend() -> dict[str, str]:
    """Return the docstring of each field, which only the source has."""
    (definition,) = ast.parse(inspect.getsource(Capabilities)).body
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            docs[field.target.id] = inspect.cleandoc(ast.literal_eval(text.value))
    return docs


def drivers() -> dict[str, Capabilities]:
    """Return what the drivers can do, all that stand for one library; with ODBC that depends on the database."""
    known = {name: driver_class(name, "") for name in _DRIVERS if name != "dummy"}
    found = {}
    for name, driver in known.items():
        if issubclass(driver, OdbcDriver):
            for database, ways in OF_ODBC.items():
                found[f"`{name}`, {database}"] = replace(ways.capabilities, trio=driver.capabilities.trio)
        elif not issubclass(driver, AutoDriver):
            found[f"`{name}`"] = driver.capabilities
    return found


def cell(value: Any) -> str:
    """Return how a value is shown."""
    if isinstance(value, frozenset):
        return ", ".join(sorted(value)) or "-"
    return "yes" if value else "-"


def pages() -> Pages:
    """Return the table and its legend."""
    names = [field.name for field in fields(Capabilities)]
    rows = ([driver, *(cell(getattr(can, name)) for name in names)] for driver, can in drivers().items())
    docs = legend()
    parts = [
        table(["driver", *(f"`{name}`" for name in names)], rows),
        "",
        *(f"* `{name}`: {docs[name]}" for name in names),
    ]
    return {PAGE: {"capabilities": "\n".join(parts)}}


if __name__ == "__main__":
    renew(pages())
