"""A scripted driver: each operation can answer, fail, wait or lose the link; all are logged, counted and checked.

A connection of the fake notices what the caller of a driver promised not to do (two calls at once, use after the close,
use after a cancelled call that was not settled, COMMIT without BEGIN, savepoints out of order) and writes it down in
`FakeDriver.violations`, because an error raised there could be swallowed as that of a broken connection.

::

    async with connected() as (db, fake):
        fake.fail("insert", FakeError("taken", UniqueViolation))
        ...
    assert fake.sent == [...]
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import anyio
from anyio.lowlevel import checkpoint

from aio_databases import Database, Result, errors
from aio_databases.drivers import serving
from aio_databases.drivers.base import Capabilities, Cursor, Driver, DriverConnection, begin_statement
from aio_databases.errors import Diagnosis
from aio_databases.rows.record import records

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from aio_databases import Record
    from aio_databases.drivers.base import TransactionOptions

__all__ = (
    "FakeConnection",
    "FakeDriver",
    "FakeError",
    "Gate",
    "LinkError",
    "connected",
    "make_database",
    "script_of",
    "verify_closed",
)

# What a script is made of


class FakeError(Exception):
    """What the library of the fake raises; `kind` is what it means."""

    def __init__(self, message: str = "refused", kind: type[errors.Error] = errors.DatabaseError) -> None:
        super().__init__(message)
        self.kind = kind


class LinkError(OSError):
    """The link to the server broke."""


class Gate:
    """Holds an operation up until the test opens it."""

    def __init__(self) -> None:
        self._reached = anyio.Event()
        self._opened = anyio.Event()

    async def reached(self) -> None:
        """Wait until the operation has come here."""
        await self._reached.wait()

    def open(self) -> None:
        """Let the operation go on."""
        self._opened.set()

    async def hold(self) -> None:
        """Wait until the gate is open."""
        self._reached.set()
        await self._opened.wait()


@dataclass
class Rule:
    """What becomes of the next `times` operations whose text begins with `start`."""

    start: str
    times: float
    error: BaseException | type[BaseException] | None = None
    gate: Gate | None = None
    drops: bool = False
    ends_transaction: bool = False
    skip: int = 0


# The driver


LIMIT = 10.0
"""Seconds after which a block that hangs is ended."""


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

    def fail(
        self,
        start: str,
        error: Any = FakeError,
        *,
        times: float = 1,
        skip: int = 0,
        ends_transaction: bool = False,
        drops: bool = False,
    ) -> None:
        """Have the next operations whose text begins with `start`, but for the first `skip`, raise `error`."""
        self._rules.append(Rule(start, times, error, skip=skip, ends_transaction=ends_transaction, drops=drops))

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
        assert self.violations == [], self.log
        assert not any(each.in_transaction for each in self.connections), self.log

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


class FakeConnection(DriverConnection):
    """A connection that logs what it is asked, and checks that it is asked in order."""

    def __init__(self, driver: FakeDriver, number: int, *, read_only: bool) -> None:
        """Be connected."""
        self.driver = driver
        self.number = number
        self.raw = self
        self.read_only = read_only
        self._closed = False
        self._in_transaction = False
        self._savepoints: list[str] = []
        self._running: str | None = None
        self._unsettled = False
        self._gate: Gate | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed or lost."""
        return self._closed

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return not self._closed and self._in_transaction

    async def execute(self, sql: str, params: Any, /) -> Result:
        """Run a statement."""
        del params
        await self._do(sql)
        return Result(1)

    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        """Run a statement per row."""
        await self._do(f"{sql} x{len(rows)}")
        return Result(len(rows))

    async def fetch(self, sql: str, params: Any, limit: int | None, /) -> list[Record]:
        """Return rows that hold the text of the query."""
        del params
        await self._do(sql)
        return self.answer(sql)[:limit]

    def cursor(self, sql: str, params: Any, /) -> Cursor:
        """Return a cursor over such rows."""
        del params
        return FakeCursor(self, sql)

    async def begin(self, options: TransactionOptions) -> None:
        """Begin a transaction."""
        await self._do(begin_statement(options), self._note_begin)

    async def commit(self) -> None:
        """Commit."""
        await self._do("COMMIT", self._note_end)

    async def rollback(self) -> None:
        """Roll back."""
        await self._do("ROLLBACK", self._note_end)

    async def savepoint(self, name: str) -> None:
        """Set a savepoint."""
        self._expect(self._in_transaction, f"SAVEPOINT {name} outside of a transaction")
        await self._do(f"SAVEPOINT {name}", lambda: self._savepoints.append(name))

    async def release_savepoint(self, name: str) -> None:
        """Release a savepoint with those inside of it, as SQL does."""
        await self._do(f"RELEASE {name}", lambda: self._note_cut("RELEASE", name))

    async def rollback_to_savepoint(self, name: str) -> None:
        """Roll back to a savepoint, and forget it with those inside of it."""
        await self._do(f"ROLLBACK TO {name}", lambda: self._note_cut("ROLLBACK TO", name))

    async def ping(self) -> None:
        """Answer."""
        await self._do("ping")

    async def settle(self) -> bool:
        """Clear up after a cancelled call."""
        self._unsettled = False
        await self._do("settle")
        return self.driver.capabilities.reusable_after_cancel and not self._closed

    async def reset(self) -> bool:
        """Reset the session."""
        await self._do("reset")
        return True

    def read_only_view(self) -> DriverConnection:
        """Return this connection."""
        return self

    async def close(self) -> None:
        """Close the connection in good order."""
        if not self._closed:
            self._unsettled = False
            await self._do("close", self._note_close)

    def terminate(self) -> None:
        """Cut the connection, and with it what runs."""
        if self._closed:
            return
        self._closed = True
        self.driver.log.append(f"{self.number} terminate")
        self.driver.terminates += 1
        if self._gate is not None:
            self._gate.open()

    # Details

    async def _do(self, what: str, effect: Callable[[], object] | None = None) -> None:
        self.driver.log.append(f"{self.number} {what}")
        self._expect(self._running is None, f"{what!r} while {self._running!r} runs")
        self._expect(not self._closed, f"{what!r} after the close")
        self._expect(not self._unsettled, f"{what!r} on a connection that was not settled")
        self._running = what
        try:
            await checkpoint()
            await self.play(what)
            if effect is not None:
                effect()
            await checkpoint()
        except Exception:
            raise
        except BaseException:
            self._unsettled = True
            raise
        finally:
            self._running = None

    async def play(self, what: str) -> None:
        """Do what the script says."""
        rule = self.driver.rule_for(what)
        if rule is not None and rule.gate is not None:
            self._gate = rule.gate
            await rule.gate.hold()
        if rule is not None and rule.drops:
            self._closed = True
        if rule is not None and rule.ends_transaction:
            self._note_end()
        if rule is not None and rule.error is not None:
            raise rule.error
        if self._closed:
            raise LinkError("the link broke")
        if self.read_only and what.startswith("insert"):
            raise FakeError("read-only", errors.ReadOnlyError)

    def answer(self, sql: str) -> list[Record]:
        """Return the rows that a query finds."""
        return records(("value",), [(self.driver.values.get(sql, sql),)] * self.driver.rows.get(sql, 1))

    def _expect(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads like a sentence
        if not holds:
            self.driver.violations.append(f"{self.number}: {otherwise}")

    def _note_begin(self) -> None:
        self._expect(not self._in_transaction, "BEGIN in a transaction")
        self._in_transaction = True

    def _note_end(self) -> None:
        self._expect(self._in_transaction, "COMMIT or ROLLBACK outside of a transaction")
        self._in_transaction = False
        self._savepoints.clear()

    def _note_cut(self, verb: str, name: str) -> None:
        self._expect(name in self._savepoints, f"{verb} {name} of {self._savepoints}")
        del self._savepoints[self._savepoints.index(name) :]

    def _note_close(self) -> None:
        self._closed = True
        self.driver.closes += 1

    def note_cursor(self, *, is_open: bool) -> None:
        """Begin, or end, the transaction that a cursor outside of any needs."""
        self._in_transaction = is_open

    do = _do


class FakeCursor(Cursor):
    """Reads in chunks the rows that a query finds."""

    def __init__(self, connection: FakeConnection, sql: str) -> None:
        """Send nothing yet."""
        self._connection = connection
        self._sql = sql
        self._rows: list[Record] | None = None
        self._began = False

    async def fetch(self, size: int) -> list[Record]:
        """Return the next rows."""
        connection = self._connection
        if self._rows is None:
            if connection.driver.capabilities.exclusive_cursor and not connection.in_transaction:
                connection.note_cursor(is_open=True)
                self._began = True
            self._rows = connection.answer(self._sql)
        await connection.do(f"cursor {self._sql}")
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    async def close(self) -> None:
        """Free the cursor."""
        await self._connection.do("close cursor")
        if self._began:
            self._began = False
            self._connection.note_cursor(is_open=False)


# Databases over the fake


def make_database(
    *, url: str = "fake://server/db", driver: type[FakeDriver] = FakeDriver, shared: bool = False, **options: Any
) -> Database:
    """Return a `Database` whose `backend` is a fake; options named like a field of `Capabilities` set that."""
    capabilities = {name: options.pop(name) for name in list(options) if name in Capabilities.__dataclass_fields__}
    members: Mapping[str, Any] = {
        "capabilities": replace(driver.capabilities, **capabilities),
        "shared": shared or driver.shared,
    }
    made = type("FakeDriver", (driver,), dict(members))
    with serving(made):
        return Database(url, **options)


def script_of(db: Database) -> FakeDriver:
    """Return the fake below a `Database`."""
    assert isinstance(db.backend, FakeDriver)
    return db.backend


@asynccontextmanager
async def connected(**options: Any) -> AsyncGenerator[tuple[Database, FakeDriver]]:
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
        assert fake.open_now == 0, fake.log
    for name, stats in db.stats().items():
        assert stats[:3] == (0, 0, 0), name
