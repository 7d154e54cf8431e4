"""PostgreSQL through psycopg 3: natively on asyncio, in a worker thread on trio."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import suppress
from enum import Enum
from functools import cached_property
from threading import Thread
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from psycopg.adapt import Dumper, Loader, PyFormat, RecursiveDumper, Transformer
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.waiting import wait_async

from aio_databases.concurrency.loops import runs_on_trio
from aio_databases.dialects.error_codes import without_value
from aio_databases.drivers.base import diagnose_builtin
from aio_databases.drivers.cursor import CursorConnection
from aio_databases.drivers.postgresql.family import BATCH
from aio_databases.drivers.postgresql.libpq import LibpqDriver, shut_down
from aio_databases.drivers.postgresql.libpq_lists import ListConnection, is_list
from aio_databases.drivers.sockets import hung_up
from aio_databases.drivers.thread import ThreadConnection
from aio_databases.errors import DataError, Diagnosis, InterfaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aio_databases.drivers.base import DriverConnection
    from aio_databases.drivers.postgresql.libpq_lists import Kind
    from aio_databases.rows.json_values import JsonValues
    from aio_databases.rows.record import Result

_INTERVAL = 0.1  # seconds; psycopg looks up now and then while it waits


class PsycopgConnection(ListConnection):
    """What is particular to psycopg, natively and in a thread."""

    _row_factory: Any = staticmethod(tuple_row)

    @property
    def in_transaction(self) -> bool:
        return not self.is_closed and self.raw.pgconn.transaction_status != TransactionStatus.IDLE

    @property
    def has_failed(self) -> bool:
        return bool(self.raw.pgconn.transaction_status == TransactionStatus.INERROR)

    @property
    def sends_ahead(self) -> bool:
        """Whether psycopg sends a batch as a pipeline, which takes libpq 14."""
        return psycopg.Pipeline.is_supported()

    def reported(self, name: str) -> str:
        """Return the value of a setting that the server reports by itself."""
        return (self.raw.pgconn.parameter_status(name.encode()) or b"").decode()

    def with_rows(self, cursor: Any) -> Any:
        """Return a cursor at the first of its results that has rows."""
        while cursor.description is None and cursor.nextset():
            pass
        return cursor

    def check_batch(self) -> None:
        """Raise InterfaceError where a batch would not learn what became of it."""
        if self.raw.pgconn.pipeline_status:
            message = "a batch cannot run inside of psycopg's pipeline(): leave that block before executemany()"
            raise InterfaceError(message)

    def has_hung_up(self) -> bool:
        """Return whether the server has ended the connection, of which libpq takes no notice between statements."""
        return self.is_closed or hung_up(self.raw.pgconn.socket)

    async def initialise(self, init: Callable[[Any], Any]) -> None:
        """Call the user's ``init`` with psycopg's connection, which may have other rows from then on."""
        await super().initialise(init)
        self._row_factory = self.raw.row_factory

    async def reset(self) -> bool:
        """Undo what was changed in the session, unless psycopg itself was set to treat statements in another way."""
        if not self.raw.autocommit or self.raw.row_factory is not self._row_factory:
            return False
        self.raw._prepared.clear()  # noqa: SLF001 - what follows makes the server forget them
        return await super().reset()

    def set_up(self, dumper: type[Dumper], loader: type[Loader]) -> None:
        """Make the connection treat JSON as the other drivers do, by the classes that `for_json` has made."""
        self.raw.adapters.register_dumper(dict, dumper)
        self.raw.adapters.register_dumper(Enum, _EnumDumper)
        self.raw.adapters.register_dumper(_Typed, _TypedDumper)
        for name in ("json", "jsonb"):
            self.raw.adapters.register_loader(name, loader)

    def declared(self, sql: str, params: Any, name: str) -> str:
        """Return what prepares a statement by the name, with the types that psycopg has for all but the lists."""
        known = [None if is_list(value) else value for value in params]
        transformer = Transformer(self.raw)
        transformer.dump_sequence(known, [PyFormat.AUTO] * len(known))
        types = ", ".join(self._name_of(oid) for oid in transformer.types or ())
        return f"PREPARE {name}{f' ({types})' if types else ''} AS {sql}"

    def typed(self, text: str, kind: Kind) -> Any:
        """Return a parameter that psycopg sends as ``text`` of this type."""
        return _Typed(text, kind.number)

    def can_ask(self) -> bool:
        """Return whether the server can be asked something now: not inside of psycopg's ``pipeline()``."""
        return not self.raw.pgconn.pipeline_status

    def _name_of(self, oid: int) -> str:
        info = self.raw.adapters.types.get(oid)
        return info.regtype if info else "unknown"


