"""Which of our errors a code of a database stands for.

The code decides, never the class: the same SQLSTATE or number has different classes in different libraries.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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
    InterfaceError,
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

if TYPE_CHECKING:
    from aio_databases.errors import Diagnosis

_SQLSTATES: dict[str, type[Error]] = {
    # https://www.postgresql.org/docs/current/errcodes-appendix.html, longest prefix first
    "23505": UniqueViolation,
    "23503": ForeignKeyViolation,
    "23502": NotNullViolation,
    "23514": CheckViolation,
    "25006": ReadOnlyError,
    "25P03": ConnectionLost,
    "25P04": ConnectionLost,
    "28": AuthenticationError,
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
    "3D": ProgrammingError,
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

SQLITE_RESULTS = {
    1: "SQLITE_ERROR",
    2: "SQLITE_INTERNAL",
    3: "SQLITE_PERM",
    5: "SQLITE_BUSY",
    6: "SQLITE_LOCKED",
    8: "SQLITE_READONLY",
    9: "SQLITE_INTERRUPT",
    10: "SQLITE_IOERR",
    11: "SQLITE_CORRUPT",
    13: "SQLITE_FULL",
    14: "SQLITE_CANTOPEN",
    18: "SQLITE_TOOBIG",
    19: "SQLITE_CONSTRAINT",
    20: "SQLITE_MISMATCH",
    25: "SQLITE_RANGE",
    26: "SQLITE_NOTADB",
}
"""The names of SQLite's primary result codes, which are the last eight bits of the extended ones."""

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
    "SQLITE_LOCKED": OperationalError,  # by this very connection, such as by a stream: to wait would not help
    "SQLITE_LOCKED_SHAREDCACHE": LockTimeout,
    "SQLITE_INTERRUPT": QueryTimeout,
    "SQLITE_CANTOPEN": ConnectError,
    "SQLITE_NOTADB": ConnectError,
    "SQLITE_MISMATCH": DataError,
    "SQLITE_TOOBIG": DataError,
    "SQLITE_RANGE": ProgrammingError,
    "SQLITE_ERROR": ProgrammingError,
    "SQLITE_CORRUPT": InternalError,
    "SQLITE_INTERNAL": InternalError,
    "SQLITE_MISUSE": InterfaceError,
    "SQLITE_NOLFS": NotSupportedError,
}

_MYSQL_NUMBERS: dict[type[Error], tuple[int | range, ...]] = {
    # https://mariadb.com/kb/en/mariadb-error-code-reference/ and
    # https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html, client errors from 2000 to 2999
    UniqueViolation: (1022, 1062, 1169, 1586, 1761, 1762, 1859),
    ForeignKeyViolation: (1216, 1217, 1451, 1452),
    NotNullViolation: (1048, 1364, 1423),
    CheckViolation: (1369, 3819, 4025),
    DeadlockDetected: (1213, 1614, 3058),
    SerializationFailure: (1020, 1412, 3101, 8002, 8005, 9007),  # from 8000 on TiDB's: https://docs.pingcap.com
    LockTimeout: (1205, 1613, 3572),
    QueryTimeout: (1028, 1317, 1969, 3024),
    ReadOnlyError: (1036, 1223, 1290, 1792, 1836, 1874),
    ConnectionLost: (1053, 1077, 1079, 1080, 1152, range(1154, 1162), 1184, 1927, 2006, 2013, 2055, 3169, 4031),
    ConnectError: (1040, 1042, 1043, 1129, 1203, range(2001, 2006), 2012, 2026),
    AuthenticationError: (
        *(1044, 1045, 1130, 1131, 1133, 1251, 1275, 1524, 1698, 1820, 1862),
        *(2049, 2059, 2061, 3118, 3159, 3955, 4150, 4151),
    ),
    DataError: (
        *(1138, 1139, 1153, 1162, 1264, 1265, 1292, 1300, 1301, 1365, 1366, 1367, 1406, 1411, 1416, 1441, 1525, 1526),
        *(1690, 1918, range(3140, 3159), range(4035, 4045), 4084),
    ),
    NotSupportedError: (1031, 1112, 1148, 1178, 1235, 1286, 1289, 1295, 3948, 4166),
    InternalError: (1196, 1712, 1815, 2014, 2027),
    OperationalError: (
        *(1004, 1006, range(1009, 1020), 1021, range(1023, 1027), 1030, 1032, range(1034, 1036)),
        *(1037, 1038, 1041, 1047, 1105, 1114, 1119, 1135),
        *(1180, 1181, 1194, 1195, 1197, 1206, 1226, 1436, 1461, 1615, 1637, 2008, 3170),
    ),
    ProgrammingError: (
        *(1005, 1007, 1008, 1046, range(1049, 1053), range(1054, 1062), range(1063, 1076), 1082, 1083, 1084),
        *(range(1089, 1092), 1093, 1094, 1095, 1096, range(1099, 1104), 1104, range(1106, 1112), 1113),
        *(range(1115, 1119), range(1120, 1129), 1136, 1137, range(1140, 1148), 1149, range(1163, 1169), 1170),
        *(1171, 1172, 1173, 1175, 1176, 1177, 1179, 1191, 1192, 1193, 1210, 1211, 1215, range(1220, 1223), 1225),
        *(range(1227, 1235), range(1237, 1251), 1252, 1253, 1267, range(1270, 1274), 1280, 1281, 1283, 1284, 1288),
        *(1291, 1293, 1294, 1298, range(1302, 1317), range(1318, 1339), range(1345, 1358), range(1359, 1364), 1368),
        *(1370, range(1390, 1397), range(1403, 1406), 1407, range(1413, 1416), range(1424, 1428), 1442, 1443, 1444),
        *(range(1446, 1451), range(1462, 1466), range(1479, 1520), 1553, 1559, 1568, 1582, 1583, 1584, 1630, 1701),
        *(1765, 1906, 3065, 3105, 3730, range(4078, 4080), 4091, 4092, 4161),
    ),
}
_MYSQL_KINDS = {
    number: kind
    for kind, numbers in _MYSQL_NUMBERS.items()
    for some in numbers
    for number in (some if isinstance(some, range) else (some,))
}


