"""A connection of pyodbc's in a worker thread of its own."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aio_databases import errors
from aio_databases.drivers.base import TransactionOptions
from aio_databases.drivers.odbc.cancel import Stop
from aio_databases.drivers.odbc.dialect import beginning_with
from aio_databases.drivers.postgresql.family import ROLLED_BACK, DeclaredCursor
from aio_databases.drivers.thread import ThreadConnection, read
from aio_databases.errors import note_row
from aio_databases.rows.record import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aio_databases.drivers.base import Cursor
    from aio_databases.drivers.odbc.family import OdbcDriver
    from aio_databases.rows.record import Record


class OdbcCursor:
    """A cursor of pyodbc's that can be stopped, whose rows are tuples, and whose rows are those of the first result.

    A procedure, or several statements in one text, give several results, some of them without rows.  An error in one of
    them is reported when that result comes, so all of them have to be read.
    """

    def __init__(self, connection: OdbcConnection, cursor: Any) -> None:
        """Use a cursor of pyodbc's."""
        self._connection = connection
        self._cursor = cursor
        self._ways = connection.driver.odbc_dialect
        self._is_only = False  # the result, which there is no need to look behind
        self.rowcount = -1

    def run(self, sql: str, params: Any) -> None:
        """Run a statement, and go on to its first rows."""
        sql = _NOTHING if _SAYS_NOTHING.match(sql) else sql
        adapted = self._ways.adapted(params, self._connection.driver.json.dumps)
        several = self._ways.has_several
        self._is_only = several is not None and several.match(sql) is None
        self._connection.stop.watch(self._cursor.execute, sql, adapted)
        is_counted = self._ways.counts is None or self._ways.counts.match(sql)
        self.rowcount = cast("int", self._cursor.rowcount) if is_counted else -1
        while self._cursor.description is None and self._has_more():
            pass

    def _has_more(self) -> bool:
        return not self._is_only and bool(self._connection.stop.watch(self._cursor.nextset))

    def finish(self) -> None:
        """Leave what was not read, to the end of the last result."""
        while self._has_more():
            pass

    @property
    def description(self) -> list[tuple[str]] | None:
        """The columns, each as a tuple that begins with its name; None without rows."""
        columns = self._cursor.description
        return columns and [(self._ways.column(column[0]),) for column in columns]

    @property
    def lastrowid(self) -> Any:
        """The id of the row that the statement has inserted, where it is reported."""
        return self._connection.inserted_id() if self.rowcount > 0 else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows, when no error can come any more."""
        rows: list[tuple[Any, ...]] = list(map(tuple, self._connection.stop.watch(self._cursor.fetchall)))
        self.finish()
        return rows

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        """Return at most ``size`` rows; the last of them when no error can come any more."""
        rows: list[tuple[Any, ...]] = list(map(tuple, self._connection.stop.watch(self._cursor.fetchmany, size)))
        if len(rows) < size:
            self.finish()
        return rows

    def close(self) -> None:
        """Close the cursor of pyodbc."""
        self._cursor.close()


_NOTHING = "/* nothing */"  # unixODBC refuses an empty text, MariaDB's driver others without a word
_SAYS_NOTHING = re.compile(r"(?s)(?:[\s;]|--(?=\s|\Z)[^\n]*(?:\n|\Z)|/\*(?!M?!).*?\*/)*+\Z")


T = TypeVar("T")


class OdbcConnection(ThreadConnection):
    """The verbs, for whatever database.

    ODBC does not report whether a transaction is open, so the first words of each statement decide; what a
    procedure or a second statement in the same text does is not seen.
    """

    def __init__(self, driver: OdbcDriver, *, read_only: bool) -> None:
        """Start the thread."""
        self.driver = driver
        self._read_only = read_only
        self._text = ""
        self._lost = False
        self._begun = False  # a transaction, as far as the texts show
        self._failed = False  # the last statement in it
        self._after: Sequence[str] = ()
        self._sql = ""
        self.stop = Stop()
        super().__init__()

    # The session

    async def connect(self, text: str) -> None:
        """Connect by a connection string."""
        self._text = text
        await self.open(lambda: self.driver.open(text))

    def begin_session(self) -> None:
        """Make the session as the options want it; part of a call."""
        dialect, driver = self.driver.odbc_dialect, self.driver
        dialect.prepare(self.db, driver)
        self.stop.by(self._way_to_stop())
        for sql in dialect.session(driver, self.db.getinfo(_SQL_DBMS_NAME), read_only=self._read_only):
            self._send(sql)

    def _way_to_stop(self) -> Callable[[], object] | None:
        try:
            return self.driver.odbc_dialect.canceller(self.db, lambda: self.driver.open(self._text))
        except Exception as exc:
            diagnosis = self.driver.diagnose(exc)
            if diagnosis is None or diagnosis.kind is errors.ConnectionLost:
                raise
            return None  # some relative of the database that it says it is

    async def reset(self) -> bool:
        """Return False: only the ODBC driver knows what it has set in the session, and it does so when it connects."""
        if self.driver.odbc_dialect.release_sql:
            await self.run(self._send, self.driver.odbc_dialect.release_sql)
        return False

    @property
    def is_closed(self) -> bool:
        return self._closed or self._lost

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, as far as is known."""
        if self.is_closed or self.db is None:
            return False
        return not self.db.autocommit if self.driver.odbc_dialect.begins is None else self._begun

    @property
    def has_failed(self) -> bool:
        """Whether the last statement in the open transaction has failed."""
        return self._failed

    def wrap_call(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return a function whose failure is noted, for what it means for the connection."""
        if self._lost:
            raise errors.ConnectionLost("the connection was lost when an earlier statement on it failed")

        def watched(*args: Any) -> T:
            try:
                return function(*args)
            except Exception as exc:
                self._note_failure(exc)
                raise
            finally:
                if self._after and not (self._begun or self._lost) and self.driver.odbc_dialect.begins is not None:
                    self._restore()  # a statement of the user's has ended the transaction

        return watched

    def _note_failure(self, exc: Exception) -> None:
        diagnosis = self.driver.diagnose(exc)
        if diagnosis is None:
            return
        if self.driver.odbc_dialect.is_broken_by(self._sql, diagnosis):
            self._lost = True
        elif self.driver.odbc_dialect.begins is None:
            if (
                issubclass(diagnosis.kind, errors.DeadlockDetected | errors.SerializationFailure)
                and self.in_transaction
            ):
                self._retry_if_interrupted(
                    self._rollback
                )  # as the database has done: what comes next must not be committed alone
        elif self._begun:
            self._begun = self._failed = self.driver.odbc_dialect.survives(self._sql, diagnosis, self._ask)

    def _ask(self, sql: str) -> Any:
        cursor = self.db.execute(sql)
        try:
            return cursor.fetchval() if cursor.description else None
        finally:
            cursor.close()

    # Statements

    def cursor(self, sql: str, params: Any, /) -> Cursor:
        """Return a cursor; psqlodbc would read all rows at once, so on PostgreSQL it is declared by SQL."""
        if self.driver.dialect == "postgresql":
            return DeclaredCursor(self, sql, params)
        return super().cursor(sql, params)

    def open_cursor(self, sql: str, params: Any) -> OdbcCursor:
        """Run a statement and return its cursor; part of a call."""
        self._sql = sql
        cursor = OdbcCursor(self, self.db.cursor())
        try:
            cursor.run(sql, params)
        except BaseException:
            cursor.close()
            raise
        self._failed = False
        dialect = self.driver.odbc_dialect
        if dialect.begins is not None:
            self._begun = bool(dialect.begins.match(sql) or (self._begun and not dialect.ends.match(sql)))
        return cursor

    def _execute(self, sql: str, params: Any) -> Result:
        cursor = self.open_cursor(sql, params)
        try:
            cursor.finish()
            return Result(cursor.rowcount, cursor.lastrowid)
        finally:
            cursor.close()

    def _fetch(self, sql: str, params: Any, limit: int | None) -> list[Record]:
        cursor = self.open_cursor(sql, params)
        try:
            rows = read(cursor, limit)
            cursor.finish()
            return rows
        finally:
            cursor.close()

    def _send(self, sql: str) -> None:
        self.open_cursor(sql, ()).close()

    def _executemany(self, sql: str, rows: Sequence[Any]) -> Result:
        if not rows:
            return Result(0)
        dialect, nested = self.driver.odbc_dialect, self.in_transaction
        saved = nested and (dialect.keeps_failed_rows or (dialect.keeps_refused_rows and len(rows) > 1))
        if not nested:
            self._begin(_PLAIN)
        elif saved:
            self._send(dialect.savepoint.format(_MANY))
        try:
            rowcount = self._run_all(sql, rows)
            if not nested:
                self._commit()
            elif saved:
                self._release(_MANY)
        except Exception as exc:
            self._note_failure(exc)
            if self.in_transaction and not nested:
                self._retry_if_interrupted(self._rollback)
            elif self.in_transaction and saved:
                with suppress(Exception):  # which has closed the connection, and is not the error to see
                    if not dialect.keeps_failed_rows:
                        self._send("SELECT 1")  # raises if the transaction has failed, and stays so
                    self._retry_if_interrupted(self._send, dialect.rollback_to.format(_MANY))
                    self._retry_if_interrupted(self._release, _MANY)
            raise
        return Result(rowcount)

    def _run_all(self, sql: str, rows: Sequence[Any]) -> int:
        rowcounts: list[int] = []
        cursor = None
        try:
            cursor = self.open_cursor(sql, rows[0])
            cursor.finish()
            rowcounts.append(cursor.rowcount)
            for row in rows[1:]:  # pyodbc's own executemany() does not count, and its fast one crashes some drivers
                cursor.run(sql, row)
                cursor.finish()
                rowcounts.append(cursor.rowcount)
        except Exception as exc:
            note_row(exc, len(rowcounts) + 1)
            raise
        finally:
            if cursor is not None:
                cursor.close()
        if -1 in rowcounts and (self.driver.odbc_dialect.counts is None or _MAY_CHANGE.match(sql)):
            return -1
        return sum(max(rowcount, 0) for rowcount in rowcounts)

    def _retry_if_interrupted(self, function: Callable[..., None], *args: Any) -> None:
        # The request that stops a cancelled statement may reach the one that clears up after it.
        while True:
            try:
                function(*args)
            except Exception as exc:
                diagnosis = self.driver.diagnose(exc)
                if diagnosis is None or diagnosis.kind is not errors.QueryTimeout:
                    self._lost = True
                    raise
            else:
                return

    async def ping(self) -> None:
        """Ask the server for a sign of life; one that does not understand the question has given it."""
        try:
            await self.fetch(self.driver.odbc_dialect.question, (), 1)
        except Exception as exc:
            diagnosis = self.driver.diagnose(exc)
            if diagnosis is None or diagnosis.kind is not errors.ProgrammingError:
                raise

    # Transactions

    async def begin(self, options: TransactionOptions) -> None:
        await self.run(self._begin, options)

    async def commit(self) -> None:
        """Commit the transaction, unless the database has rolled it back itself."""
        await self.run(self._commit)

    async def rollback(self) -> None:
        """Roll the transaction back, unless the database did so itself."""
        await self.run(self._rollback)

    async def savepoint(self, name: str) -> None:
        """Begin a nested transaction.  Raises NotSupportedError where no way is known."""
        sql = self.driver.odbc_dialect.savepoint
        if not sql:
            message = f"no way is known to nest transactions of {self.driver.address}: if its database is like another "
            raise errors.NotSupportedError(message + "one, name that by db_type=")
        await self.run(self._send, sql.format(name))

    async def release_savepoint(self, name: str) -> None:
        await self.run(self._release, name)

    async def rollback_to_savepoint(self, name: str) -> None:
        await self.run(self._send, self.driver.odbc_dialect.rollback_to.format(name))
        await self.run(self._release, name)

    def _release(self, name: str) -> None:
        if self.driver.odbc_dialect.release:
            self._send(self.driver.odbc_dialect.release.format(name))

    def _begin(self, options: TransactionOptions) -> None:
        dialect = self.driver.odbc_dialect
        self._after = dialect.after(options, read_only=self._read_only)
        try:
            for sql in dialect.begin(options, read_only=self._read_only):
                self._send(sql)
        except Exception:
            if options.isolation and self.driver.dialect == "mysql" and not self._lost:
                self._send("ROLLBACK")  # or the level would be that of the next one's transaction
            raise
        if dialect.begins is None:
            self.db.autocommit = False
            try:
                for sql in dialect.first(options):
                    self._send(sql)
            except Exception:
                self._end("ROLLBACK", "rollback")
                raise

    def _commit(self) -> None:
        if self._failed and self.driver.dialect == "postgresql" and self._is_doomed():
            self._rollback()
            raise errors.TransactionError(ROLLED_BACK)
        self._end("COMMIT", "commit")

    def _rollback(self) -> None:
        self._end("ROLLBACK", "rollback")

    def _end(self, sql: str, method: str) -> None:
        if self.driver.odbc_dialect.begins is None:
            getattr(self.db, method)()
            self.db.autocommit = True
        elif self._begun:
            self._send(sql)
        self._restore()

    def _restore(self) -> None:
        """Undo what was set for the time of a transaction."""
        after, self._after = self._after, ()
        for statement in after:
            self._retry_if_interrupted(self._send, statement)

    def _is_doomed(self) -> bool:
        """Return whether the transaction can only be rolled back, which PostgreSQL does not report when it commits."""
        try:
            self._ask(self.driver.odbc_dialect.question)
        except Exception as exc:
            diagnosis = self.driver.diagnose(exc)
            if diagnosis is None or diagnosis.sqlstate != _FAILED_TRANSACTION:
                raise
            return True
        return False

    # The end of statements and of the connection

    async def settle(self) -> bool:
        """Stop a cancelled statement, wait for its end, and keep a late request to stop it from the next one."""
        if not self.stop.is_possible:
            return self.withdraw() and not self.is_closed
        await super().settle()
        if not self.is_closed:
            await self.run(self._absorb)
        return not self.is_closed

    def _absorb(self) -> None:
        for _ in range(_LATE_REQUESTS if self.stop.take_cancel_flag() else 0):
            try:
                self._ask(self.driver.odbc_dialect.question)
            except Exception as exc:
                diagnosis = self.driver.diagnose(exc)
                if diagnosis is not None and diagnosis.sqlstate == _FAILED_TRANSACTION:
                    return  # the server answers, which is all that matters here
                if diagnosis is None or diagnosis.kind is not errors.QueryTimeout:
                    raise
                self._failed = self._begun
            else:
                return

    def interrupt(self) -> None:
        self.stop.request()

    def resume(self) -> None:
        self.stop.clear()

    def _close(self) -> None:
        self.close_cursors()
        if self.db is not None:
            self.stop.close(self.db)

    def inserted_id(self) -> Any:
        """Return the id of the row that the last statement has inserted, if that takes no query; part of a call."""
        inserts = self.driver.capabilities.lastrowid and _INSERT.match(self._sql)
        return self._ask("SELECT last_insert_rowid()") if inserts else None


_MANY = "aiodb_many"
_INSERT = beginning_with("INSERT|REPLACE")
_MAY_CHANGE = beginning_with("WITH")  # rows that are not counted
_PLAIN = TransactionOptions()
_FAILED_TRANSACTION = "25P02"
_LATE_REQUESTS = 3
_SQL_DBMS_NAME = 17