class CancellableConnection(psycopg.AsyncConnection[Any]):
    """psycopg's connection, which leaves it to its owner what becomes of a statement whose caller was cancelled.

    psycopg's own stops it in the cancelled task itself: it may take ten seconds, and closes the connection where
    cancellations are repeated.
    """

    _unfinished: Any = None
    _is_cut = False
    _watches = 0
    _loop: asyncio.AbstractEventLoop

    @property
    def closed(self) -> bool:
        """Whether the connection was closed."""
        return self._is_cut or super().closed

    async def wait(self, gen: Any, interval: float = _INTERVAL, timeout: float | None = None) -> Any:
        """Wait until psycopg's generator is done; without an interval it would ask all the time."""
        limit = {} if timeout is None else {"timeout": timeout}  # older versions have none
        self._loop = asyncio.get_running_loop()
        self._watches += 1
        try:
            return await wait_async(gen, self.pgconn.socket, interval=interval, **limit)
        except asyncio.CancelledError:
            self._unfinished = gen
            raise
        except psycopg.OperationalError as exc:
            if self._is_cut:  # libpq takes it for the server's doing
                raise psycopg.OperationalError("the connection was closed while a statement ran") from exc
            raise
        finally:
            self._watches -= 1
            if self._is_cut:
                self.cut()

    async def finish(self) -> None:
        """Wait for the end of a statement whose caller was cancelled, and drop its outcome."""
        gen, self._unfinished = self._unfinished, None
        if gen is not None and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                await self.wait(gen)

    async def close(self) -> None:
        """Close the connection in good order, which takes no waiting."""
        self.cut()

    def cut(self) -> None:
        """Close the connection at once.

        The event loop may still watch its file descriptor, whose number the next socket of the process will get.  So
        that one stays open until the statement has noticed that nothing more will come.
        """
        self._is_cut = True
        if self._watches and not self._loop.is_closed():
            with suppress(psycopg.OperationalError):  # libpq has closed it already
                shut_down(self.pgconn.socket)
        else:
            self.pgconn.finish()


