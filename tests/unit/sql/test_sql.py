"""Placeholders, values, traits of statements and the cache of plans."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections import OrderedDict, UserDict, defaultdict

import pytest

from aio_databases.errors import ConfigurationError, ProgrammingError
from aio_databases.sql.translator import MAX_CACHED_LENGTH, MAX_PLANS, Translator
from conformance import tricks

SQLITE = ("sqlite", "qmark")
POSTGRESQL = ("postgresql", "numeric_dollar")
PSYCOPG = ("postgresql", "pyformat")
MYSQL = ("mysql", "format")
ODBC = ("odbc", "qmark")
DUMMY = ("dummy", "qmark")
EVERY = (SQLITE, POSTGRESQL, PSYCOPG, MYSQL, ODBC, DUMMY)


def sent(driver, text, *params):
    """Give the SQL text and the values that a driver gets."""
    plan, values = Translator(*driver).bind(text, params)
    return plan.sql, values


def refusal(driver, text, *params):
    with pytest.raises(ProgrammingError) as caught:
        Translator(*driver).bind(text, params)
    return str(caught.value)


# Without parameters


@pytest.mark.parametrize("driver", EVERY)
@pytest.mark.parametrize(
    "text", ["select 'a%%', %s, :name, ?, $1, %(x)s", "", "select 1 -- ?", "%", "select ':x'::text"]
)
def test_without_parameters_the_text_is_never_touched(driver, text):
    assert (text, ()) == sent(driver, text)


# Named parameters


@pytest.mark.parametrize(
    ("driver", "expected", "values"),
    [
        (SQLITE, "select ? + ?, ?", (1, 2, 1)),
        (POSTGRESQL, "select $1 + $2, $1", (1, 2)),
        (PSYCOPG, "select %s + %s, %s", (1, 2, 1)),
        (MYSQL, "select %s + %s, %s", (1, 2, 1)),
        (ODBC, "select ? + ?, ?", (1, 2, 1)),
    ],
)
@pytest.mark.parametrize("text", ["select :a + :b, :a", "select %(a)s + %(b)s, %(a)s", "select :a + %(b)s, %(a)s"])
def test_names_become_positions_in_the_style_of_the_driver(driver, expected, values, text):
    assert sent(driver, text, {"b": 2, "a": 1}) == (expected, values)


def test_the_plan_tells_the_names_in_the_order_of_the_values():
    by_style = [Translator(*driver).bind(":b :a :b", ({"a": 1, "b": 2},))[0].names for driver in (POSTGRESQL, SQLITE)]
    assert by_style == [("b", "a"), ("b", "a", "b")]


@pytest.mark.parametrize("mapping", [OrderedDict(a=1), UserDict(a=1), defaultdict(int, a=1)])
def test_any_mapping_gives_names(mapping):
    assert sent(SQLITE, "select :a", mapping) == ("select ?", (1,))


@pytest.mark.parametrize(
    "text",
    [
        "select x::int",
        "select '12:30', 12:30",
        "select a[1:2], a[:n], a[1:n], a[m:n], f(a):n, a[1]:n",
        "select @x := 1",
        "f(a := 1)",
        "select ':a', \":a\" -- :a",
        "select /* :a */ 1",
        "select b:a",
    ],
)
@pytest.mark.parametrize("driver", [POSTGRESQL, MYSQL])
def test_colons_that_are_no_parameters(driver, text):
    text = text.replace("a[:n]", "a") if driver is MYSQL else text
    message = refusal(driver, text, {"a": 1})
    assert message == "the mapping does not match the statement: the statement does not name :a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select a[ :n]", "select a[ $1]"),
        ("select a[1 :n]", "select a[1 $1]"),
        ("select a[(:n):2]", "select a[($1):2]"),
        ("where a=:n", "where a=$1"),
        ("values(:n,:n)", "values($1,$1)"),
        (":n", "$1"),
        ("select :n::int", "select $1::int"),
        ("f(a => :n, b := :n)", "f(a => $1, b := $1)"),
        ("x:=:n", "x:=$1"),
        ("a||:n||'x'", "a||$1||'x'"),
        ("data ->> :n", "data ->> $1"),
        ("data ? :n", "data ? $1"),
        ("data @> :n", "data @> $1"),
        ("interval':n' + :n", "interval':n' + $1"),
    ],
)
def test_colons_that_are_parameters(text, expected):
    assert sent(POSTGRESQL, text, {"n": "v"}) == (expected, ("v",))


def test_names_may_have_any_letters():
    assert sent(SQLITE, "select :größe, :_x9", {"größe": 1, "_x9": 2}) == ("select ?, ?", (1, 2))


def test_missing_and_extra_names_are_told_in_one_sentence():
    message = refusal(SQLITE, "select :a, :b, :c", {"b": "secret", "x": "secret", "y": 1})
    expected = "the mapping does not match the statement: it lacks :a and :c, and the statement does not name :x and :y"
    assert message == expected


def test_a_missing_name_is_not_made_up_by_a_defaultdict():
    mapping = defaultdict(int, b=1)
    assert "it lacks :a, and the statement does not name :b" in refusal(SQLITE, "select :a", mapping)
    assert mapping == {"b": 1}


def test_keys_that_are_no_strings_are_refused():
    assert "it lacks :a, and the statement does not name :1" in refusal(SQLITE, "select :a", {1: 1})


@pytest.mark.parametrize("driver", EVERY)
def test_an_empty_mapping_on_a_text_without_placeholders_is_no_parameter(driver):
    assert sent(driver, "select '%%' % 2", {}) == ("select '%%' % 2", ())


def test_an_empty_mapping_lacks_the_names_of_the_statement():
    assert refusal(SQLITE, "select :a", {}) == "the mapping does not match the statement: it lacks :a"


@pytest.mark.parametrize("document", [{}, {"a": 1}])
def test_a_mapping_is_one_value_where_the_placeholder_is_positional(document):
    assert ("insert into t values ($1)", (document,)) == sent(POSTGRESQL, "insert into t values ($1)", document)
    assert ("insert into t values ($1)", (document,)) == sent(POSTGRESQL, "insert into t values (%s)", document)


def test_a_mapping_for_several_positional_placeholders_is_refused():
    message = refusal(SQLITE, "select ?, ?", {"a": 1})
    assert (
        message
        == "the statement takes 2 values, but got 1: number 2 is missing; a mapping goes with named placeholders"
    )


def test_two_mappings_are_two_values():
    assert sent(SQLITE, "select ?, ?", {"a": 1}, {}) == ("select ?, ?", ({"a": 1}, {}))


def test_positional_values_for_names_are_refused():
    message = refusal(SQLITE, "select :id, :name, %(id)s", 1, 2)
    assert message == "the statement names :id and :name; pass one mapping"


@pytest.mark.parametrize(
    ("driver", "text", "mark"),
    [
        (SQLITE, "select :a, ?", "?"),
        (POSTGRESQL, "select :a, $2", "$2"),
        (MYSQL, "select :a, %s", "%s"),
        (SQLITE, "select :a, ?1", "?1"),
    ],
)
def test_names_mixed_with_the_positional_style_of_the_driver_are_refused(driver, text, mark):
    expected = f"the statement mixes :a with {mark}; use placeholders of one kind"
    assert refusal(driver, text, {"a": 1}) == expected


# Positional parameters


@pytest.mark.parametrize("text", ["select ?, ?", "select %s, %s", "select $1, $2"])
@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (SQLITE, "select ?, ?"),
        (POSTGRESQL, "select $1, $2"),
        (PSYCOPG, "select %s, %s"),
        (MYSQL, "select %s, %s"),
        (ODBC, "select ?, ?"),
    ],
)
def test_any_positional_style_becomes_the_one_of_the_driver(driver, expected, text):
    plan, values = Translator(*driver).bind(text, (1, 2))
    assert (plan.sql, values, plan.order, plan.count) == (expected, (1, 2), None, 2)


@pytest.mark.parametrize(
    ("driver", "expected", "values"),
    [
        (SQLITE, "select ?, ?, ?", ("b", "a", "b")),
        (MYSQL, "select %s, %s, %s", ("b", "a", "b")),
        (POSTGRESQL, "select $2, $1, $2", ("a", "b")),
    ],
)
def test_numbers_give_order_and_repetition(driver, expected, values):
    assert sent(driver, "select $2, $1, $2", "a", "b") == (expected, values)


@pytest.mark.parametrize("text", ["select %s%s", "%s, %s", "select(%s),%s"])
def test_placeholders_at_the_edge_and_side_by_side(text):
    assert text.replace("%s", "?") == sent(SQLITE, text, 1, 2)[0]


@pytest.mark.parametrize(
    ("driver", "text", "expected"),
    [
        (POSTGRESQL, "select $1, data ? 'a', data ?| b, data ?& c, d @? e", None),
        (POSTGRESQL, "select $1, '%s', a % 2, b %% 2", None),
        (
            POSTGRESQL,
            "select data ?| b, data ?& c, d @? e, data ?? 'a', ?",
            "select data ?| b, data ?& c, d @? e, data ? 'a', $1",
        ),
        (POSTGRESQL, "select data ??| b, ?", "select data ?| b, $1"),
        (POSTGRESQL, "select ?||'x'", "select $1||'x'"),
        (POSTGRESQL, "select a where a&&?", "select a where a&&$1"),
        (POSTGRESQL, "select ?&&a", "select $1&&a"),
        (POSTGRESQL, "select v@@?", "select v@@$1"),
        (POSTGRESQL, "select data ? 'a', %s", "select data ? 'a', $1"),
        (PSYCOPG, "select data ? 'a', $1", "select data ? 'a', %s"),
        (PSYCOPG, "select data ? 'a', %s", None),
        (SQLITE, "select '$1', %s % ?", "select '$1', %s % ?"),
    ],
)
def test_the_style_is_decided_once_for_the_text(driver, text, expected):
    assert sent(driver, text, "v") == (expected or text, ("v",))


@pytest.mark.parametrize(
    ("driver", "text", "expected"),
    [
        (SQLITE, "select 'a%%', 5 %% %s", "select 'a%', 5 % ?"),
        (SQLITE, "select 'a%', 5 % %s", "select 'a%', 5 % ?"),
        (SQLITE, "select 'a%%', 5 % ?", "select 'a%%', 5 % ?"),
        (SQLITE, "select 'a%%', 5 %% $1", "select 'a%%', 5 %% ?"),
        (SQLITE, "select '%%%s', %%s, %s", "select '%%s', %s, ?"),
        (MYSQL, "select 'a%%', 5 %% %s", None),
        (MYSQL, "select 'a%', 5 % %s, '%s'", "select 'a%%', 5 %% %s, '%%s'"),
        (MYSQL, "select 'a%', 5 % ?", "select 'a%%', 5 %% %s"),
        (MYSQL, "select 'a%%', 5 % ?", "select 'a%%%%', 5 %% %s"),
        (MYSQL, "select a %size, ?", "select a %%size, %s"),
    ],
)
def test_percent_signs_mean_the_same_on_every_driver(driver, text, expected):
    assert sent(driver, text, 1) == (expected or text, (1,))


@pytest.mark.parametrize(
    ("driver", "text", "expected"),
    [
        (SQLITE, "select 'a%%', :a", "select 'a%%', ?"),
        (SQLITE, "select 'a%%', %(a)s", "select 'a%', ?"),
        (MYSQL, "select 'a%', 5 % :a", "select 'a%%', 5 %% %s"),
        (MYSQL, "select 'a%%', %(a)s", "select 'a%%', %s"),
        (MYSQL, "select 'a%(x)s', %%(b)s, %(a)s", "select 'a%%(x)s', %%(b)s, %s"),
    ],
)
def test_percent_signs_beside_names(driver, text, expected):
    assert sent(driver, text, {"a": 1}) == (expected, (1,))


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("select ?1, ?2, ?1", (1, 2)),
        ("select @x", (1,)),
        ("select $name, ?", (1, 2)),
        ("select @x, :y", ({"x": 1, "y": 2},)),
    ],
)
@pytest.mark.parametrize("driver", [SQLITE, DUMMY])
def test_placeholders_only_sqlite_knows_are_left_to_it(driver, text, params):
    plan, values = Translator(*driver).bind(text, params)
    given = params[0] if isinstance(params[0], dict) else params
    assert (plan.sql, values, plan.count) == (text, given, None)


def test_a_document_for_a_numbered_placeholder_of_sqlite_is_a_value():
    assert sent(SQLITE, "select ?1", {"a": 1}) == ("select ?1", ({"a": 1},))


@pytest.mark.parametrize(
    ("text", "params", "expected"),
    [
        ("select $1, $2, $3", (1, 2), "the statement takes 3 values, but got 2: $3 is missing"),
        ("select $3, $1", (1,), "the statement takes 3 values, but got 1: $2 to $3 are missing"),
        ("select ?, ?, ?", (1,), "the statement takes 3 values, but got 1: number 2 to number 3 are missing"),
        ("select %s, %s", (1,), "the statement takes 2 values, but got 1: number 2 is missing"),
        ("select ?", (1, 2, 3), "the statement takes 1 value, but got 3: 2 too many"),
        ("select 1", ("secret",), "the statement takes 0 values, but got 1: 1 too many"),
        ("select $99999", (1,), "the statement takes 99999 values, but got 1: $2 to $99999 are missing"),
    ],
)
@pytest.mark.parametrize("driver", [SQLITE, POSTGRESQL, MYSQL])
def test_a_wrong_number_of_values_is_refused(driver, text, params, expected):
    assert refusal(driver, text, *params) == expected


@pytest.mark.parametrize("text", ["select $0", "select $123456789", "select $1x", "select a$1", "select x1$2"])
def test_dollars_that_are_no_placeholders(text):
    assert "takes 0 values" in refusal(POSTGRESQL, text, 1)


# Literals and comments

OPAQUE = {
    "string": ("'?%s$1:a'", EVERY),
    "string with a doubled quote": ("'it''s ?'", EVERY),
    "identifier": ('"?%s$1:a"', EVERY),
    "identifier with a doubled quote": ('"a""?"', EVERY),
    "line comment": ("-- ? ' \n", EVERY),
    "block comment": ("/* ? ' */", EVERY),
    "stars": ("/*** ? **/", EVERY),
    "backslash at the end": ("'\\'", (SQLITE, POSTGRESQL, PSYCOPG, ODBC, DUMMY)),
    "backslash escapes": ("'\\'?'", (MYSQL,)),
    "double-quoted string with an escape": ('"\\"?"', (MYSQL,)),
    "escape string": ("E'\\'?'", (POSTGRESQL, PSYCOPG)),
    "escape string with both": ("e'''\\'?'", (POSTGRESQL, PSYCOPG)),
    "unicode string": ("U&'?' UESCAPE '!'", (POSTGRESQL, PSYCOPG)),
    "dollar quotes": ("$$ ? ' $1 $$", (POSTGRESQL, PSYCOPG)),
    "tagged dollar quotes": ("$fn$ ? $$ $f$ $1 $fn$", (POSTGRESQL, PSYCOPG)),
    "nested comment": ("/* /* ? */ ? */", (POSTGRESQL, PSYCOPG)),
    "comment that nests at once": ("/*/**/ ? */", (POSTGRESQL, PSYCOPG)),
    "hash comment": ("# ? ' \n", (MYSQL,)),
    "backticks": ("`?`", (SQLITE, MYSQL, ODBC, DUMMY)),
    "brackets": ("[a ? b]", (SQLITE, ODBC, DUMMY)),
    "brackets with a doubled one": ("[a]]?]", (ODBC,)),
}


@pytest.mark.parametrize(
    ("driver", "piece"),
    [(driver, piece) for piece, drivers in OPAQUE.values() for driver in drivers],
)
def test_placeholders_in_literals_and_comments_are_none(driver, piece):
    rewritten, values = sent(driver, f"select {piece}, :a", {"a": 1})
    expected = piece.replace("%", "%%") if "format" in driver[1] else piece
    mark = {"qmark": "?", "numeric_dollar": "$1"}.get(driver[1], "%s")
    assert (rewritten, values) == (f"select {expected}, {mark}", (1,))


@pytest.mark.parametrize(
    ("driver", "text", "count"),
    [
        (POSTGRESQL, "select array[$1], a[$2]", 2),
        (ODBC, "select array[?], a[?], (a)[?], a[1][?]", 4),
        (POSTGRESQL, "select a #> %s, a #>> %s, a #- %s", 3),
        (POSTGRESQL, "select somee'\\', %s", 1),
        (POSTGRESQL, "select '\\', %s", 1),
        (MYSQL, "select 5--3, ?", 1),
        (MYSQL, "select 1 -- ?", 0),
        (MYSQL, "select 1 --", 0),
        (SQLITE, "select 1 --?", 0),
        (SQLITE, "/* /* ? */ ?", 1),
        (POSTGRESQL, "select 1 -- ?\r, ?", 1),
        (MYSQL, "select /*!40101 ? */ 1", 1),
        (MYSQL, "select /*+ ? */ 1", 0),
        (MYSQL, "select * from `a``?` where b = ?", 1),
        (POSTGRESQL, "select $a$ $b$ ? $a$, $b$ ? $b$, ?", 1),
    ],
)
def test_what_looks_like_a_literal_and_what_ends_one(driver, text, count):
    plan, _ = Translator(*driver).bind(text, tuple(range(count))) if count else (None, ())
    assert count == (plan.count if plan else 0)
    assert f"takes {count} value" in refusal(driver, text, *range(count + 1))


UNTERMINATED = {
    "'": EVERY,
    '"': EVERY,
    "/*": EVERY,
    "--": EVERY,
    "--\t'": EVERY,
    "U&'": EVERY,
    "E'": EVERY,
    "'\\": EVERY,
    "E'\\": EVERY,
    "`": (SQLITE, MYSQL, ODBC),
    "[": (SQLITE, ODBC),
    "#": (MYSQL,),
    "$$": (POSTGRESQL, PSYCOPG),
    "$tag$": (POSTGRESQL, PSYCOPG),
    "/* /* */": (POSTGRESQL, PSYCOPG),
}


@pytest.mark.parametrize(
    ("driver", "opening"), [(driver, opening) for opening, drivers in UNTERMINATED.items() for driver in drivers]
)
def test_an_unterminated_literal_takes_the_rest_of_the_text(driver, opening):
    text = f"select 1 {opening} ?"
    assert (text, ()) == sent(driver, text)
    assert "takes 0 values" in refusal(driver, text, 1)


@pytest.mark.parametrize(
    ("driver", "text"),
    [
        (POSTGRESQL, "a ` ?"),
        (POSTGRESQL, "a [ ?"),
        (MYSQL, "a [ ?"),
        (POSTGRESQL, "a # ?"),
        (ODBC, "a $$ ?"),
        (MYSQL, "a--?"),
    ],
)
def test_what_opens_no_literal_in_a_dialect(driver, text):
    assert Translator(*driver).bind(text, (1,))[0].count == 1


@pytest.mark.parametrize("driver", [POSTGRESQL, MYSQL])
def test_a_megabyte_of_quotes_is_planned(driver):
    """Planning takes linear time: with quadratic time this would run for hours."""
    text = "'" * 1_000_000
    assert (text, ()) == sent(driver, text)


# Left alone


@pytest.mark.parametrize("params", [(), (1, 2, 3), ({"a": 1},), ({"a": 1}, 2)])
def test_without_conversion_text_and_parameters_are_passed_on(params):
    translator = Translator("sqlite", "qmark", convert=False)
    text = "select :a, ?, %s, '%%'"
    plan, values = translator.bind(text, params)
    expected = params[0] if params == ({"a": 1},) else params
    assert (plan.sql, values) == (text, expected)


def test_without_conversion_rows_are_passed_on():
    translator = Translator("sqlite", "qmark", convert=False)
    assert translator.bind_many("x :a", [{"a": 1}, {"b": 2}])[1] == [{"a": 1}, {"b": 2}]
    assert translator.bind_many("x :a", [[1, 2], (3,)])[1] == [(1, 2), (3,)]
    assert translator.bind_many("x :a", ["a", "b"])[1] == [("a",), ("b",)]


def test_without_conversion_traits_are_known():
    plan, _ = Translator("sqlite", "qmark", convert=False).bind("insert into t values (?)", (1,))
    assert plan.writes


@pytest.mark.parametrize("paramstyle", ["named", "numeric", "", "dollar"])
def test_an_unknown_paramstyle_is_refused(paramstyle):
    expected = f"the paramstyle {paramstyle!r} is not known; use one of numeric_dollar, format, qmark"
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        Translator("sqlite", paramstyle)


def test_an_unknown_dialect_is_read_as_standard_sql():
    assert sent(("other", "numeric_dollar"), "select '?', ?", 1) == ("select '?', $1", (1,))


# Many rows


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(1, 2), [3, 4], range(5, 7)], [(1, 2), (3, 4), (5, 6)]),
        (iter([(1, 2)]), [(1, 2)]),
        (((n, n) for n in range(2)), [(0, 0), (1, 1)]),
    ],
)
def test_rows_are_sequences(rows, expected):
    plan, values = Translator(*POSTGRESQL).bind_many("insert into t values (?, ?)", rows)
    assert (plan.sql, values) == ("insert into t values ($1, $2)", expected)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["1", "22"], [("1",), ("22",)]),
        ([1, None, 2.5], [(1,), (None,), (2.5,)]),
        ([b"ab", bytearray(b"c")], [(b"ab",), (bytearray(b"c"),)]),
        ([{"a": 1}, None, 5], [({"a": 1},), (None,), (5,)]),
        ([frozenset({1})], [(frozenset({1}),)]),
    ],
)
def test_rows_are_bare_values(rows, expected):
    assert Translator(*SQLITE).bind_many("insert into t values (?)", rows)[1] == expected


def test_rows_are_mappings():
    plan, values = Translator(*SQLITE).bind_many("insert into t values (:b, :a)", [{"a": 1, "b": 2}, {"b": 4, "a": 3}])
    assert (plan.sql, values) == ("insert into t values (?, ?)", [(2, 1), (4, 3)])


def test_rows_of_a_database_are_sequences():
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row = connection.execute("select 1, 2").fetchone()
    connection.close()
    assert Translator(*SQLITE).bind_many("insert into t values (?, ?)", [row])[1] == [(1, 2)]


def test_rows_with_items_and_length_are_sequences_without_saying_so():
    class Row:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return (1, 2)[index]

    assert Translator(*SQLITE).bind_many("insert into t values (?, ?)", [Row()])[1] == [(1, 2)]


def test_rows_are_put_in_order():
    assert Translator(*SQLITE).bind_many("values ($2, $1)", [(1, 2), (3, 4)])[1] == [(2, 1), (4, 3)]


def test_mappings_for_placeholders_of_sqlite_are_left_to_it():
    assert Translator(*SQLITE).bind_many("values (@x)", [{"x": 1}])[1] == [{"x": 1}]


def test_no_rows_give_no_values():
    plan, values = Translator(*POSTGRESQL).bind_many("insert into t values (?, '%%')", [])
    assert (plan.sql, values, plan.writes) == ("insert into t values (?, '%%')", [], True)


@pytest.mark.parametrize(
    ("text", "rows", "expected"),
    [
        ("values (?, ?)", [(1, 2), (1,)], "row 2: the statement takes 2 values, but got 1: number 2 is missing"),
        ("values (?, ?)", [()], "row 1: the statement takes 2 values, but got 0: number 1 to number 2 are missing"),
        ("values (:a)", [{"a": 1}, {"a": 2}, {}], "row 3: the mapping does not match the statement: it lacks :a"),
        ("values (:a)", [{"a": 1}, (2,)], "row 2: it is a sequence, but row 1 is a mapping; pass rows of one kind"),
        ("values (?)", [(1,), 2], "row 2: it is a value, but row 1 is a sequence; pass rows of one kind"),
        ("values (?)", [1, (2,)], "row 2: it is a sequence, but row 1 is a value; pass rows of one kind"),
        ("values (?)", [(1,), {"a": 1}], "row 2: it is a mapping, but row 1 is a sequence; pass rows of one kind"),
        ("values (:a)", [(1,)], "the statement names :a; pass one mapping"),
    ],
)
def test_a_row_that_does_not_match_is_named(text, rows, expected):
    with pytest.raises(ProgrammingError) as caught:
        Translator(*SQLITE).bind_many(text, rows)
    assert str(caught.value) == expected


# What a statement does

READS = """
    select 1
    SELECT * FROM t WHERE a = 'insert into x' -- delete from y
    ( select 1 ) union (select 2)
    /* hint */ select 1
    with a as (select 1) select * from a
    with a as (select replace(b, 'x', 'y') from t) select * from a
    values (1), (2)
    table t
    show tables
    explain insert into t values (1)
    explain query plan delete from t
    explain select * from t for update
    explain analyze select 1
    explain (analyze, buffers) select 1
    EXPLAIN ANALYZE VERBOSE (SELECT 1)
    explain analyze format=tree select 1
    explain analyze with a as (select 1) select * from a
    describe t
    desc t
    pragma table_info(t)
    pragma main.table_info('t')
    pragma user_version
    pragma main.journal_mode
    select update_count, "insert", deleted, for_update, into_x from updates
    select t.update, a as "for update" from t
    select count(*) from t where (update = 1)
    select * from temp
    select @a := 1
    select a into @b from t
    select read_only, "READ WRITE" from settings
    select '; delete from t'
    select 1; select 2;
    ;
    -- only a comment
