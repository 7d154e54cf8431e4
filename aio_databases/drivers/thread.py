"""Synchronous database libraries, served by one worker thread per connection.

Every verb is one hop: the thread runs the whole of it (execute, fetch, close the cursor) and posts one answer.
The threads are daemons, so an open connection never keeps the interpreter from exiting.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from functools import partial
from inspect import iscoroutine, iscoroutinefunction
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from aio_databases.concurrency.loop_callbacks import LoopCallbacks
from aio_databases.drivers.base import Cursor, DriverConnection, one_by_one
from aio_databases.drivers.worker import Call, work
from aio_databases.errors import ConnectionLost
from aio_databases.rows.record import Result, records

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from aio_databases.rows.record import Record

CLOSED = "the connection was closed while it was in use"

T = TypeVar("T")


class CallConnection(DriverConnection):
    """The verbs over a synchronous :pep:`249` connection, each as one call that `run` makes somewhere else."""

    db: Any
    """The synchronous connection."""

    def __init__(self) -> None:
        self.open_cursors: set[Any] = set()
        """The synchronous cursors that are open between calls."""

    @abstractmethod
    def run(self, function: Callable[..., T], /, *args: Any) -> Coroutine[Any, Any, T]:
        """Return a coroutine that calls a function where the synchronous library may block."""

    async def execute(self, sql: str, params: Any, /) -> Result:
        return await self.run(self._execute, sql, params)

    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        return await self.run(self._executemany, sql, rows)

    async def fetch(self, sql: str, params: Any, limit: int | None, /) -> list[Record]:
        return await self.run(self._fetch, sql, params, limit)

    def cursor(self, sql: str, params: Any, /) -> Cursor:
        """Return a cursor that runs the statement at its first fetch."""
        return CallCursor(self, sql, params)

    def close_cursors(self) -> None:
        """Close what is half read, which libraries come to harm by after the connection's close; part of a call."""
        while self.open_cursors:
            with suppress(Exception):  # the link may be broken
                self.open_cursors.pop().close()

    def new_cursor(self) -> Any:
        """Return a synchronous cursor that has not run anything yet; part of a call."""
        return self.db.cursor()

    def open_cursor(self, sql: str, params: Any) -> Any:
        """Run a statement and return the synchronous cursor; part of a call."""
        cursor = self.new_cursor()
        try:
            # Without parameters a library gets none, so that it leaves percent signs alone.
            cursor.execute(sql, params) if params else cursor.execute(sql)
        except BaseException:
            cursor.close()
            raise
        return cursor

    def _execute(self, sql: str, params: Any) -> Result:
        cursor = self.open_cursor(sql, params)
        try:
            return Result(cursor.rowcount, self.lastrowid(cursor))
        finally:
            cursor.close()

    def with_rows(self, cursor: Any) -> Any:
        """Return a cursor at the first of its results that has rows, if the library keeps several."""
        return cursor

    def read(self, cursor: Any, sql: str, limit: int | None) -> list[Record]:
        """Return at most ``limit`` rows of the cursor of a statement as records; part of a call."""
        del sql
        return read(cursor, limit)

    def lastrowid(self, cursor: Any) -> Any:
        """Return the id of the row that a statement has inserted, where the library knows it."""
        return cursor.lastrowid

    def _executemany(self, sql: str, rows: Sequence[Any]) -> Result:
        if not rows:
            return Result(0)
        cursor = self.new_cursor()
        try:
            with one_by_one(rows, ahead=self.sends_ahead) as given:
                cursor.executemany(sql, given)
            return Result(cursor.rowcount)
        finally:
            cursor.close()

    def _fetch(self, sql: str, params: Any, limit: int | None) -> list[Record]:
        cursor = self.open_cursor(sql, params)
        try:
            return self.read(self.with_rows(cursor), sql, limit)
        finally:
            cursor.close()


class CallCursor(Cursor):
    """Reads a synchronous cursor, one hop per chunk."""

    def __init__(self, connection: CallConnection, sql: str, params: Any) -> None:
        """Keep what to run; nothing is sent before the first `fetch`."""
        self._connection = connection
        self._statement = (sql, params)
        self._cursor: Any = None

    async def fetch(self, size: int) -> list[Record]:
        return await self._connection.run(self._fetch, size)

    async def close(self) -> None:
        """Close the synchronous cursor; may be called twice."""
        if self._cursor is not None:
            await self._connection.run(self._close)

    def _fetch(self, size: int) -> list[Record]:
        if self._cursor is None:
            self._cursor = self._connection.with_rows(self._connection.open_cursor(*self._statement))
            self._connection.open_cursors.add(self._cursor)
        return self._connection.read(self._cursor, self._statement[0], size)

    def _close(self) -> None:
        cursor, self._cursor = self._cursor, None
        self._connection.open_cursors.discard(cursor)
        cursor.close()


def read(cursor: Any, limit: int | None) -> list[Record]:
    """Return at most ``limit`` rows of a synchronous cursor as records."""
    description = cursor.description
    if description is None:
        return []
    if limit == 0:
        return []  # to sqlite3, 0 means all
    rows = cursor.fetchall() if limit is None else cursor.fetchmany(limit)
    return records([column[0] for column in description], rows)


