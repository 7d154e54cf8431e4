"""Which server the reads of a ``replica()`` block go to."""

from __future__ import annotations

import random
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from aio_databases import errors
from aio_databases.config.options import TARGET, split_options
from aio_databases.config.url import parse_url
from aio_databases.dialects import dialect_named
from aio_databases.drivers import driver_class
from aio_databases.pool.shared import make_pool
from aio_databases.replicas.lag import LagTracker, ReadRequirement

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence

    from aio_databases.config.options import PoolOptions
    from aio_databases.drivers.base import Driver
    from aio_databases.physical_connection.connection import PhysicalConnection
    from aio_databases.pool.pool import Pool


class Replica:
    """One replica: its pool, and how large a share of the reads it is to have."""

    __slots__ = ("alike_until", "behind_until", "pool", "weight")

    def __init__(self, pool: Pool, weight: float = 1.0) -> None:
        self.pool = pool
        self.weight = weight
        self.behind_until = 0.0  # not to be waited for, as a block has just done so without success
        self.alike_until = 0.0  # its other connections were asked without success a moment ago

    def note_alike(self) -> None:
        """Note that its other connections were asked, and none has what is wanted."""
        self.alike_until = monotonic() + _ALIKE

    def note_behind(self) -> None:
        """Note that it was waited for too long."""
        self.behind_until = monotonic() + self.pool.options.cool_down

    def note_caught_up(self) -> None:
        """Note that it came on while it was waited for."""
        self.behind_until = 0.0

    @property
    def rank(self) -> tuple[bool, bool, float, float]:
        """The order among replicas, the first being the best."""
        pool = self.pool
        # Of those that are equally busy each is the first as often as its weight says (Efraimidis and Spirakis,
        # "Weighted random sampling with a reservoir", 2006).
        chance = -(random.random() ** (1 / self.weight))  # noqa: S311 - there is nothing to gain from guessing it
        return bool(pool.connector.pending_cancellations), not pool.has_room, pool.load / self.weight, chance


