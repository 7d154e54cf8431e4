"""Which parameter could not be sent is told by its name or number, and by its type."""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pytest

from aio_databases.errors import DataError
from aio_databases.sql.bad_parameters import add_parameter_hint
from aio_databases.sql.translator import Translator

SECRET = "hunter2"
EAST = timezone(timedelta(hours=5))


def told(text, *params, rows=None, paramstyle="qmark", **details):
    """Return what an error tells about the parameters of a statement."""
    translator = Translator("postgresql", paramstyle)
    plan, values = translator.bind(text, params) if rows is None else translator.bind_many(text, rows)
    error = DataError("no")
    vars(error).update(details)
    add_parameter_hint(error, plan, values)
    assert SECRET not in str(error)
    where = error.parameter if error.row is None else f"{error.parameter} of row {error.row}"
    return where, str(error)


@pytest.mark.parametrize("paramstyle", ["qmark", "format", "numeric_dollar"])
def test_a_parameter_is_called_as_its_user_calls_it(paramstyle):
    assert told("select :a, :b, :a", {"a": 1, "b": {SECRET}}, paramstyle=paramstyle) == (
        ":b",
        "no (parameter :b, of type set)",
    )
    assert told("select ?, ?", 1, {SECRET}, paramstyle=paramstyle) == ("2", "no (parameter 2, of type set)")
    assert told("select $2, $1", {SECRET}, 1, paramstyle=paramstyle) == ("1", "no (parameter 1, of type set)")


def test_the_row_is_told():
    assert told("select :a", rows=[{"a": 1}, {"a": 2}, {"a": {SECRET}}]) == (
        ":a of row 3",
        "no (parameter :a of row 3, of type set)",
    )
    assert told("select ?, ?", rows=[(1, "x"), (2, {SECRET: b"x"})]) == (
        "2 of row 2",
        "no (parameter 2 of row 2, of type dict)",
    )


def test_the_number_that_a_library_tells_counts():
    assert told("select ?, ?", {SECRET}, 1, parameter="2") == ("2", "no (parameter 2, of type int)")
    assert told("select :a, :b", {"a": 1, "b": 2}, parameter="2") == (":b", "no (parameter :b, of type int)")
    assert told("select ?, ?", rows=[(set(), 1), (1, {SECRET})], parameter="2") == (
        "2 of row 2",
        "no (parameter 2 of row 2, of type set)",
    )


def test_the_row_that_a_library_reports_counts():
    assert told("select ?, ?", rows=[(1, {SECRET}), (2, 1)], parameter="1", row=2) == (
        "1 of row 2",
        "no (parameter 1 of row 2, of type int)",
    )


@pytest.mark.parametrize(
    "value",
    [
        object(),
        2**63,
        f"{SECRET}\ud800",
        f"{SECRET}\0",
        float("nan"),
        Decimal("sNaN"),
        datetime.min.replace(tzinfo=EAST),
        time(1, tzinfo=EAST),
        {"a": SECRET.encode()},
        [object()],
        (1, 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_out_of_the_ordinary_is_told_among_ordinary_values(value):
    ordinary = (
        None,
        True,
        -(2**63),
        1.5,
        "x",
        b"x",
        Decimal(1),
        datetime.now(EAST),
        time(1),
        timedelta.max,
        UUID(int=1),
    )
    marks = ", ".join("?" * (len(ordinary) + 1))
    assert f"{len(ordinary) + 1}" == told(f"select {marks}", *ordinary, value)[0]


@pytest.mark.parametrize("value", [[1, 2], {}], ids=["list", "dict"])
def test_a_list_is_only_perhaps_what_could_not_be_sent(value):
    parameter, text = told("select ?, ?", 1, value)
    assert (None, f"no (perhaps parameter 2, of type {type(value).__name__})") == (parameter, text)


def test_an_enum_is_as_ordinary_as_its_value():
    kinds = Enum("kinds", {"PLAIN": 1, "ODD": object()})
    assert told("select ?", kinds.PLAIN) == (None, "no")
    assert told("select ?", kinds.ODD)[0] == "1"


def test_an_unknown_type_is_told_before_a_list():
    assert told("select ?, ?", [1], {SECRET})[0] == "2"


def test_nothing_is_told_where_nobody_knows_or_the_database_has_refused_it():
    assert told("select ?, ?", 1, "x") == (None, "no")
    assert told("select 1") == (None, "no")
    assert told("select ?", {SECRET}, sqlstate="22P02") == (None, "no")
    assert told("select ?", {SECRET}, errno=1264) == (None, "no")


def test_a_text_that_is_no_unicode_is_kept_nowhere():
    error, cause = DataError("no"), UnicodeEncodeError("utf-8", f"{SECRET}\ud800", 7, 8, "surrogates not allowed")
    error.__cause__ = cause
    plan, values = Translator("sqlite", "qmark").bind("select ?", (cause.object,))
    add_parameter_hint(error, plan, values)
    assert (error.parameter, cause.object, cause.reason) == ("1", "", "surrogates not allowed")
    assert SECRET not in f"{error!r} {cause!r} {cause}"
