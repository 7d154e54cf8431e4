"""Errors: one tree, and translation that keeps the driver's own class."""

from __future__ import annotations

import pickle
import sqlite3

import pytest

from aio_databases import error_codes, errors
from aio_databases.errors import Diagnosis, kind_of_dbapi_class, kind_of_sqlite_name, kind_of_sqlstate, translate


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
    assert [True] * 3 == [isinstance(error, each) for each in (Library, errors.UniqueViolation, errors.IntegrityError)]
    assert ("23505", 7, "c", "t", "x") == (error.sqlstate, error.errno, error.constraint, error.table, error.column)
    assert ("Library", "UniqueViolation") == (type(error).__name__, type(error).__qualname__)


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
    assert ("new", "old") == (str(error), str(error.__cause__))
    assert isinstance(error, Library)


def test_a_class_with_a_signature_of_its_own_gives_way():
    error = translate(Picky(1, 2), Diagnosis(errors.ConnectError), "new")
    assert (errors.ConnectError, "new") == (type(error), str(error))


def test_classes_that_cannot_be_combined_give_way_to_ours():
    error = translate(UnicodeDecodeError("utf-8", b"", 0, 1, "bad"), Diagnosis(errors.TransactionError))
    assert isinstance(error, errors.TransactionError)


def test_translated_errors_survive_pickling():
    error = translate(Library("boom"), Diagnosis(errors.UniqueViolation, "23505"))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(error), ("boom",), "23505") == (type(again), again.args, again.sqlstate)


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("23505", errors.UniqueViolation),
        ("23999", errors.IntegrityError),
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
        (errors.TurnTimeout, TimeoutError),
    ],
)
def test_errors_are_also_what_python_calls_them(kind, also):
    assert issubclass(kind, also)
    assert issubclass(kind, errors.Error)


def test_only_what_another_run_may_cure_is_retryable():
    retryable = {getattr(errors, name) for name in errors.__all__ if getattr(getattr(errors, name), "retryable", False)}
    assert {errors.DeadlockDetected, errors.LockTimeout, errors.SerializationFailure} == retryable
