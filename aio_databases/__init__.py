"""Async access to SQLite, PostgreSQL, MySQL, MariaDB and ODBC: pools, transactions, replicas, on asyncio and trio."""

from __future__ import annotations

import typing
import warnings

from aio_databases.connection import Connection
from aio_databases.database import Database, current_conn
from aio_databases.errors import (
    AuthenticationError,
    CheckViolation,
    CommitUncertainError,
    ConfigurationError,
    ConnectError,
    ConnectionBusy,
    ConnectionLost,
    DatabaseError,
    DataError,
    DeadlockDetected,
    DriverNotInstalled,
    Error,
    ForeignKeyViolation,
    IntegrityError,
    InterfaceError,
    InternalError,
    LockTimeout,
    NotNullViolation,
    NotSupportedError,
    OperationalError,
    PoolClosed,
    PoolTimeout,
    ProgrammingError,
    QueryTimeout,
    ReadOnlyError,
    ReplicaLag,
    SerializationFailure,
    TargetNotFound,
    TransactionError,
    TransactionTimeout,
    UniqueViolation,
    UnknownDriver,
)
from aio_databases.physical_connection.scopes import TransactionState
from aio_databases.physical_connection.write_tracker import WriteTracker
from aio_databases.pool.stats import PoolStats
from aio_databases.rows.record import Record, Result
from aio_databases.streams import RecordStream
from aio_databases.transaction import Transaction

__all__ = (
    "AuthenticationError",
    "CheckViolation",
    "CommitUncertainError",
    "ConfigurationError",
    "ConnectError",
    "Connection",
    "ConnectionBusy",
    "ConnectionLost",
    "DataError",
    "Database",
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
    "PoolStats",
    "PoolTimeout",
    "ProgrammingError",
    "QueryTimeout",
    "ReadOnlyError",
    "Record",
    "RecordStream",
    "ReplicaLag",
    "Result",
    "SerializationFailure",
    "TargetNotFound",
    "Transaction",
    "TransactionError",
    "TransactionState",
    "TransactionTimeout",
    "UniqueViolation",
    "UnknownDriver",
    "WriteTracker",
    "current_conn",
)

__version__ = "3.0.0.dev0"

if typing.TYPE_CHECKING:
    TurnTimeout = ConnectionBusy
    Writes = WriteTracker
else:

    def __getattr__(name: str) -> typing.Any:
        if name in _FORMER_NAMES:
            warnings.warn(f"{name} is called {_FORMER_NAMES[name]}", DeprecationWarning, stacklevel=2)
            return globals()[_FORMER_NAMES[name]]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_FORMER_NAMES = {"TurnTimeout": "ConnectionBusy", "Writes": "WriteTracker"}
