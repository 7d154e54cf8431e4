"""Every error the library raises, in one tree.

::

    Error                                 everything below
    ├── InterfaceError                    the library was used in a way it does not allow
    │   ├── ConfigurationError            a URL or an option is wrong             (also ValueError)
    │   │   ├── UnknownDriver             no driver serves the URL's scheme
    │   │   └── DriverNotInstalled        the driver's library is missing         (also ImportError)
    │   ├── PoolClosed                    used after ``disconnect()``             (also RuntimeError)
    │   └── TransactionError              a transaction was used out of order     (also RuntimeError)
    └── DatabaseError                     something went wrong at the database
        ├── DataError                     a value is out of range or of the wrong type
        ├── IntegrityError                a constraint was violated
        │   └── UniqueViolation, ForeignKeyViolation, NotNullViolation, CheckViolation
        ├── InternalError
        ├── NotSupportedError
        │   └── ReadOnlyError             a write on a read-only connection       (also RuntimeError)
        ├── OperationalError              not the programmer's doing
        │   ├── ConnectError              no connection could be opened
        │   │   ├── AuthenticationError   the database refused user or password
        │   │   └── TargetNotFound        no server has the role that is wanted
        │   ├── ConnectionBusy            another task kept the connection busy   (also TimeoutError)
        │   ├── ConnectionLost            the link broke
        │   │   └── CommitUncertainError  it broke while COMMIT was under way
        │   ├── DeadlockDetected          the database chose this transaction as the victim
        │   ├── LockTimeout               a lock was not free in time
        │   ├── PoolTimeout               no connection was free in time          (also TimeoutError)
        │   ├── QueryTimeout              the database stopped a statement
        │   ├── ReplicaLag                no replica is as far as it has to be
        │   ├── SerializationFailure      the transaction has to be run again
        │   └── TransactionTimeout        a transaction took longer than it may   (also TimeoutError)
        └── ProgrammingError              bad SQL, an unknown table, parameters that do not match

The upper levels are those of :pep:`249`.  An error raised by a driver is translated once, by `translate`, into a class
derived from ours *and* from the driver's own, so that either ``except`` clause catches it.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

__all__ = (
    "AuthenticationError",
    "CheckViolation",
    "CommitUncertainError",
    "ConfigurationError",
    "ConnectError",
    "ConnectionBusy",
    "ConnectionLost",
    "DataError",
    "DatabaseError",
    "DeadlockDetected",
    "DriverNotInstalled",
    "Error",
    "ForeignKeyViolation",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "LockTimeout",
    "NotNullViolation",
    "NotSupportedError",
    "OperationalError",
    "PoolClosed",
    "PoolTimeout",
    "ProgrammingError",
    "QueryTimeout",
    "ReadOnlyError",
    "ReplicaLag",
    "SerializationFailure",
    "TargetNotFound",
    "TransactionError",
    "TransactionTimeout",
    "UniqueViolation",
    "UnknownDriver",
)


class Error(Exception):
    """Any error of the library or of a database.

    ``sqlstate`` (SQLSTATE of the server), ``errno`` (number of MySQL or SQLite), ``constraint``, ``table`` and
    ``column`` are None, and ``columns`` is empty, where the database does not report them.  ``args`` are those of the
    library; `str` is one line.
    """

    retryable: ClassVar[bool] = False
    """Whether running the whole transaction again may succeed."""

    sqlstate: str | None = None
    errno: int | None = None
    constraint: str | None = None
    table: str | None = None
    column: str | None = None
    """The column, where there is one."""
    columns: tuple[str, ...] = ()
    """All columns of the constraint that was violated, as far as the database reports them."""

    statement: str | None = None
    """The SQL of the statement, as it was sent; never its values."""
    parameter: str | None = None
    """Which value could not be sent: its name, as in ``:id``, or its number, counted from 1."""
    position: int | None = None
    """Which character the mistake begins at, counted from 1, where PostgreSQL reports it; in the text that it was sent:
    aiopg has put the values into it, and a stream of psycopg's or aiopg's begins with ``DECLARE``."""
    row: int | None = None
    """Which row of a batch failed, counted from 1, where the database or the library reports it."""
    text: str | None = None
    """What to show instead of the arguments."""

    def __str__(self) -> str:
        # A library's own way is passed over: asyncpg's adds PostgreSQL's DETAIL, which quotes values.
        text = Exception.__str__(self) if self.text is None else self.text
        return " ".join(filter(None, map(str.strip, text.splitlines())))

    def __repr__(self) -> str:
        # By the name of our class: the `__name__` of an error that is a library's as well is the library's.
        return f"{type(self).__qualname__}({str(self)!r})"


class InterfaceError(Error):
    """The library was used in a way it does not allow."""


class ConfigurationError(InterfaceError, ValueError):
    """A URL or an option is wrong."""


class UnknownDriver(ConfigurationError):
    """No driver, ours or a third party's, serves the scheme of a URL."""


