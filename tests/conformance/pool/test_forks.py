"""A forked process: what its parent opened is refused there, and the parent's connections outlive the child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import aio_databases

PROGRAM = """
import multiprocessing
import signal
import sys
import anyio
from aio_databases import Database, InterfaceError
from loops import run

url, loop, own_id = sys.argv[1:]
db = Database(url, min_size=2, max_size=3)
kept = []

async def refused(call):
    try:
        await call()
    except InterfaceError as error:
        print(type(error).__name__, "forked" in str(error), flush=True)

async def child():
    assert db.current_conn is None
    await refused(lambda: db.fetchval("select 1"))
    await refused(lambda: kept[0].fetchval("select 1"))
    await kept[0].release()
    async with db:
        await db.execute("insert into notes values ('child')")
        async with db.transaction():
            await db.execute("insert into notes values ('child')")
    kept.clear()

def run_child():
    signal.set_wakeup_fd(-1)  # that of the parent's event loop
    run(loop, child)

def fork():
    process = multiprocessing.get_context("fork").Process(target=run_child)
    process.start()
    process.join(20)
    return process.exitcode

async def main():
    await db.connect()
    await db.execute("create table notes (text varchar(9))")
    async with db.connection() as held:
        kept.append(held)
        async with db.connection():
            before = await held.fetchval(own_id), await db.fetchval(own_id)
            # Off the event loop's thread, because trio does not run in a child of its own thread.
            print(await anyio.to_thread.run_sync(fork))
            assert before == (await held.fetchval(own_id), await db.fetchval(own_id))
    await db.execute("insert into notes values ('parent')")
    print(await db.fetchall("select text from notes", into=str), db.stats()["primary"].opened)
    await db.disconnect()

run(loop, main)
"""


@pytest.mark.targets(pooled=True, memory=False)
def test_connections_are_not_shared_with_a_forked_process(target, url, words):
    done = subprocess.run(
        # Forking a process with threads is what is tested; Python 3.12 and newer warn of it.
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            PROGRAM,
            url,
            target.loop,
            words.own_id or "select 1",
        ],
        capture_output=True,
        check=False,
        cwd=Path(aio_databases.__file__).parents[1],
        env={**os.environ, "PYTHONPATH": "tests"},
        text=True,
        timeout=30,
    )
    seen = "InterfaceError True\nConnectionReleased False\n0\n['child', 'child', 'parent'] 2\n"
    assert (0, seen, "") == (done.returncode, done.stdout, done.stderr)
