"""One driver under load, in a process of its own so that its memory, threads and files can be told from the others'.

It is started by `soak.py`, reads its task as one line of JSON, and reports in lines of JSON.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import gc
import json
import os
import random
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from time import monotonic, perf_counter, process_time
from typing import TYPE_CHECKING, Any

import anyio

from aio_databases import Database
from loops import run as run_on
from servers.odbc import load_libraries
from soak_checks import Ledger, trend
from soak_tally import Tally
from soak_workload import Workload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

TASKS = 10
CALM = 5.0  # seconds at the end in which the database stays connected
SIZE = 5
OPTIONS = {
    "max_size": SIZE,
    "timeout": 5.0,
    "connect_timeout": 3.0,
    "cleanup_timeout": 2.0,
    "commit_timeout": 5.0,
    # Short lives, so that opening and closing connections is a part of what is watched.
    "check_after": 2.0,
    "max_idle": 5.0,
    "max_lifetime": 30.0,
}
CANCELLED = 0.2
"""The part of the operations that is cancelled."""
LONGEST = 0.03  # seconds until it is
PATIENCE = 10.0  # seconds after which the program gives an operation up
PAUSES = (3.0, 12.0)
"""Seconds between two disconnections of the whole database while its tasks work."""
HUNG = 30.0  # seconds after which an operation that was given up must have ended
SAMPLE_EVERY = 10.0  # seconds


# How operations are cancelled


async def by_task(work: Callable[[], Coroutine[Any, Any, None]], delay: float) -> bool:
    """Cancel with asyncio's own `Task.cancel`, again and again until the task is done."""
    task = asyncio.ensure_future(work())
    await asyncio.wait([task], timeout=delay)
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.002)
    if task.cancelled():
        return True
    task.result()
    return False


async def by_asyncio_timeout(work: Callable[[], Awaitable[None]], delay: float) -> bool:
    """Cancel with `asyncio.timeout`."""
    timeout = asyncio.timeout(delay)
    try:
        async with timeout:
            await work()
    except TimeoutError:
        if not timeout.expired():
            raise
    return timeout.expired()


async def by_anyio_scope(work: Callable[[], Awaitable[None]], delay: float) -> bool:
    """Cancel with a scope of anyio."""
    with anyio.move_on_after(delay) as scope:
        await work()
    return scope.cancelled_caught


async def by_trio_scope(work: Callable[[], Awaitable[None]], delay: float) -> bool:
    """Cancel with a scope of trio."""
    import trio  # noqa: PLC0415 - where it runs

    with trio.move_on_after(delay) as scope:
        await work()
    return bool(scope.cancelled_caught)


WAYS: dict[str, tuple[Callable[..., Awaitable[bool]], ...]] = {
    "asyncio": (by_task, by_asyncio_timeout, by_anyio_scope),
    "trio": (by_anyio_scope, by_trio_scope),
}