class ThreadConnection(CallConnection):
    """A synchronous connection in a worker thread of its own, on any event loop."""

    cancels_no_task: ClassVar[bool] = True

    def __init__(self) -> None:
        """Start the thread."""
        super().__init__()
        self.db = None
        self._closed = False
        self._inbox: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._call: Call | None = None
        self._outbox = LoopCallbacks.of_running_loop()
        # Kept by the thread, so that the garbage collector cannot get to an open connection before it is closed.
        self._kept: list[Any] = []
        Thread(target=work, args=(self._inbox, self._kept), name=type(self).__name__, daemon=True).start()

    @property
    def raw(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The library's own connection; it is usable from any thread while no verb runs."""
        return self.db

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def open(self, connect: Callable[[], Any]) -> None:
        """Call ``connect`` in the thread and keep the connection that it returns."""
        try:
            await self.run(self._open, connect)
        except BaseException:
            self.terminate()
            raise

    def run(self, function: Callable[..., T], /, *args: Any) -> Coroutine[Any, Any, T]:
        """Return a coroutine that calls a function in the thread.  Raises ConnectionLost on a closed connection."""
        if self._closed:
            raise ConnectionLost(CLOSED)
        return self._submit(self.wrap_call(function), args)

    def wrap_call(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return a function with what the connection needs done before or after each call."""
        return function

    async def _submit(self, function: Callable[..., T], args: tuple[Any, ...] = ()) -> T:
        call = self._call = Call(self._outbox, function, args)
        self._inbox.put(call)
        await call.wait()
        self._call = None  # its result belongs to this call
        error, call.error = call.error, None
        if error is not None:
            try:
                if self._closed and isinstance(error, Exception):
                    raise ConnectionLost(CLOSED) from error
                raise error
            finally:
                del call, error  # else the error, its traceback, their frames and the call keep each other alive
        return call.result  # type: ignore[no-any-return]

    async def settle(self) -> bool:
        """Stop the statement whose caller was cancelled, and wait for the thread to be done with it.

        An interrupt between two calls of the library is lost, so it is repeated until the thread answers.
        """
        call = self._call
        if call is not None and not self.withdraw():
            try:
                while not call.done:
                    self.interrupt()
                    try:
                        await call.wait_again(_INTERRUPT_EVERY)
                    except TimeoutError:
                        continue
                self._call = None
            finally:
                if not self._closed:  # else the request is that of `terminate`
                    self.resume()
        return not self._closed

    def withdraw(self) -> bool:
        """Take back the call whose caller was cancelled, and return whether the thread had not begun it."""
        if self._call is not None and not self._call.withdraw():
            return False
        self._call = None
        return True

    async def close(self) -> None:
        """Close the connection and end the thread."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._submit(self._close)
        except BaseException:  # the thread waits for a server that does not answer
            self.interrupt()
            self.cut()
            raise
        finally:
            self._inbox.put(None)

    def terminate(self) -> None:
        """Stop what runs and have the thread close the connection, without waiting for it."""
        if self._closed:
            return
        self._closed = True
        if self._call is not None:
            self.interrupt()
            self.cut()
        self._inbox.put(self._close)
        self._inbox.put(None)

    async def initialise(self, init: Callable[[Any], Any]) -> None:
        """Call ``init`` in the thread; a coroutine function gets a connection whose methods are awaited."""
        if iscoroutinefunction(init):
            await init(_Awaited(self))
        else:
            answer = await self.run(init, self.db)
            if iscoroutine(answer):
                answer.close()
                message = f"init={init!r} returned a coroutine; make it a coroutine function itself, with 'async def'"
                raise TypeError(message)

    @abstractmethod
    def interrupt(self) -> None:
        """Stop the statement that runs in the thread, if there is one; called from any other thread."""

    def cut(self) -> None:
        """Make a call that waits for a server fail; called from any other thread, and never waits."""

    def resume(self) -> None:
        """Undo what `interrupt` has left behind, now that the statement has ended."""

    def _open(self, connect: Callable[[], Any]) -> None:
        self.db = connect()
        self._kept.append(self.db)

    def _close(self) -> None:
        self.close_cursors()
        if self.db is not None:
            self.db.close()

    def __del__(self) -> None:
        if not self._closed:
            self.terminate()


class _Awaited:
    """A connection whose methods are awaited and run in its thread; its other attributes are as they are."""

    def __init__(self, connection: ThreadConnection) -> None:
        vars(self)["_aiodb_connection"] = connection

    def __getattr__(self, name: str) -> Any:
        connection: ThreadConnection = vars(self)["_aiodb_connection"]
        found = getattr(connection.db, name)
        if getattr(found, "__self__", None) is not connection.db:
            return found  # something that only can be called, such as a class, is no method

        def call(*args: Any, **named: Any) -> Any:
            return connection.run(partial(found, *args, **named))

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_aiodb_connection"].db, name, value)


_INTERRUPT_EVERY = 0.02  # seconds
