"""A scripted driver: each operation can answer, fail, wait or lose the link; all are logged, counted and checked.

A connection of the fake notices what the caller of a driver promised not to do (two calls at once, use after the close,
use after a cancelled call that was not settled, COMMIT without BEGIN, savepoints out of order) and writes it down in
`FakeDriver.violations`, because an error raised there could be swallowed as that of a broken connection.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast
from unittest.mock import patch

import anyio
from anyio.lowlevel import checkpoint

from aio_databases import Database, errors
from aio_databases.drivers.base import Capabilities, Driver
from aio_databases.errors import Diagnosis
from unit.fake_connection import FakeConnection
from unit.script import FakeError, Gate, LinkError, Rule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aio_databases.drivers.base import DriverConnection

__all__ = (
    "FakeDriver",
    "FakeError",
    "Gate",
    "LinkError",
    "connected",
    "make_database",
    "script_of",
    "verify_closed",
)

LIMIT = 10.0
"""Seconds after which a test that hangs is ended."""


class FakeDriver(Driver):
    """Opens connections that do what the test wrote into the script."""

    name: ClassVar[str] = "fake"
    dialect: ClassVar[str] = "postgresql"
    paramstyle: ClassVar[str] = "numeric_dollar"
    capabilities: ClassVar[Capabilities] = Capabilities(
        reusable_after_cancel=True,
        isolation_levels=frozenset({"serializable"}),
        deferrable=True,
        modes=frozenset({"deferred", "immediate"}),
    )
    loop_hint: ClassVar[str] = "; take another"

    def __init__(self, *args: Any) -> None:
        """Begin with an empty script."""
        super().__init__(*args)
        self.log: list[str] = []
        self.violations: list[str] = []
        self.connections: list[FakeConnection] = []
        self.attempts = self.closes = self.terminates = self.max_open = 0
        self.rows: dict[str, int] = {}
        """How many rows a query finds; each is the query's own text.  One where nothing is said."""
        self.values: dict[str, object] = {}
        """What a query finds in each row.  Its own text where nothing is said."""
        self.members: dict[int, FakeDriver] = {}
        self._rules: list[Rule] = []

    def at(self, index: int) -> FakeDriver:
        """Return the fake for one of several hosts, each time the same."""
        if index not in self.members:
            self.members[index] = cast("FakeDriver", super().at(index))
        return self.members[index]

    # The script

    def fail(self, start: str, error: Any = FakeError, *, times: float = 1, skip: int = 0, **effect: bool) -> None:
        """Have the next operations whose text begins with `start`, but for the first `skip`, raise `error`."""
        self._rules.append(Rule(start, times, error, skip=skip, **effect))

    def wait(self, start: str, *, times: float = 1) -> Gate:
        """Have the next operations whose text begins with `start` wait for the gate that is returned."""
        gate = Gate()
        self._rules.append(Rule(start, times, gate=gate))
        return gate

    def drop(self, start: str, *, times: float = 1) -> None:
        """Have the link break in the next operations whose text begins with `start`."""
        self._rules.append(Rule(start, times, drops=True))

    def rule_for(self, what: str) -> Rule | None:
        """Take what the script says about an operation."""
        for rule in self._rules:
            if not what.startswith(rule.start) or rule.times <= 0:
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            rule.times -= 1
            return rule
        return None

    # What happened

    @property
    def opens(self) -> int:
        """The number of connections that were opened."""
        return len(self.connections)

    @property
    def open_now(self) -> int:
        """The number of connections that are open."""
        return sum(not each.is_closed for each in self.connections)

    @property
    def sent(self) -> list[str]:
        """The log without the numbers of connections, and without their opening and closing."""
        texts = (line.partition(" ")[2] for line in self.log)
        return [text for text in texts if text not in {"connect", "close", "terminate"}]

    def check(self) -> None:
        """Fail if the library broke a promise or left a transaction open."""
        assert [] == self.violations, self.log
        assert [] == [each.number for each in self.connections if each.in_transaction], self.log

    # The seam

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection."""
        self.attempts += 1
        connection = FakeConnection(self, self.attempts, read_only=read_only)
        self.log.append(f"{connection.number} connect")
        await checkpoint()
        await connection.play("connect")
        self.connections.append(connection)
        self.max_open = max(self.max_open, self.open_now)
        try:
            await checkpoint()
        except BaseException:
            connection.terminate()
            raise
        return connection

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of the fake means."""
        if isinstance(exc, FakeError):
            return Diagnosis(exc.kind, getattr(exc, "sqlstate", None), getattr(exc, "errno", None))
        return Diagnosis(errors.ConnectionLost) if type(exc) in {LinkError, OSError} else None


# Databases over the fake


def make_database(
    *, url: str = "fake://server/db", driver: type[FakeDriver] = FakeDriver, shared: bool = False, **options: Any
) -> Database:
    """Return a `Database` whose `backend` is a fake; options named like a `Capabilities` field set that."""
    capabilities = {name: options.pop(name) for name in list(options) if name in Capabilities.__dataclass_fields__}
    members: Mapping[str, Any] = {
        "capabilities": replace(driver.capabilities, **capabilities),
        "shared": shared or driver.shared,
    }
    made = type("FakeDriver", (driver,), dict(members))
    with patch("aio_databases.replicas.router.driver_class", return_value=made):
        return Database(url, **options)


def script_of(db: Database) -> FakeDriver:
    """Return the fake below a `Database`."""
    assert isinstance(db.backend, FakeDriver)
    return db.backend


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[Database, FakeDriver]]:
    """Give a connected `Database` with its fake; check at the end that promises were kept and nothing is left over."""
    db = make_database(**options)
    with anyio.fail_after(LIMIT):
        async with db:
            yield db, script_of(db)
    verify_closed(db)


def verify_closed(db: Database) -> None:
    """Fail if a disconnected database has anything left: connections, transactions, waiting tasks."""
    for fake in (script_of(db), *db.replica_backends):
        assert isinstance(fake, FakeDriver)
        fake.check()
        assert 0 == fake.open_now, fake.log
    for pool in (db._pool, *db._replicas.pools):
        assert 0 == pool.lent
        assert (0, 0, 0) == pool.stats[:3], pool
