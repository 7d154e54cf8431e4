"""The pool: lends connections, and decides what becomes of them when they come back.

It has no background tasks.  Connections are opened, checked and closed by the task that needs them, so that asyncio and
trio behave alike and nothing outlives `Pool.close`.
"""

from __future__ import annotations

import os
import re
import warnings
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any

from aio_databases import errors
from aio_databases.concurrency.forks import keep_for_ever, watch_forks
from aio_databases.concurrency.loop_callbacks import Outbox
from aio_databases.concurrency.loops import loop_teller, running_loop, runs_here
from aio_databases.concurrency.queues import FifoLock, WaitQueue
from aio_databases.concurrency.shields import shielded
from aio_databases.dialects.error_codes import is_full
from aio_databases.physical_connection.lock import turns_held_here
from aio_databases.pool.leases import Lease, Leases, PoolStats
from aio_databases.pool.slots import NO_PLACE, Places

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable

    from aio_databases.config.options import PoolOptions
    from aio_databases.drivers.base import Driver
    from aio_databases.physical_connection.connection import Physical

__all__ = ("Pool",)


class Pool(Places):
    """The connections of one driver: all read-only, or none."""

    def __init__(
        self, driver: Driver, options: PoolOptions, logger: logging.Logger, *, read_only: bool, role: str
    ) -> None:
        self.driver = driver  # from the first use on an event loop the one that serves this loop
        self.options = options._replace(reset="never") if driver.sessionless else options
        self.read_only = read_only
        self.role = role  # of the server: "primary" or "replica"
        self.is_open = False
        self.is_closed = False
        self.loop: Any = None
        self.thread = 0  # of the event loop
        self._tell_loop: Callable[[], Any] = running_loop
        self._always_resets = callable(self.options.reset) or self.options.reset == "always"
        self._logger = logger
        self._given_driver = driver
        self._remembers_places = options.debug or bool(options.leak_warning)
        self._process = os.getpid()
        self._is_inherited = False  # from the process that has connected it
        self._told: set[str] = set()  # texts that `warn_of_session` has warned of
        self._timeouts = self._waits = 0
        self._wait_seconds = self._use_seconds = 0.0
        super().__init__()
        self._serve_by(driver)
        watch_forks(self)

    def _begin_empty(self) -> None:
        super()._begin_empty()
        single_writer = self.driver.capabilities.single_writer and not self.driver.shared and not self.read_only
        self.writer_lock = FifoLock() if single_writer else None
        self.opening = FifoLock()
        self._lent = Leases()
        self._drained: WaitQueue[None] = WaitQueue()

    def __repr__(self) -> str:
        return f"<Pool {self.role}{' read-only' if self.read_only else ''} {self.driver.address} {self.stats}>"

    @property
    def stats(self) -> PoolStats:
        """A snapshot of the pool."""
        now = (self._size, len(self._idle), len(self._waiting))
        counts = (self._opened, self._closed, self._timeouts, self._waits)
        return PoolStats(*now, *counts, self._wait_seconds, self._use_seconds)

    @property
    def lent(self) -> int:
        """The number of connections in use."""
        return len(self._lent)

    # Opening and closing

    def open_lazily(self) -> None:
        """Keep connections from now on, without opening one yet."""
        self._is_inherited = False
        self.check_loop()
        self.is_open, self.is_closed = True, False

    async def open(self) -> None:
        """Open ``min_size`` connections, but at least one, so that a wrong URL or password shows now.

        Raises ConnectError, AuthenticationError, or PoolClosed when `shut` overtakes it.
        """
        self.open_lazily()
        try:
            wanted, limit = max(1, self.options.min_size), self.options.max_size
            while self._size - len(self._retired) < wanted and self._size < limit:
                self._size += 1
                self._put(await self._open_physical(self.options.connect_timeout, monotonic() + self.options.timeout))
                self.check_opening()
        except BaseException:
            self.is_open = False
            while self._idle:
                await self._discard(self._idle.pop())
            raise

    def check_opening(self) -> None:
        """Raise PoolClosed if `shut` has overtaken `open`."""
        if self.is_closed:
            raise errors.PoolClosed(self._say("was disconnected while it was being connected; call connect() again"))

    def shut(self) -> list[Physical]:
        """Lend no more connections, send those away who wait for one, and return what is left to be closed."""
        self.is_open, self.is_closed = False, True
        self._shuts += 1
        for physical in (*self._idle, *self._lent):
            physical.retire()
            self._retired[physical] = None
        self._idle.clear()
        self._waiting.wake_all(NO_PLACE)
        return list(self._retired)

    async def close(self, leaving: list[Physical], timeout: float) -> None:
        """Close what `shut` has returned; what is in use is waited for, for at most ``timeout`` seconds, and then cut.

        What is lent after another `open` meanwhile is left alone.
        """
        here, until = running_loop() is self.loop, monotonic() + timeout
        try:
            if here and timeout and self._lent:
                await self._wait_for_leases(leaving, until)
            slow = False  # to say good-bye: then nobody is to wait as long for each of them
            for physical in reversed(leaving):
                if here and not slow and physical in self._retired and physical not in self._lent:
                    began = monotonic()
                    await self._discard(physical, max(0.0, until - began))
                    slow = monotonic() - began >= self.options.cleanup_timeout
        finally:
            self.terminate(leaving)
            if not here:  # its leases ended with their event loop
                self._size -= len(self._lent)
                self._lent.clear()
                self._retired.clear()

    async def _wait_for_leases(self, leaving: list[Physical], until: float) -> None:
        while lent := [physical for physical in leaving if physical in self._lent]:
            try:
                await self._drained.wait(until - monotonic(), lambda _: None)
            except TimeoutError:
                self._logger.warning("%d connections of %r were in use for too long and are cut", len(lent), self)
                return

    def terminate(self, leaving: Iterable[Physical] | None = None) -> None:
        """Cut connections, all by default, without waiting; those that a parent process has opened live on."""
        if os.getpid() != self._process:
            return
        if leaving is None:
            leaving = self.shut()
        for physical in leaving:
            if physical in self._lent:
                physical.driver.terminate()
            elif physical in self._retired:
                self._drop(physical)

    def __del__(self) -> None:
        if self.is_open and self._idle:
            message = f"{self!r} was never disconnected: call 'await db.disconnect()' or use 'async with db'"
            warnings.warn(message, ResourceWarning, stacklevel=1, source=self)
        self.terminate()

    # Lending

    def acquire_nowait(self) -> Physical | None:
        """Lend the connection that was used last, or return None where that takes more than a look: see `acquire`."""
        if not self._idle or self._tell_loop() is not self.loop:
            return None
        physical = self._idle[-1]
        now = monotonic()
        if physical.needs_check(now):
            return None
        self._idle.pop()
        physical.lent = now
        self._lent[physical] = self._lease_to_remember() if self._remembers_places else None
        return physical

    async def acquire(self, within: float | None = None) -> Physical:
        """Lend a connection: an idle one, else a new one, else the next that comes back.

        The server has ``within`` seconds to answer; without them, ``connect_timeout``, and a failover may go on for
        ``timeout``.

        Raises PoolTimeout after ``timeout`` seconds in line, PoolClosed after `close`, and ConnectError.
        """
        self._check_usable()
        shuts = self._shuts
        patience = self.options.connect_timeout if within is None else within
        until = monotonic() + self.options.timeout if within is None else None
        physical, began = await self._find(), monotonic()
        while (fit := await self._fit(physical, patience)) is None:
            try:
                fit = await self._open_physical(patience if until else patience - monotonic() + began, until)
                break
            except errors.ConnectError as exc:
                if until is None or not (self._lent or self._idle) or not is_full(exc):
                    raise
                # It is as good as max_size: one of those that the pool has will come back.
                physical = self._idle.pop() if self._idle else await self._stand_in_line(until - monotonic(), exc)
        physical = fit
        self._check_open(physical, shuts)
        physical.lent = monotonic()
        self._lent[physical] = self._lease_to_remember() if self._remembers_places else None
        return physical

    def warn_of_session(self, sql: str) -> None:
        """Warn, once for each text, of a statement for its session that has one to itself: the next gets another."""
        lost = self.options.reset != "never" and not self.driver.shared and len(self._told) < _MOST_TOLD
        if lost and sql not in self._told and (found := _FOR_SESSION.match(sql)) and ";" not in sql.rstrip("; \n"):
            self._told.add(sql)
            message = (
                "a statement outside of a block begins with %s, which is undone before the next statement runs: "
                "run both inside 'async with db.connection()'"
            )
            self._logger.warning(message, found[1].upper())

    def note_block(self, physical: Physical) -> None:
        """Note that the running task keeps a connection for more than a single statement."""
        if self._lent.get(physical) is None:
            self._lent[physical] = Lease()

    def _lease_to_remember(self) -> Lease:
        self._warn_of_long_leases()
        return Lease(with_stack=True)

    def _warn_of_long_leases(self) -> None:
        if self.options.leak_warning:
            self._lent.warn_of_long_ones(self.options.leak_warning, self._logger, self.driver.address)

    async def _find(self) -> Physical | None:
        """Return an idle connection, or None with a place to open one."""
        if self._idle:
            return self._idle.pop()
        options = self.options
        if self._size < options.max_size:
            self._size += 1
            return None
        return await self._stand_in_line(options.timeout)

    async def _stand_in_line(self, timeout: float, failure: errors.ConnectError | None = None) -> Physical | None:
        """Wait for a connection or a place; ``failure`` is that of a server which has no room for another one."""
        options = self.options
        if options.max_waiting and len(self._waiting) >= options.max_waiting:
            raise errors.PoolTimeout(self._say(f"already has {options.max_waiting} tasks waiting (max_waiting)"))
        self._warn_of_long_leases()
        if self._waits_for_itself():
            if failure is not None:
                raise failure
            self._timeouts += 1
            message = f"has no free connection, and none can come back: all {self._size} are in use ({self._lent}); "
            raise self._in_vain(message + "use the connection of the block around this one, or raise max_size")
        shuts, began = self._shuts, monotonic()
        try:
            physical = await self._waiting.wait(timeout, self._put_back)
        except TimeoutError:
            self._timeouts += 1
            self._warn_of_long_leases()
            raise self._waited_in_vain(failure) from failure
        finally:
            self._waits += 1
            self._wait_seconds += monotonic() - began
        self._check_open(physical, shuts)
        if physical is NO_PLACE:
            raise self._leads_nowhere()
        return physical

    # Taking back

    def release_nowait(self, physical: Physical) -> bool:
        """Take back a connection that needs nothing and return True, else False: see `release`."""
        if not self.is_open or self._always_resets or not physical.is_clean:
            return False
        physical.used = now = monotonic()
        if now >= physical.expires or self._has_surplus(now):
            return False
        if self._remembers_places:
            self._warn_of_long_leases()
        if self._end_lease(physical, now):
            self._put(physical)
        return True

    async def release(self, physical: Physical) -> None:
        """Take back a connection: clean it up and keep it, or close it.

        Survives the cancellation of the releasing task, is bounded by ``cleanup_timeout``, and never raises an error:
        a connection that cannot be cleaned up is cut.
        """
        if physical not in self._lent or self.release_nowait(physical):
            return  # what is not lent belongs to another process, or was cut when an event loop had ended
        keep = False

        async def take_back() -> None:
            nonlocal keep
            keep = await physical.restore() and self._may_keep(physical)
            if not keep:
                await physical.close()
            while self._has_surplus(monotonic()):
                await self._discard(self._idle.pop(0))

        try:
            await shielded(take_back, self.options.cleanup_timeout)
        except Exception as exc:  # noqa: BLE001 - the connection goes; the user's own exception stays
            keep = False
            self._logger.warning("a connection of %r could not be cleaned up and is cut: %r", self, exc)
            if isinstance(exc, TimeoutError):
                self.leave_alone("it did not answer when a connection was cleaned up")
        finally:
            self._warn_of_long_leases()
            if not self._end_lease(physical, monotonic()):
                physical.driver.terminate()  # `close` was called in another event loop, and has counted it out
            elif keep:
                physical.renew()
                self._put(physical)
            else:
                self._drop(physical)
            self._drained.wake_all(None)

    def abandon(self, physical: Physical) -> None:
        """Take back, without waiting, a connection whose user is gone; may be called in any thread.

        The next in line cleans it up.  When nobody waits for it, one with an open transaction or cursor is cut, because
        it would keep locks at the database until somebody wants it.
        """
        if self.thread == get_ident() or runs_here(self.loop):
            self._take_abandoned(physical)
        else:
            Outbox.of(self.loop).post(self._take_abandoned, physical)

    def _take_abandoned(self, physical: Physical) -> None:
        if not self._end_lease(physical, monotonic()):
            return
        physical.distrust()
        usable = self.is_open and not physical.driver.is_closed and physical not in self._retired
        if usable and (self._waiting.waiters or not physical.holds_something):
            self._put(physical)
        else:
            self._drop(physical)
        self._drained.wake_all(None)

    def _end_lease(self, physical: Physical, now: float) -> bool:
        if self._lent.pop(physical, self) is self:
            return False
        self._use_seconds += now - physical.lent
        return True

    def _may_keep(self, physical: Physical) -> bool:
        physical.used = monotonic()
        return self.is_open and physical.used < physical.expires and not physical.driver.is_closed

    def leave_to_parent(self) -> None:
        """Forget the connections, in a process that was just forked from the one that opened them."""
        if self.is_open or self._size:
            lent = list(self._lent)
            keep_for_ever(self._idle, lent, self._retired, self.loop)
            self._begin_empty()
            self.loop, self.is_open, self._is_inherited = None, False, True
            for physical in lent:
                physical.turns.forsake("it belongs to the process that has forked this one")
                physical.renew()

    # Bad use

    def _waits_for_itself(self) -> bool:
        """Return whether all connections belong to blocks of the very task that is about to wait for one."""
        if len(self._lent) < self._size:
            return False
        held = turns_held_here()
        return all(
            lease is not None and lease.task.is_current and physical.turns in held
            for physical, lease in self._lent.items()
        )

    def _in_vain(self, message: str) -> errors.PoolTimeout:
        return self._lent.add_places(errors.PoolTimeout(self._say(message)))

    def _waited_in_vain(self, failure: errors.ConnectError | None) -> errors.PoolTimeout:
        opening = self._size - len(self._lent) - len(self._idle)
        holders = ", ".join(filter(None, (str(self._lent), f"{opening} being opened" if opening else "")))
        message = f"had no free connection for {self.options.timeout:g} s: all {self._size} are in use ({holders}); "
        limits = "max_size or timeout" if failure is None else "the limit of the server, which has no room for more"
        return self._in_vain(f"{message}hold them for a shorter time, or raise {limits}")

    def _check_usable(self) -> None:
        if self.is_closed:
            raise errors.PoolClosed(self._say("was disconnected; call connect() before using it again"))
        if self._is_inherited:
            message = f"was connected by process {self._process}, which has forked this one, and connections cannot "
            raise errors.InterfaceError(self._say(message + "be shared between processes: call connect() in each"))
        self.check_loop()

    def check_loop(self) -> None:
        """Serve the running event loop from now on, unless there are connections of another one.

        Raises InterfaceError if there are.
        """
        loop = running_loop()
        if loop is self.loop:
            return
        if self.loop is not None and (self.is_open or self._lent or self._idle or self._retired):
            message = "belongs to another event loop, the one it was connected or used on; disconnect() before that "
            raise errors.InterfaceError(self._say(message + "loop ends, or make a Database for each event loop"))
        self._serve_by(self._given_driver.for_running_loop())
        self._begin_empty()  # locks and lines belong to an event loop, and who stood there is gone with it
        self.loop = loop
        self._tell_loop = loop_teller()
        self.thread = get_ident()
        self._process = os.getpid()


