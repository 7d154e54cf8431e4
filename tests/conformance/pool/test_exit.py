"""The interpreter ends in peace whatever is still open: connections, statements, streams, transactions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import aio_databases

PROGRAM = """
import anyio
import sys
from aio_databases import Database
from loops import run

url, loop, endless, numbers = sys.argv[1:]
db = Database(url)
kept = []

async def main():
    await db.connect()
    with anyio.move_on_after(0.05):
        await db.fetchval(endless)
    stream = db.iterate(numbers)
    kept.append((stream, await anext(stream)))
    kept.append(await db.connection().acquire())
    kept.append(await db.transaction().start())
    print("last words")

run(loop, main)
"""


@pytest.mark.targets(pooled=True)
def test_what_is_open_does_not_keep_the_interpreter_alive(target, url, words):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, target.loop, words.endless, words.numbers.format(5000)],
        capture_output=True,
        check=False,
        cwd=Path(aio_databases.__file__).parents[1],
        env={**os.environ, "PYTHONPATH": "tests"},
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "last words\n", "")
