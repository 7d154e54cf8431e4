"""Run a function in a transaction, and again when that has met another transaction."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio

from aio_databases import errors
from aio_databases.concurrency.backoff import pauses
from aio_databases.config.durations import duration
from aio_databases.dialects.error_codes import is_refusal
from aio_databases.physical_connection.scopes import TransactionState

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable

    from aio_databases.transaction import Transaction

T = TypeVar("T")


async def run_until_committed(
    begin: Callable[[], Transaction[Any]],
    function: Callable[..., Awaitable[T]],
    args: tuple[Any, ...],
    *,
    retries: int,
    backoff: float,
    logger: logging.Logger,
) -> T:
    """Run ``function`` in a transaction that ``begin`` makes, and as long as that may help in further ones.

    Raises the last error as it is, with a note of how often this was tried.
    """
    _check(function, retries)
    if retries:
        _check_again(function, args)
    tries, longest_pauses = 0, pauses(duration("backoff", backoff), _LONGEST_PAUSE)
    while True:
        transaction = begin()
        tries += 1
        try:
            async with transaction:
                return await _call(function, args)
        except Exception as exc:
            if not _may_help(transaction, exc):
                raise
            if tries > retries:
                exc.add_note(f"run_transaction() gave up after {tries} tries")
                raise
            logger.info("run_transaction() tries again: try %d has met %s", tries, type(exc).__qualname__)
        # "Full jitter", so that transactions that have met each other do not meet again.
        # https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        await anyio.sleep(random.uniform(0, next(longest_pauses)))  # noqa: S311 - there is nothing to gain from guessing it


async def _call(function: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
    result = function(*args)
    if not isawaitable(result):
        raise TypeError(f"run_transaction() runs a coroutine function, which {function!r} is not")
    return await result


def _may_help(transaction: Transaction[Any], exc: Exception) -> bool:
    """Return whether nothing of a transaction was committed, and running it again may succeed."""
    refused = transaction.state is TransactionState.NEW and isinstance(exc, errors.TransactionError)
    # What the function has run after a rollback of its own is committed.
    ended = transaction.may_be_committed or transaction.was_given_up
    return not ended and not refused and _is_retryable(exc)


def _is_retryable(exc: BaseException) -> bool:
    """Return whether an error, all those of a group, or the one that it follows from, ask to run it all again."""
    if isinstance(exc, BaseExceptionGroup):
        return all(_is_retryable(each) for each in cast("BaseExceptionGroup[BaseException]", exc).exceptions)
    if isinstance(exc, errors.TransactionError) or is_refusal(exc):
        return exc.__cause__ is not None and _is_retryable(exc.__cause__)
    return isinstance(exc, errors.Error) and exc.retryable


def _check(function: Any, retries: Any) -> None:
    """Validate the arguments."""
    if iscoroutine(function):
        function.close()
        raise TypeError("run_transaction() may call it again: give the function, then its arguments, no coroutine")
    if not callable(function):
        raise TypeError(f"run_transaction() runs a coroutine function, not an object of type {type(function).__name__}")
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        message = f"retries must be a number of times, 0 or more, not {retries!r}"
        raise errors.ConfigurationError(message)


def _check_again(function: Any, args: tuple[Any, ...]) -> None:
    """Raise TypeError for arguments that would be used up at a second try."""
    if isinstance(function, partial):
        args = (*function.args, *function.keywords.values(), *args)
        function = function.func
    to_verb = _package_of(function) == __package__  # which reads it to its end
    arg: Any
    for arg in args:
        if _is_used_up(arg, to_verb=to_verb):
            message = f"run_transaction() may call the function again, when its argument of type {type(arg).__name__} "
            raise TypeError(message + "is used up: pass a list, make it inside of the function, or set retries=0")


def _is_used_up(arg: Any, *, to_verb: bool) -> bool:
    """Return whether the first try leaves nothing of an argument.

    An iterator of another making may be a mere tool of the user's function: a file, a counter, a source of ids.
    """
    kind = cast("type[object]", type(arg))
    if not issubclass(kind, Iterator | AsyncIterator):
        return iscoroutine(arg)
    return to_verb or (_package_of(kind) in _MADE_TO_BE_READ and kind.__name__ not in _ENDLESS)


def _package_of(made: Any) -> str:
    """Return the package, or module without one, in which a function or class was made."""
    return str(getattr(made, "__module__", None)).partition(".")[0]


_LONGEST_PAUSE = 10.0  # seconds
_MADE_TO_BE_READ = {"builtins", "itertools", __package__}  # map, zip, those of containers, generators; our streams
_ENDLESS = {"count", "cycle", "repeat"}
