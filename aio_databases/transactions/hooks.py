"""Hooks: what users want to be called when it is known what became of a transaction."""

from __future__ import annotations

from enum import Enum
from inspect import isawaitable, iscoroutine
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection


class When(Enum):
    """What has to become of the outermost transaction for a hook to be called."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    ENDED = "ended"
    """Anything: the nested transaction that the hook waited for was rolled back long before."""


class Hook(NamedTuple):
    """A function, and when to call it."""

    number: int
    when: When
    function: Callable[..., object]
    args: tuple[Any, ...]


class Hooks:
    """The hooks of one transaction, and of those inside of it that have ended."""

    __slots__ = ("_hooks",)

    def __init__(self) -> None:
        self._hooks: list[Hook] = []

    def add(self, when: When, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Have ``function`` called with ``args``.  Raises TypeError if it cannot be."""
        if iscoroutine(function):
            function.close()
            raise TypeError("a hook is called later: give the function, then its arguments, no coroutine")
        if not callable(function):
            raise TypeError(f"a hook is a function or a coroutine function, not {function!r}")
        self._hooks.append(Hook(next(_numbers), when, function, args))

    def take_over(self, inner: Hooks, *, undone: bool) -> None:
        """Take over the hooks of a nested transaction that has ended."""
        for hook in inner._hooks:
            if not undone:
                self._hooks.append(hook)
            elif hook.when is not When.COMMITTED:
                self._hooks.append(hook._replace(when=When.ENDED))

    async def call(self, became: When | None, leaving: BaseException | None, logger: logging.Logger) -> None:
        """Call, in the order in which they were added, the hooks that wait for what the transaction ``became``.

        None means that this is unknown.  All of them are called, whatever happens in some; then a cancellation goes on,
        unless something that is no error is ``leaving`` the block already.  Errors are raised in an ExceptionGroup, or
        logged if there is something else to raise.
        """
        wanted = {When.ENDED, became}
        if became is None and (dropped := sum(hook.when not in wanted for hook in self._hooks)):
            logger.warning("it is unknown whether a transaction was committed: %d of its hooks are not called", dropped)
        failures: list[Exception] = []
        interruption: BaseException | None = None
        try:
            for hook in sorted(self._hooks):
                try:
                    if hook.when in wanted and isawaitable(result := hook.function(*hook.args)):
                        await result
                except GeneratorExit:
                    raise  # the coroutine is being closed and cannot wait for those that are left
                except Exception as exc:  # noqa: BLE001 - raised below
                    failures.append(exc)
                except BaseException as exc:  # noqa: BLE001 - raised below
                    interruption = interruption or exc
            _raise(failures, interruption, leaving, became, logger)
        finally:
            del failures, interruption  # whose tracebacks hold this frame

    def drop(self, why: str, logger: logging.Logger) -> None:
        """Call nothing, and say so."""
        logger.warning("%d hooks of a transaction are not called: %s", len(self._hooks), why)


def _raise(
    failures: Collection[Exception],
    interruption: BaseException | None,
    leaving: BaseException | None,
    became: When | None,
    logger: logging.Logger,
) -> None:
    interrupts = interruption is not None and (leaving is None or isinstance(leaving, Exception))
    if failures and leaving is None and not interrupts:
        stands = "the transaction is committed, and" if became is When.COMMITTED else "the transaction is gone, and"
        raise ExceptionGroup(f"{stands} hooks that were called after its end failed", list(failures))
    for failure in failures:
        logger.warning("a hook that was called after the end of a transaction failed: %r", failure, exc_info=failure)
    if interruption is not None and interrupts:
        raise interruption


_numbers = count()
