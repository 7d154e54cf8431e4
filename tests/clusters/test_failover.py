"""Writing on, and reading on, while Patroni gives the place of a killed leader to another node."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aio_databases import CommitUncertainError, Database, Error

if TYPE_CHECKING:
    from collections.abc import Callable

WRITERS = 3
"""Tasks that write by each way."""
BEFORE, AFTER = 2.0, 3.0
"""Seconds of load before the leader is killed, and after there is another one."""


@dataclass
class Way:
    """A driver, and how it finds the leader: what it did, by the time it was answered."""

    name: str
    db: Database
    number: int
    answered: list[tuple[float, int]] = field(default_factory=list)
    failed: list[tuple[float, BaseException]] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    failed_reads: list[tuple[float, BaseException]] = field(default_factory=list)

    async def write(self, writer: int, is_over: anyio.Event) -> None:
        """Insert one number after the other, every second one in a transaction; what fails is not tried again."""
        number = 0
        while not is_over.is_set():
            number += 1
            value = (self.number * WRITERS + writer) * 1_000_000 + number
            try:
                if number % 2:
                    await self.db.execute("insert into notes values (?)", value)
                else:
                    async with self.db.transaction():
                        await self.db.execute("insert into notes values (?)", value)
                self.answered.append((monotonic(), value))
            except Error as exc:
                self.failed.append((monotonic(), exc))
                await anyio.sleep(0.02)
            await anyio.sleep(0.005)

    async def read(self, is_over: anyio.Event) -> None:
        """Read from a replica, or from who stands in for it."""
        while not is_over.is_set():
            try:
                async with self.db.replica():
                    assert await self.db.fetchval("select count(*) from notes") >= 0
                self.reads.append(monotonic())
            except Error as exc:
                self.failed_reads.append((monotonic(), exc))
            await anyio.sleep(0.02)


def hosts(urls: list[str], scheme: str) -> str:
    """Return one URL of several servers."""
    login, _, place = urls[0].partition("://")[2].rpartition("@")
    database = place.partition("/")[2]
    servers = ",".join(url.rpartition("@")[2].partition("/")[0] for url in urls)
    return f"{scheme}://{login}@{servers}/{database}"


async def fail_over(
    patroni: Any, make: Callable[[str], list[tuple[str, str, list[str]]]], measured: Callable[[str], None]
) -> None:
    """Kill the leader while several ways are in use, and check what became of each."""
    name = await anyio.to_thread.run_sync(patroni.create_database)
    url = patroni.leader.url(database=name)
    async with Database(url.replace("postgresql://", "psycopg://", 1)) as db:
        await db.execute("create table notes (number bigint)")
    is_over, moments = anyio.Event(), {}
    ways = []
    for number, (title, address, replicas) in enumerate(make(name)):
        ways.append(Way(title, Database(address, replicas=replicas, max_size=WRITERS + 2), number))
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        for way in ways:
            await stack.enter_async_context(way.db)
            for writer in range(WRITERS):
                tasks.start_soon(way.write, writer, is_over)
            tasks.start_soon(way.read, is_over)
        await anyio.sleep(BEFORE)
        moments["killed"] = monotonic()
        await anyio.to_thread.run_sync(patroni.kill_leader)
        await anyio.to_thread.run_sync(patroni.wait_for_leader)
        moments["elected"] = monotonic()
        await anyio.to_thread.run_sync(patroni.wait_until_routed)
        moments["routed"] = monotonic()
        await anyio.sleep(AFTER)
        is_over.set()
    rows = [row[0] for row in patroni.leader.execute("select number from notes", database=name)]
    stored = set(rows)
    assert len(rows) == len(stored), "a write was done twice"
    for way in ways:
        measured(check(way, stored, **moments))


def check(way: Way, stored: set[int], *, killed: float, elected: float, routed: float) -> str:
    """Check that a way has lost nothing and served again within a second of the election or routing; tell about it."""
    lost = [value for _, value in way.answered if value not in stored]
    up = routed if "HAProxy" in way.name else elected
    rate_before = sum(moment < killed for moment, _ in way.answered) / BEFORE
    rate_after = sum(up + 1 < moment < up + AFTER for moment, _ in way.answered) / (AFTER - 1)
    first = min(moment for moment, _ in way.answered if moment > killed + 0.5)
    uncertain = sum(isinstance(exc, CommitUncertainError) for _, exc in way.failed)
    late = [exc for moment, exc in (*way.failed, *way.failed_reads) if moment > up + 1]
    assert lost == []
    assert late == []
    assert not any(moment < killed for moment, _ in way.failed)
    assert rate_after > rate_before / 2
    writes = f"{len(way.answered)} writes acknowledged, 0 lost, 0 doubled, {len(way.failed)} failed"
    return (
        f"{way.name}: {up - killed:.1f} s without a primary, first write {max(0.0, first - up):.2f} s later; {writes} "
        f"({uncertain} uncertain); {len(way.reads)} reads, {len(way.failed_reads)} failed; {rate_before:.0f} writes/s "
        f"before, {rate_after:.0f} after"
    )


@pytest.fixture
def anyio_backend(request):
    return "trio" if "trio" in request.node.name else "asyncio"


async def test_nothing_that_was_acknowledged_is_lost_in_a_failover(patroni, measured):
    def ways(name):
        found = []
        for scheme in ("asyncpg", "psycopg", "aiopg"):
            several = hosts(patroni.urls(name), scheme)
            found.append((f"{scheme}, several hosts", several, [several]))
        for scheme in ("asyncpg", "psycopg"):
            write, read = (
                url.replace("postgresql://", f"{scheme}://", 1)
                for url in (patroni.write_url(name), patroni.read_url(name))
            )
            found.append((f"{scheme}, HAProxy", write, [read]))
        return found

    await fail_over(patroni, ways, measured)


async def test_nothing_that_was_acknowledged_is_lost_in_a_failover_on_trio(patroni, measured):
    def ways(name):
        several = hosts(patroni.urls(name), "psycopg")
        write, read = (
            url.replace("postgresql://", "psycopg://", 1) for url in (patroni.write_url(name), patroni.read_url(name))
        )
        return [("psycopg on trio, several hosts", several, [several]), ("psycopg on trio, HAProxy", write, [read])]

    await fail_over(patroni, ways, measured)
