"""The `Database`: a URL with options, the verbs, and the blocks; the only object that most users touch."""

from __future__ import annotations

import logging as _logging
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, cast

import anyio

from aio_databases.blocks import ConnectionBlock, ReplicaBlock, in_primary_transaction
from aio_databases.compat.v1 import current_conn
from aio_databases.concurrency.backoff import pauses
from aio_databases.config.durations import duration
from aio_databases.connection import Connection
from aio_databases.errors import AuthenticationError, ConfigurationError, ConnectError, TransactionError
from aio_databases.physical_connection.lock import ConnectionReleased
from aio_databases.physical_connection.scopes import connections_here, live_connection
from aio_databases.pool.lease import Lease
from aio_databases.replicas.lag import ReadRequirement
from aio_databases.replicas.positions import ask_position
from aio_databases.replicas.router import make_pools
from aio_databases.retries import run_until_committed
from aio_databases.sql.translator import NO_STATEMENT
from aio_databases.streams import RecordStream
from aio_databases.transaction import Transaction
from aio_databases.transactions.options import split_arguments
from aio_databases.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from logging import Logger
    from types import TracebackType
    from typing import Self, TypeVar, TypeVarTuple, Unpack

    from aio_databases.config.options import Options
    from aio_databases.drivers.base import Driver
    from aio_databases.pool.stats import PoolStats
    from aio_databases.transactions.options import BlockArguments

    Args = tuple[Any, ...]
    T = TypeVar("T")
    Ts = TypeVarTuple("Ts")

__all__ = ("Database", "current_conn")

logger = _logging.getLogger("aio_databases")
logger.addHandler(_logging.NullHandler())


