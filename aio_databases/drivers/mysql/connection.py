# ruff: noqa: SLF001 - the libraries' cursors use the same methods, which are private in name only
"""What the connections to MySQL and MariaDB have in common, whatever their library.

The libraries' cursors are left aside: some ask the server for warnings after a statement and print them, and one
forgets the results that it has not read.  The methods that they use are the same in all libraries.
"""

from __future__ import annotations

import re
import sys
from abc import abstractmethod
from itertools import chain, islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from aio_databases.dialects.error_codes import errno_of, kind_of_mysql_errno
from aio_databases.drivers.base import Cursor, DriverConnection, TransactionOptions
from aio_databases.drivers.mysql.family import CLOSED, row_of
from aio_databases.drivers.mysql.literals import rows_with_values, with_values
from aio_databases.drivers.sockets import hung_up
from aio_databases.errors import ConnectionLost, DataError, IntegrityError, ProgrammingError, note_row
from aio_databases.rows.record import Result
from aio_databases.sql.insert_batches import join_rows, split_values

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from aio_databases.drivers.mysql.family import MySQLDriver
    from aio_databases.rows.record import Record


class MySQLCursor(Cursor):
    """Reads rows while the server still sends them."""

    def __init__(self, connection: MySQLConnection, sql: str, params: Any) -> None:
        """Keep what to run; nothing is sent before the first `fetch`."""
        self._connection = connection
        self._statement = (sql, params)
        self._result: Any = None
        self._loaded: Iterator[tuple[Any, ...]] | None = None
        self._failure: Exception | None = None

    async def fetch(self, size: int) -> list[Record]:
        rows = await self.fetch_rows(size)
        driver = self._connection.driver
        if unknown := driver.json_columns.unknown(self._result):
            await driver.learn_aside(unknown)
        return driver.json_columns.records(self._result, rows)

    async def fetch_rows(self, size: int) -> list[tuple[Any, ...]]:
        """Return the next ``size`` rows as the library makes them."""
        if self._result is None:
            sql = self._connection.encoded(*self._statement)
            self._result = await self._connection.run(sql, cursor=self)
        if self._loaded is not None:
            rows = list(islice(self._loaded, size))
            if len(rows) < size and self._failure is not None:
                raise self._failure
        else:
            rows = await self._read(size)
        return rows

    async def load(self) -> None:
        """Read the rest into memory; if that fails, the next fetch raises."""
        try:
            rows = await self._read(None)
        except Exception as exc:  # noqa: BLE001 - it is raised by the fetch that it belongs to
            rows, self._failure = [], exc
        self._loaded = iter(rows)

    async def skip(self, limit: int | None) -> bool:
        """Read and forget at most ``limit`` rows, and return whether there are no more."""
        while self._is_read and (limit is None or limit > 0):
            size = len(await self._read(CHUNK))
            limit = None if limit is None else limit - size
        return not self._is_read

    async def close(self) -> None:
        """Read off what is left, if that is little, else stop the statement.

        Outside of a transaction the connection is given up for that: then nothing has to be read off.
        """
        connection = self._connection
        try:
            if connection.is_closed:
                return
            if await self.skip(_SMALL_REST):
                return
            if connection.in_transaction:
                await connection.driver.kill(f"QUERY {connection.raw.thread_id()}", connection.server)
                await self.skip(None)
            else:
                await connection.give_up()
        except connection.driver.library_error:
            if connection.is_closed:
                raise  # else the statement was stopped, or would have failed, which does not matter now
        finally:
            self._loaded, self._failure = iter(()), None

    @property
    def _is_read(self) -> bool:
        return self._connection.stream is self

    async def _read(self, size: int | None) -> list[tuple[Any, ...]]:
        if not self._is_read:
            return []
        try:
            return await self._connection.talk(self._read_rows, size) or []
        except Exception as exc:
            self._connection.end_stream()
            self._loaded, self._failure = iter(()), exc  # to read on would not be the end of the rows
            raise

    async def _read_rows(self, size: int | None) -> list[tuple[Any, ...]]:
        connection = self._connection
        rows = await connection.read_rows(self._result, size)
        if not self._result.unbuffered_active:
            connection.end_stream()
            await connection.skip_results(self._result)
        return rows


CHUNK = 1000  # rows that are read, and forgotten, at a time
_SMALL_REST = 2000  # rows that are read faster than another connection is opened to stop them


T = TypeVar("T")


