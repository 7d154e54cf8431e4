"""The seam between the library and a database driver.

A driver subclasses `Driver` and `DriverConnection`: one way to connect, five verbs, and whatever defaults do not fit.
These hold for every driver, and a conformance test checks each:

* after `Driver.connect` a connection is in autocommit mode, and read-only by the server's own means if that was asked;
* a driver never parses SQL, retries, caches results, pools or logs;
* no result is left open after a verb; only a `Cursor` keeps one;
* errors of the library pass unchanged; `Driver.diagnose` says what they mean and the caller translates them;
* a connection is used by one task at a time; that is the caller's promise;
* after a lost link, or a cancelled verb that cannot be recovered, the connection says `is_closed`;
* `close` may be called twice; `terminate` never waits, may be called again and again, and closes no file descriptor
  that an event loop still watches: the next socket of the process gets its number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from operator import length_hint
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from aio_databases import errors
from aio_databases.concurrency.loops import runs_on_trio
from aio_databases.dialects.error_codes import without_value
from aio_databases.rows.json_values import JsonValues
from aio_databases.sql.translator import Translator

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from aio_databases.config.url import Address
    from aio_databases.errors import Diagnosis
    from aio_databases.rows.record import Record, Result

__all__ = ("Capabilities", "Cursor", "Driver", "DriverConnection", "TransactionOptions", "one_by_one")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver can do, as data: the library asks it, and so do the conformance tests."""

    asyncio: bool = True
    """Runs on asyncio."""
    trio: bool = True
    """Runs on trio."""
    lastrowid: bool = False
    """`Result.lastrowid` is the id of an inserted row."""
    isolation_levels: frozenset[str] = frozenset()
    """Isolation levels that a transaction can ask for, in lower case."""
    deferrable: bool = False
    """Transactions can be DEFERRABLE."""
    modes: frozenset[str] = frozenset()
    """SQLite's transaction modes."""
    single_writer: bool = False
    """Only one connection can write at a time, so writers queue up before they meet a lock."""
    exclusive_cursor: bool = False
    """A `Cursor` keeps its connection busy or in a transaction, so outside of a transaction it gets one of its own."""
    ddl_commits: bool = False
    """CREATE, ALTER, DROP and the like commit the transaction they are run in, and end it."""
    reusable_after_cancel: bool = False
    """After a cancelled verb `DriverConnection.settle` can make the connection usable again."""


class TransactionOptions(NamedTuple):
    """How a transaction is to begin; None leaves it to the database."""

    isolation: str | None = None
    readonly: bool | None = None
    deferrable: bool | None = None
    mode: str | None = None