_MOST_TOLD = 100  # texts
_FOR_SESSION = re.compile(
    # what is set for the server, or an account, stays, and what is set for one statement is not meant to
    r"\s*(SET(?!\s+(?:(?:@@)?(?:GLOBAL|PERSIST(?:_ONLY)?)|PASSWORD|DEFAULT\s+ROLE|STATEMENT)\b)"
    r"|LISTEN|START\s+TRANSACTION|SAVEPOINT|USE|ATTACH|PREPARE(?!\s+TRANSACTION)|LOCK\s+TABLES?"
    # any other BEGIN is that of a block of statements
    r"|BEGIN(?=[\s;]*$|\s+(?:WORK|TRAN|TRANSACTION|DEFERRED|IMMEDIATE|EXCLUSIVE|CONCURRENT|ISOLATION|READ|DEFERRABLE"
    r"|NOT\s+DEFERRABLE)\b)|CREATE\s+(?:LOCAL\s+)?TEMP(?:ORARY)?"
    # those that are written into the file, or set for the process, stay, and some do a thing once
    r"|PRAGMA(?!\s+(?:\w+\s*\.\s*)?(?:application_id|auto_vacuum|default_cache_size|encoding|journal_mode|page_size"
    r"|schema_version|user_version|(?:hard|soft)_heap_limit|incremental_vacuum|optimize|shrink_memory|wal_checkpoint)\b))\b",
    re.IGNORECASE,
)
