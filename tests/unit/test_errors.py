"""Errors: one tree, and translation that keeps the driver's own class."""

from __future__ import annotations

import copy
import pickle
import sqlite3
import traceback

import asyncpg
import pytest

from aio_databases import errors
from aio_databases.dialects.error_codes import (
    _SQLSTATES,
    kind_of_dbapi_class,
    kind_of_mysql_errno,
    kind_of_sqlite_name,
    kind_of_sqlstate,
)
from aio_databases.errors import Diagnosis, translate


class Library(Exception):
    """An error of a library written in Python."""


class Picky(Exception):
    """One whose constructor wants more than a message."""

    def __init__(self, one, two):
        super().__init__(one, two)


def test_a_translated_error_is_itself_with_both_classes_and_its_details():
    exc = Library("boom")
    error = translate(exc, Diagnosis(errors.UniqueViolation, "23505", 7, "c", "t", "x"))
    assert exc is error
    assert [isinstance(error, each) for each in (Library, errors.UniqueViolation, errors.IntegrityError)] == [True] * 3
    assert (error.sqlstate, error.errno, error.constraint, error.table, error.column) == ("23505", 7, "c", "t", "x")
    assert (type(error).__name__, type(error).__qualname__) == ("Library", "UniqueViolation")


def test_an_error_of_a_built_in_class_becomes_a_new_one_with_the_old_as_its_cause():
    exc = OSError(5, "broken")
    error = translate(exc, Diagnosis(errors.ConnectionLost, errno=5))
    assert isinstance(error, OSError)
    assert isinstance(error, errors.ConnectionLost)
    assert (exc, 5) == (error.__cause__, error.errno)


def test_an_error_that_fits_already_is_left_alone():
    exc = errors.UniqueViolation("x")
    assert exc is translate(exc, Diagnosis(errors.IntegrityError))


def test_another_message_makes_a_new_error():
    error = translate(Library("old"), Diagnosis(errors.ConnectError), "new")
    assert (str(error), str(error.__cause__)) == ("new", "old")
    assert isinstance(error, Library)


def test_a_class_with_a_signature_of_its_own_gives_way():
    error = translate(Picky(1, 2), Diagnosis(errors.ConnectError), "new")
    assert (errors.ConnectError, "new") == (type(error), str(error))


def test_classes_that_cannot_be_combined_give_way_to_ours():
    exc = UnicodeDecodeError("utf-8", b"", 0, 1, "bad")  # its memory is laid out otherwise than TimeoutError's
    error = translate(exc, Diagnosis(errors.PoolTimeout))
    assert (errors.PoolTimeout, exc) == (type(error), error.__cause__)