"""

TRANSACTIONS = """
    begin
    begin read only
    start transaction read only
    commit
    end
    rollback to savepoint a
    savepoint a
    release a
    abort
    set transaction isolation level serializable
    set transaction read only
    set search_path = x
    set default_transaction_read_only = on
    set session transaction_read_only to 'on'
    reset search_path
    use other
    listen a
    unlisten a
    discard temp
    declare c cursor for select 1
    fetch 5 from c
    move 5 in c
    close c
    deallocate x
"""

WRITES = """
    insert into t values (1)
    update t set a = 1
    DELETE FROM t
    merge into t using s on true when matched then do nothing
    replace into t values (1)
    create table t (a int)
    drop table t
    truncate t
    alter table t add b int
    vacuum
    analyze t
    copy t to '/file'
    copy t from '/file'
    call f()
    do $$ begin end $$
    execute x
    prepare x as select 1
    refresh materialized view v
    notify a, 'b'
    lock table t
    grant select on t to u
    attach 'x.db' as x
    {call f(?)}
    with a as (insert into t values (1) returning *) select * from a
    with a as (delete from t returning *) select * from a
    with a as (update t set b = 1 returning *) select * from a
    with a as (select 1) insert into t select * from a
    with a as (select 1) update t set b = 1
    with a as (select 1) delete from t
    with a as materialized (delete from "t" returning *) select 1
    explain analyze insert into t values (1)
    explain (analyze) delete from t
    explain (analyze, format json) with a as (delete from t returning *) select * from a
    explain analyze execute x
    explain analyze create table u as select 1
    select * into u from t
    select 1 into outfile '/tmp/x'
    table t into dumpfile 'x'
    select * from t for update
    select * from t for no key update skip locked
    select * from t for share
    select * from t for key share of t
    select * from t lock in share mode
    (select * from t for update)
    declare c cursor for select * from t for update
    select nextval('s')
    select pg_catalog.setval('s', 1)
    select pg_notify('a', 'b')
    select "nextval" ('s')
    select next value for s
    select lo_create(0)
    begin read write
    begin isolation level serializable, read write
    start transaction read write
    set transaction read write
    set session characteristics as transaction read write
    set default_transaction_read_only = off
    set session transaction_read_only to 'off'
    set transaction_read_only = 0
    set a = 1, tx_read_only = 0
    set @@session.transaction_read_only = 0
    set default_transaction_read_only = default
    set "transaction_read_only" = off
    reset default_transaction_read_only
    reset all
    discard all
    select set_config('transaction_read_only', 'off', false)
    select set_config('transaction_read_only', $1, false)
    set global max_connections = 1
    set @@global.max_connections = 1
    set password = 'x'
    set statement max_statement_time=1 for delete from t
    commit prepared 'x'
    pragma query_only = off
    pragma query_only(off)
    pragma foreign_keys = on
    pragma wal_checkpoint
    pragma wal_checkpoint(full)
    pragma main.incremental_vacuum(5)
    pragma optimize
    select 1; delete from t
    /* select */ delete from t
    begin; select 1; insert into t values (1); commit