class Replicas:
    """The replicas of a `Database`, and the read-only pool on the primary that stands in for them."""

    def __init__(self, own: Sequence[Replica], fallback: Pool) -> None:
        """Choose among ``own``; ``fallback`` is the primary, read-only."""
        self.own = tuple(own)
        self.fallback = fallback
        self._lag = LagTracker(fallback)

    @property
    def pools(self) -> tuple[Pool, ...]:
        """All read-only pools."""
        return (*(replica.pool for replica in self.own), self.fallback)

    async def acquire(self, wanted: ReadRequirement, *, fallback: bool) -> tuple[Pool, PhysicalConnection]:
        """Lend a connection of the replica with the fewest in use; return it with its pool.

        A replica that no connection can be had from is left alone for a while.  When none is left, or none has what is
        wanted, it is a read-only connection of the primary, unless ``fallback`` is false: then the last error is
        raised, a ConnectError or PoolTimeout, or ReplicaLag.
        """
        failure: errors.Error | None = None
        deadline, own = monotonic() + wanted.wait, self.own
        if wanted.max_lag == 0:
            own, failure = (), errors.ReplicaLag(_too_far_behind(wanted))
        for replica in sorted(own, key=lambda replica: replica.rank):
            pool = replica.pool
            if not _is_promising(pool, failure):
                continue
            try:
                physical = await self._lease(pool)
                found = physical if wanted == _ANYTHING else await self._fitting(replica, physical, wanted, deadline)
                if found is not None:
                    return pool, found
                failure = errors.ReplicaLag(_too_far_behind(wanted))
            except (errors.OperationalError, errors.PoolClosed) as exc:
                if pool.is_closed:
                    raise
                failure = exc
                if not isinstance(exc, errors.PoolTimeout):  # then it is busy, not broken
                    pool.leave_alone(exc)
        if fallback:
            return self.fallback, await self._fall_back(wanted, failure)
        if failure is None:
            raise errors.ConnectError(
                "no replica is available: none is configured, or all failed recently; "
                "pass fallback=True to read from the primary"
            )
        raise failure

    async def _lease(self, pool: Pool) -> PhysicalConnection:
        breaker = pool.connector.breaker
        is_trial, waits_for_server, began = breaker.begin(), pool.has_room, monotonic()
        works = False
        try:
            physical = pool.acquire_nowait()
            if physical is None:
                physical = await pool.acquire(pool.connector.patience)
                breaker.record_success()
            works = True
        except BaseException as exc:
            # A caller's time limit may be shorter than our patience: then its end is all that is heard of the server.
            gave_up = waits_for_server and not isinstance(exc, Exception)
            if gave_up and breaker.is_silent(began, pool.connector.patience, pool.used_at):
                pool.leave_alone(f"{pool.driver.address} did not answer the tasks that gave up waiting for it")
            raise
        finally:
            if is_trial:
                breaker.end_trial(works=works)
        return physical

    async def _fall_back(self, wanted: ReadRequirement, failure: errors.Error | None) -> PhysicalConnection:
        try:
            return await self._stand_in(wanted)
        except errors.OperationalError as exc:
            if failure is not None:
                exc.add_note(f"the primary was to stand in: {failure}")
            raise

    async def _stand_in(self, wanted: ReadRequirement) -> PhysicalConnection:
        """Lend a connection of the primary, and make sure that it is one if it has to show what was written."""
        pool, tries = self.fallback, 0
        while True:
            tries += 1
            physical = pool.acquire_nowait() or await pool.acquire()
            pool.connector.breaker.record_success()
            if (
                wanted == _ANYTHING
                or dialect_named(pool.driver.dialect).is_one_place
                or self._lag.is_known(physical, wanted)
            ):
                return physical
            try:
                await self._lag.check_primary(physical)
            except errors.TargetNotFound:
                pool.abandon(physical)
                if tries > 1 and pool.connector.target != "read-write":
                    raise
                pool.drop_idle()  # a new one leads to the primary, if that is another server by now
            except BaseException:
                pool.abandon(physical)
                raise
            else:
                return physical

    async def _fitting(
        self, replica: Replica, physical: PhysicalConnection, wanted: ReadRequirement, deadline: float
    ) -> PhysicalConnection | None:
        """Return a connection that has what is wanted, if not this one; those that have not go back to the pool.

        The connections of a pool may lead to several servers.  Those of other hosts are asked before the one that is
        furthest is waited for, until ``deadline``, and other ones of a single host afterwards.
        """
        pool, leased = replica.pool, [physical]
        several = len(pool.driver.address.hosts) > 1
        asks_others = monotonic() >= replica.alike_until
        try:
            found = physical if await self._lag.is_met(pool, physical, wanted, 0.0) else None
            if found is None and several and asks_others:
                found = await self._ask_others(pool, leased, wanted)
            if found is None:
                furthest = max(leased, key=_progress)
                await _give_back(pool, leased, furthest)  # the others shall serve others meanwhile
                found = await self._come_to(replica, furthest, wanted, deadline)
            if found is None and not several and asks_others:
                found = await self._ask_others(pool, leased, wanted)
            if found is None and asks_others:
                replica.note_alike()
            await _give_back(pool, leased, found)
        except BaseException:
            for each in leased:
                pool.abandon(each)
            raise
        return found

    async def _ask_others(
        self, pool: Pool, leased: list[PhysicalConnection], wanted: ReadRequirement
    ) -> PhysicalConnection | None:
        """Lease one connection after the other, and return one that has what is wanted."""
        several = len(pool.driver.address.hosts)
        try:
            for _ in range(several if several > 1 else _OTHERS):
                if several == 1:
                    another = pool.acquire_nowait()
                elif pool.prefer_other_hosts({each.host for each in leased}) or pool.has_room:
                    another = await self._lease(pool)
                else:
                    another = None
                if another is None:
                    break
                leased.append(another)
                if await self._lag.is_met(pool, another, wanted, 0.0):
                    return another
        except errors.OperationalError:
            pool.suspect()  # the connection at hand may be in order
        return None

    async def _come_to(
        self, replica: Replica, physical: PhysicalConnection, wanted: ReadRequirement, deadline: float
    ) -> PhysicalConnection | None:
        """Wait for a replica to come on, unless that was done without success a moment ago."""
        if wanted.after is None or monotonic() < replica.behind_until:
            return None
        if monotonic() < deadline and await self._lag.is_met(replica.pool, physical, wanted, deadline):
            replica.note_caught_up()
            return physical
        if wanted.wait and monotonic() >= deadline:
            replica.note_behind()
        return None