class NativeConnection(PsycopgConnection, CursorConnection):
    """A connection of psycopg on asyncio."""

    raw: CancellableConnection

    def __init__(self, raw: CancellableConnection) -> None:
        """Take an open connection."""
        self.raw = raw
        self._batch: asyncio.Task[Result] | None = None

    @property
    def is_closed(self) -> bool:
        return bool(self.raw.closed)

    def new_cursor(self) -> Any:
        """Return a cursor that leaves ``$1`` to the server."""
        return psycopg.AsyncRawCursor(self.raw, row_factory=tuple_row)

    async def open_cursor(self, sql: str, params: Any) -> Any:
        """Run a statement and return its cursor; inside of psycopg's ``pipeline()`` wait for its answer."""
        cursor = await super().open_cursor(sql, params)
        if cursor.pgresult is None:
            await cursor._fetch_pipeline()  # noqa: SLF001
        return cursor

    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        # In a task of its own, because psycopg's pipelines come to harm when they are cancelled.
        task = self._batch = asyncio.create_task(self._run_all(sql, rows))
        task.add_done_callback(_take_notice)
        await asyncio.wait((task,))
        return task.result()

    async def _run_all(self, sql: str, rows: Sequence[Any]) -> Result:
        self.check_batch()
        if len(rows) <= 1:
            return await super().executemany(sql, rows)
        # A value that cannot be sent ends psycopg's pipeline, which keeps the rows before it.
        within = self.in_transaction
        await (self.savepoint(BATCH) if within else self.execute("BEGIN", ()))
        try:
            result = await super().executemany(sql, rows)
            await (self.release_savepoint(BATCH) if within else self.execute("COMMIT", ()))
        except Exception:
            if within and self.in_transaction and not self.has_failed:
                await self.rollback_to_savepoint(BATCH)
            raise
        finally:
            if self.in_transaction and not within:
                await self.rollback()
        return result

    async def settle(self) -> bool:
        """Stop a cancelled statement on the server and wait for its end."""
        batch, self._batch = self._batch, None
        if self.raw.closed:
            return False
        while batch is not None and not batch.done():
            await self._stop()
            await asyncio.wait((batch,), timeout=_INTERVAL)
        if self.raw.pgconn.transaction_status == TransactionStatus.ACTIVE:
            await self._stop()
            await self.raw.finish()
        await self.absorb_cancel()
        return not self.raw.closed

    async def _stop(self) -> None:
        await self.raw.cancel_safe(timeout=_CANCEL_TIMEOUT)

    async def close(self) -> None:
        await self.raw.close()

    def terminate(self) -> None:
        self.raw.cut()


class ThreadedConnection(PsycopgConnection, ThreadConnection):
    """A connection of psycopg in a thread of its own."""

    _canceller: Thread | None = None

    @property
    def is_closed(self) -> bool:
        return self._closed or (self.db is not None and bool(self.db.closed))

    def new_cursor(self) -> Any:
        """Return a cursor that leaves ``$1`` to the server."""
        return psycopg.RawCursor(self.db, row_factory=tuple_row)

    def open_cursor(self, sql: str, params: Any) -> Any:
        """Run a statement and return its cursor; inside of psycopg's ``pipeline()`` wait for its answer."""
        cursor = super().open_cursor(sql, params)
        if cursor.pgresult is None:
            cursor._fetch_pipeline()  # noqa: SLF001
        return cursor

    def _executemany(self, sql: str, rows: Sequence[Any]) -> Result:
        self.check_batch()
        if len(rows) <= 1:
            return super()._executemany(sql, rows)
        within = self.in_transaction  # see above
        self.db.execute(f"SAVEPOINT {BATCH}" if within else "BEGIN")
        try:
            result = super()._executemany(sql, rows)
            self.db.execute(f"RELEASE SAVEPOINT {BATCH}" if within else "COMMIT")
        except Exception:
            if within and self.in_transaction and not self.has_failed:
                self.db.execute(f"ROLLBACK TO SAVEPOINT {BATCH}")
                self.db.execute(f"RELEASE SAVEPOINT {BATCH}")
            raise
        finally:
            if self.in_transaction and not within:
                self.db.execute("ROLLBACK")
        return result

    async def settle(self) -> bool:
        """Stop a cancelled statement, wait for its end, and keep late cancel requests from the next one."""
        if await super().settle():
            if self._canceller is not None:
                await self.run(self._canceller.join)
            await self.absorb_cancel()
        return not self.is_closed

    def interrupt(self) -> None:
        """Ask the server to stop the statement; in a thread, because that takes a connection."""
        asked = self._canceller is not None and self._canceller.is_alive()
        if self.db is not None and not asked and not sys.is_finalizing():  # when no thread can be started any more
            self._canceller = Thread(target=_request, args=(self.db,), daemon=True)
            self._canceller.start()

    def cut(self) -> None:
        """Wake the thread, if it waits for the server."""
        if self.db is not None and not self.db.closed:
            shut_down(self.db.fileno())


