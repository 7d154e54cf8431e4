"""Transactions that calls on a lease must not run without, or should not run in: asked only where there are some."""

from __future__ import annotations

from typing import Any

from aio_databases.physical_connection.scopes import OpenTransaction, current_block


class Losses:
    """What calls on one lease have to look at: transactions that were ended from outside, or that a generator holds."""

    __slots__ = ("_lease", "_lost")

    def __init__(self, lease: Any) -> None:
        """Watch the calls on a `Lease`."""
        self._lease = lease
        self._lost: OpenTransaction | None = None  # one without a block, until its owner takes notice

    def note(self, transaction: OpenTransaction, *, is_nested: bool) -> None:
        """Refuse the calls in a transaction from now on: as long as its block, else until its owner ends it."""
        if not (transaction.has_block or is_nested):
            self._lost = transaction

    def forget(self, transaction: OpenTransaction) -> None:
        """Run statements again: the owner of a transaction has learnt that it was ended."""
        if self._lost is transaction:
            self._lost = None

    def end(self) -> None:
        """Leave nothing to the next lease."""
        self._lost = None

    def check(self) -> None:
        """Raise TransactionError if a call made now belongs to a transaction that was ended from outside.

        Raises TransactionTimeout if a generator holds it for too long.
        """
        block = current_block.get()
        while block is not None:
            if isinstance(block, OpenTransaction) and not block.ended and block.is_on(self._lease):
                block.raise_failure()
                block.note_guest()
            block = block.outer
        if self._lost is not None:
            self._lost.raise_failure()
