"""What is particular to SQLite, in whatever thread its calls are made."""

from __future__ import annotations

import re
import sqlite3
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from aio_databases.drivers.base import one_by_one
from aio_databases.drivers.sqlite.json import JsonColumns
from aio_databases.drivers.sqlite.values import adapted, are_plain
from aio_databases.drivers.thread import CLOSED, CallConnection
from aio_databases.errors import ConnectionLost, note_text, too_slow
from aio_databases.rows.record import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aio_databases.drivers.base import DriverConnection, TransactionOptions
    from aio_databases.rows.json_values import JsonValues
    from aio_databases.rows.record import Record

T = TypeVar("T")


class Stop:
    """Stops the statement that runs on a connection, and no other.

    ``sqlite3_interrupt`` would stop every statement of the connection, those begun later too, for as long as one of
    them is unfinished, such as the cursor of a stream.  A progress handler is asked by the running statement alone.
    """

    def __init__(self, timeout: float | None = None) -> None:
        """Let statements run, for at most ``timeout`` seconds per call."""
        self._requests: list[None] = []
        self.timeout = timeout
        self._deadline = float("inf")

    def watch(self, db: sqlite3.Connection) -> None:
        """Have the statements of ``db`` look at this now and then."""
        # The list's length is asked without running Python code, and so rarely that it cannot be measured.
        db.set_progress_handler(self._is_late if self.timeout else self._requests.__len__, _STEPS)

    def timed(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return a function whose statements fail with SQLITE_INTERRUPT when the time is over."""
        timeout = self.timeout
        if not timeout:
            return function

        def call(*args: Any) -> T:
            self._deadline = monotonic() + timeout
            try:
                return function(*args)
            except sqlite3.OperationalError as exc:
                is_stopped = getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
                if is_stopped and monotonic() > self._deadline and not self._requests:
                    note_text(exc, too_slow("statement_timeout", timeout))
                raise
            finally:
                self._deadline = float("inf")

        return call

    def _is_late(self) -> bool:
        return bool(self._requests) or monotonic() > self._deadline

    def request(self) -> None:
        """Have the running statement fail with SQLITE_INTERRUPT."""
        self._requests.append(None)

    def clear(self) -> None:
        """Let statements run again."""
        self._requests.clear()


_BEHIND_WITH = re.compile(r"(?:[\s;]|--[^\n]*\n|/\*.*?\*/)*+WITH\b", re.IGNORECASE | re.DOTALL)
_IS_COUNTED = re.compile(r"\s*(?:INSERT|REPLACE|UPDATE|DELETE)\b", re.IGNORECASE)  # what executemany() is fast for
_EMPTY = "; \t\r\n"
_EXPLAINS = re.compile(r"\s*EXPLAIN\b", re.IGNORECASE)
_SELECT = frozenset("Ss")
_STEPS = 200_000  # of SQLite's virtual machine, a few milliseconds


def _hides_count(cursor: sqlite3.Cursor, sql: str) -> bool:
    """Return whether a statement may change rows behind WITH, where sqlite3 does not look."""
    if sql[:1] in _SELECT or cursor.rowcount >= 0 or _BEHIND_WITH.match(sql) is None:  # the first spares most a search
        return False
    return cursor.description is None or "RETURNING" in sql.upper()


class SQLiteVerbs(CallConnection):
    """What is particular to SQLite, wherever its calls are made."""

    db: sqlite3.Connection
    stop: Stop
    json: JsonValues
    json_columns: JsonColumns
    _begins_late = True
    is_guarded = False
    """Whether a transaction that only reads is open, and writes are refused."""
    _looks_ahead = False
    """Whether that is done by looking at each statement, as ``query_only`` would stop what is half read."""

    def __init__(self) -> None:
        super().__init__()
        # What begins in the next call, which saves a trip to the thread: BEGIN, and whether the transaction only reads.
        self._pending_begin: list[tuple[str, bool]] = []

    def use_json(self, json: JsonValues, columns: JsonColumns | None = None) -> None:
        """Write and read JSON by ``json``; ``columns`` are those that are known of the database already."""
        self.json = json
        self.json_columns = columns or JsonColumns(json)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, or begins with the next statement."""
        return not self.is_closed and (bool(self._pending_begin) or self.db.in_transaction)

    async def begin(self, options: TransactionOptions) -> None:
        """Begin a transaction that takes the write lock first, so that it cannot fail half-way for want of it.

        That happens with the first statement, or at once if the caller asks for a ``mode``.
        """
        if self.is_closed:
            raise ConnectionLost(CLOSED)
        mode = options.mode or ("DEFERRED" if options.readonly else "IMMEDIATE")
        self._pending_begin = [(f"BEGIN {mode}", bool(options.readonly))]
        if options.mode or not self._begins_late:
            try:
                await self.run(self.begin_now)
            finally:
                self._pending_begin.clear()  # also of a call that was cancelled before the thread has taken it

    async def commit(self) -> None:
        await self._end("COMMIT")

    async def rollback(self) -> None:
        """Roll the transaction back, unless SQLite did so itself."""
        await self._end("ROLLBACK")

    def read_only_view(self) -> DriverConnection:
        """Return this connection for one reader, who cannot write: `replica()` on a database in memory."""
        return _ReadOnlyView(self)

    def begin_now(self) -> None:
        """Begin the transaction that is due, if there is one; part of a call."""
        if not self._pending_begin:
            return
        sql, reads_only = self._pending_begin.pop()
        self.db.execute(sql)
        if reads_only and not (self._looks_ahead or self._value("PRAGMA query_only")):  # else it is so for good
            self.is_guarded, self._looks_ahead = True, bool(self.open_cursors)
            if not self._looks_ahead:
                self.db.execute("PRAGMA query_only = ON")

    def begin_for_raw_use(self) -> None:
        """Begin the transaction that is due in the thread of the caller; it stays due if that fails."""
        due = list(self._pending_begin)
        try:
            self.begin_now()
        except BaseException:
            self._pending_begin = due
            raise

    def in_transaction_call(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return a function that begins what is due, calls ``function``, and lifts the guard with the transaction."""

        def call(*args: Any) -> T:
            self.begin_now()
            try:
                return function(*args)
            finally:
                if self.is_guarded and not self.db.in_transaction:
                    if not self._looks_ahead:
                        self._retry_if_interrupted("PRAGMA query_only = OFF")
                    self.is_guarded = self._looks_ahead = False

        return call

    async def _end(self, sql: str) -> None:
        if self._pending_begin:
            self._pending_begin.clear()  # nothing was run in it
        else:
            await self.run(self._end_now, sql)

    def _end_now(self, sql: str) -> None:
        if self.db.in_transaction:
            self.db.execute(sql)
            self.json_columns.notice(self.db, sql)

    def open_cursor(self, sql: str, params: Any) -> sqlite3.Cursor:
        """Run a statement and return sqlite3's cursor; part of a call."""
        values = adapted(params, self.json.dumps)
        if self._looks_ahead:
            self._refuse_writing(sql, values)
        return self.db.execute(sql, values)

    def _refuse_writing(self, sql: str, values: Any) -> None:
        """Raise what SQLite does where only reading is allowed: https://www.sqlite.org/opcode.html."""
        if _EXPLAINS.match(sql):
            return
        for _, operation, _, second, *_ in self.with_rows(self.db.execute(f"EXPLAIN {sql.lstrip(_EMPTY)}", values)):
            if operation == "Vacuum" or (operation == "Transaction" and second):
                refusal = sqlite3.OperationalError("attempt to write a readonly database")
                refusal.sqlite_errorcode, refusal.sqlite_errorname = sqlite3.SQLITE_READONLY, "SQLITE_READONLY"
                raise refusal

    def with_rows(self, cursor: Any) -> Any:
        """Return a cursor whose rows are tuples, whatever the connection of sqlite3 was set to make of them."""
        if cursor.row_factory is not None:
            cursor.row_factory = None
        return cursor

    def read(self, cursor: Any, sql: str, limit: int | None) -> list[Record]:
        if cursor.description is None:
            self.json_columns.notice(self.db, sql)
            return []
        if limit == 0:
            return []  # to sqlite3, 0 means all
        rows = cursor.fetchall() if limit is None else cursor.fetchmany(limit)
        return self.json_columns.records(self.db, sql, cursor.description, rows)

    def _value(self, sql: str) -> Any:
        return self.with_rows(self.db.execute(sql)).fetchone()[0]

    def _execute(self, sql: str, params: Any) -> Result:
        before = self.db.total_changes
        cursor = self.open_cursor(sql, params)
        try:
            if cursor.description is None and cursor.rowcount < 0:
                self.json_columns.notice(self.db, sql)
            is_hidden = _hides_count(cursor, sql)
            if cursor.description is not None and (cursor.rowcount >= 0 or is_hidden):
                deque(cursor, maxlen=0)  # RETURNING: the rows are counted only once they are read
            if is_hidden:
                return Result(self._changes() if self.db.total_changes > before else 0, cursor.lastrowid)
            return Result(cursor.rowcount, cursor.lastrowid)
        finally:
            cursor.close()

    def _fetch(self, sql: str, params: Any, limit: int | None) -> list[Record]:
        cursor = self.open_cursor(sql, params)
        try:
            rows = self.read(self.with_rows(cursor), sql, limit)
            if limit is not None and (cursor.rowcount >= 0 or _hides_count(cursor, sql)):
                # RETURNING: SQLite commits behind the last row, and sqlite3 drops the error of a cursor's close().
                deque(cursor, maxlen=0)
            return rows
        finally:
            cursor.close()

    def _changes(self) -> int:
        """Return how many rows the last statement has changed, without those that its triggers have."""
        return self._value("SELECT changes()")  # type: ignore[no-any-return]  # sqlite3's rows

    def _executemany(self, sql: str, rows: Sequence[Any]) -> Result:
        nested = self.db.in_transaction
        self.db.execute("SAVEPOINT aiodb_many" if nested else "BEGIN IMMEDIATE")
        try:
            rowcount = self._run_rows(sql, rows)
            self.db.execute("RELEASE aiodb_many" if nested else "COMMIT")
        except BaseException:
            if self.db.in_transaction:
                for undo in ("ROLLBACK TO aiodb_many", "RELEASE aiodb_many") if nested else ("ROLLBACK",):
                    self._retry_if_interrupted(undo)
            raise
        return Result(rowcount)

    def _run_rows(self, sql: str, rows: Sequence[Any]) -> int:
        # What returns rows, or hides behind a WITH, is refused by sqlite3's executemany(), or not counted.
        is_counted = _IS_COUNTED.match(sql) is not None and "RETURNING" not in sql.upper() and not self._looks_ahead
        with one_by_one(rows) as given:
            if not is_counted:
                return sum(max(self._execute(sql, row).rowcount, 0) for row in given)
            cursor = self.db.executemany(
                sql, given if are_plain(rows) else (adapted(row, self.json.dumps) for row in given)
            )
        cursor.close()
        return cursor.rowcount

    def _retry_if_interrupted(self, sql: str) -> None:
        # The request that stops a cancelled statement still stands when this one clears up after it.
        while True:
            try:
                self.db.execute(sql)
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                    raise
            else:
                return


class _ReadOnlyView(SQLiteVerbs):
    """A connection that others write on, for one reader, who cannot write."""

    _begins_late = False  # what is due stands in the connection itself, for all calls
    _looks_ahead = True

    def __init__(self, connection: SQLiteVerbs) -> None:
        """Look through ``connection``."""
        super().__init__()
        self._connection = connection
        self.use_json(connection.json, connection.json_columns)
        self.open_cursors = connection.open_cursors
        self.db = connection.db
        self.raw = connection.raw

    @property
    def is_closed(self) -> bool:
        return self._connection.is_closed

    async def run(self, function: Callable[..., T], /, *args: Any) -> T:
        return await self._connection.run(function, *args)

    async def settle(self) -> bool:
        """Stop a cancelled statement."""
        return await self._connection.settle()

    async def close(self) -> None:
        """Leave the connection open: it is not this reader's."""

    def terminate(self) -> None:
        """Leave the connection open: it is not this reader's."""
