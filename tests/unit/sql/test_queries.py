"""Template strings, statements of SQLAlchemy and other objects as queries."""

from __future__ import annotations

import datetime as dt
import enum
import sqlite3
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pypika
import pytest
import sqlalchemy as sa

from aio_databases.errors import ProgrammingError
from aio_databases.sql.query_objects import text_and_params
from aio_databases.sql.translator import Translator

STYLES = {"sqlite": "qmark", "postgresql": "numeric_dollar", "mysql": "format", "odbc": "qmark", "dummy": "qmark"}
NOON = dt.datetime(2026, 1, 2, 12)  # noqa: DTZ001 - a column without time zone


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


def context_default(context: Any) -> str:
    return context.get_current_parameters()["name"].upper()


TABLE = sa.Table(
    "t",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20)),
    sa.Column("at", sa.DateTime),
    sa.Column("doc", sa.JSON),
    sa.Column("size", sa.Enum(Size)),
    sa.Column("a b", sa.Integer),
)
DEFAULTS = sa.Table(
    "d",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20)),
    sa.Column("number", sa.Integer, default=5, onupdate=6),
    sa.Column("at", sa.DateTime, default=lambda: NOON),
    sa.Column("upper", sa.String(20), default=context_default),
)


def sent(query, *params, dialect="sqlite"):
    """Give the SQL, in one line, and the values that a driver gets."""
    plan, values = Translator(dialect, STYLES[dialect]).bind(*text_and_params(query, params, dialect))
    return " ".join(plan.sql.split()), values


def refusal(query, *params, dialect="sqlite"):
    with pytest.raises(ProgrammingError) as caught:
        text_and_params(query, params, dialect)
    return str(caught.value)


# Strings and printable objects


class Text(str):
    __slots__ = ()


class Printable:
    def __str__(self):
        return "select ?"


@pytest.mark.parametrize("query", [Text("select ?"), Printable(), sa.quoted_name("select ?", quote=None)])
def test_the_string_of_an_object_is_the_sql(query):
    text, params = text_and_params(query, (1,), "sqlite")
    assert (str, "select ?", (1,)) == (type(text), text, params)


def test_pypika_prints_its_sql():
    t = pypika.Table("t")
    query = pypika.Query.from_(t).select(t.strings).where(t.a == pypika.Parameter("?"))
    assert sent(query, 1) == ('SELECT "strings" FROM "t" WHERE "a"=?', (1,))


@pytest.mark.parametrize("query", [None, 5, b"select 1", bytearray(b"x"), object(), ["select 1"], {"a": 1}])
def test_an_object_that_prints_no_sql_is_refused(query):
    assert f"a query cannot be of type {type(query).__name__}; pass SQL as a str" == refusal(query)


# Template strings


try:
    from string.templatelib import Interpolation, Template
except ImportError:  # before Python 3.14: classes that look the same

    @dataclass
    class Interpolation:
        value: Any
        expression: str = ""
        conversion: str | None = None
        format_spec: str = ""

    class Template:
        def __init__(self, *parts):
            self.strings = parts[::2]
            self.interpolations = parts[1::2]


def template(*parts):
    """Build what t"..." makes: strings and values take turns."""
    values = [part if isinstance(part, Interpolation) else Interpolation(part) for part in parts[1::2]]
    merged = [parts[0]]
    for value, string in zip(values, parts[2::2], strict=True):
        merged += value, string
    return Template(*merged)


def test_interpolations_become_parameters():
    query = template("select * from t where a = ", 1, " and b in (", "x", ",", None, ")")
    assert sent(query) == ("select * from t where a = ? and b in ( ? , ? )", (1, "x", None))


def test_a_template_without_interpolations_is_sql():
    assert text_and_params(template("select '%', ':a'"), (), "sqlite") == ("select '%', ':a'", ())


def test_templates_inside_templates_are_inlined():
    inner = template("a = ", 1, " or ", template("b = ", 2, ""), "")
    query = template("select ", 0, " where ", inner, " and c = ", 3, "")
    assert sent(query, dialect="postgresql") == ("select $1 where a = $2 or b = $3 and c = $4", (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (template("select ", 1, "::int"), "select $1 ::int"),
        (template("select array[", 1, "]"), "select array[ $1 ]"),
        (template("select a[", 1, ":2]"), "select a[ $1 :2]"),
        (template("select x", 1, "y"), "select x $1 y"),
        (template("select 'a%%' || ", 1, ""), "select 'a%%' || $1"),
        (template("select d ?| e, f ? ", 1, ""), "select d ?| e, f ? $1"),
    ],
)
def test_an_interpolation_is_a_parameter_whatever_stands_beside_it(query, expected):
    assert sent(query, dialect="postgresql") == (expected, (1,))


