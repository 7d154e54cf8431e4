"""The release 2.0 of this library, in an environment and a process of its own, as it has the same import name."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from systems.base import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from systems.address import Address

RELEASE = "2.0.0"
REQUIREMENTS = (f"aio-databases=={RELEASE}", "aiomysql>=0.2", "aiosqlite>=0.22", "asyncpg>=0.30", "PyMySQL<1.3")
CHILD = Path(__file__).parent / "child.py"
END = 10.0  # seconds that a process may take to end


class EnvironmentMissing(RuntimeError):
    """The environment could not be made, or what runs in it has failed."""


def environment() -> Path:
    """Return the Python of the environment, which is made when it is wanted for the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aio_databases" / "benchmarks"
    requirements = [*REQUIREMENTS, *(["uvloop>=0.20"] if sys.platform != "win32" else [])]
    folder = cache / f"release-{RELEASE}-python{platform.python_version()}"
    stamp = folder / "requirements.txt"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8").split() != requirements:
        print(f"making {folder} for {REQUIREMENTS[0]}", file=sys.stderr)
        cache.mkdir(parents=True, exist_ok=True)
        # Made elsewhere and then moved, so that whoever looks finds all of it or nothing.
        with tempfile.TemporaryDirectory(dir=cache) as workshop:
            made = Path(workshop) / "environment"
            _run(sys.executable, "-m", "venv", made)
            _run(_python(made), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
            (made / stamp.name).write_text("\n".join(requirements), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    return _python(folder)


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _run(*command: str | Path) -> None:
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - a command of our own
    except (OSError, subprocess.CalledProcessError) as error:
        raise EnvironmentMissing(f"the environment of {REQUIREMENTS[0]} could not be made, see above") from error


class Remote:
    """A system that runs in a process of its own.

    Args:
        cls: the class in ``systems.predecessor``.
        address: where the database is.
        event_loop: the module whose event loop is used.
    """

    absent: Mapping[str, str] = {}

    def __init__(self, cls: str, address: Address, event_loop: str) -> None:
        self._first = {"module": "systems.predecessor", "class": cls, "address": address, "event_loop": event_loop}

    async def open(self) -> None:
        """Start the process and wait until it has opened its connections."""
        self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - a program of our own, and nothing else goes on
            [environment(), "-I", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            version = self._ask(self._first)["version"]
        except EnvironmentMissing:
            await self.close()
            raise
        assert version == RELEASE, f"the environment of {RELEASE} has {version}"

    async def close(self) -> None:
        """Let the process end."""
        try:
            self._process.communicate(timeout=END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    async def run(self, workload: str, count: int) -> Sample:
        """Have the process run a batch, and wait for it without doing anything else."""
        return Sample(*self._ask({"workload": workload, "count": count}))

    def _ask(self, order: dict[str, Any]) -> Any:
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()  # type: ignore[union-attr] - it is a pipe
        if not answer:
            raise EnvironmentMissing(f"{REQUIREMENTS[0]} has failed, see above")
        return json.loads(answer)