def test_translated_errors_survive_pickling():
    error = translate(Library("boom"), Diagnosis(errors.UniqueViolation, "23505"))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(error), ("boom",), "23505") == (type(again), again.args, again.sqlstate)


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("23505", errors.UniqueViolation),
        ("23503", errors.ForeignKeyViolation),
        ("23502", errors.NotNullViolation),
        ("23514", errors.CheckViolation),
        ("23P01", errors.IntegrityError),
        ("25006", errors.ReadOnlyError),
        ("25P02", errors.InternalError),
        ("25P03", errors.ConnectionLost),
        ("28P01", errors.AuthenticationError),
        ("3D000", errors.ProgrammingError),
        ("25P04", errors.ConnectionLost),
        ("40P01", errors.DeadlockDetected),
        ("42P01", errors.ProgrammingError),
        ("55P03", errors.LockTimeout),
        ("57014", errors.QueryTimeout),
        ("57P01", errors.ConnectionLost),
        ("57P03", errors.ConnectError),
        ("53300", errors.OperationalError),
        ("0A000", errors.NotSupportedError),
        ("22012", errors.DataError),
        ("XX000", errors.InternalError),
        ("", errors.DatabaseError),
        ("08006", errors.ConnectionLost),
        ("40001", errors.SerializationFailure),
        ("ZZ999", errors.DatabaseError),
    ],
)
def test_sqlstates_are_told_by_prefix(sqlstate, kind):
    assert kind is kind_of_sqlstate(sqlstate)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SQLITE_CONSTRAINT_UNIQUE", errors.UniqueViolation),
        ("SQLITE_CONSTRAINT_TRIGGER", errors.IntegrityError),
        ("SQLITE_BUSY_SNAPSHOT", errors.LockTimeout),
        ("SQLITE_CONSTRAINT_PRIMARYKEY", errors.UniqueViolation),
        ("SQLITE_CONSTRAINT_ROWID", errors.UniqueViolation),
        ("SQLITE_CONSTRAINT_FOREIGNKEY", errors.ForeignKeyViolation),
        ("SQLITE_CONSTRAINT_NOTNULL", errors.NotNullViolation),
        ("SQLITE_CONSTRAINT_CHECK", errors.CheckViolation),
        ("SQLITE_READONLY_DBMOVED", errors.ReadOnlyError),
        ("SQLITE_BUSY_RECOVERY", errors.LockTimeout),
        ("SQLITE_LOCKED", errors.OperationalError),
        ("SQLITE_LOCKED_SHAREDCACHE", errors.LockTimeout),
        ("SQLITE_CORRUPT_INDEX", errors.InternalError),
        ("SQLITE_IOERR_WRITE", errors.OperationalError),
        ("SQLITE_NOTADB", errors.ConnectError),
        ("SQLITE_INTERRUPT", errors.QueryTimeout),
        ("SQLITE_CANTOPEN_ISDIR", errors.ConnectError),
        ("SQLITE_TOOBIG", errors.DataError),
        ("SQLITE_ERROR_MISSING_COLLSEQ", errors.ProgrammingError),
        ("SQLITE_SOMETHING_NEW", errors.OperationalError),
        ("SQLITE_FULL", errors.OperationalError),
    ],
)
def test_sqlite_codes_are_told_by_name(name, kind):
    assert kind is kind_of_sqlite_name(name)


def test_errors_without_a_code_are_told_by_the_name_of_their_class():
    assert errors.ProgrammingError is kind_of_dbapi_class(sqlite3.ProgrammingError("x"))
    assert errors.DatabaseError is kind_of_dbapi_class(Library("x"))


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (errors.ConfigurationError, ValueError),
        (errors.DriverNotInstalled, ImportError),
        (errors.PoolClosed, RuntimeError),
        (errors.PoolTimeout, TimeoutError),
        (errors.ReadOnlyError, RuntimeError),
        (errors.TransactionError, RuntimeError),
        (errors.ConnectionBusy, TimeoutError),
    ],
)
def test_errors_are_also_what_python_calls_them(kind, also):
    assert issubclass(kind, also)
    assert issubclass(kind, errors.Error)


def test_only_what_another_run_may_cure_is_retryable():
    retryable = {getattr(errors, name) for name in errors.__all__ if getattr(getattr(errors, name), "retryable", False)}
    assert {errors.DeadlockDetected, errors.LockTimeout, errors.SerializationFailure} == retryable


# The whole tree

CLASSES = [getattr(errors, name) for name in errors.__all__]

PARENTS = {
    "AuthenticationError": "ConnectError",
    "CheckViolation": "IntegrityError",
    "CommitUncertainError": "ConnectionLost",
    "ConfigurationError": "InterfaceError ValueError",
    "ConnectError": "OperationalError",
    "ConnectionLost": "OperationalError",
    "DataError": "DatabaseError",
    "DatabaseError": "Error",
    "DeadlockDetected": "OperationalError",
    "DriverNotInstalled": "ConfigurationError ImportError",
    "Error": "Exception",
    "ForeignKeyViolation": "IntegrityError",
    "IntegrityError": "DatabaseError",
    "InterfaceError": "Error",
    "InternalError": "DatabaseError",
    "LockTimeout": "OperationalError",
    "NotNullViolation": "IntegrityError",
    "NotSupportedError": "DatabaseError",
    "OperationalError": "DatabaseError",
    "PoolClosed": "InterfaceError RuntimeError",
    "PoolTimeout": "OperationalError TimeoutError",
    "ProgrammingError": "DatabaseError",
    "QueryTimeout": "OperationalError",
    "ReadOnlyError": "NotSupportedError RuntimeError",
    "ReplicaLag": "OperationalError",
    "SerializationFailure": "OperationalError",
    "TargetNotFound": "ConnectError",
    "TransactionError": "InterfaceError RuntimeError",
    "TransactionTimeout": "OperationalError TimeoutError",
    "ConnectionBusy": "OperationalError TimeoutError",
    "UniqueViolation": "IntegrityError",
    "UnknownDriver": "ConfigurationError",
}


