"""Transactions that a call on a lease must not run without, or should not run in: asked only where there are some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from aio_databases.physical_connection.lock import current_block

if TYPE_CHECKING:
    from aio_databases.transactions.scope import Level

__all__ = ("Losses",)


class Losses:
    """What calls on one lease have to look at: transactions that were ended from outside, or that a generator holds."""

    __slots__ = ("_lease", "_lost")

    def __init__(self, lease: Any) -> None:
        """Watch over the calls on a `Connection`."""
        self._lease = lease
        self._lost: Level | None = None  # one without a block, until its owner takes notice

    def note(self, transaction: Level) -> None:
        """Refuse calls that stand in a transaction from now on: as long as its block, else until its owner ends it."""
        if not (transaction.has_block or transaction.is_nested):
            self._lost = transaction

    def forget(self, transaction: Level) -> None:
        """Run statements again: the owner of a transaction has heard that it was ended."""
        if self._lost is transaction:
            self._lost = None

    def end(self) -> None:
        """Leave nothing to the next lease."""
        self._lost = None

    def check(self) -> None:
        """Raise TransactionError if a call made now stands in a transaction that was ended from outside.

        Raises TransactionTimeout if a generator holds it for too long.
        """
        block = current_block.get()
        while block is not None:
            if block.is_transaction and not block.ended:
                transaction = cast("Level", block)
                if transaction.is_on(self._lease):
                    transaction.raise_failure()
                    transaction.note_guest()
            block = block.outer
        if self._lost is not None:
            self._lost.raise_failure()