class Worker:
    """The process."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.loop: str = order["loop"]
        self.choose = random.Random(order["seed"])  # noqa: S311 - so that it can be repeated
        self.ledger = Ledger(Path(order["ledger"]))
        self.tally = Tally()
        self.running: dict[int, float] = {}
        self.hung: set[int] = set()
        self.memory: list[tuple[float, float]] = []
        self.blocks: list[tuple[float, float]] = []
        self.peaks: dict[str, int] = {}
        self.watching = 0.0
        """Seconds of the processor that went into watching."""

    async def run(self) -> None:
        """Work, and tell what was left behind."""
        if self.loop != "trio":
            asyncio.get_running_loop().set_exception_handler(self._unhandled)
        self.tell("ready")
        seconds = float(sys.stdin.readline())  # nothing else runs in this process meanwhile
        before = resources()
        async with Database(self.order["url"], replicas=[self.order["url"]], **OPTIONS) as db:
            self.tell("working")
            workload = Workload(db, self.order["dialect"], self.ledger, self.tally, self.choose)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.watch, tasks.cancel_scope)
                async with anyio.create_task_group() as working:
                    until = monotonic() + seconds
                    for number in range(TASKS):
                        working.start_soon(self.work, workload, number, until)
                    working.start_soon(self.disconnect, db, until - CALM)
                tasks.cancel_scope.cancel()
            self.sample(monotonic())
            self.tell("worked")
            sys.stdin.readline()  # until nothing is out of order any more
            await anyio.sleep(OPTIONS["check_after"])  # from now on a connection is checked before it is lent
            leaked = await leaked_leases(db)
            unusable = await unusable_leases(db, self.tally)
            self.ledger.close()
            self.tell("idle", leaked=leaked, unusable=unusable)
            sys.stdin.readline()  # until the server was asked what is open
        if self.loop != "trio":
            await asyncio.get_running_loop().shutdown_default_executor()
        gc.collect()
        left = {name: number - before[name] for name, number in resources().items() if number > before[name]}
        if left.keys() - {"bytes"}:
            print_what_is_left()
        self.tell("end", left=left)

    async def work(self, workload: Workload, number: int, until: float) -> None:
        """Do one thing after the other."""
        started, spent = monotonic(), process_time()
        while monotonic() < until:
            operation = workload.choose()
            begun = perf_counter()
            self.running[number] = monotonic()
            errors = self.tally.errors.total()
            try:
                await self.run_one(operation)
            except Exception as exc:  # noqa: BLE001 - they are what is counted
                self.tally.failed(exc)
            else:
                if operation == workload.read:
                    self.tally.times.add(perf_counter() - begun)
            del self.running[number]
            self.tally.operations[operation.__name__] += 1
            if self.tally.errors.total() > errors:
                await anyio.sleep(self.choose.random() * 0.2)
            ahead = (process_time() - spent - self.watching) / self.order["share"] - (monotonic() - started)
            if ahead > 0:
                await anyio.sleep(ahead)  # so do all tasks, which then go on together

    async def disconnect(self, db: Database, until: float) -> None:
        """Disconnect the database under the hands of its tasks, now and then, and connect it again."""
        while (pause := self.choose.uniform(*PAUSES)) < until - monotonic():
            await anyio.sleep(pause)
            await db.disconnect(timeout=self.choose.choice((0.0, 0.1, 1.0)))
            await db.connect(retry_for=PATIENCE)
            self.tally.operations["disconnect"] += 1

    async def run_one(self, operation: Callable[[], Awaitable[None]]) -> None:
        """Run an operation, and cancel it or not."""
        if self.choose.random() < CANCELLED:
            way = self.choose.choice(WAYS["trio" if self.loop == "trio" else "asyncio"])
            if await way(operation, self.choose.random() * LONGEST):
                self.tally.cancelled[way.__name__] += 1
            return
        with anyio.move_on_after(PATIENCE) as scope:
            await operation()
        self.tally.overdue += scope.cancelled_caught

    async def watch(self, scope: anyio.CancelScope) -> None:
        """Look after the tasks, take samples and report."""
        while True:
            await anyio.sleep(SAMPLE_EVERY)
            spent = process_time()
            self.sample(monotonic())
            self.tell("progress")
            self.watching += process_time() - spent
            late = {number for number, since in self.running.items() if monotonic() - since > PATIENCE + HUNG}
            if late - self.hung:
                self.hung |= late
                traceback.print_stack(file=sys.stderr)
                print_tasks(self.loop)
            if late and len(late) == len(self.running):
                scope.cancel()  # there is nobody left to wait for

    def sample(self, second: float) -> None:
        """Note what the process has."""
        gc.collect()
        trim()
        now = resources()
        self.memory.append((second, now.pop("bytes")))
        self.blocks.append((second, sys.getallocatedblocks()))
        self.peaks = {name: max(number, self.peaks.get(name, 0)) for name, number in now.items()}

    def tell(self, event: str, **more: Any) -> None:
        """Report to the soak."""
        tally = self.tally
        counted = {
            "operations": tally.operations,
            "cancelled": tally.cancelled,
            "errors": tally.errors,
            "wrong": tally.wrong,
            "unexpected": tally.unexpected,
            "tracebacks": tally.tracebacks,
            "overdue": tally.overdue,
            "hung": len(self.hung),
            "times": tally.times.counts,
            "writes": {outcome.name.lower(): count for outcome, count in self.ledger.counts.items()},
            "peaks": self.peaks,
            "memory": trend(self.memory),
            "blocks": trend(self.blocks),
            "bytes": self.memory[-1][1] if self.memory else 0,
        }
        print(json.dumps({"event": event, **counted, **more}), flush=True)

    def _unhandled(self, _loop: object, context: dict[str, Any]) -> None:
        self.tally.surprise(f"unhandled: {context['message'][:60]}", context.get("exception") or str(context))

    def unraisable(self, what: Any) -> None:
        """Count an exception that nobody could catch, in the garbage collector or in a thread."""
        where = getattr(what, "object", None) or what.thread
        self.tally.surprise(f"unraisable: {what.exc_type.__qualname__} in {where!r:.60}", what.exc_value or str(what))

    def warned(self, message: Warning | str, category: type[Warning], *where: Any, **_: Any) -> None:
        """Count a warning, such as of something that was left open."""
        self.tally.surprise(f"{category.__name__}: {str(message)[:60]}", f"{message} at {where[:2]}\n")


def trim() -> None:
    """Have the allocator give back what is free: under faults it is in pieces, and is kept for longer and longer."""
    with suppress(OSError, AttributeError):  # of another library than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def resources() -> dict[str, int]:
    """Count what a process can leak."""
    statm, files = Path("/proc/self/statm"), Path("/proc/self/fd")
    pages = int(statm.read_text().split()[1]) if statm.exists() else 0
    try:
        tasks = len(asyncio.all_tasks())
    except RuntimeError:
        import trio  # noqa: PLC0415 - where it runs

        tasks = trio.lowlevel.current_statistics().tasks_living
    return {
        "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "threads": threading.active_count(),
        "files": len(list(files.iterdir())) if files.exists() else 0,
        "tasks": tasks,
    }


async def leaked_leases(db: Database, patience: float = 5.0) -> int:
    """Count connections that are still lent when everybody has ended, and tasks that wait for one."""
    until = monotonic() + patience
    while True:
        gc.collect()  # a stream that was left half-way gives its connection back when it is collected
        lent = sum(pool.size - pool.idle + pool.waiting for pool in db.stats().values())
        if not lent or monotonic() > until:
            return lent
        await anyio.sleep(0.05)


async def unusable_leases(db: Database, tally: Tally, patience: float = 20.0) -> int:
    """Count how many of the connections that the pool may have are not to be had, or not usable."""
    usable = 0
    all_have_one = anyio.Event()

    async def use() -> None:
        nonlocal usable
        try:
            async with db.connection() as connection:
                assert not connection.driver.in_transaction, "it was lent with a transaction open"
                await connection.fetchval("select 1")
                usable += 1
                if usable == SIZE:
                    all_have_one.set()
                await all_have_one.wait()
        except Exception as exc:  # noqa: BLE001 - they are what is counted
            tally.surprise(f"at the end: {type(exc).__name__}", exc)

    with anyio.move_on_after(patience):
        async with anyio.create_task_group() as tasks:
            for _ in range(SIZE):
                tasks.start_soon(use)
    return SIZE - usable


def print_what_is_left() -> None:
    """Show files, threads, and connections with those that hold them, for whoever looks for a leak."""
    for link in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):  # the one of this list itself
            print("file", link.readlink(), file=sys.stderr)
    print("threads", *threading.enumerate(), file=sys.stderr)
    for each in gc.get_objects():
        if type(each).__name__.endswith("Connection") and not isinstance(each, type):
            print("left", repr(each)[:200], "held by", file=sys.stderr)
            for holder in gc.get_referrers(each):
                print("   ", type(holder), repr(holder)[:200], file=sys.stderr)


def print_tasks(loop: str) -> None:
    """Show where all tasks are, for whoever looks for one that hangs."""
    if loop != "trio":
        for task in asyncio.all_tasks():
            task.print_stack(file=sys.stderr)


def run() -> None:
    """Do what the soak orders."""
    faulthandler.enable()
    load_libraries()
    worker = Worker(json.loads(sys.stdin.readline()))
    sys.unraisablehook = threading.excepthook = worker.unraisable
    warnings.simplefilter("always", ResourceWarning)
    warnings.showwarning = worker.warned
    run_on(worker.loop, worker.run)
    worker.tell("bye")


if __name__ == "__main__":
    run()
