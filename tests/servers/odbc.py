"""ODBC drivers for the tests: those of the system, or those that `servers.install` has unpacked."""

from __future__ import annotations

import ctypes
import importlib
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from servers.errors import ServerMissing
from servers.programs import library_folders, unpacked_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

DRIVERS = {"sqlite": "libsqlite3odbc.so", "postgresql": "psqlodbcw.so", "mysql": "libmaodbc.so"}
"""The drivers' files.  PostgreSQL's is the one for Unicode: the other cannot bind text that comes from Python."""

SYSTEM_FOLDERS = ("usr/lib/*-linux-*/odbc", "usr/lib/odbc", "usr/lib64", "usr/lib", "usr/local/lib", "opt/homebrew/lib")

REMEDY = "run scripts/test, which gets it, or install unixODBC and its drivers for SQLite, PostgreSQL and MariaDB"


def odbc_driver(kind: str) -> str:
    """Return what stands after `Driver=` for a database of the kind `sqlite`, `postgresql` or `mysql`.

    It is the path of the driver's file, which needs no registration.

    Raises:
        ServerMissing: the driver, the driver manager unixODBC or pyodbc is not installed.
    """
    load_libraries()
    try:
        importlib.import_module("pyodbc")
    except ImportError as error:
        raise ServerMissing(f"pyodbc cannot be imported ({error}): {REMEDY}") from error
    name = DRIVERS[kind]
    for path in _places(name):
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            raise ServerMissing(f"the ODBC driver {path} cannot be loaded ({error}): {REMEDY}") from error
        return str(path)
    raise ServerMissing(f"the ODBC driver {name} is not installed on this machine: {REMEDY}")


def find_odbc() -> None:
    """Look for all the drivers.

    Raises:
        ServerMissing: one of them is not installed.
    """
    for kind in DRIVERS:
        odbc_driver(kind)


def load_libraries() -> None:
    """Load those unpacked libraries that the system lacks, so that `import pyodbc` and the drivers find them.

    The system looks for a library by its name among those that are loaded, before it looks into its own folders.
    """
    missing = [path for folder in library_folders(unpacked_folder("odbc")) for path in folder.glob("*.so.*")]
    while missing:
        # A library can be loaded after those that it needs itself.
        left = [path for path in missing if not _loads(path.name) and not _loads(str(path))]
        if len(left) == len(missing):
            return  # what needs one of them will say so
        missing = left


def _places(name: str) -> Iterator[Path]:
    yield from chain.from_iterable(Path("/").glob(f"{folder}/{name}") for folder in SYSTEM_FOLDERS)
    for folder in library_folders(unpacked_folder("odbc")):
        yield from folder.glob(f"odbc/{name}")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