"""

SESSION = """
    set search_path = x
    set session x = 1
    set role u
    set @a = 1
    set names utf8
    reset all
    reset role
    listen a
    unlisten *
    load 'auto_explain'
    discard all
    prepare x as select 1
    deallocate x
    declare c cursor with hold for select 1
    create temp table t (a int)
    create temporary table t as select 1
    create global temporary table t (a int)
    create or replace temp view v as select 1
    create table temp.t (a int)
    create table pg_temp.t (a int)
    select * into temp u from t
    select * into temporary table u from t
    select * into local temp u from t
    do $$ begin end $$
    call f()
    execute x
    exec f
    begin
    start transaction
    commit
    end
    rollback
    savepoint a
    release a
    abort
    select set_config('a.b', $1, false)
    select "set_config" ('a.b', 'c', true)
    select pg_catalog.pg_advisory_lock(1)
    select pg_advisory_lock_shared(1)
    select pg_try_advisory_lock(1)
    select pg_try_advisory_lock_shared(1)
    select lo_open(1, 2)
    select dblink_connect('x')
    select setseed(0.5)
    with a as (select pg_advisory_lock (1)) select 1
    explain analyze select pg_advisory_lock(1)
    use other
    lock tables t read
    unlock tables
    flush tables with read lock
    handler t open
    xa start 'x'
    select get_lock('a', 1)
    select @x := 1
    select @`x` := @`x` + 1 from t
    select 1 into @x
    pragma foreign_keys = on
    pragma busy_timeout(5)
    pragma main.cache_size = -2000
    attach 'x.db' as x
    detach x
    select 1; set search_path = x
    select load_extension('x')
    alter session set a = b
    SELECT\tSET_CONFIG /* ? */ ('a.b', 'c', false)
    select set_config('a.b', 'c', true), set_config('a.b', 'c', false)
    select set_config('a.b', $1, $2)
    select set_config('a.b', 'c', not true)
    select set_limit(0.5)
    update pg_settings set setting = 'a' where name = 'b'
    update "pg_catalog"."pg_settings" set setting = 'a'
    with a as (update only pg_settings set setting = 'a' returning 1) select 1
    merge into pg_settings using t on true when matched then do nothing
    select 1 as i into pg_temp.t
    select 1 as i into "pg_temp".t
    create table "pg_temp".t (a int)
    create table pg_temp_3.t (a int)
    create table "temp".t (a int)
    create table [temp].t (a int)
    create table `temp`.t (a int)
    create table #t (a int)
    select a into #t from t
    select a into ##t from t
    set transaction isolation level serializable
    set constraints all deferred
    get diagnostics @x = number
    get current diagnostics condition 1 @x = message_text
    backup stage start
    backup lock t
    if 1 then set @x = 1; end if
    repeat set @x = 1; until 1 end repeat
    a: while 1 do set @x = 1; leave a; end while
    {call f(?)}
    {? = call f(?)}
    (call f())
    frobnicate t
