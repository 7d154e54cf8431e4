"""Find out how far replicas are behind the primary, and whether that is near enough for a reader.

No clock of a server is asked, and no privilege needed: the primary is asked for its position now and then, a replica
for the one that it has replayed; its data are at most as old as the time since the primary was there.
"""

from __future__ import annotations

from bisect import bisect_left
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from aio_databases import errors
from aio_databases.concurrency.backoff import pauses
from aio_databases.config.durations import duration
from aio_databases.dialects import dialect_named
from aio_databases.dialects.positions import Position
from aio_databases.physical_connection.error_translation import translate_error
from aio_databases.replicas.positions import ask_position

if TYPE_CHECKING:
    from aio_databases.drivers.base import Driver
    from aio_databases.physical_connection.connection import PhysicalConnection
    from aio_databases.pool.pool import Pool

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05  # seconds between two looks whether a replica has come on
_SAMPLES = 4  # positions of the primary to know of for as long as a replica may be behind
_MOST_SAMPLES = 1000
_IN_VAIN = 1.0  # seconds after which a primary that did not answer is asked again


class ReadRequirement(NamedTuple):
    """What a reader wants a replica to have; durations are seconds."""

    max_lag: float | None = None
    after: Position | None = None
    wait: float = 0.0

    @classmethod
    def of(cls, max_lag: float | None, after: str | None, wait: float) -> ReadRequirement:
        """Return what the arguments of `Database.replica` ask for.  Raises ConfigurationError."""
        wait = duration("wait", wait)
        if max_lag is None and after is None:
            return cls()
        lag = None if max_lag is None else duration("max_lag", max_lag)
        return cls(lag, None if after is None else Position.parse(after), wait)


class _Sample(NamedTuple):
    when: float
    told: float
    position: Position