class Driver(ABC):
    """Opens connections to the database of one URL.  Holds none itself."""

    name: ClassVar[str]
    dialect: ClassVar[str]
    paramstyle: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    serves: ClassVar[frozenset[str]] = frozenset()
    """The dialects, beside its own, that may stand before the driver's name in a scheme, as in ``mssql+pyodbc``."""
    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    """The options of this driver, beside those of every driver, each with its converter."""

    connect_hint: ClassVar[str] = "check that the server runs and that host, port and database are right"
    """What to do when no connection can be opened, for messages."""

    loop_hint: ClassVar[str] = ""
    """What to use on the event loop that the driver cannot run on, for messages."""

    shared: bool = False
    """Whether the whole database lives in one connection, which all leases then share by turns."""

    @classmethod
    def url_parameters(cls, options: Mapping[str, Any]) -> frozenset[str]:
        """Return the parameters in the URL's query that are no options of ours but go to the library with the URL."""
        del options
        return frozenset()

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Keep where and how to connect.

        ``options`` are typed and complete; ``connect_args`` go to the library as they are.  Raises ConfigurationError
        for a host beside those of the URL.
        """
        if len(address.hosts) > 1 and (beside := options.keys() & {"host", "port", "unix_socket"}):
            message = f"the option {min(beside)!r} does not go with several hosts: write it into the URL, {address}"
            raise errors.ConfigurationError(message)
        self.address = address
        self.url = address.url
        self.options: dict[str, Any] = dict(options)
        self.connect_args = dict(connect_args)
        self.translator = Translator(self.dialect, self.paramstyle, convert=self.options.get("convert_params", True))
        self.json = JsonValues(self.options)

    @property
    def sessionless(self) -> bool:
        """Whether a proxy gives each transaction another session of the server, so that a reset makes no sense."""
        return bool(self.options.get("pgbouncer"))

    @property
    def db_type(self) -> str:
        """The kind of database, as 1.x called the dialect."""
        return self.dialect

    def for_running_loop(self) -> Driver:
        """Return the driver that serves the running event loop: this one.

        Raises NotSupportedError when it cannot, and DriverNotInstalled when the library for this event loop is missing.
        """
        loop, other = ("trio", "asyncio") if runs_on_trio() else ("asyncio", "trio")
        if not getattr(self.capabilities, loop):
            message = f"the driver {self.name} runs on {other} only, not on {loop}{self.loop_hint}"
            raise errors.NotSupportedError(message)
        return self

    def at(self, index: int) -> Driver:
        """Return the driver for one of the hosts of the URL, counted from 0."""
        return type(self)(self.address.at(index), self.options, self.connect_args)

    @abstractmethod
    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection in autocommit mode; with ``read_only`` the database itself refuses writes on it."""

    @abstractmethod
    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Return what an exception means, or None if it does not come from the library or the network."""

    def check_options(self, options: TransactionOptions) -> None:
        """Raise NotSupportedError for options of a transaction that the database cannot honour."""
        can = self.capabilities
        if options.isolation is not None and options.isolation.lower() not in can.isolation_levels:
            raise errors.NotSupportedError(self._lacks("isolation level", options.isolation, can.isolation_levels))
        if options.mode is not None and options.mode.lower() not in can.modes:
            raise errors.NotSupportedError(self._lacks("transaction mode", options.mode, can.modes))
        if options.deferrable is not None and not can.deferrable:
            message = f"{self.name} has no deferrable transactions"
            raise errors.NotSupportedError(message)

    def _lacks(self, what: str, value: str, known: frozenset[str]) -> str:
        return f"{self.name} has no {what} {value!r}; it has: {', '.join(sorted(known)) or 'none'}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address.redacted}>"

    def __str__(self) -> str:
        return self.dialect


class DriverConnection(ABC):
    """One connection to a database, in autocommit mode, used by one task at a time."""

    raw: Any
    """The library's own connection object."""

    @property
    def sends_ahead(self) -> bool:
        """Whether the library sends rows of a batch before the server has answered to those before them."""
        return False

    cancels_no_task: ClassVar[bool] = False
    """Whether `commit` and `rollback` never cancel the task they run in, as asyncio's time limits do to end a wait.

    Then a transaction ends without a task of its own, which takes time.
    """

    @property
    @abstractmethod
    def is_closed(self) -> bool:
        """Whether the connection cannot be used any more."""

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether a transaction is open, as far as is known without asking the server."""

    @property
    def is_at_rest(self) -> bool:
        """Whether the connection is open and not in a transaction; asked once per lease, so it should be quick."""
        return not (self.is_closed or self.in_transaction)

    @abstractmethod
    async def execute(self, sql: str, params: Any, /) -> Result:
        """Run a statement and leave its rows, if any."""

    @abstractmethod
    async def executemany(self, sql: str, rows: Sequence[Any], /) -> Result:
        """Run a statement once per row of parameters, all or nothing."""

    @abstractmethod
    async def fetch(self, sql: str, params: Any, limit: int | None, /) -> list[Record]:
        """Run a statement and return its rows, at most ``limit`` of them."""

    @abstractmethod
    def cursor(self, sql: str, params: Any, /) -> Cursor:
        """Return a cursor that runs the statement at its first `Cursor.fetch`."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connection in good order."""

    @abstractmethod
    def terminate(self) -> None:
        """Cut the connection at once, without waiting for anything."""

    async def ping(self) -> None:
        """Ask the server for a sign of life; raises if it does not come."""
        await self.fetch("SELECT 1", (), 1)

    def has_hung_up(self) -> bool:
        """Return whether the server has ended the connection, where that shows without asking; never waits.

        What is sent from then on is certainly not run.  Asked before COMMIT, when no statement runs.
        """
        return self.is_closed

    async def settle(self) -> bool:
        """Clear up after a cancelled verb and return whether the connection can be used again."""
        return False

    def read_only_view(self) -> DriverConnection:
        """Return this connection for a user whose writes the database refuses; for drivers that are `Driver.shared`."""
        message = f"{type(self).__name__} cannot be shared read-only"
        raise errors.NotSupportedError(message)

    async def reset(self) -> bool:
        """Undo what was changed in the session and return whether that was possible."""
        return False

    async def initialise(self, init: Callable[[Any], Any]) -> None:
        """Call the user's ``init`` (a function or coroutine function) with the library's connection."""
        answer = init(self.raw)
        if hasattr(answer, "__await__"):
            await answer

    async def begin(self, options: TransactionOptions) -> None:
        """Begin a transaction; options that the driver's capabilities lack were refused before."""
        await self.execute(begin_statement(options), ())

    async def commit(self) -> None:
        """Commit the transaction."""
        await self.execute("COMMIT", ())

    async def rollback(self) -> None:
        """Roll the transaction back."""
        await self.execute("ROLLBACK", ())

    async def savepoint(self, name: str) -> None:
        """Begin a nested transaction."""
        await self.execute(f"SAVEPOINT {name}", ())

    async def release_savepoint(self, name: str) -> None:
        """Commit a nested transaction, with those inside of it."""
        await self.execute(f"RELEASE SAVEPOINT {name}", ())

    async def rollback_to_savepoint(self, name: str) -> None:
        """Roll a nested transaction back and forget its savepoint."""
        await self.execute(f"ROLLBACK TO SAVEPOINT {name}", ())
        await self.execute(f"RELEASE SAVEPOINT {name}", ())