def test_an_interpolation_inside_quotes_is_refused():
    with pytest.raises(ProgrammingError, match="the statement does not name :value_1"):
        sent(template("select '", "x", "'"))


def test_a_dictionary_can_be_interpolated():
    assert sent(template("select ", {"a": 1}, "")) == ("select ?", ({"a": 1},))


@pytest.mark.parametrize(
    "interpolation",
    [
        Interpolation(1, conversion="r"),
        Interpolation(1, format_spec=".2f"),
        Interpolation(template("a"), format_spec="q"),
    ],
)
def test_conversions_and_formats_are_refused(interpolation):
    message = refusal(template("select ", interpolation, ""))
    assert (
        message == "a template string binds values as they are; take the conversion (!) or format (:) out of its braces"
    )


@pytest.mark.parametrize("params", [(1,), ({"a": 1},), (None,)])
def test_parameters_beside_a_template_are_refused(params):
    message = refusal(template("select ", 1, ""), *params)
    assert message == "a template string brings its own values; pass no parameters beside it"


# SQLAlchemy


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("sqlite", "SELECT t.id FROM t WHERE t.name = ? AND t.id IN (?, ?) AND t.id % ? = ?"),
        ("dummy", "SELECT t.id FROM t WHERE t.name = ? AND t.id IN (?, ?) AND t.id % ? = ?"),
        ("odbc", "SELECT t.id FROM t WHERE t.name = ? AND t.id IN (?, ?) AND t.id % ? = ?"),
        ("postgresql", "SELECT t.id FROM t WHERE t.name = $1 AND t.id IN ($2, $3) AND t.id % $4 = $5"),
        ("mysql", "SELECT t.id FROM t WHERE t.name = %s AND t.id IN (%s, %s) AND t.id %% %s = %s"),
    ],
)
def test_literal_values_arrive(dialect, expected):
    query = sa.select(TABLE.c.id).where(TABLE.c.name == "x", TABLE.c.id.in_([7, 8]), TABLE.c.id % 2 == 1)
    assert sent(query, dialect=dialect) == (expected, ("x", 7, 8, 2, 1))


@pytest.mark.parametrize("query", [sa.select(sa.literal_column("1")), sa.text("select 1"), sa.schema.DropTable(TABLE)])
def test_a_statement_without_values_has_no_parameters(query):
    assert text_and_params(query, (), "sqlite")[1] == ()


def test_types_convert_values():
    query = TABLE.insert().values(at=NOON, doc={"a": [1]}, size=Size.LARGE)
    expected = ("2026-01-02 12:00:00.000000", '{"a": [1]}', "LARGE")
    assert sent(query) == ("INSERT INTO t (at, doc, size) VALUES (?, ?, ?)", expected)


def test_types_convert_values_in_lists():
    query = sa.select(TABLE.c.id).where(TABLE.c.at.in_([NOON]))
    assert sent(query)[1] == ("2026-01-02 12:00:00.000000",)


def test_values_stay_what_they_are_where_the_database_knows_their_type():
    query = sa.select(sa.literal(NOON), sa.literal(Decimal("1.5")))
    assert (NOON, Decimal("1.5")) == sent(query, dialect="postgresql")[1]


def test_awkward_column_names_are_bound():
    assert sent(TABLE.insert().values({"a b": 3})) == ('INSERT INTO t ("a b") VALUES (?)', (3,))


def test_parameters_of_the_caller_fill_the_statement():
    query = sa.select(TABLE.c.id).where(
        TABLE.c.id == sa.bindparam("a"), TABLE.c.id.in_(sa.bindparam("b", expanding=True))
    )
    assert sent(query, {"b": [2, 3], "a": 1}) == ("SELECT t.id FROM t WHERE t.id = ? AND t.id IN (?, ?)", (1, 2, 3))


def test_parameters_of_the_caller_override_those_of_the_statement():
    assert sent(sa.text("select :a").bindparams(a=1), {"a": 9})[1] == (9,)
    assert sent(sa.select(TABLE.c.id).where(TABLE.c.id == 1), {"id_1": 9})[1] == (9,)
    assert sent(TABLE.insert().values({"name": "x", "a b": 3}), {"name": "y"})[1] == ("y", 3)


def test_parameters_of_the_caller_are_the_columns_of_an_insert():
    assert sent(TABLE.insert(), {"size": Size.SMALL, "name": "x"}) == (
        "INSERT INTO t (name, size) VALUES (?, ?)",
        ("x", "SMALL"),
    )


def test_parameters_of_the_caller_are_the_columns_of_an_update():
    query = TABLE.update().where(TABLE.c.id.in_([1, 2]), TABLE.c.id != sa.bindparam("other"))
    expected = "UPDATE t SET name=? WHERE t.id IN (?, ?) AND t.id != ?"
    assert sent(query, {"name": "x", "other": 3}) == (expected, ("x", 1, 2, 3))