"""

NO_SESSION = """
    select 1
    insert into templates values (1)
    insert into t values ('set x = 1', "pg_advisory_lock")
    update t set begin_at = 1
    delete from t
    create table temperatures (a int)
    declare c cursor for select 1
    fetch 1 from c
    select pg_advisory_xact_lock(1)
    select pg_try_advisory_xact_lock_shared(1)
    select * from settings where a = 'set_config('
    select f(a := 1)
    explain select 1
    explain create temp table t as select 1
    pragma table_info(t)
    pragma user_version
    copy t from '/file'
    with a as (select 1) select 1
    notify a
    drop table t
    select case when 1 then 2 end
    select set_config('a.b', 'c', true)
    select pg_catalog.set_config('a.b', $1, TRUE), set_config('a', $2::text, true)
    select * from pg_settings
    select set_config, setseed from t
    insert into temp values (1)
    insert into temp (a) values (1)
    insert into temp select 1
    replace into temp set a = 1
    insert into temp default values
    merge into t using s on true when matched then do nothing
    replace into t values (1)
    table t
    truncate t
    alter table t set (a = b)
    alter role u set a = 'b'
    grant select on t to u
    vacuum
    kill 5
    (select 1) union (select 2)
"""


def lines(table):
    return [line.strip() for line in table.strip().splitlines()]


def traits(text, driver=ODBC):
    plan, _ = Translator(*driver).bind(text, ())
    return plan.writes, plan.session


@pytest.mark.parametrize("text", lines(READS) + lines(TRANSACTIONS))
def test_statements_that_do_not_write(text):
    assert not traits(text)[0]


@pytest.mark.parametrize("text", lines(WRITES))
def test_statements_that_write(text):
    assert traits(text)[0]


@pytest.mark.parametrize("text", lines(SESSION))
def test_statements_that_change_the_session(text):
    assert traits(text)[1]


@pytest.mark.parametrize("text", lines(NO_SESSION))
def test_statements_that_leave_the_session_alone(text):
    assert not traits(text)[1]


@pytest.mark.parametrize(
    ("driver", "text", "expected"),
    [
        (POSTGRESQL, "set local a = 1", (False, False)),
        (MYSQL, "set local sql_mode = ''", (False, True)),
        (POSTGRESQL, "set local transaction_read_only = off", (True, False)),
        (POSTGRESQL, "set transaction read only", (False, False)),
        (POSTGRESQL, "set constraints all deferred", (False, False)),
        (POSTGRESQL, "select a #b from t", (False, False)),
        (MYSQL, "set transaction read only", (False, True)),
        (POSTGRESQL, "do $$ begin delete from t; end $$", (True, True)),
        (POSTGRESQL, "select $$; delete from t; set a = 1 $$", (False, False)),
        (POSTGRESQL, "select /* /* */ ; delete from t */ 1", (False, False)),
        (SQLITE, "select /* /* */ ; delete from t", (True, False)),
        (MYSQL, "select 1 # ; delete from t", (False, False)),
        (MYSQL, "/*!40101 set names utf8 */", (False, True)),
        (MYSQL, "select /*! 1 into outfile 'x' */", (True, False)),
        (MYSQL, "select 'a\\'; delete from t; select '", (False, False)),
        (SQLITE, "select 'a\\'; delete from t; select '", (True, False)),
        (SQLITE, "select [; delete from t]", (False, False)),
    ],
)
def test_traits_depend_on_the_dialect(driver, text, expected):
    assert traits(text, driver) == expected


@pytest.mark.parametrize("driver", [SQLITE, POSTGRESQL, PSYCOPG, MYSQL], ids=str)
def test_tricks_are_seen_through_and_reads_are_not_taken_for_them(driver):
    for table, writes in ((tricks.WRITES, True), (tricks.LIFTS, True), (tricks.READS, False)):
        wrong = [text for text in [*table["any"], *table[driver[0]]] if writes is not traits(text, driver)[0]]
        assert wrong == []


@pytest.mark.parametrize(
    ("text", "writes"),
    [
        ("begin; select 1; commit", False),
        ("select 1; commit", False),
        ("commit; select f()", True),
        ("rollback and chain; select f()", True),
        ("rollback to a; select f()", False),
        ("commit;;", False),
    ],
)
def test_what_follows_the_end_of_a_transaction_may_write(text, writes):
    assert writes is traits(text, POSTGRESQL)[0]


@pytest.mark.parametrize(
    ("driver", "text", "expected"),
    [
        (POSTGRESQL, 'select :u & "a", :e', {"u": 1, "e": 2}),
        (POSTGRESQL, "select a[1 :b] from t where c = :d", {"b": 1, "d": 2}),
        (MYSQL, "select :a, '\\\\' , :b /*! , :c */", {"a": 1, "b": 2, "c": 3}),
    ],
)
def test_placeholders_beside_what_looks_like_a_literal(driver, text, expected):
    _, values = Translator(*driver).bind(text, (expected,))
    assert tuple(expected.values()) == values


TRIGGER = "create trigger a after insert on t begin update t set b = case when 1 then 2 end; delete from t; end"
FUNCTION = "create or replace function f() returns int begin atomic select 1; end"


@pytest.mark.parametrize(
    ("driver", "text", "session", "ends"),
    [
        (SQLITE, TRIGGER, False, False),
        (SQLITE, f"{TRIGGER};", False, False),
        (SQLITE, f"{TRIGGER}; {TRIGGER}", False, False),
        (SQLITE, f"{TRIGGER}; end", True, True),
        (SQLITE, f"{TRIGGER}; commit; {TRIGGER}", True, True),
        (SQLITE, f"{TRIGGER}; pragma query_only = on", True, False),
        (POSTGRESQL, FUNCTION, False, False),
        (POSTGRESQL, f"{FUNCTION}; set a = 1", True, False),
        (POSTGRESQL, "create procedure f() begin atomic; end; commit", True, True),
        (POSTGRESQL, "create table t (begin int, b int); commit", True, True),
        (POSTGRESQL, "create trigger a after insert on t execute function begin(); set a = 1", True, False),
    ],
)
def test_what_stands_in_a_body_is_not_run_yet(driver, text, session, ends):
    plan, _ = Translator(*driver).bind(text, ())
    assert (True, session, ends) == (plan.writes, plan.session, plan.ends)


@pytest.mark.parametrize("params", [(), (1,), ({"a": 1},)])
def test_every_kind_of_plan_knows_the_traits(params):
    text = "create temp table t as select " + (":a" if params == ({"a": 1},) else "?")
    plan, _ = Translator(*SQLITE).bind(text, params)
    assert (plan.writes, plan.session) == (True, True)


# The cache


def test_a_text_is_planned_once_for_each_kind_of_parameters():
    translator = Translator(*SQLITE)
    first = [translator.bind("select ?", params)[0] for params in ((), (1,), ({"a": 1},))]
    again = [translator.bind("select ?", params)[0] for params in ((), (2,), ({"b": 1},))]
    assert all(plan is other for plan, other in zip(first, again, strict=True))


def test_rows_and_single_calls_share_a_plan():
    translator = Translator(*SQLITE)
    assert translator.bind("select ?", (1,))[0] is translator.bind_many("select ?", [(1,)])[0]


def test_the_oldest_plans_are_dropped_first():
    translator = Translator(*SQLITE)
    plans = [translator.bind(f"select {number}", ())[0] for number in range(MAX_PLANS + 1)]
    assert plans[1] is translator.bind("select 1", ())[0]
    assert plans[-1] is translator.bind(f"select {MAX_PLANS}", ())[0]
    assert plans[0] is not translator.bind("select 0", ())[0]
    assert len(translator._raw) == MAX_PLANS


def test_long_texts_are_not_remembered():
    translator = Translator(*SQLITE)
    long, longest = (f"select {'1':>{length}}" for length in (MAX_CACHED_LENGTH - 7, MAX_CACHED_LENGTH - 6))
    assert translator.bind(long, ())[0] is translator.bind(long, ())[0]
    assert translator.bind(longest, ())[0] is not translator.bind(longest, ())[0]


def test_refused_parameters_are_refused_again():
    translator = Translator(*SQLITE)
    for _ in range(2):
        with pytest.raises(ProgrammingError, match="takes 1 value, but got 2"):
            translator.bind("select ?", (1, 2))
    assert translator.bind("select ?", (1,))[1] == (1,)


def test_threads_share_a_translator(monkeypatch):
    monkeypatch.setattr("aio_databases.sql.translator.MAX_PLANS", 8)
    translator = Translator(*POSTGRESQL)
    wrong = []

    def work(seed):
        for number in range(2000):
            n = (number * seed) % 40
            plan, values = translator.bind(f"select ?, {n}", (n,))
            if (f"select $1, {n}", (n,)) != (plan.sql, values):
                wrong.append((plan, values))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 3, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(translator._positional) == 8


# Against a real database


def test_sqlite_agrees_about_where_literals_end():
    connection = sqlite3.connect(":memory:")
    text = """select '?''%s', "?", `$1`, [:a b], :x -- ?\n, /* ? */ :z, :y from (select 1 "?", 2 `$1`, 3 [:a b])"""
    plan, values = Translator(*SQLITE).bind(text, ({"x": 7, "y": 8, "z": 9},))
    row = connection.execute(plan.sql, values).fetchone()
    connection.close()
    assert row == ("?'%s", 1, 2, 3, 7, 9, 8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1", True),
        ("-- why\n select 1;", True),
        ("(select 1) union (select 2)", True),
        ("with a as (select 1) select * from a", True),
        ("values (1), (2)", True),
        ("table users", True),
        ("select 1; select 2", False),
        ("explain analyze select 1", False),
        ("explain select 1", False),
        ("show all", False),
        ("pragma table_info(users)", False),
        ("fetch all from c", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("driver", EVERY)
def test_what_a_cursor_can_be_declared_for(driver, text, expected):
    assert expected is Translator(*driver).bind(text, ())[0].selects
