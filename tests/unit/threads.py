"""What the tests of connections in threads have in common."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import asynccontextmanager

import pytest

from aio_databases import Database

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
NUMBERS = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 500) select i from n"
ON_BOTH_LOOPS = [("sqlite", "asyncio"), ("sqlite", "trio"), ("aiosqlite", "asyncio")]
on_both_loops = pytest.mark.parametrize(("scheme", "anyio_backend"), ON_BOTH_LOOPS, scope="function")


@asynccontextmanager
async def opened(url="sqlite://", *, read_only=False, **options):
    connection = await Database(url, **options).backend.connect(read_only=read_only)
    try:
        yield connection
    finally:
        await connection.close()


def new_threads(before):
    ours = ("SQLiteConnection", "PlainConnection", "_connection_worker_thread")  # not those of the event loops
    news = [thread for thread in threading.enumerate() if thread not in before]
    return [thread for thread in news if any(name in thread.name for name in ours)]


def verify_ended(threads):
    assert len(threads) == 1
    deadline = time.monotonic() + 5
    while threads[0].is_alive() and time.monotonic() < deadline:
        gc.collect()  # the thread may have held the connection the last time
        threads[0].join(0.05)
    assert not threads[0].is_alive()