class MySQLConnection(DriverConnection):
    """The verbs, by the methods that the libraries' cursors use."""

    def __init__(self, driver: MySQLDriver, raw: Any, link: Any = None, *, read_only: bool) -> None:
        """Take a connection of the library's; ``link`` is one with methods that are awaited, if its own are not."""
        self.driver = driver
        self.raw = raw
        self._link = link or raw
        self._read_only = read_only
        self.stream: MySQLCursor | None = None
        self.server: Any = None
        """Which server it is, and with which role, as far as they are known."""
        self._identity = ""  # the question for that
        self._longest = sys.maxsize  # bytes that a statement may have
        self._talking = False  # a statement was sent, and its answer not read to the end

    # The session

    @abstractmethod
    async def log_in(self) -> None:
        """Open the library's connection."""

    @property
    @abstractmethod
    def socket(self) -> Any:
        """The socket of the library's connection, while that is open."""

    async def open(self) -> None:
        """Log in and begin the session."""
        await self.log_in()
        if self.driver.keepalive:
            self.driver.keepalive.watch(self.socket)
        await self._begin_session()
        for self._identity in _IDENTITIES:
            try:
                self.server = await self._ask_identity()
            except self.driver.library_error:
                if self.is_closed:
                    raise  # else it is a relative of MySQL that does not have these
            else:
                return
        self._identity = ""

    async def _begin_session(self) -> None:
        for sql in self.driver.session(self.raw.server_version, read_only=self._read_only):
            await self.execute(sql, ())

    async def reset(self) -> bool:
        """Undo what was changed in the session; servers from before 2016 cannot."""
        await self._make_way()
        try:
            await self.talk(self._command, _RESET_CONNECTION)
        except self.driver.library_error:
            return False
        if not await self._return_to_database():
            return False
        await self._begin_session()
        if self.raw.character_set_name() != "utf8mb4":
            return False  # the caller has asked the library for it, which goes on to read another one
        # The role stays, on MariaDB at least.
        return not self._identity or self.server == await self._ask_identity()

    async def _ask_identity(self) -> tuple[Any, ...]:
        for *server, longest in await self.fetch(self._identity, (), None):
            if isinstance(longest, int) and longest >= _A_PACKET:  # else the user's own decoder has read it
                self._longest = longest - _COMMAND
            return tuple(server)
        return ()  # of a stand-in

    async def _return_to_database(self) -> bool:
        """Return whether the session has the database again that it began with: one is left for another only."""
        if self.driver.database:
            try:
                await self.talk(self._link.select_db, self.driver.database)
            except self.driver.library_error:
                return False  # it was dropped
            return True
        return (await self.fetch("SELECT DATABASE()", (), None))[0][0] is None

    @property
    def in_transaction(self) -> bool:
        return not self.is_closed and bool(self.raw.server_status & _IN_TRANSACTION)

    @property
    def is_at_rest(self) -> bool:
        """Whether the connection is open and not in a transaction."""
        return not (self.is_closed or self.raw.server_status & _IN_TRANSACTION)

    def has_hung_up(self) -> bool:
        return self.is_closed or hung_up(self.socket.fileno())

    async def settle(self) -> bool:
        """Stop a cancelled statement on the server; its answer would be taken for that of the next one."""
        if not self._talking:
            return not self.is_closed
        self._talking = False
        await self.give_up()
        return False

    async def give_up(self) -> None:
        """Cut the connection and stop what it runs."""
        self.terminate()
        await self.driver.kill(f"{self.raw.thread_id()}", self.server)

    async def close(self) -> None:
        await self.raw.ensure_closed()

    def terminate(self) -> None:
        """Cut the connection: whatever waits for rows of it fails, as the library finds that the link has ended."""
        self.raw.close()

    async def ping(self) -> None:
        await self._make_way()
        await self.talk(self._command, _PING)

    # Statements

    async def execute(self, sql: str, params: Any, /) -> Result:
        if _DEFINES.match(sql):
            self.driver.json_columns.forget()
        result = await self.run(self.encoded(sql, params))
        return Result(result.affected_rows, result.insert_id or None)

    async def fetch(self, sql: str, params: Any, limit: int | None, /) -> list[Record]:
        statement = self.encoded(sql, params)
        if self.stream is not None or self.is_closed or len(statement) > self._longest:
            await self._make_way(statement)
        self._talking = True
        try:
            rows = await self.fetch_records(statement, limit)
        except Exception as exc:
            if await self._recover(exc):
                raise
            return []
        self._talking = False
        return rows

    def cursor(self, sql: str, params: Any, /) -> Cursor:
        """Return a cursor that has the connection to itself; for anything else the rest of its rows is read before."""
        return MySQLCursor(self, sql, params)

    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        """Run a statement once per row of parameters, all or nothing; many rows of an INSERT are sent at a time."""
        statements = self._batches(sql, rows)
        first = list(islice(statements, 2))
        if len(first) > 1:
            return Result(await self._run_all(chain(first, statements)))
        return Result(await self._run_batches(iter(first)))

    def _batches(self, sql: str, rows: Sequence[Any]) -> Iterator[tuple[bytes, int]]:
        """Give the statements for the rows, and how many rows each has."""
        split = split_values(sql)
        if split is None:
            written = rows_with_values(sql, rows, **self._writing)
            return ((text.encode("utf-8", "surrogateescape"), 1) for text in written)
        written = rows_with_values(split.row, rows, **self._writing)
        return join_rows(split, (row.encode("utf-8", "surrogateescape") for row in written), _BATCH)

    async def _run_all(self, statements: Iterator[tuple[bytes, int]]) -> int:
        nested = self.in_transaction
        await (self.savepoint(_SAVEPOINT) if nested else self.begin(TransactionOptions()))
        try:
            count = await self._run_batches(statements)
            await (self.release_savepoint(_SAVEPOINT) if nested else self.commit())
        except Exception:
            if self.in_transaction:
                await (self.rollback_to_savepoint(_SAVEPOINT) if nested else self.rollback())
            raise
        return count

    async def _run_batches(self, statements: Iterator[tuple[bytes, int]]) -> int:
        count = done = 0
        for sql, rows in statements:
            try:
                count += (await self.run(sql)).affected_rows
            except Exception as exc:
                number = row_of(exc) if rows > 1 else 1
                if number and not self.is_closed:
                    note_row(exc, done + number)
                raise
            done += rows
        return count

    # Transactions

    async def begin(self, options: TransactionOptions) -> None:
        """Begin a transaction; on a read-only connection none can write."""
        if options.isolation:
            await self.execute(f"SET TRANSACTION ISOLATION LEVEL {options.isolation.upper()}", ())
        try:
            await self.run(_BEGIN[self._read_only or options.readonly])
        except Exception:
            if options.isolation and not self.is_closed:
                await self.run(b"ROLLBACK")  # or the level would be that of the next one's transaction
            raise

    async def commit(self) -> None:
        if self.stream is not None:
            await self.leave_stream()
        await self.run(b"COMMIT")

    async def rollback(self) -> None:
        if self.stream is not None:
            await self.leave_stream()
        await self.run(b"ROLLBACK")

    async def leave_stream(self) -> None:
        """Close the cursor that is being read, as its rows end with the transaction."""
        if self.stream is not None:
            await self.stream.close()

    # Talking to the server

    def encoded(self, sql: str, params: Any) -> bytes:
        """Return a statement as it is sent."""
        text = with_values(sql, params, **self._writing) if params else sql
        return text.encode("utf-8", "surrogateescape")

    @property
    def _writing(self) -> dict[str, Any]:
        backslashes = not self.raw.server_status & _NO_BACKSLASH_ESCAPES
        return {"backslashes": backslashes, "to_json": self.driver.json.dumps}

    def end_stream(self) -> None:
        """Note that the cursor has no more to read from the server."""
        self.stream = None

    async def run(self, sql: bytes, *, cursor: MySQLCursor | None = None) -> Any:
        """Run a statement and return its result, the first one with rows; a ``cursor`` reads the rows itself."""
        if self.stream is not None or self.is_closed or len(sql) > self._longest:
            await self._make_way(sql)
        link = self._link
        self._talking = True
        try:
            await link.query(sql, cursor is not None)
            result = link._result
            if result.has_next and not result.unbuffered_active:
                result = await self.skip_results(result)
        except Exception as exc:
            if await self._recover(exc):
                raise
            return _NOTHING
        self._talking = False
        if result.unbuffered_active:
            self.stream = cursor
        return result

    async def fetch_records(self, sql: bytes, limit: int | None) -> list[Record]:
        """Run a statement and return its first rows; those after ``limit`` are read and forgotten."""
        link = self._link
        await link.query(sql, limit is not None)
        result = link._result
        if limit is not None:
            rows = await self.read_rows(result, limit + 1)  # so that often the end comes with them
            while result.unbuffered_active:
                await self.read_rows(result, CHUNK)
            result.rows = tuple(rows)
        if result.has_next:
            result = await self.skip_results(result)
        return await self.records(result, result.rows if limit is None else (result.rows or ())[:limit], sql)

    async def records(self, result: Any, rows: Any, sql: bytes) -> list[Record]:
        """Return the rows of a result of ``sql``, which was read to its end, as records."""
        columns = self.driver.json_columns
        if unknown := columns.unknown(result):
            if counts_rows(sql):
                await self.driver.learn_aside(unknown)
            else:
                await columns.learn(unknown, self)
        return columns.records(result, rows)

    async def _make_way(self, sql: bytes = b"") -> None:
        """Make ready for a statement.  Raises DataError for one that the server would hang up at."""
        if len(sql) > self._longest:
            message = f"the statement has {len(sql)} bytes, of which the server takes {self._longest}: raise its "
            error = DataError(f"{message}max_allowed_packet, or send the values in parts")
            error.errno = _TOO_LONG
            raise error
        if self.stream is not None:
            await self.stream.load()
        if self.is_closed:
            raise ConnectionLost(CLOSED)

    async def skip_results(self, result: Any) -> Any:
        """Read off all further results, and return the first one that has rows."""
        link, last = self._link, result
        while last.has_next:
            await link.next_result()
            last = link._result
            if result.description is None:
                result = last
        return result

    async def _command(self, code: int) -> None:
        await self._link._execute_command(code, b"")
        await self._link._read_ok_packet()

    async def talk(self, function: Callable[..., Awaitable[T]], *args: Any) -> T | None:
        """Ask the server for something, and find out what an error has left behind; an empty query has no answer."""
        self._talking = True
        try:
            answer = await function(*args)
        except Exception as exc:
            if await self._recover(exc):
                raise
            return None
        self._talking = False
        return answer

    async def _recover(self, exc: Exception) -> bool:
        """Recover from an error, and return whether it is one: an empty query is not."""
        if isinstance(exc, DataError):
            self._talking = False  # it is of our own, and comes before a statement is sent or after its answer is read
            return True
        errno = errno_of(exc) if isinstance(exc, self.driver.library_error) else None
        kind = kind_of_mysql_errno(errno or 0)
        if not errno or errno in _CLIENT_ERRORS or errno in _FATAL or issubclass(kind, ConnectionLost):
            self.terminate()  # if the server is still there, it is in the middle of an answer
        elif self.in_transaction and not issubclass(kind, IntegrityError | DataError | ProgrammingError):
            # An error does not say whether the transaction is gone with it, as after a deadlock; the next answer does.
            try:
                await self._command(_PING)
            except Exception:  # noqa: BLE001 - the first error is the one to see
                self.terminate()
        self._talking = False
        return errno != _EMPTY_QUERY

    async def read_rows(self, result: Any, size: int | None) -> list[tuple[Any, ...]]:
        """Return the next ``size`` rows of a result that is not buffered, or all that are left."""
        rows: list[tuple[Any, ...]] = []
        while size is None or len(rows) < size:
            row = await result._read_rowdata_packet_unbuffered()
            if row is None:
                break
            rows.append(row)
        return rows


