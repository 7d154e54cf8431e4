"""What an error shows of itself."""

from __future__ import annotations

import traceback

SECRET = "hunter2"  # a password or value that nothing may show


def everything_told(error):
    """Return what an error, and those that led to it, show of themselves, in messages, reprs and tracebacks."""
    told = traceback.format_exception(error)
    while error is not None:
        told.append(repr(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(told)
