"""What a failure means for a connection and its transactions, and how they get over it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from aio_databases import errors
from aio_databases.concurrency.shields import shielded
from aio_databases.dialects.error_codes import without_value
from aio_databases.pool.connector import NOT_READY

if TYPE_CHECKING:
    import logging

    from aio_databases.connection import Connection
    from aio_databases.drivers.base import Driver
    from aio_databases.physical_connection.connection import Physical
    from aio_databases.pool.pool import Pool
    from aio_databases.sql.translator import Plan

__all__ = ("clear_up", "heed_role", "note_transaction", "recover", "translated")

_CUT = "the connection was closed while it was in use"
_OLDER_THAN_COMMIT = {"25P03", "25P04"}  # the server had ended the idle transaction before
_ERRORS_OF_MYSQL_CLIENTS = range(2000, 3000)
_ROLLED_BACK = "the database rolled it back when a statement failed or was cancelled"


async def recover(pool: Pool, physical: Physical, exc: BaseException, logger: logging.Logger) -> BaseException:
    """Find out what a failed call has done to a connection, bring it in order or cut it, and return the error to raise.

    The caller has the turn.  A cancellation is waited out; the bookkeeping is done even if another one arrives.
    """
    driver, turns = physical.driver, physical.turns
    error = translated(pool.driver, exc, closed=driver.is_closed) if isinstance(exc, Exception) else exc
    heed_role(pool, physical, error)
    try:
        if isinstance(exc, GeneratorExit):
            physical.in_doubt = True  # a coroutine that is being closed cannot wait: the next user clears up
        elif isinstance(error, errors.ConnectionLost):
            driver.terminate()
        elif isinstance(exc, TimeoutError) or not isinstance(exc, Exception):
            await _settle(pool, physical, logger)
    finally:
        if isinstance(error, errors.ConnectionLost):
            pool.suspect()
        cause = error if isinstance(error, Exception) else None
        if cause is not None and turns.stack:
            turns.stack[-1].note_error(cause)
        if driver.is_closed:
            turns.end_all("its connection was lost", cause=cause)
        elif not driver.in_transaction:
            turns.end_all(_ROLLED_BACK, cause=cause)
            if physical.begun_by_hand:
                physical.begun_by_hand, physical.hand_begun_is_lost = False, True
    return error


def heed_role(pool: Pool, physical: Physical, error: BaseException) -> None:
    """Have the roles of the pool's servers checked if an error may come from one that is the primary no more."""
    if isinstance(error, errors.ReadOnlyError):
        stack = physical.turns.stack
        writes = not (pool.read_only or (stack and stack[0].is_read_only))
        if writes and (error.sqlstate == "25006" or error.errno in {1290, 1836}):
            pool.suspect_roles()
    elif isinstance(error, errors.OperationalError) and error.errno == NOT_READY:
        pool.suspect_roles()


def translated(driver: Driver, exc: Exception, *, closed: bool = False, committing: bool = False) -> Exception:
    """Return an error of the driver's library as one of ours as well, any other as it is.

    ``closed`` says that the connection is: what a library that was cut raises then, whatever it is, means the loss.
    ``committing`` says that COMMIT was sent: a loss leaves open what has become of it.
    """
    if isinstance(exc, errors.Error):
        diagnosis = errors.Diagnosis(type(exc), getattr(exc, "sqlstate", None))
    else:
        found = driver.diagnose(exc)
        if closed and (found is None or (committing and not _is_loss_or_answer(found))):
            kind = errors.CommitUncertainError if committing else errors.ConnectionLost
            return kind(_CUT)
        if found is None and not isinstance(exc, ArithmeticError | TypeError | ValueError):
            return exc
        diagnosis = found or errors.Diagnosis(
            errors.DataError, text=without_value(str(exc))
        )  # of a value, sent or read
        if diagnosis.if_open is not None and not closed:
            diagnosis = diagnosis._replace(kind=diagnosis.if_open)
    if (
        committing
        and issubclass(diagnosis.kind, errors.ConnectionLost)
        and diagnosis.sqlstate not in _OLDER_THAN_COMMIT
    ):
        diagnosis = diagnosis._replace(kind=errors.CommitUncertainError)
    return errors.translate(exc, diagnosis)


def _is_loss_or_answer(diagnosis: errors.Diagnosis) -> bool:
    """Return whether an error is a loss, or the server's own, not one that the library has met by itself."""
    by_server = diagnosis.sqlstate or (diagnosis.errno and diagnosis.errno not in _ERRORS_OF_MYSQL_CLIENTS)
    return bool(by_server) or issubclass(diagnosis.kind, errors.ConnectionLost)


async def _settle(pool: Pool, physical: Physical, logger: logging.Logger) -> None:
    """Wait, in spite of further cancellations, until the connection is usable again; cut it if it will not be."""
    physical.in_doubt = True
    settled = False

    async def settle() -> None:
        nonlocal settled
        settled = await physical.settle()

    within, began = pool.options.cleanup_timeout, monotonic()
    if pool.role == "replica":
        within = min(within, pool.patience)
    pool.unsettled += 1
    try:
        await shielded(settle, within)
    except Exception as failure:  # noqa: BLE001 - the error or cancellation under way is the one to see
        logger.info("a cancelled statement could not be cleared up: %r", failure)
    finally:
        pool.unsettled -= 1
        if not settled:
            physical.driver.terminate()
            if monotonic() - began >= within:
                pool.leave_alone(f"{pool.driver.address} did not say within {within:g} s that a statement has stopped")


async def clear_up(physical: Physical) -> None:
    """Clear up what earlier calls have left on the connection, before the next one.

    Raises ConnectionLost, or TransactionError if its user has to hear that a transaction begun with SQL is gone.
    """
    if not await physical.settle():
        message = "the connection was lost when an earlier statement on it was cancelled"
        raise errors.ConnectionLost(message)
    if physical.hand_begun_is_lost:
        physical.hand_begun_is_lost = False
        message = f"the transaction that was begun with SQL is gone: {_ROLLED_BACK}"
        raise errors.TransactionError(message)


def note_transaction(physical: Physical, plan: Plan, connection: Connection) -> None:
    """Note whether a statement that was made on a lease has begun or ended a transaction."""
    open_now = physical.driver.in_transaction
    if not physical.turns.stack:
        if open_now and not physical.begun_by_hand:
            physical.begun_by = connection
        physical.begun_by_hand = open_now
    elif physical.driver.is_closed:
        physical.turns.end_all("its connection was lost")
    elif not open_now or plan.ends:  # or has begun another one at once
        message = "it was ended by a statement, not by its own commit() or rollback(), and what ran before is committed"
        physical.turns.end_all(f"{message}, unless it was a ROLLBACK", uncertain=True)