def test_the_tree_is_that_of_the_documentation():
    assert {cls.__name__: " ".join(base.__name__ for base in cls.__bases__) for cls in CLASSES} == PARENTS


@pytest.mark.parametrize("name", ["sqlstate", "errno", "constraint", "table", "column", "parameter", "text"])
def test_details_that_no_database_told_are_none(name):
    assert {None} == {getattr(cls("x"), name) for cls in CLASSES}


# Translation in detail


def test_an_error_that_is_translated_in_place_keeps_its_traceback():
    with pytest.raises(Library) as caught:
        raise Library("boom", 1)
    where = caught.value.__traceback__
    translated = translate(caught.value, Diagnosis(errors.DataError))
    assert (("boom", 1), where) == (translated.args, translated.__traceback__)


@pytest.mark.parametrize("foreign", [sqlite3.IntegrityError, asyncpg.UniqueViolationError])
def test_the_errors_of_the_libraries_are_translated_in_place(foreign):
    exc = foreign("x")
    assert exc is translate(exc, Diagnosis(errors.UniqueViolation, table="users"))
    assert (isinstance(exc, errors.UniqueViolation), isinstance(exc, foreign), exc.table) == (True, True, "users")


def test_details_of_the_diagnosis_do_not_replace_those_of_the_library():
    exc = Library("x")
    exc.constraint = "theirs"
    translate(exc, Diagnosis(errors.IntegrityError, "23000", 19, "ours"))
    assert (exc.sqlstate, exc.errno, exc.constraint) == ("23000", 19, "theirs")


def test_the_combined_class_is_made_once():
    one, two = (translate(Library(), Diagnosis(errors.DataError)) for _ in range(2))
    assert type(one) is type(two)


def test_wrappers_that_look_at_names_find_the_name_of_the_library():
    """As peewee's does: `if exc_type.__name__ in self.exceptions: raise self.exceptions[exc_type.__name__]`."""
    assert type(translate(sqlite3.IntegrityError("x"), Diagnosis(errors.CheckViolation))).__name__ == "IntegrityError"


def test_a_traceback_shows_our_name():
    exc = translate(Library("x"), Diagnosis(errors.UniqueViolation))
    assert traceback.format_exception_only(exc) == ["aio_databases.UniqueViolation: x\n"]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_can_be_pickled(cls):
    exc = cls("what happened")
    exc.sqlstate = "00000"
    again = pickle.loads(pickle.dumps(exc))  # noqa: S301 - our own bytes
    assert (cls, "what happened", "00000") == (type(again), str(again), again.sqlstate)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda exc: pickle.loads(pickle.dumps(exc))])  # noqa: S301
@pytest.mark.parametrize("exc", [Library("x", 1), Picky(1, 2), OSError(5, "broken"), sqlite3.Error("x")], ids=repr)
@pytest.mark.parametrize("kind", [errors.DataError, errors.PoolTimeout, errors.DriverNotInstalled])
def test_every_translated_error_can_be_pickled_and_copied(kind, exc, clone):
    error = translate(clone(exc), Diagnosis(kind, "12345", 7))
    again = clone(error)
    assert (type(error), error.args, "12345") == (type(again), again.args, again.sqlstate)


# Messages


@pytest.mark.parametrize(
    ("args", "text", "shown"),
    [
        (("one\n\ttwo \n\n three  four\n",), None, "one two three  four"),
        ((1064, "You have an error"), "You have an error (1064)", "You have an error (1064)"),
        ((), None, ""),
        ((5, "x"), None, "(5, 'x')"),
    ],
)
def test_a_message_is_one_line(args, text, shown):
    error = translate(Library(*args), Diagnosis(errors.ProgrammingError, text=text))
    assert (shown, args) == (str(error), error.args)
    assert shown == str(pickle.loads(pickle.dumps(error)))  # noqa: S301 - our own bytes


def test_the_text_of_an_error_is_replaced_by_a_new_message():
    error = translate(Library("old"), Diagnosis(errors.ConnectError, errno=2003), "new")
    assert (str(error), error.errno) == ("new", 2003)


