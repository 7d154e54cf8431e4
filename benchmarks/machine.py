"""What a benchmark ran on, and how much memory its process takes."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from aio_databases import __version__

MEBIBYTE = 1 << 20
LIBRARIES = ("anyio", "asyncpg", "psycopg", "asyncmy", "aiomysql", "aiosqlite", "trio", "uvloop")


def about(*, quick: bool, versions: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """Describe a run: the date, the machine and the versions of all that is measured; ``more`` is added as it is."""
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": describe(),
        "python": platform.python_version(),
        "quick": quick,
        **more,
        "versions": {
            "aio_databases": __version__,
            **{name: found for name in LIBRARIES if (found := installed(name))},
            "SQLite": sqlite3.sqlite_version,
            **(versions or {}),
        },
    }


def installed(distribution: str) -> str | None:
    """Return the version of an installed package, None if there is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def describe() -> str:
    """Return processors, memory and system in one line."""
    system = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    size = [f"{memory / (MEBIBYTE << 10):.0f} GiB"] if memory else []
    return ", ".join([f"{os.cpu_count()} x {_processor()}", *size, system])


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file() and (found := re.search(r"^model name\s*: (.+)$", information.read_text(), re.MULTILINE)):
        return re.sub(r"\((?:R|TM)\)", "", found[1])
    return platform.processor() or platform.machine()


def server_version(answer: object) -> str:
    """Return the version in a server's answer to `select version()`."""
    found = re.search(r"\d+(\.\d+)+", str(answer))
    assert found, f"{answer!r} tells no version"
    return found[0]


def resident() -> int:
    """Return the bytes of memory that this process has now."""
    return _status("VmRSS")


def peak() -> int:
    """Return the most bytes of memory that this process has had since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Let `peak` begin again at what the process has now."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    # getrusage() would do elsewhere, too, but its peak is inherited from the process that has started this one.
    status = Path("/proc/self/status")
    if not status.is_file():
        raise SystemExit("memory is read from /proc, which only Linux has")
    found = re.search(rf"^{name}:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
    assert found, f"{status} does not tell {name}"
    return int(found[1]) << 10