def kind_of_sqlstate(sqlstate: str) -> type[Error]:
    """Return the error class for a SQLSTATE (five characters)."""
    return _SQLSTATES.get(sqlstate) or _SQLSTATES.get(sqlstate[:2]) or DatabaseError


def is_full(failure: Diagnosis | Error) -> bool:
    """Return whether a login has failed because the server has no connection left for it."""
    return failure.sqlstate == "53300" or failure.errno in _FULL


_FULL = frozenset({1040, 1203, 1226})


def is_refusal(error: BaseException) -> bool:
    """Return whether this is how PostgreSQL refuses all further statements of a transaction in which one has failed."""
    return isinstance(error, Error) and error.sqlstate == "25P02"


def is_of_replica(error: ReadOnlyError) -> bool:
    """Return whether a write was refused by the whole server, as a replica does."""
    return error.sqlstate == "25006" or error.errno in {1290, 1836}


def is_not_ready(error: Error) -> bool:
    """Return whether a node of Galera has refused a statement because it has lost the other nodes."""
    return error.errno == _NOT_READY


_NOT_READY = 1047


def is_type_mismatch(error: Error) -> bool:
    """Return whether PostgreSQL refuses an expression for its type."""
    return error.sqlstate == "42804"


def is_older_than_commit(diagnosis: Diagnosis) -> bool:
    """Return whether the server had ended a session for its idle transaction: before the COMMIT that met the loss."""
    return diagnosis.sqlstate in {"25P03", "25P04"}


def is_loss_or_answer(diagnosis: Diagnosis) -> bool:
    """Return whether an error is a loss, or the server's own, not one that the library has met by itself."""
    by_server = diagnosis.sqlstate or (diagnosis.errno and diagnosis.errno not in _OF_MYSQL_CLIENTS)
    return bool(by_server) or issubclass(diagnosis.kind, ConnectionLost)


_OF_MYSQL_CLIENTS = range(2000, 3000)


def kind_of_sqlite_name(name: str) -> type[Error]:
    """Return the error class for the name of an SQLite result code, such as ``SQLITE_CONSTRAINT_UNIQUE``."""
    primary = "_".join(name.split("_")[:2])
    return _SQLITE_NAMES.get(name) or _SQLITE_NAMES.get(primary) or OperationalError


def kind_of_mysql_errno(errno: int) -> type[Error]:
    """Return the error class for an error number of MySQL, MariaDB or their client."""
    return _MYSQL_KINDS.get(errno, DatabaseError)


def kind_of_dbapi_class(exc: Exception) -> type[Error]:
    """Return the error class for an exception that has no code, by the :pep:`249` name of one of its classes."""
    for cls in type(exc).__mro__:
        kind = getattr(errors, cls.__name__, None)
        if isinstance(kind, type) and issubclass(kind, Error):
            return kind
    return DatabaseError


def errno_of(exc: Exception) -> int | None:
    """Return the number of a library's error, if it has one."""
    number = exc.args[0] if exc.args else None
    return number if isinstance(number, int) else None


def without_value(text: str) -> str:
    """Return what Python says of a value that it cannot read, without the value, which no message shall show."""
    return _VALUE.sub("", text)


_VALUE = re.compile(
    r"(?<=\byear) -?\d+(?= is out of range)|\bdays=-?\d+; |(?<=string|ase 10| float): b?'.*'$", re.DOTALL
)