class PositionHistory:
    """When the primary was where."""

    def __init__(self) -> None:
        self._samples: list[_Sample] = []

    def add(self, when: float, position: Position, told: float | None = None) -> bool:
        """Note that the primary, asked at the moment ``when``, was at ``position``; return whether that is news.

        It has answered at the moment ``told``, by default at once.  Several tasks may have asked at the same time: of
        their answers, in whatever order they arrive, the one to the latest question counts.
        """
        samples = self._samples
        if when < self.newest:
            return False
        while samples and when < samples[-1].told and not position.covers(samples[-1].position):
            samples.pop()  # that was asked earlier, and answered later
        if samples and not position.covers(samples[-1].position):
            samples.clear()  # another server has become the primary, and had not got everything
        samples.append(_Sample(when, when if told is None else told, position))
        if len(samples) > _MOST_SAMPLES:
            del samples[: _MOST_SAMPLES // 2 : 2]  # of what is long ago, every second one is enough
        return True

    @property
    def newest(self) -> float:
        """The moment of the last note, or one that is infinitely long ago."""
        return self._samples[-1].when if self._samples else float("-inf")

    def moment_of(self, position: Position | None) -> float:
        """Return the last moment at which nothing was missing at ``position``, as far as it is known."""
        if position is None:
            return float("-inf")
        covered = bisect_left(self._samples, 1, key=lambda sample: not position.covers(sample.position))
        return self._samples[covered - 1].when if covered else float("-inf")


class LagTracker:
    """Tells whether replicas have what is wanted; ``primary`` is what the primary is asked by."""

    def __init__(self, primary: Pool) -> None:
        self._primary = primary
        self._history = PositionHistory()
        self._server = ""  # that the primary was when it was asked last
        self._asked_at = float("-inf")  # when the primary has answered last, or has not

    async def is_met(self, pool: Pool, physical: PhysicalConnection, wanted: ReadRequirement, deadline: float) -> bool:
        """Return whether a connection to a replica has what is wanted; it may be waited for until ``deadline``.

        Raises what asking the replica raises; its connection is cut then.
        """
        if dialect_named(pool.driver.dialect).is_one_place:
            return _is_same_file(pool.driver, self._primary.driver)
        if pool.driver.sessionless:
            physical.note_replay_position(None)  # the next statement may run on another server
        try:
            if wanted.after is not None and not await self._comes_to(pool, physical, wanted.after, deadline):
                return False
            if wanted.max_lag is not None and not await self._is_near(pool, physical, wanted.max_lag):
                return False
            return await self._follows(physical)
        except BaseException:
            physical.driver.terminate()
            raise

    def is_known(self, physical: PhysicalConnection, wanted: ReadRequirement) -> bool:
        """Return whether a connection was found to lead to the primary so recently that it need not be asked again.

        Whatever its server has become since, it is not further behind.  Positions have to be noted all the same, lest
        no replica is known to be near once the primary serves all blocks.
        """
        lag, now = wanted.max_lag, monotonic()
        if lag is None or wanted.after is not None or self._primary.driver.sessionless:
            return False
        return (
            now - self._history.newest <= lag / _SAMPLES
            and now - self._history.moment_of(physical.replay_position) <= lag
        )

    async def check_primary(self, physical: PhysicalConnection) -> None:
        """Check that a connection leads to the primary, and shows all that has been committed before.

        Of Galera it may lead to another node than the one that was written to, which is waited for.  Raises
        TargetNotFound, or what asking it raises; the connection is cut then.
        """
        try:
            await self._note(physical, self._primary.options.connect_timeout)
        except BaseException:
            physical.driver.terminate()
            raise

    async def _comes_to(self, pool: Pool, physical: PhysicalConnection, position: Position, deadline: float) -> bool:
        for pause in pauses(_FIRST_PAUSE, _LONGEST_PAUSE):
            if physical.replay_position is not None and physical.replay_position.covers(position):
                break
            asked_at = monotonic()
            found = await _replayed(pool, physical)
            physical.note_replay_position(found)
            if found is not None and found.covers(position):
                break
            if asked_at >= deadline or (found is not None and position.is_apart_from(found)):
                return False
            await anyio.sleep(min(pause, max(0.0, deadline - monotonic())))
        return True

    async def _is_near(self, pool: Pool, physical: PhysicalConnection, max_lag: float) -> bool:
        is_near = monotonic() - self._history.moment_of(physical.replay_position) <= max_lag
        # One reader asks in good time, so that replicas are never passed over for want of a position.
        await self._note_primary(max_lag / _SAMPLES, waits=not is_near)
        if is_near:
            return True
        physical.note_replay_position(await _replayed(pool, physical))
        return monotonic() - self._history.moment_of(physical.replay_position) <= max_lag

    async def _follows(self, physical: PhysicalConnection) -> bool:
        """Return whether a server is a replica, or the primary itself: what else writes has a history of its own.

        Two servers that were promoted from one both call their timeline the next one.
        """
        server = physical.replay_position.server if physical.replay_position is not None else ""
        if server and server != self._server:
            await self._note_primary(_IN_VAIN)
        return not server or server == self._server

    async def _note_primary(self, max_age: float, *, waits: bool = True) -> None:
        """Ask the primary where it is, unless that was done a moment ago; without an answer nothing is noted.

        While all connections to it are in use no task waits for one: each block that gets one notes it, too.
        """
        primary, now = self._primary, monotonic()
        if now - self._history.newest <= max_age or now - self._asked_at <= min(max_age, _IN_VAIN):
            return
        if primary.position_lock.locked and not waits:
            return
        await primary.position_lock.acquire(float("inf"))
        try:
            # Tasks that had to wait do not ask again, even if there was no answer: they may be many.
            if now > self._asked_at and primary.has_room:
                await self._ask_primary()
        except errors.OperationalError:
            primary.suspect()  # a replica is only as near as is known, and the primary is on its own
        finally:
            primary.position_lock.release()

    async def _ask_primary(self) -> None:
        primary = self._primary
        try:
            physical = primary.acquire_nowait() or await primary.acquire(primary.connector.patience)
            try:
                await self._note(physical, primary.connector.patience)
            except BaseException:
                physical.driver.terminate()
                primary.abandon(physical)
                raise
        except errors.Error:
            self._asked_at = monotonic()
            raise
        await primary.release(physical)

    async def _note(self, physical: PhysicalConnection, within: float) -> None:
        """Ask the primary where it is."""
        began = monotonic()
        position = await _ask(self._primary, physical, primary=True, within=within)
        physical.note_replay_position(position)
        self._asked_at = monotonic()
        if self._history.add(began, position, self._asked_at):
            self._server = position.server


async def _replayed(pool: Pool, physical: PhysicalConnection) -> Position | None:
    """Return how far a replica is, or None if it does not report that."""
    try:
        return await _ask(pool, physical)
    except (errors.NotSupportedError, errors.ProgrammingError):
        return None


async def _ask(
    pool: Pool, physical: PhysicalConnection, *, primary: bool = False, within: float | None = None
) -> Position:
    within = pool.connector.patience if within is None else within

    async def fetch(query: str) -> Any:
        try:
            with anyio.fail_after(within):
                rows = await physical.driver.fetch(query, (), 1)
        except TimeoutError as exc:
            message = f"{pool.driver.address} did not report its position within {within:g} s"
            raise errors.ConnectionLost(message) from exc
        except Exception as exc:
            error = translate_error(pool.driver, exc, closed=physical.driver.is_closed)
            if error is exc:
                raise
            raise error from exc
        return rows[0][0]

    return await ask_position(pool.driver, fetch, primary=primary)


def _is_same_file(one: Driver, other: Driver) -> bool:
    """Return whether two SQLite databases are one file, of which each connection sees all; a copy counts as another."""
    places = [(f"{driver.address}", driver.options.get("dsn")) for driver in (one, other)]
    return places[0] == places[1] and not one.shared
