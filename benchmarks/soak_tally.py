"""What the soak counts while it works: operations, errors, wrong answers, and what hooks were told."""

from __future__ import annotations

from collections import Counter
from traceback import format_exception
from typing import TYPE_CHECKING, Self

from soak_checks import Histogram, Outcome

if TYPE_CHECKING:
    from aio_databases import Transaction
    from soak_checks import Attempt

EXPECTED = {
    *("CommitUncertainError", "ConnectError", "ConnectionLost", "DeadlockDetected", "LockTimeout", "OperationalError"),
    *("PoolClosed", "PoolTimeout", "QueryTimeout", "SerializationFailure", "TransactionError", "TurnTimeout"),
}
"""What may become of a right statement when the database is not well.  Anything else is a defect."""


class Tally:
    """What was counted."""

    def __init__(self) -> None:
        self.operations = Counter[str]()
        self.cancelled = Counter[str]()
        self.errors = Counter[str]()
        self.wrong = Counter[str]()
        self.unexpected = Counter[str]()
        self.tracebacks: dict[str, str] = {}
        """One for each kind of what was unexpected."""
        self.overdue = 0
        """Operations that the program gave up because the database did not answer."""
        self.times = Histogram()

    def failed(self, exc: BaseException) -> None:
        """Count an error, or those of a group."""
        if isinstance(exc, BaseExceptionGroup):
            for each in exc.exceptions:
                self.failed(each)
            return
        kind = next((each for each in type(exc).__mro__ if each.__module__ == "aio_databases.errors"), None)
        if kind is not None and kind.__name__ in EXPECTED:
            self.errors[kind.__name__] += 1
        else:
            self.surprise(kind.__name__ if kind else type(exc).__qualname__, exc)

    def surprise(self, kind: str, exc: BaseException | str) -> None:
        """Count what must not happen, and keep how it happened the first time."""
        self.unexpected[kind] += 1
        if kind not in self.tracebacks:
            self.tracebacks[kind] = exc if isinstance(exc, str) else "".join(format_exception(exc))

    def check(self, expected: object, actual: object, what: str) -> None:
        """Count a wrong answer."""
        if expected != actual:
            self.wrong[what] += 1
            self.tracebacks.setdefault(f"wrong: {what}", f"expected {expected!r}, got {actual!r}")


class Hooks:
    """Hooks of the transactions of one write, which must tell the same as its outcome."""

    def __init__(self, attempt: Attempt, tally: Tally) -> None:
        self._attempt = attempt
        self._tally = tally
        self.joined = 0
        self.called = Counter[str]()

    def join(self, transaction: Transaction) -> None:
        """Be called at the end of a transaction."""
        self.joined += 1
        transaction.on_commit(self.called.update, ["committed"])
        transaction.on_rollback(self.called.update, ["rolled back"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        committed, undone = self.called["committed"], self.called["rolled back"]
        right = {
            Outcome.ACKNOWLEDGED: (committed, undone) == (1, self.joined - 1),
            Outcome.FAILED: (committed, undone) == (0, self.joined),
            Outcome.UNCERTAIN: self.joined - 1 <= committed + undone <= self.joined,
        }
        outcome = self._attempt.outcome
        if outcome is not None and not right[outcome]:
            self._tally.check(outcome, f"hooks {dict(self.called)} of {self.joined} transactions", "hooks")
