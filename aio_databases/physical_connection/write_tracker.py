"""Record whether a task has written to the primary, so that a caller can route its later reads (read-your-writes)."""

from __future__ import annotations

import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Protocol, Self

    from aio_databases.drivers.base import DriverConnection

    class _Transaction(Protocol):
        """What is asked of a transaction."""

        @property
        def is_active(self) -> bool: ...

    class _Leased(Protocol):
        """What is asked of a physical connection."""

        driver: DriverConnection
        leased_at: float


class WriteTracker:
    """Records, in a ``with`` block, what this task and its child tasks write to the primary of a `Database`.

    What counts are statements that the library takes for writing, and everything in transactions that are not
    ``readonly`` (those begun by SQL included) and on `Connection.raw`.  Tasks that outlive the block still count.
    """

    __slots__ = ("_owner", "_transactions", "has_written")

    def __init__(self, owner: Any) -> None:
        """Watch the `Database` ``owner`` from the beginning of the block on."""
        self.has_written = False
        """Whether a task has written, or may have."""
        self._owner = owner
        self._transactions: dict[_Transaction, None] = {}

    @property
    def are_open(self) -> bool:
        """Whether a transaction is open whose writes are still to be committed."""
        return any(transaction.is_active for transaction in self._transactions)

    @property
    def any(self) -> bool:
        """The former name of `has_written`."""
        warnings.warn("WriteTracker.any is called has_written", DeprecationWarning, stacklevel=2)
        return self.has_written

    def __enter__(self) -> Self:
        _trackers.set((*_trackers.get(), self))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Not by a token: a coroutine that is closed runs in another context than it began in.
        _trackers.set(tuple(each for each in _trackers.get() if each is not self))

    def record(self, transaction: _Transaction | None) -> None:
        """Record a write, or a transaction that may write."""
        self.has_written = True
        if transaction is not None and transaction not in self._transactions:
            self._transactions = {each: None for each in self._transactions if each.is_active}
            self._transactions[transaction] = None

    def watches(self, owner: Any) -> bool:
        """Return whether this watches the `Database` ``owner``."""
        return self._owner is owner


_trackers: ContextVar[tuple[WriteTracker, ...]] = ContextVar("aio_databases_writes", default=())


def record_write(owner: Any, transaction: _Transaction | None = None) -> None:
    """Record for the trackers here that a statement writes, or that a ``transaction`` has begun that may write."""
    for tracker in _trackers.get():
        if tracker.watches(owner):
            tracker.record(transaction)


def record_use(owner: Any, connection: _Leased) -> None:
    """Record for the trackers here that a connection is used to write, perhaps in a transaction begun by SQL."""
    if _trackers.get():
        record_write(owner, _Use(connection))


class _Use:
    """A transaction that the library has not begun, if one is open: it ends with the lease of its connection.

    All uses of one lease are equal, so that one is kept of however many.
    """

    __slots__ = ("_connection", "_leased_at")

    def __init__(self, connection: _Leased) -> None:
        self._connection = connection
        self._leased_at = connection.leased_at

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Use) and (other._connection, other._leased_at) == (self._connection, self._leased_at)

    def __hash__(self) -> int:
        return hash((self._connection, self._leased_at))

    @property
    def is_active(self) -> bool:
        connection = self._connection
        if connection.leased_at != self._leased_at or connection.driver.is_closed:
            return False
        return connection.driver.in_transaction