class Database(Verbs):
    """A database behind a URL.

    Statements run on the connection of the block they are made in, else on one leased for the one statement.  After
    `connect`, or inside ``async with db``, connections are pooled; before, each lease opens and closes one.
    """

    def __init__(
        self,
        url: Any,
        *,
        replicas: Sequence[str | Mapping[str, Any]] | None = None,
        logger: Logger = logger,
        child_tasks: Literal["share", "isolate", "forbid"] = "share",
        **options: Unpack[Options],
    ) -> None:
        """Prepare access to the database at ``url``; nothing is opened yet.

        ``url`` is a text, an object of SQLAlchemy or pydantic that stands for one, or the path of a SQLite file.
        ``replicas`` are URLs of read-only copies, or mappings with ``url`` and ``weight``: one of weight 2 gets twice
        as many reads as one of weight 1.  ``child_tasks`` says what a task sees of the blocks that it was
        started in: it may ``"share"`` them, it is ``"isolate"``-d from them, or it is an error (``"forbid"``) to use
        their transactions.  ``options`` are those of the pool (durations in seconds, sizes in connections) and of the
        driver; they can also stand in the URL's query.

        Raises ConfigurationError, UnknownDriver or DriverNotInstalled.
        """
        if child_tasks not in {"share", "isolate", "forbid"}:
            message = f"child_tasks must be 'share', 'isolate' or 'forbid', not {child_tasks!r}"
            raise ConfigurationError(message)
        if isinstance(replicas, str) or not isinstance(cast("object", replicas or ()), Sequence):
            message = f"replicas must be a list of URLs, or of dicts, not one {type(replicas).__name__}"
            raise ConfigurationError(message)
        self.logger = logger
        self.child_tasks = child_tasks
        self._pool, self._replicas = make_pools(url, replicas or (), cast("dict[str, Any]", options), logger)
        self.debug = self._pool.options.debug

    @property
    def backend(self) -> Driver:
        """The driver; where several libraries serve a scheme, the one for the event loop once there is one."""
        return self._pool.driver

    @property
    def replica_backends(self) -> list[Driver]:
        """The drivers of the replicas."""
        return [replica.pool.driver for replica in self._replicas.own]

    @property
    def url(self) -> str:
        """The URL, without its password."""
        return self.backend.address.redacted

    def __repr__(self) -> str:
        return f"<Database {self.backend.address.redacted} {'connected' if self.is_connected else 'not connected'}>"

    # Opening and closing

    @property
    def is_connected(self) -> bool:
        """Whether connections are pooled: between `connect` and `disconnect`."""
        return self._pool.is_open

    async def connect(self, *, retry_for: float = 0.0) -> Self:
        """Open the pool, with at least one connection, and return this object; does nothing if it is open.

        A server that cannot be reached, as one that is still starting up, is tried again for ``retry_for`` seconds.

        Raises ConnectError or, at once, AuthenticationError; PoolClosed when `disconnect` is called meanwhile.
        """
        retry_for = duration("retry_for", retry_for)
        self._pool.check_loop()
        opening = self._pool.opening
        await opening.acquire(float("inf"))
        try:
            if not self._pool.is_open:
                self.logger.info("connecting to %s", self.backend.address)
                await self._open(retry_for)
                for pool in self._replicas.pools:
                    pool.open_lazily()
        finally:
            opening.release()
        return self

    async def _open(self, retry_for: float) -> None:
        deadline = monotonic() + retry_for
        for pause in pauses(_FIRST_PAUSE, _LONGEST_PAUSE):
            try:
                await self._pool.open()
                break
            except ConnectError as exc:
                if isinstance(exc, AuthenticationError) or monotonic() + pause > deadline:
                    raise
                self.logger.info("trying again in %.1f s: %s", pause, exc)
            await anyio.sleep(pause)
            self._pool.check_opening()

    async def disconnect(self, *_: object, timeout: float = 10.0) -> None:
        """Close all connections; those still in use are waited for, for at most ``timeout`` seconds, and then cut.

        Blocks that this call is made in lose their connections at once.  Does nothing if nothing is open.
        """
        timeout = duration("timeout", timeout)
        self.logger.info("disconnecting from %s", self.backend.address)
        pools, deadline = (*self._replicas.pools, self._pool), monotonic() + timeout
        leaving = [pool.shut() for pool in pools]
        try:
            for connection in connections_here(self):
                await connection.release()
            for pool, connections in zip(pools, leaving, strict=True):
                await pool.close(connections, max(0.0, deadline - monotonic()))
        finally:
            for pool, connections in zip(pools, leaving, strict=True):
                pool.terminate(connections)

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.disconnect()

    def stats(self) -> dict[str, PoolStats]:
        """Return a snapshot of each pool.

        They are called ``"primary"``, ``"replica-1"`` and so on, and ``"fallback"``: the primary, read-only.
        """
        named = {"primary": self._pool.stats, "fallback": self._replicas.fallback.stats}
        replicas = {f"replica-{number}": replica.pool.stats for number, replica in enumerate(self._replicas.own, 1)}
        return named | replicas

    # Blocks

    @property
    def current_conn(self) -> Connection | None:
        """The connection that statements made here would use, or None if they would lease one."""
        return cast("Connection | None", live_connection(self))

    @property
    def current_transaction(self) -> Transaction[Connection] | None:
        """The innermost transaction that statements made here would be part of, or None.

        Raises TransactionError in the block of a failed one.
        """
        connection = self.current_conn
        if connection is None or connection.lock is None:
            return None
        return cast("Transaction[Connection] | None", connection.lock.current_transaction())

    def connection(self, create: bool = True, *, reconnect: bool = False) -> ConnectionBlock:  # noqa: FBT001, FBT002 - 1.x
        """Return a block whose statements share one connection: ``async with db.connection() as connection``.

        With ``create=False`` that is the connection in use here, if there is one.  With ``reconnect`` a lost connection
        is replaced at once; the statement that met the loss raises all the same, and open transactions are lost.
        """
        connection = Connection(self, self._pool, self.logger, reconnect=reconnect)
        return ConnectionBlock(self, connection, create=create)

    def transaction(
        self,
        create: bool = False,  # noqa: FBT001, FBT002 - 1.x
        *,
        silent: bool = False,
        **options: Unpack[BlockArguments],
    ) -> Transaction[Connection]:
        """Return a transaction block: ``async with db.transaction()``; inside of another it is a savepoint.

        With ``create`` it runs on a connection of its own.  ``isolation`` is a level such as ``"serializable"``,
        ``mode`` is SQLite's (``"immediate"`` by default, ``"deferred"``, ``"exclusive"``).  With ``silent`` it is no
        error when the transaction is gone with its connection.  A block that takes longer than ``timeout`` seconds is
        cancelled and rolled back, and raises TransactionTimeout.

        As a decorator it runs each call of a coroutine function in such a block.
        """
        if callable(create):
            raise TypeError("a decorator needs its parentheses: write @db.transaction()")
        begin, timeout = split_arguments(options)
        return Transaction(self, begin, self._lease, create=create, silent=silent, timeout=timeout)

    async def run_transaction(
        self,
        function: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        retries: int = 3,
        backoff: float = 0.1,
        **options: Unpack[BlockArguments],
    ) -> T:
        """Run a coroutine function in a transaction, commit, and return its result.

        After an error that is ``retryable`` (a deadlock, a serialization failure, a lock that was not free) the whole
        function is run again in a new transaction, up to ``retries`` times, after a random pause of at most ``backoff``
        seconds, which doubles each time up to 10.  The other options are those of `transaction`, for each try.

        Raises TransactionError inside of a transaction, TypeError for an argument that the first try would use up, and
        what the last try has raised.
        """
        begin, timeout = split_arguments(options)
        make = partial(Transaction[Connection], self, begin, self._lease, timeout=timeout, outermost=True)
        return await run_until_committed(make, function, args, retries=retries, backoff=backoff, logger=self.logger)

    def replica(
        self,
        *,
        max_lag: float | None = None,
        after: str | None = None,
        wait: float = 0.5,
        fallback: bool = True,
    ) -> ReplicaBlock:
        """Return a block whose statements read from a replica: ``async with db.replica()``.

        Writes are refused, here and by the database.  ``max_lag`` leaves out replicas that may be more than so many
        seconds behind the primary, and 0 leaves out all of them.  ``after`` is what `position` has returned: nothing
        that was committed before is missing then; a replica that is not as far yet is waited for, for ``wait`` seconds.
        When no replica can be used, the block reads from the primary, still read-only, unless ``fallback`` is false.

        Raises ConfigurationError if a duration or the position is not valid.  The block raises TransactionError
        inside of a transaction of the primary; without ``fallback`` ConnectError, PoolTimeout or ReplicaLag;
        TargetNotFound if no primary is there to stand in; and NotSupportedError where positions are not reported.
        """
        wanted = ReadRequirement.of(max_lag, after, wait)
        return ReplicaBlock(self, self._replicas, self.logger, wanted, fallback=fallback)

    async def position(self) -> str:
        """Return how far the primary is: all that has been committed so far, for ``replica(after=...)``.

        It is a short text without spaces, commas, semicolons and quotes, fit for a cookie or a header: the WAL location
        of PostgreSQL, the GTIDs of MariaDB and MySQL, the last write set of Galera.

        Raises TransactionError inside of a transaction, whose commit is yet to come, TargetNotFound if the URL leads to
        a replica, and NotSupportedError where the database does not report it.
        """
        if in_primary_transaction(self):
            message = "the position of what this transaction writes is not known before its commit: call position() "
            raise TransactionError(message + "after the transaction's block")

        async def fetch(query: str) -> Any:
            connection = self.current_conn
            on_primary = connection is not None and not connection.read_only
            try:
                # Not as a verb, which would take MariaDB's SET STATEMENT for a change of the session.
                async with self.connection(create=not on_primary) as asked:
                    await asked.acquire()
                    rows = await asked.run_call(NO_STATEMENT, (), asked.driver.fetch(query, (), 1))
            except ConnectionReleased:
                return await fetch(query)  # as any statement whose block ends while it waits
            return rows[0][0]

        position = await ask_position(self.backend, fetch, primary=True)
        return position.text

    # Statements; `Verbs` has the public side

    def _lease(self) -> Connection:
        return Connection(self, self._pool, self.logger)

    def _run(self, verb: str, query: Any, params: Args, limit: int | None = None) -> Coroutine[Any, Any, Any]:
        connection: Connection | None = live_connection(self)
        if connection is None:
            return self._run_leased(verb, query, params, limit)
        # Should its block end while the call waits for its turn, it runs where a call made then would.
        return connection.run(verb, query, params, limit, self._run)

    async def _run_leased(self, verb: str, query: Any, params: Args, limit: int | None) -> Any:
        pool = self._pool
        physical = pool.acquire_nowait() or await pool.acquire()
        lease = physical.lease_for_one_statement
        if lease is None:
            lease = Lease.for_one_statement(self, pool, self.logger, physical)
            physical.keep_lease(lease)
        try:
            result = await lease.run(verb, query, params, limit)
        except GeneratorExit:
            pool.abandon(physical)  # a coroutine that is being closed cannot wait for anything
            raise
        except BaseException:
            await pool.release(physical)
            raise
        if not pool.release_nowait(physical):
            await pool.release(physical)
        return result

    def _stream(self, query: Any, params: Args, into: Any, chunk_size: int) -> RecordStream[Any]:
        return RecordStream(lambda: live_connection(self), self._lease, query, params, into, chunk_size)


_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds between attempts to connect