async def _give_back(pool: Pool, leased: list[PhysicalConnection], kept: PhysicalConnection | None) -> None:
    """Release the connections of a list but for one, and take each off it: from then on it may be another task's."""
    for each in [each for each in leased if each is not kept]:
        leased.remove(each)
        await pool.release(each)


_ANYTHING = ReadRequirement()


def _progress(physical: PhysicalConnection) -> int:
    """Return a number that is the higher the further the server of a connection is."""
    return sum(physical.replay_position.numbers.values()) if physical.replay_position is not None else -1


_ALIKE = 0.25  # seconds; a replica that is behind shall not be asked several times for each block
_OTHERS = 2  # connections that are asked besides, where one host is named, behind which there may be several servers


def _is_promising(pool: Pool, failure: errors.Error | None) -> bool:
    """Return whether a replica is neither silent, nor as busy as one that was just waited for without success."""
    return pool.connector.breaker.allows_request and (pool.has_room or not isinstance(failure, errors.PoolTimeout))


def _too_far_behind(wanted: ReadRequirement) -> str:
    has = [f"has replayed the position within {wanted.wait:g} s"] if wanted.after is not None else []
    has += [f"is known to be at most {wanted.max_lag:g} s behind"] if wanted.max_lag is not None else []
    return f"no replica {' and '.join(has)}; pass fallback=True to read from the primary, or ask for less"


def make_pools(
    url: Any, replicas: Sequence[str | Mapping[str, Any]], options: dict[str, Any], logger: logging.Logger
) -> tuple[Pool, Replicas]:
    """Return the pool of the primary at ``url``, and those that only read; ``options`` are those of a `Database`.

    Raises ConfigurationError, UnknownDriver or DriverNotInstalled.
    """
    if replicas:
        _check_places(options)
    driver, pool_options = _make_driver(url, options)
    primary = fallback = make_pool(driver, pool_options, logger)
    if not driver.shared:
        fallback = make_pool(driver, pool_options._replace(min_size=0), logger, read_only=True)
    common = {name: value for name, value in options.items() if name not in TARGET}  # that is the primary's
    own: list[Replica] = []
    for given in replicas:
        address, weight = _url_and_weight(given)
        driver, pool_options = _make_driver(address, common)
        pool = make_pool(driver, pool_options._replace(min_size=0), logger, read_only=True, role="replica")
        own.append(Replica(pool, weight))
    return primary, Replicas(own, fallback)


def _check_places(options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for options that would lead the primary and all replicas to the same place."""
    connect_args: Any = options.get("connect_args")
    given: list[Any] = [*options, *(connect_args if isinstance(connect_args, dict) else ())]
    found = next((str(name) for name in given if str(name).lower() in _PLACES), None)
    if found is not None:
        message = f"the option {found}= holds for the primary and all replicas, which would be the same server then: "
        raise errors.ConfigurationError(message + "name the place in each URL")


_PLACES = {"host", "hostaddr", "port", "server", "unix_socket", "dsn", "service", "database", "db", "dbname"}


def _make_driver(url: Any, options: dict[str, Any]) -> tuple[Driver, PoolOptions]:
    address = parse_url(url)
    driver = driver_class(address.scheme, address.redacted)
    pool_options, driver_options, connect_args = split_options(driver, address, options)
    return driver(address, driver_options, connect_args), pool_options


_MOST = 1e9  # times as many reads as another one


def _url_and_weight(given: Any) -> tuple[str, float]:
    if isinstance(given, str):
        return given, 1.0
    if isinstance(given, Mapping):
        entry = cast("Mapping[str, Any]", given)
        weight = entry.get("weight", 1)
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool) and 1 / _MOST <= weight <= _MOST
        if isinstance(entry.get("url"), str) and not entry.keys() - {"url", "weight"} and is_number:
            return entry["url"], float(weight)
    message = "each of replicas must be a URL, or a dict of 'url' and 'weight', which is a number from 1e-9 to 1e9"
    raise errors.ConfigurationError(message)