# The numbers that MySQL and MariaDB do not share, or that only one of them sends today.
# MySQL: https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
# MariaDB: https://mariadb.com/kb/en/mariadb-error-code-reference/
# Galera: https://galeracluster.com/library/documentation/troubleshooting.html
NUMBERS = [
    (3819, errors.CheckViolation, "MySQL: ER_CHECK_CONSTRAINT_VIOLATED"),
    (4025, errors.CheckViolation, "MariaDB: ER_CONSTRAINT_FAILED"),
    (3024, errors.QueryTimeout, "MySQL: ER_QUERY_TIMEOUT, max_execution_time"),
    (1969, errors.QueryTimeout, "MariaDB: ER_STATEMENT_TIMEOUT, max_statement_time"),
    (1317, errors.QueryTimeout, "both: ER_QUERY_INTERRUPTED, KILL QUERY"),
    (3572, errors.LockTimeout, "MySQL: ER_LOCK_NOWAIT, FOR UPDATE NOWAIT"),
    (1205, errors.LockTimeout, "both: ER_LOCK_WAIT_TIMEOUT; MariaDB: NOWAIT, too"),
    (1213, errors.DeadlockDetected, "both: ER_LOCK_DEADLOCK; Galera: the transaction lost against another node's"),
    (1020, errors.SerializationFailure, "MariaDB: ER_CHECKREAD, innodb_snapshot_isolation"),
    (3101, errors.SerializationFailure, "MySQL: ER_TRANSACTION_ROLLBACK_DURING_COMMIT, group replication"),
    (1412, errors.SerializationFailure, "both: ER_TABLE_DEF_CHANGED, 'please retry transaction'"),
    (1047, errors.OperationalError, "Galera: ER_UNKNOWN_COM_ERROR, WSREP has not yet prepared node"),
    (1290, errors.ReadOnlyError, "both: ER_OPTION_PREVENTS_STATEMENT, --read-only"),
    (1836, errors.ReadOnlyError, "both: ER_READ_ONLY_MODE"),
    (1792, errors.ReadOnlyError, "both: ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION"),
    (1040, errors.ConnectError, "both: ER_CON_COUNT_ERROR, max_connections"),
    (1203, errors.ConnectError, "both: ER_TOO_MANY_USER_CONNECTIONS"),
    (1226, errors.OperationalError, "both: ER_USER_LIMIT_REACHED, connections or questions per hour"),
    (1927, errors.ConnectionLost, "MariaDB: ER_CONNECTION_KILLED"),
    (4031, errors.ConnectionLost, "MySQL: ER_CLIENT_INTERACTION_TIMEOUT"),
    (3169, errors.ConnectionLost, "MySQL: ER_SESSION_WAS_KILLED"),
    (3955, errors.AuthenticationError, "MySQL: ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK"),
    (4151, errors.AuthenticationError, "MariaDB: ER_ACCOUNT_HAS_BEEN_LOCKED"),
    (1114, errors.OperationalError, "both: ER_RECORD_FILE_FULL"),
    (1021, errors.OperationalError, "both: ER_DISK_FULL"),
    (3170, errors.OperationalError, "MySQL: ER_CAPACITY_EXCEEDED"),
]


@pytest.mark.parametrize(("number", "kind", "name"), NUMBERS, ids=str)
def test_the_numbers_of_mysql_and_of_mariadb_are_known(number, kind, name):
    assert kind is kind_of_mysql_errno(number), name


def test_exactly_these_codes_are_worth_another_try():
    states = {state for state in _SQLSTATES if kind_of_sqlstate(state).retryable}
    assert {"40001", "40P01", "55P03"} == states
    names = {name for name in dir(sqlite3) if name.startswith("SQLITE_") and kind_of_sqlite_name(name).retryable}
    assert {name for name in names if "BUSY" not in name} == {"SQLITE_LOCKED_SHAREDCACHE"}
    assert names >= {"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT"}
    numbers = {number for number in range(6000) if kind_of_mysql_errno(number).retryable}
    # 1613, 1614: XA; 3058: GET_LOCK()
    assert {1020, 1205, 1213, 1412, 1613, 1614, 3058, 3101, 3572} == numbers