_CANCEL_TIMEOUT = 3.0  # seconds; shorter than the pool's for clearing up


def for_json(json: JsonValues) -> tuple[type[Dumper], type[Loader]]:
    """Return the classes that write a dict, and read a column, as JSON."""

    class AnyJsonDumper(Dumper):
        """Leaves it to the server whether a dict is ``json``, ``jsonb`` or text."""

        def dump(self, obj: Any) -> bytes:
            return json.dumps(obj).encode()

    class JsonLoader(Loader):
        def load(self, data: Any) -> Any:
            return json.read(bytes(data).decode())

    return AnyJsonDumper, JsonLoader


class _EnumDumper(RecursiveDumper):
    """Sends an Enum as its value; psycopg's own, which sends its name, stays with those that were registered."""

    oid = 0

    def dump(self, obj: Any) -> Any:
        return self._tx.get_dumper(obj.value, PyFormat.TEXT).dump(obj.value)


class _Typed:
    """A value that was written by us."""

    __slots__ = ("oid", "text")

    def __init__(self, text: str, oid: int) -> None:
        self.text = text
        self.oid = oid


class _TypedDumper(Dumper):
    """Sends a value that was written by us, with its type."""

    def get_key(self, obj: Any, format: PyFormat) -> Any:  # noqa: A002 - psycopg's name
        del format
        return (self.cls, obj.oid)

    def upgrade(self, obj: Any, format: PyFormat) -> Dumper:  # noqa: A002
        del format
        dumper = _TypedDumper(self.cls)
        dumper.oid = obj.oid
        return dumper

    def dump(self, obj: Any) -> bytes:
        return obj.text.encode()  # type: ignore[no-any-return]


def _take_notice(task: asyncio.Task[Result]) -> None:
    _ = task.cancelled() or task.exception()  # the task that waited for it may be gone


def _request(connection: Any) -> None:
    with suppress(psycopg.Error):  # the server is gone, and the statement with it, or it does not answer
        connection.cancel_safe(timeout=_CANCEL_TIMEOUT)


class PsycopgDriver(LibpqDriver):
    """Opens connections to PostgreSQL with psycopg 3."""

    name: ClassVar[str] = "psycopg"

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        # Once prepared, a statement would fail on each connection for good when its table was changed from elsewhere.
        defaults = {"autocommit": True, "prepare_threshold": None}
        arguments: dict[str, Any] = defaults | await self.keywords(read_only=read_only)
        connection: NativeConnection | ThreadedConnection
        if runs_on_trio():
            connection = ThreadedConnection()
            cursor_factory = psycopg.RawCursor
            await connection.open(lambda: psycopg.connect(**arguments, cursor_factory=cursor_factory))
        else:
            connection = NativeConnection(await self._connect(arguments))
        connection.take_lists(self.json, self.list_types)
        connection.set_up(*self._json_classes)
        await self.style(connection)
        return self.guarded_against_writes(connection, connection.writes_by_default, read_only=read_only)

    @cached_property
    def _json_classes(self) -> Any:
        return for_json(self.json)

    async def _connect(self, arguments: dict[str, Any]) -> CancellableConnection:
        try:
            return await CancellableConnection.connect(**arguments)
        except BaseException as exc:
            clear_frames(exc.__traceback__)  # their variables would keep the socket open
            raise

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of psycopg means, by its SQLSTATE where it has one."""
        if isinstance(exc, psycopg.DataError) and exc.sqlstate is None:
            return Diagnosis(DataError, text=without_value(_VALUE.sub("", str(exc))))
        return self.diagnosed(exc, exc.sqlstate, exc.diag) if isinstance(exc, psycopg.Error) else diagnose_builtin(exc)


# What was read, which no message shall show: "can't parse time '24:00:00': ..." or "date too large (...): 'infinity'".
_VALUE = re.compile(r"(?<=\w) '.*'(?=: )|: '.*'$", re.DOTALL)