def test_column_defaults_are_filled_in():
    text, values = sent(DEFAULTS.insert().values(name="x"))
    assert text == "INSERT INTO d (name, number, at, upper) VALUES (?, ?, ?, ?)"
    assert values == ("x", 5, "2026-01-02 12:00:00.000000", "X")


def test_column_defaults_yield_to_values():
    assert sent(DEFAULTS.insert(), {"name": "x", "number": 7})[1] == ("x", 7, "2026-01-02 12:00:00.000000", "X")


def test_column_defaults_of_an_update_are_filled_in():
    text, values = sent(DEFAULTS.update().values(name="x"))
    assert (text, values) == ("UPDATE d SET name=?, number=?", ("x", 6))


def test_column_defaults_of_several_rows_in_one_statement_are_filled_in():
    table = sa.Table("m", sa.MetaData(), sa.Column("a", sa.Integer), sa.Column("b", sa.Integer, default=5))
    text, values = sent(table.insert().values([{"a": 1}, {"a": 2}]))
    assert (text, values) == ("INSERT INTO m (a, b) VALUES (?, ?), (?, ?)", (1, 5, 2, 5))


def test_a_default_only_the_database_can_compute_is_refused():
    default = sa.select(sa.func.max(1)).scalar_subquery()
    table = sa.Table("s", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True, default=default))
    message = refusal(table.insert(), dialect="mysql")
    assert message == "only the database can compute the default of column id; pass a value for it"


def test_ddl_is_compiled():
    text, params = text_and_params(sa.schema.CreateTable(TABLE), (), "postgresql")
    assert "id SERIAL NOT NULL" in text
    assert params == ()


def test_statements_run_on_a_database():
    connection = sqlite3.connect(":memory:")
    for query in (
        sa.schema.CreateTable(DEFAULTS),
        DEFAULTS.insert().values(name="x"),
        DEFAULTS.insert().values(name="y"),
    ):
        connection.execute(*sent(query))
    rows = connection.execute(*sent(sa.select(DEFAULTS.c.id, DEFAULTS.c.upper).where(DEFAULTS.c.name.in_(["y", "z"]))))
    assert rows.fetchall() == [(2, "Y")]
    connection.close()


@pytest.mark.parametrize(
    "params",
    [([{"name": "x"}, {"name": "y"}],), ({"name": "x"}, {"name": "y"}), (iter([{"name": "x"}, {"name": "y"}]),)],
)
def test_each_row_has_its_own_values(params):
    text, rows = text_and_params(DEFAULTS.insert(), params, "sqlite")
    plan, values = Translator("sqlite", "qmark").bind_many(text, rows)
    assert plan.sql == "INSERT INTO d (name, number, at, upper) VALUES (?, ?, ?, ?)"
    assert values == [("x", 5, "2026-01-02 12:00:00.000000", "X"), ("y", 5, "2026-01-02 12:00:00.000000", "Y")]


def test_rows_may_be_empty():
    table = sa.Table("e", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    assert text_and_params(table.insert(), ({}, {}), "sqlite")[1] == ({}, {})


def test_no_rows_are_no_parameters():
    assert text_and_params(TABLE.insert().values(name="x"), ([],), "sqlite")[1] == ()


@pytest.mark.parametrize("params", [(1,), ("x",), (1, 2), ([1, 2],), ({"a": 1}, 2)])
def test_positional_parameters_for_a_statement_are_refused(params):
    message = refusal(sa.text("select :a"), *params)
    assert message == "a statement of SQLAlchemy names its parameters; pass one mapping, or one for each row"


@pytest.mark.parametrize(
    ("query", "params", "expected"),
    [
        (
            sa.text("select :a"),
            (),
            "cannot compile the statement for sqlite: A value is required for bind parameter 'a'",
        ),
        (sa.text("select :a"), ({"a": 1, "b": 2},), "does not match the statement: no parameter is named b"),
        (TABLE.insert(), ({"nam": "secret"},), "does not match the statement: no parameter is named nam"),
        (
            TABLE.insert().values(nam="secret"),
            (),
            "cannot compile the statement for sqlite: Unconsumed column names: nam",
        ),
        (TABLE.insert(), ([{"name": "x"}, {"id": 1}],), "does not match the statement: no parameter is named id"),
        (sa.schema.DropTable(TABLE), ({"a": 1},), "does not match the statement: no parameter is named a"),
        (
            sa.select(TABLE.c.id).where(TABLE.c.id.in_(sa.bindparam("a", expanding=True))),
            ([{"a": [1]}, {"a": [1, 2]}],),
            "the rows need different SQL, as the lists in them differ in length; run them one by one",
        ),
    ],
)
def test_what_a_statement_cannot_take_is_told_without_values(query, params, expected):
    message = refusal(query, *params)
    assert expected in message
    assert "secret" not in message
