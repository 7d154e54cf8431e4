"""What is written to the primary: for those who answer somebody who wants to read it again."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Protocol, Self

    from aio_databases.connection import Connection

    class Transaction(Protocol):
        """What is asked of a transaction."""

        @property
        def is_active(self) -> bool: ...


__all__ = ("Writes", "note_use", "note_write")


class Writes:
    """Watches, in a ``with`` block, what this task and those that it starts write to the primary of a `Database`.

    Statements count that the library takes for writing, and whatever is done in transactions that are not ``readonly``,
    be they begun by SQL, and by `Connection.raw`.  The watch goes on in tasks that outlive the block.
    """

    __slots__ = ("_owner", "_transactions", "any")

    def __init__(self, owner: Any) -> None:
        """Watch the `Database` ``owner``, from the beginning of the block on."""
        self.any = False
        """Whether something was written, or may have been."""
        self._owner = owner
        self._transactions: dict[Transaction, None] = {}

    @property
    def are_open(self) -> bool:
        """Whether a transaction is open whose writes are still to be committed."""
        return any(transaction.is_active for transaction in self._transactions)

    def __enter__(self) -> Self:
        _watches.set((*_watches.get(), self))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Not by a token: a coroutine that is closed runs in another context than it began in.
        _watches.set(tuple(watch for watch in _watches.get() if watch is not self))

    def note(self, transaction: Transaction | None) -> None:
        """Take notice of a write, or of a transaction that may write."""
        self.any = True
        if transaction is not None and transaction not in self._transactions:
            self._transactions = {each: None for each in self._transactions if each.is_active}
            self._transactions[transaction] = None

    def watches(self, owner: Any) -> bool:
        """Whether this is about the `Database` ``owner``."""
        return self._owner is owner


_watches: ContextVar[tuple[Writes, ...]] = ContextVar("aio_databases_writes", default=())


def note_write(owner: Any, transaction: Transaction | None = None) -> None:
    """Tell those who watch from here that a statement writes, or that a ``transaction`` has begun that may."""
    for watch in _watches.get():
        if watch.watches(owner):
            watch.note(transaction)


def note_use(connection: Connection) -> None:
    """Tell those who watch from here that a connection was used to write, in a transaction begun by SQL it may be."""
    if _watches.get():
        note_write(connection.owner, _Use(connection))


class _Use:
    """A transaction that the library has not begun, if one is open: it ends with the lease of its connection.

    All uses of one lease are equal, so that one is kept of however many.
    """

    __slots__ = ("_connection", "_lent")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lent = connection.physical.lent

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Use) and (other._connection, other._lent) == (self._connection, self._lent)

    def __hash__(self) -> int:
        return hash((self._connection, self._lent))

    @property
    def is_active(self) -> bool:
        connection = self._connection
        if not connection.is_ready or connection.physical.lent != self._lent:
            return False
        return connection.driver.in_transaction
