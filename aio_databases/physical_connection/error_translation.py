"""Translate the errors of a driver's library into the library's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aio_databases import errors
from aio_databases.dialects.error_codes import is_loss_or_answer, is_older_than_commit, without_value

if TYPE_CHECKING:
    from aio_databases.drivers.base import Driver

_CUT = "the connection was closed while it was in use"


def translate_error(driver: Driver, exc: Exception, *, closed: bool = False, committing: bool = False) -> Exception:
    """Return an error of the driver's library as one of ours as well, any other as it is.

    ``closed`` says that the connection is: what a library that was cut raises then, whatever it is, means the loss.
    ``committing`` says that COMMIT was sent: a loss leaves open what has become of it.
    """
    if isinstance(exc, errors.Error):
        diagnosis = errors.Diagnosis(type(exc), getattr(exc, "sqlstate", None))
    else:
        found = driver.diagnose(exc)
        if closed and (found is None or (committing and not is_loss_or_answer(found))):
            return (errors.CommitUncertainError if committing else errors.ConnectionLost)(_CUT)
        if found is None and not isinstance(exc, ArithmeticError | TypeError | ValueError):
            return exc
        # Python's own errors are those of a value, sent or read.
        diagnosis = found or errors.Diagnosis(errors.DataError, text=without_value(str(exc)))
        if diagnosis.if_open is not None and not closed:
            diagnosis = diagnosis._replace(kind=diagnosis.if_open)
    if committing and issubclass(diagnosis.kind, errors.ConnectionLost) and not is_older_than_commit(diagnosis):
        diagnosis = diagnosis._replace(kind=errors.CommitUncertainError)
    return errors.translate(exc, diagnosis)
