"""Writing numbered entries while servers fail, and finding out whether each was written once."""

from __future__ import annotations

from itertools import count, pairwise
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio

from aio_databases import CommitUncertainError, OperationalError, TransactionError, TransactionState

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases import Database

__all__ = ("Ledger", "until")


async def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait until a condition is true, for at most so many seconds."""
    with anyio.fail_after(seconds):
        while True:
            if condition():
                return
            await anyio.sleep(0.01)


class Ledger:
    """Entries that are written to a table `ledger`, each in a transaction that is tried until it has an answer.

    Args:
        db: where to.
        patience: seconds that a transaction may take.
    """

    def __init__(self, db: Database, patience: float) -> None:
        self._db = db
        self._patience = patience
        self._numbers = count()
        self.written: list[int] = []
        self.uncertain: list[int] = []
        self.failures = 0
        self.moments: list[float] = []
        """When the entries were written."""
        self.is_over = anyio.Event()

    async def write(self) -> None:
        """Write one entry after the other until it is over."""
        while not self.is_over.is_set():
            number = next(self._numbers)
            while await self._fails(number):
                pass

    async def _fails(self, number: int) -> bool:
        transaction = self._db.transaction()
        try:
            with anyio.fail_after(self._patience):
                async with transaction:
                    await self._db.execute("insert into ledger (entry) values (?)", number)
        except CommitUncertainError:
            self.uncertain.append(number)
        except (OperationalError, TransactionError, TimeoutError):
            # A time limit that ends during COMMIT is heeded when its answer has come: what that was, the state tells.
            if transaction.state is TransactionState.COMMITTED:
                self._note(number)
            elif transaction.may_be_committed:
                self.uncertain.append(number)
            else:
                self.failures += 1
                await anyio.sleep(0.02)
                return True
        else:
            self._note(number)
        return False

    def _note(self, number: int) -> None:
        self.written.append(number)
        self.moments.append(monotonic())

    async def check(self) -> str:
        """Find each entry that was acknowledged once, and of those that were not none but the uncertain ones.

        Return what is worth to be told.
        """
        found = [row.entry for row in await self._db.fetchall("select entry from ledger")]
        assert len(found) == len(set(found)), "none is doubled"
        assert not set(self.written) - set(found), "none is lost"
        assert set(found) <= {*self.written, *self.uncertain}
        return (
            f"{len(self.written)} writes acknowledged, 0 lost, 0 doubled, {self.failures} failed, "
            f"{len(self.uncertain)} uncertain, {self.longest_gap:.1f} s without one"
        )

    @property
    def longest_gap(self) -> float:
        """The most seconds in which nobody could write."""
        return max(later - earlier for earlier, later in pairwise(self.moments))