class Cursor(ABC):
    """Reads the rows of one statement in chunks."""

    @abstractmethod
    async def fetch(self, size: int) -> list[Record]:
        """Return the next ``size`` rows; fewer mean that there are no more."""

    @abstractmethod
    async def close(self) -> None:
        """Free what the cursor holds; may be called twice."""


def begin_statement(options: TransactionOptions) -> str:
    """Return standard SQL's statement that begins a transaction with ``options``."""
    if options == _PLAIN:
        return "BEGIN"
    words = ["BEGIN"]
    if options.mode:
        words.append(options.mode.upper())
    if options.isolation:
        words.append(f"ISOLATION LEVEL {options.isolation.upper()}")
    if options.readonly is not None:
        words.append("READ ONLY" if options.readonly else "READ WRITE")
    if options.deferrable is not None:
        words.append("DEFERRABLE" if options.deferrable else "NOT DEFERRABLE")
    return " ".join(words)


_PLAIN = TransactionOptions()


async def run_aside(driver: Driver, sql: str) -> None:
    """Run a statement on a connection of its own, such as one that stops what another connection runs."""
    connection = await driver.connect()
    try:
        await connection.execute(sql, ())
        await connection.close()
    finally:
        connection.terminate()


@contextmanager
def one_by_one(rows: Sequence[Any], *, ahead: bool = False) -> Generator[Iterator[Any]]:
    """Give the rows of a batch to a library that runs each as it takes it, and note on its error which one failed.

    If the library sends rows ahead, an error with a SQLSTATE, which is the server's, does not show which one is meant.
    """
    left = iter(rows)
    try:
        yield left
    except Exception as exc:
        taken = len(rows) - length_hint(left)
        if taken and (not ahead or len(rows) == 1 or getattr(exc, "sqlstate", None) is None):
            errors.note_row(exc, taken)
        raise


def diagnose_builtin(exc: Exception) -> Diagnosis | None:
    """Return what an exception of Python's own means: the network's, or that of a value out of range; else None."""
    text = str(exc) or type(exc).__name__
    if isinstance(exc, OSError):
        return errors.Diagnosis(errors.ConnectionLost, errno=exc.errno, text=text)
    if isinstance(exc, OverflowError | UnicodeError):
        return errors.Diagnosis(errors.DataError, text=without_value(text))
    if isinstance(exc, NotImplementedError):
        return errors.Diagnosis(errors.NotSupportedError, text=text)
    return None
