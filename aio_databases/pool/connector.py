"""Open the connections of a pool: on a host of the URL that answers, and whose server has the role that is wanted.

The primary takes the writes, and replicas follow it; a failover gives the roles to other servers.
"""

from __future__ import annotations

import random
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio

from aio_databases import errors
from aio_databases.concurrency.backoff import pauses
from aio_databases.concurrency.shields import shielded
from aio_databases.dialects import dialect_named
from aio_databases.dialects.error_codes import is_full, is_not_ready
from aio_databases.pool.breaker import CircuitBreaker

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from aio_databases.config.options import PoolOptions
    from aio_databases.drivers.base import Driver, DriverConnection

    Init = Callable[[Any], Any] | None


class Connector:
    """Opens connections to the server, or servers, of one driver, and knows how they behave."""

    def __init__(
        self, driver: Driver, options: PoolOptions, logger: logging.Logger, *, role: str, read_only: bool
    ) -> None:
        """Keep where to connect.

        The option ``target`` is by default any server for one host, and for several those of the ``role`` that the
        whole URL stands for, ``"primary"`` or ``"replica"``.  Raises ConfigurationError for a database that has no
        roles.
        """
        several = len(driver.address.hosts) > 1
        by_default = ("read-write" if role == "primary" else "read-only") if several else "any"
        self.driver = driver
        self.target = options.target or by_default
        self.breaker = CircuitBreaker(options.cool_down)  # used only for pools that have an alternative server
        self.last_host = 0
        """The index of the host that a connection was opened on last."""
        self.pending_cancellations = 0
        """Cancelled statements that the server has not confirmed to have stopped."""
        self._drivers = [driver.at(index) for index in range(len(driver.address.hosts))] if several else [driver]
        self._options = options
        self._read_only = read_only
        self._logger = logger
        self._quickest = float("inf")  # seconds that the quickest connection took
        self._rests_until = [0.0] * len(self._drivers)
        # An isolated Galera node still accepts logins.  Query its state at once, so that no read fails on it later.
        self._dialect = dialect_named(driver.dialect)
        self.asks_at_once = self.watches_roles or (self._dialect.asks_replicas_at_once and role == "replica")
        if self.target != "any" and self._dialect.role_query is None and not self._dialect.may_have_roles:
            raise self._has_no_roles()

    @property
    def watches_roles(self) -> bool:
        """Whether a connection is of no use any more when its server changes its role."""
        return self.target in {"read-write", "read-only"}

    @property
    def patience(self) -> float:
        """For how many seconds a connection is worth waiting for while another server can stand in for this one.

        A server that may just have become slow is given more time after some failures, when it is seldom tried.
        """
        failures = min(self.breaker.failures, 12)
        if self._quickest == float("inf"):
            known = 2.0**failures
        else:
            known = max(_PATIENCE, 4 * self._quickest) * 2.0 ** max(0, failures - 3)
        return min(known, self._options.connect_timeout)

    def begin_cancellation(self) -> None:
        """Note that the server was asked to stop a statement."""
        self.pending_cancellations += 1

    def end_cancellation(self) -> None:
        """Note that it has answered, or is not waited for any more."""
        self.pending_cancellations -= 1

    async def open(self, within: float, until: float | None, is_wanted: Callable[[], bool]) -> DriverConnection:
        """Open a connection; each attempt takes at most ``within`` seconds.

        While a failover gives the roles to other servers it is tried again up to the moment ``until``, as long as it
        ``is_wanted``; without ``until`` there is another server to turn to.  Raises what `connect` raises.
        """
        waits = pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            began, pause = monotonic(), next(waits)
            try:
                connection = await self.connect(within, self._options.init)
            except errors.TargetNotFound:
                if until is None or not is_wanted() or monotonic() + pause > until:
                    raise
            else:
                self._quickest = min(self._quickest, monotonic() - began)
                return connection
            await anyio.sleep(pause)

    async def connect(self, within: float, init: Init) -> DriverConnection:
        """Open a connection in at most ``within`` seconds, and call the user's ``init`` with it.

        Raises ConnectError with one sentence: TargetNotFound when there are servers, but none has the role; at once
        AuthenticationError, and LockTimeout of an SQLite file that is locked; and unchanged what ``init`` raises.
        """
        if self.target != "prefer-read-only":
            return await self._connect(within, init, _ROLES.get(self.target))
        try:
            return await self._connect(within / 2, init, "replica")
        except errors.AuthenticationError:
            raise
        except errors.ConnectError:
            return await self._connect(within / 2, init, None)

    async def fits(self, connection: DriverConnection) -> bool:
        """Return whether the server of an open connection has, or still has, a role that will do."""
        if self._dialect.role_query is None:
            await connection.ping()
            return True
        role = await self._role_of(connection)
        if self.target == "any":
            # Behind a name or a load balancer that leads to the primary, there may be another one by now.
            return self._read_only or role == "primary"
        return role == _ROLES.get(self.target, role)

    async def _connect(self, within: float, init: Init, role: str | None) -> DriverConnection:
        deadline, order = monotonic() + within, self._order()
        failures: dict[int, errors.ConnectError] = {}
        for number, index in enumerate(order):
            # One that does not answer must not take the time of the others.
            share = max(0.0, deadline - monotonic()) / (len(order) - number)
            try:
                connection = await self._open(self._drivers[index], share, init, role)
            except errors.AuthenticationError:
                raise
            except errors.ConnectError as exc:
                failures[index] = exc
                if not isinstance(exc, errors.TargetNotFound):
                    self._rests_until[index] = monotonic() + _REST
            else:
                self.last_host, self._rests_until[index] = index, 0.0
                for failure in failures.values():
                    if not isinstance(failure, errors.TargetNotFound):
                        self._logger.warning("connected to %s, as %s", self._drivers[index].address.place, failure)
                return connection
        raise self._no_host_error([failures[index] for index in sorted(failures)])

    def _order(self) -> list[int]:
        """Return in which order to try the hosts: those that have just failed come last."""
        now = monotonic()
        spreads = self._read_only and self.target != "read-write"
        chances = [random.random() if spreads else index != self.last_host for index in range(len(self._drivers))]  # noqa: S311 - to spread the load
        return sorted(range(len(self._drivers)), key=lambda index: (now < self._rests_until[index], chances[index]))

    async def _open(self, driver: Driver, within: float, init: Init, role: str | None) -> DriverConnection:
        opened: DriverConnection | None = None
        init_failed = False

        async def connect() -> DriverConnection:
            nonlocal opened, init_failed
            opened = await driver.connect(read_only=self._read_only)
            found = await self._role_of(opened) if role is not None or self.asks_at_once else None
            if role is not None and found != role:
                await opened.close()
                message = f"{driver.address.place or 'the server'} is a {found}"
                raise errors.TargetNotFound(message)
            if init is not None:
                try:
                    await opened.initialise(init)
                except Exception:
                    init_failed = True
                    raise
            return opened

        try:
            return await shielded(connect, within, grace=_CONNECT_GRACE)
        except BaseException as exc:
            if opened is not None:
                opened.terminate()
            if isinstance(exc, Exception) and not init_failed:
                raise self._translated(driver, exc, within) from exc
            raise

    async def _role_of(self, connection: DriverConnection) -> str:
        query = self._dialect.role_query
        if query is None:
            raise self._has_no_roles()
        rows = await connection.fetch(query, (), None)
        return "primary" if f"{rows[0][0]}".lower() in _NO else "replica"

    # Errors

    def _has_no_roles(self) -> errors.ConfigurationError:
        dialect = self.driver.dialect
        message = f"the option target={self.target!r} of {self.driver.address} cannot be followed: nothing is known "
        hint = ", or say by db_type= what database it is" if self._dialect.may_have_roles else ""
        return errors.ConfigurationError(f"{message}of primaries and replicas of {dialect}; leave it out{hint}")

    def _translated(self, driver: Driver, exc: Exception, within: float) -> Exception:
        if isinstance(exc, errors.Error):
            return exc
        diagnosis = driver.diagnose(exc)
        if isinstance(exc, TimeoutError):
            diagnosis = errors.Diagnosis(errors.ConnectError, text=f"no answer within {round(within, 2):g} s")
        elif diagnosis is None and isinstance(exc, TypeError | ValueError):
            diagnosis = errors.Diagnosis(errors.ConfigurationError)
        if diagnosis is None:
            return exc
        kind, reason = diagnosis.kind, " ".join((diagnosis.text or str(exc)).split())
        if issubclass(kind, errors.ConfigurationError):
            kind, hint = errors.ConfigurationError, "check the options of the driver and connect_args"
        elif issubclass(kind, errors.AuthenticationError):
            hint = "check user and password"
        elif is_full(diagnosis):
            kind, hint = (
                errors.ConnectError,
                "have fewer connections in all pools (max_size), or let it have more",
            )
        elif issubclass(kind, errors.LockTimeout):
            hint = "another connection holds the whole file: have it end its transaction"
        else:
            kind, hint = kind if issubclass(kind, errors.ConnectError) else errors.ConnectError, driver.connect_hint
        message = f"cannot connect to {driver.address}: {reason}; {hint}"
        if len(self._drivers) > 1 and hint is driver.connect_hint:
            message = f"{driver.address.place} failed ({reason})"  # in a sentence with the others
        return errors.translate(exc, diagnosis._replace(kind=kind, text=None), message)

    def _no_host_error(self, failures: list[errors.ConnectError]) -> errors.ConnectError:
        """Return the error for hosts of which none will do."""
        last, reasons = failures[-1], "; ".join(map(str, failures))
        without_role = (isinstance(failure, errors.TargetNotFound) or is_not_ready(failure) for failure in failures)
        if self.target != "any" and any(without_role):
            error = errors.TargetNotFound(
                f"cannot connect to {self.driver.address} with target={self.target!r}: {reasons}; "
                "retry if a failover is in progress, otherwise check the hosts or set target='any'"
            )
            error.__cause__ = last
            return error
        if len(self._drivers) > 1:
            last.args = (f"cannot connect to {self.driver.address}: {reasons}; {self.driver.connect_hint}",)
        return last


_CONNECT_GRACE = 1.0  # seconds for a connection that is being opened when its task is cancelled
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 0.5  # seconds between attempts to find a server in the role that is wanted
_PATIENCE = 0.5  # seconds; between continents four times as long as the quickest connection took
_REST = 10.0  # seconds for which a host that has failed is tried after the others
_ROLES = {"read-write": "primary", "read-only": "replica"}
_NO = {"0", "f", "false", "off"}