class DriverNotInstalled(ConfigurationError, ImportError):
    """The library that a driver needs is not installed."""


class PoolClosed(InterfaceError, RuntimeError):
    """The database was used while or after it was disconnected."""


class TransactionError(InterfaceError, RuntimeError):
    """A transaction was used out of order, or has ended already."""


class DatabaseError(Error):
    """Something went wrong at the database."""


class DataError(DatabaseError):
    """A value is out of range, too long, or has the wrong type."""


class IntegrityError(DatabaseError):
    """A constraint was violated."""


class UniqueViolation(IntegrityError):
    """A value exists already that must be unique."""


class ForeignKeyViolation(IntegrityError):
    """A referenced row is missing, or a row is still referenced."""


class NotNullViolation(IntegrityError):
    """A column that must have a value got none."""


class CheckViolation(IntegrityError):
    """A row does not satisfy a check constraint."""


class InternalError(DatabaseError):
    """The database reports an error of its own."""


class NotSupportedError(DatabaseError):
    """The database or its driver cannot do this."""


class ReadOnlyError(NotSupportedError, RuntimeError):
    """A write was attempted on a read-only connection or transaction."""


class OperationalError(DatabaseError):
    """The database cannot serve the request now; usually not the programmer's doing."""


class ConnectError(OperationalError):
    """No connection to the database could be opened."""


class AuthenticationError(ConnectError):
    """The database refused the user or the password."""


class TargetNotFound(ConnectError):
    """There are servers, but none has the role that the option ``target`` wants."""


class ConnectionLost(OperationalError):
    """The link to the database broke."""


class CommitUncertainError(ConnectionLost):
    """The link broke while COMMIT was under way: the transaction may or may not be committed."""


class DeadlockDetected(OperationalError):
    """The database rolled this transaction back to resolve a deadlock."""

    retryable = True


class LockTimeout(OperationalError):
    """A lock was not free in time, or the database is busy with another writer."""

    retryable = True


class PoolTimeout(OperationalError, TimeoutError):
    """No connection of the pool was free in time."""


class QueryTimeout(OperationalError):
    """The database stopped a statement: it ran too long, or an administrator cancelled it."""


class ReplicaLag(OperationalError):
    """No replica is as far as it has to be, and the primary shall not stand in."""


class SerializationFailure(OperationalError):
    """The transaction met a concurrent one and has to be run again."""

    retryable = True


class TransactionTimeout(OperationalError, TimeoutError):
    """A transaction took longer than its ``timeout``, and was rolled back."""


class ConnectionBusy(OperationalError, TimeoutError):
    """Another task kept the connection busy for too long."""


class ProgrammingError(DatabaseError):
    """The SQL is wrong, names something unknown, or does not match its parameters."""


class Diagnosis(NamedTuple):
    """What a driver knows about an exception of its library."""

    kind: type[Error]
    sqlstate: str | None = None
    errno: int | None = None
    constraint: str | None = None
    table: str | None = None
    column: str | None = None
    columns: tuple[str, ...] | None = None
    row: int | None = None
    parameter: str | None = None
    """The number of the value that could not be sent, counted from 1 as the library counts."""
    text: str | None = None
    """What the error is to show, if not its arguments as they are."""
    position: int | None = None
    """The character of the statement that the mistake begins at, counted from 1."""
    if_open: type[Error] | None = None
    """What it is instead of ``kind`` if the connection turns out to be open still."""


