"""Reading on while one of two standbys is killed, or frozen so that it never answers."""

from __future__ import annotations

from time import monotonic
from typing import NamedTuple

import anyio
import pytest

from aio_databases import ConnectionLost, Database
from clusters.followers import clients

TIMEOUT = 1.0
"""Seconds that each read may take."""
COOL_DOWN = 2.0
LOAD = 8
"""Tasks that read, one after the other."""


class Read(NamedTuple):
    """What became of a read; moments are seconds since the standby was broken."""

    began: float
    ended: float
    error: BaseException | None
    role: str

    @property
    def seconds(self):
        return self.ended - self.began


async def read_while(db, breaks, seconds):
    """Read before and after a standby breaks; return the reads."""
    reads, is_over, broken = [], anyio.Event(), [float("inf")]

    async def read():
        while not is_over.is_set():
            began, error, role = monotonic(), None, ""
            try:
                with anyio.fail_after(TIMEOUT):
                    async with db.replica() as connection:
                        role = connection.role
                        assert await db.fetchval("select count(*) from notes") == 3
            except (TimeoutError, ConnectionLost) as exc:
                error = exc
            reads.append((began, monotonic(), error, role))
            await anyio.sleep(0.002)

    async with anyio.create_task_group() as tasks:
        for _ in range(LOAD):
            tasks.start_soon(read)
        await anyio.sleep(1)
        await anyio.to_thread.run_sync(breaks)
        broken[0] = monotonic()
        await anyio.sleep(seconds)
        is_over.set()
    return [Read(began - broken[0], ended - broken[0], error, role) for began, ended, error, role in reads]


def p99(reads):
    """Return how many seconds 99 of 100 reads have taken at most."""
    return sorted(read.seconds for read in reads)[int(len(reads) * 0.99)]


@pytest.mark.parametrize("client", clients("postgresql"), ids=str)
@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_no_read_fails_after_its_timeout_when_one_of_two_standbys_breaks(followers, client, fault, measured):
    primary, *replicas = followers.urls
    victim = followers.replicas[0]
    async with Database(primary, replicas=replicas, cool_down=COOL_DOWN, max_size=LOAD) as db:
        await db.execute("create table notes (number integer)")
        await db.execute("insert into notes values (1), (2), (3)")
        await anyio.to_thread.run_sync(followers.wait_until_caught_up)
        reads = await read_while(db, getattr(victim, fault), TIMEOUT + COOL_DOWN + 2.5)
        if fault == "pause":
            victim.resume()
    before = [read for read in reads if read.ended < 0]
    after = [read for read in reads if read.began > TIMEOUT + COOL_DOWN]
    failed = [read for read in reads if read.error is not None]
    usual, now = p99(before), p99(after)
    last = max((read.began for read in failed), default=0.0)
    measured(
        f"{client}, {fault} of one of two standbys: {len(reads)} reads, {len(failed)} failed, the last began "
        f"{last:.2f} s after it; p99 {1000 * usual:.1f} ms before, {1000 * now:.1f} ms after the cool-down"
    )
    assert all(read.error is None for read in reads if read.began > TIMEOUT), failed[-5:]
    assert len(failed) <= 2 * LOAD
    assert max(read.seconds for read in reads) < 2 * TIMEOUT
    assert now < max(3 * usual, usual + 0.05)
    assert {"replica"} == {read.role for read in after}, "the other standby does for all"
