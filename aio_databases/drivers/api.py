"""All that the author of a driver imports, in one place; see docs/custom-drivers.md.

These names are public: they change only as the version number says. Modules beside this one may move.
"""

from aio_databases.config.url import Address, anything, boolean, function, integer, optional, seconds
from aio_databases.dialects.error_codes import (
    kind_of_dbapi_class,
    kind_of_mysql_errno,
    kind_of_sqlite_name,
    kind_of_sqlstate,
)
from aio_databases.drivers.base import (
    Capabilities,
    Cursor,
    Driver,
    DriverConnection,
    TransactionOptions,
    begin_statement,
    diagnose_builtin,
    run_aside,
)
from aio_databases.drivers.cursor import CursorConnection
from aio_databases.drivers.network import SSL_MODES, NetworkDriver, ssl_context
from aio_databases.drivers.thread import CallConnection, CallCursor, ThreadConnection
from aio_databases.errors import Diagnosis
from aio_databases.rows.record import Record, Result, record_type, records

__all__ = (
    "SSL_MODES",
    "Address",
    "CallConnection",
    "CallCursor",
    "Capabilities",
    "Cursor",
    "CursorConnection",
    "Diagnosis",
    "Driver",
    "DriverConnection",
    "NetworkDriver",
    "Record",
    "Result",
    "ThreadConnection",
    "TransactionOptions",
    "anything",
    "begin_statement",
    "boolean",
    "diagnose_builtin",
    "function",
    "integer",
    "kind_of_dbapi_class",
    "kind_of_mysql_errno",
    "kind_of_sqlite_name",
    "kind_of_sqlstate",
    "optional",
    "record_type",
    "records",
    "run_aside",
    "seconds",
    "ssl_context",
)
