"""Which of our errors a code of a database stands for.

The code decides, never the class: the same SQLSTATE or number has different classes in different libraries.
"""

from __future__ import annotations

from aio_databases import errors
from aio_databases.errors import (
    AuthenticationError,
    CheckViolation,
    ConnectError,
    ConnectionLost,
    DatabaseError,
    DataError,
    DeadlockDetected,
    Error,
    ForeignKeyViolation,
    IntegrityError,
    InternalError,
    LockTimeout,
    NotNullViolation,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    QueryTimeout,
    ReadOnlyError,
    SerializationFailure,
    UniqueViolation,
)

__all__ = ("kind_of_dbapi_class", "kind_of_sqlite_name", "kind_of_sqlstate")

_SQLSTATES: dict[str, type[Error]] = {
    # https://www.postgresql.org/docs/current/errcodes-appendix.html, longest prefix first
    "23505": UniqueViolation,
    "23503": ForeignKeyViolation,
    "23502": NotNullViolation,
    "23514": CheckViolation,
    "25006": ReadOnlyError,
    "25P03": ConnectionLost,
    "28": AuthenticationError,
    "3D000": ConnectError,
    "40001": SerializationFailure,
    "40P01": DeadlockDetected,
    "55P03": LockTimeout,
    "57014": QueryTimeout,
    "57P01": ConnectionLost,
    "57P02": ConnectionLost,
    "57P03": ConnectError,
    "57P05": ConnectionLost,
    "08": ConnectionLost,
    "0A": NotSupportedError,
    "21": ProgrammingError,
    "22": DataError,
    "23": IntegrityError,
    "24": InternalError,
    "25": InternalError,
    "26": ProgrammingError,
    "2F": InternalError,
    "34": ProgrammingError,
    "3F": ProgrammingError,
    "40": OperationalError,
    "42": ProgrammingError,
    "44": ProgrammingError,
    "53": OperationalError,
    "54": OperationalError,
    "55": OperationalError,
    "57": OperationalError,
    "58": OperationalError,
    "XX": InternalError,
}

_SQLITE_NAMES: dict[str, type[Error]] = {
    # https://www.sqlite.org/rescode.html, extended codes first
    "SQLITE_CONSTRAINT_UNIQUE": UniqueViolation,
    "SQLITE_CONSTRAINT_PRIMARYKEY": UniqueViolation,
    "SQLITE_CONSTRAINT_ROWID": UniqueViolation,
    "SQLITE_CONSTRAINT_FOREIGNKEY": ForeignKeyViolation,
    "SQLITE_CONSTRAINT_NOTNULL": NotNullViolation,
    "SQLITE_CONSTRAINT_CHECK": CheckViolation,
    "SQLITE_CONSTRAINT": IntegrityError,
    "SQLITE_READONLY": ReadOnlyError,
    "SQLITE_BUSY": LockTimeout,
    "SQLITE_LOCKED": LockTimeout,
    "SQLITE_INTERRUPT": QueryTimeout,
    "SQLITE_CANTOPEN": ConnectError,
    "SQLITE_NOTADB": ConnectError,
    "SQLITE_MISMATCH": DataError,
    "SQLITE_TOOBIG": DataError,
    "SQLITE_RANGE": ProgrammingError,
    "SQLITE_ERROR": ProgrammingError,
    "SQLITE_INTERNAL": InternalError,
}


def kind_of_sqlstate(sqlstate: str) -> type[Error]:
    """Return the error class for a SQLSTATE (five characters)."""
    return _SQLSTATES.get(sqlstate) or _SQLSTATES.get(sqlstate[:2]) or DatabaseError


def kind_of_sqlite_name(name: str) -> type[Error]:
    """Return the error class for the name of an SQLite result code, such as ``SQLITE_CONSTRAINT_UNIQUE``."""
    primary = "_".join(name.split("_")[:2])
    return _SQLITE_NAMES.get(name) or _SQLITE_NAMES.get(primary) or OperationalError


def kind_of_dbapi_class(exc: Exception) -> type[Error]:
    """Return the error class for an exception that has no code, by the :pep:`249` name of one of its classes."""
    for cls in type(exc).__mro__:
        kind = getattr(errors, cls.__name__, None)
        if isinstance(kind, type) and issubclass(kind, Error):
            return kind
    return DatabaseError