def translate(exc: Exception, diagnosis: Diagnosis, message: str | None = None) -> Exception:
    """Return ``exc`` as an error of ours that is still an instance of its own class.

    The class of ``exc`` is replaced in place where Python allows it, so identity, arguments and traceback stay.
    Otherwise, and if it is to get another ``message``, a new error is returned with ``exc`` as its cause.
    """
    kind, *details, _ = diagnosis
    if isinstance(exc, kind):
        return exc
    combined = _combine(kind, type(exc))
    translated = exc
    if message is not None or not _reclass(exc, combined):
        translated = _make(combined, kind, exc.args if message is None else (message,))
        translated.__cause__ = exc
    for name, value in zip(Diagnosis._fields[1:-1], details, strict=True):
        if value is not None and getattr(translated, name, None) in _UNKNOWN:
            setattr(translated, name, value)
    if isinstance(translated, Error):
        _complete(translated, exc)
    return translated


def note_row(exc: BaseException, number: int) -> None:
    """Note on an error of a library, before it is translated, which row of a batch it is about, counted from 1."""
    exc.row = number  # type: ignore[attr-defined]  # one of `Error`, which it becomes


def note_statement(error: Error, sql: str) -> None:
    """Note on an error which statement it is about, unless that is known."""
    if error.statement is None:
        error.statement = sql


def name_row(error: Error, number: int) -> None:
    """Have an error of a row of a batch begin with its number, counted from 1."""
    error.row, error.args = number, (f"row {number}: {error}",)


def note_text(exc: BaseException, text: str) -> None:
    """Note on an error of a library, before it is translated, what it is to show instead of its arguments."""
    exc.text = text  # type: ignore[attr-defined]  # one of `Error`, which it becomes


def too_slow(option: str, limit: float) -> str:
    """Return what to show of a statement that an option has stopped."""
    allowed = f"{option}={limit:g} (seconds) allows"
    return f"the statement took longer than {allowed}: raise it, or have the statement do less"


def _complete(error: Error, exc: BaseException) -> None:
    """Have a column and its row of a batch stand wherever users may look for them."""
    if isinstance(error, ConnectionLost):
        error.row = None  # the link breaks whatever row is on its way
    elif error.row is None:
        error.row = getattr(exc, "row", None)
    if not error.columns and error.column is not None:
        error.columns = (error.column,)
    elif error.column is None and len(error.columns) == 1:
        (error.column,) = error.columns


_UNKNOWN = (None, ())


def _reclass(exc: Exception, combined: type[Exception]) -> bool:
    try:
        exc.__class__ = combined
    except TypeError:  # a built-in class, or another memory layout
        return False
    return True


def _make(combined: type[Exception], kind: type[Error], args: tuple[Any, ...]) -> Exception:
    try:
        return combined(*args)
    except TypeError:  # a library's class with a signature of its own
        return kind(*args)


def _combine(kind: type[Error], foreign: type[Exception]) -> type[Exception]:
    combined = _combined.get((kind, foreign))
    if combined is None:
        combined = _combined[kind, foreign] = _derive(kind, foreign)
    return combined


_combined: dict[tuple[type[Error], type[Exception]], type[Exception]] = {}


def _derive(kind: type[Error], foreign: type[Exception]) -> type[Exception]:
    def _reduce(self: Exception) -> tuple[Any, ...]:
        # A library knows what of its state cannot be pickled, such as its connection.
        reduced: Any = foreign.__reduce__(self)
        state: dict[str, Any] = reduced[2] if len(reduced) > 2 else {}  # noqa: PLR2004 - (class, arguments, state)
        return _rebuild, (kind, foreign, self.args, {**self.__dict__, **state})

    # Code that looks at names (peewee's exception wrapper does) finds the driver's in __name__;
    # tracebacks print __qualname__ and so show ours.
    namespace: dict[str, Any] = {
        "__module__": "aio_databases",
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "__reduce__": _reduce,
    }
    try:
        return type(foreign.__name__, (kind, foreign), namespace)
    except TypeError:  # the two memory layouts cannot be combined
        return kind


def _rebuild(kind: type[Error], foreign: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    combined = _combine(kind, foreign)
    error = combined.__new__(combined, *args)
    error.args = args
    error.__setstate__(state)  # which may keep no more than the library's own
    error.__dict__.update(state)
    return error