def counts_rows(sql: Any) -> bool:
    """Return whether FOUND_ROWS() is asked for next, which any other SELECT on the connection would change."""
    return _COUNTS in str(sql[:_HEAD]).upper()


_COUNTS, _HEAD = "SQL_CALC_FOUND_ROWS", 1000
_IDENTITIES = (
    "SELECT @@hostname, @@port, @@server_id, CURRENT_ROLE(), @@max_allowed_packet",
    "SELECT @@hostname, @@port, @@server_id, @@max_allowed_packet",  # of servers that have no roles yet
)
_IN_TRANSACTION = 1 << 0  # flags of the server's status
_NO_BACKSLASH_ESCAPES = 1 << 9
_PING, _RESET_CONNECTION = 0x0E, 0x1F  # commands
_BEGIN = {None: b"START TRANSACTION", True: b"START TRANSACTION READ ONLY", False: b"START TRANSACTION READ WRITE"}
_EMPTY_QUERY = 1065
_CLIENT_ERRORS = range(2000, 3000)
_TOO_LONG = 1153
_FATAL = frozenset({1043, _TOO_LONG})  # after which the server hangs up
_A_PACKET = 1024  # bytes, the least that a server can be set to
_COMMAND = 2  # bytes of a packet that are not the statement's: what it is, and one that must be left
_NOTHING = SimpleNamespace(affected_rows=0, insert_id=None, rows=None, description=None, unbuffered_active=False)

_DEFINES = re.compile(r"(?i)\s*(?:CREATE|ALTER|DROP|RENAME)\b")
_BATCH = 1_000_000  # bytes of an INSERT; every server takes a statement of 1 MB
_SAVEPOINT = "aiodb_many"
