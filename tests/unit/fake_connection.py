"""The connections of the fake driver: they log what they are asked, and check that they are asked in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint

from aio_databases import errors
from aio_databases.drivers.base import Cursor, DriverConnection, begin_statement
from aio_databases.rows.record import Result, records
from unit.script import FakeError, LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aio_databases.drivers.base import TransactionOptions
    from aio_databases.rows.record import Record
    from unit.fake import FakeDriver
    from unit.script import Gate


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
