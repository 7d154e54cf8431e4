"""Whatever a text is made of: literals stay, placeholders are rewritten in order, and nothing else ever goes wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aio_databases.errors import ProgrammingError
from aio_databases.sql.translator import Translator

DIALECTS = ("sqlite", "postgresql", "mysql", "odbc", "dummy")
MARKS = {"qmark": "?", "format": "%s", "numeric_dollar": "$1"}
DRIVERS = [(dialect, paramstyle) for dialect in DIALECTS for paramstyle in MARKS]

# What could be mistaken: placeholders of all kinds, quotes, ends and beginnings of comments.
CONFUSING = """? %s %% % $1 :a %(a)s :: ; ' " ` [ ] -- /* */ # \\ $$ x é ?? ?| @x E'"""
INSIDE = st.lists(st.sampled_from([" ", *CONFUSING.split(" ")]), max_size=6).map("".join)


def quoted(opening, closing, *, but=(), doubled=""):
    """Make literals whose inside cannot end them, except for `doubled`, which stands for one of its characters."""
    banned = [closing[0], *but]

    def clean(inside):
        if doubled and closing in inside:
            inside = inside.replace(closing, doubled)
        return inside if all(piece not in inside.replace(doubled or "\0", "") for piece in banned) else ""

    return INSIDE.map(lambda inside: opening + clean(inside) + closing)


STRINGS = {dialect: quoted("'", "'", doubled="''", but=["\\"] if dialect == "mysql" else []) for dialect in DIALECTS}
IDENTIFIERS = {
    dialect: quoted('"', '"', doubled='""', but=["\\"] if dialect == "mysql" else []) for dialect in DIALECTS
}
BLOCKS = quoted("/* ", " */", but=["*", "/", "!"])
LINES = quoted("-- ", "\n")
BACKTICKS = quoted("`", "`", doubled="``")
BRACKETS = quoted("[", "]")
EXTRAS = {
    "sqlite": [BACKTICKS, BRACKETS],
    "dummy": [BACKTICKS, BRACKETS],
    "odbc": [BACKTICKS, quoted("[", "]", doubled="]]")],
    "mysql": [
        BACKTICKS,
        quoted("# ", "\n"),
        INSIDE.map(lambda inside: "'" + inside.replace("\\", "\\\\").replace("'", "\\'") + "'"),
        INSIDE.map(lambda inside: '"' + inside.replace("\\", "\\\\").replace('"', '\\"') + '"'),
    ],
    "postgresql": [
        quoted("$$", "$$", but=["$"]),
        quoted("$tag$", "$tag$", but=["$tag"]).filter(
            lambda piece: piece.endswith("$tag$") and "$$" not in piece[3:-3]
        ),
        # Without the comma a literal in the next line would go on with it.
        INSIDE.map(lambda inside: "E'" + inside.replace("\\", "\\\\").replace("'", "\\'") + "' ,"),
        quoted("/* /* ", " */ ? */", but=["*", "/"]),
        st.sampled_from(["a::int", "a := 1", "data ->> 'a'", "a[1:n]", "a #> b", "d @> e"]),
    ],
}


def literals(dialect):
    return st.one_of(STRINGS[dialect], IDENTIFIERS[dialect], BLOCKS, LINES, *EXTRAS[dialect])


def texts(dialect, placeholder):
    """Make texts as lists of pieces: literals are strings, placeholders are tuples."""
    literal = literals(dialect).map(lambda piece: f" {piece} ")
    return st.lists(st.one_of(literal, st.sampled_from([" select ", ",", "(", ")", "="]), placeholder), max_size=12)


def joined(pieces, marks=None):
    marks = iter(marks or [])
    return "".join(piece if isinstance(piece, str) else next(marks, piece[0]) for piece in pieces)


def percent(piece, *, source_is_format, target_is_format):
    """Say how the percent signs of a literal reach a driver: as one each, as the caller meant them."""
    if not isinstance(piece, str):
        return piece
    meant = piece.replace("%%", "%") if source_is_format else piece
    if not target_is_format:
        return meant
    if source_is_format:  # the caller's %% is the driver's, and only what stands alone is doubled
        return piece.replace("%%", "\0").replace("%", "%%").replace("\0", "%%")
    return meant.replace("%", "%%")


def wanted(pieces, target, marks, *, source_is_format):
    is_format = target == "format"
    return joined(
        [percent(piece, source_is_format=source_is_format, target_is_format=is_format) for piece in pieces], marks
    )


@pytest.mark.parametrize(("dialect", "target"), DRIVERS)
@pytest.mark.parametrize("source", ["? ", "%s "])
@given(data=st.data())
def test_placeholders_are_rewritten_in_order_and_literals_stay(dialect, target, source, data):
    pieces = [*data.draw(texts(dialect, st.just((source,)))), " ", (source,)]
    values = tuple(range(sum(isinstance(piece, tuple) for piece in pieces)))
    plan, sent = Translator(dialect, target).bind(joined(pieces), values)
    marks = [f"${number + 1} " if target == "numeric_dollar" else f"{MARKS[target]} " for number in values]
    expected = wanted(pieces, target, marks, source_is_format=source == "%s ")
    assert (plan.sql, sent, plan.count) == (expected, values, len(values))


@pytest.mark.parametrize(("dialect", "target"), DRIVERS)
@given(data=st.data())
def test_numbers_are_rewritten_with_their_order(dialect, target, data):
    number = st.integers(1, 4).map(lambda number: (f"${number} ",))
    pieces = [*data.draw(texts(dialect, number)), ("$1 ",)]
    used = [int(piece[0][1:]) for piece in pieces if isinstance(piece, tuple)]
    values = tuple(range(10, 10 + max(used)))
    plan, sent = Translator(dialect, target).bind(joined(pieces), values)
    if target == "numeric_dollar":
        assert (joined(pieces), values) == (plan.sql, sent)
    else:
        expected = wanted(pieces, target, [f"{MARKS[target]} "] * len(used), source_is_format=False)
        assert (plan.sql, sent) == (expected, tuple(values[number - 1] for number in used))


@pytest.mark.parametrize(("dialect", "target"), DRIVERS)
@pytest.mark.parametrize("source", [":{} ", "%({})s "])
@given(data=st.data())
def test_names_are_rewritten_with_their_values(dialect, target, source, data):
    name = st.sampled_from(["a", "b", "_c1", "Größe"]).map(lambda name: (source.format(name), name))
    drawn = [*data.draw(texts(dialect, name)), (source.format("a"), "a")]
    pieces = [part for piece in drawn for part in ((" ", piece[:1]) if isinstance(piece, tuple) else (piece,))]
    used = [piece[1] for piece in drawn if isinstance(piece, tuple)]
    mapping = {name: name.upper() for name in used}
    plan, sent = Translator(dialect, target).bind(joined(pieces), (mapping,))
    if target == "numeric_dollar":
        order = list(dict.fromkeys(used))
        marks, values = [f"${order.index(name) + 1} " for name in used], tuple(mapping[name] for name in order)
    else:
        marks, values = [f"{MARKS[target]} "] * len(used), tuple(mapping[name] for name in used)
    expected = wanted(pieces, target, marks, source_is_format=source[0] == "%")
    assert (plan.sql, sent) == (expected, values)


ANY_TEXT = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.one_of(
            INSIDE,
            st.sampled_from(
                ["select ", "pragma ", "set ", "explain analyze ", "with ", "into ", "(", ")", "=", "@", "0", "ß"]
            ),
        ),
        max_size=12,
    ).map("".join),
)
ANY_PARAMS = st.one_of(
    st.just(()),
    st.lists(st.integers() | st.none() | st.text(max_size=3), max_size=4).map(tuple),
    st.dictionaries(st.sampled_from(["a", "b", "x"]), st.integers(), max_size=2).map(lambda mapping: (mapping,)),
)


def outcome(dialect, target, text, params):
    """Bind, and give the plan and the values, or else the message of the only error there may be."""
    try:
        return *Translator(dialect, target).bind(text, params), ""
    except ProgrammingError as error:
        return None, None, str(error)


@pytest.mark.parametrize(("dialect", "target"), DRIVERS)
@given(text=ANY_TEXT, params=ANY_PARAMS)
def test_binding_gives_the_values_or_the_one_error(dialect, target, text, params):
    plan, values, message = outcome(dialect, target, text, params)
    if "\0" in text:
        assert "NUL" in message
    elif not params:
        assert (text, (), "") == (plan.sql, values, message)
    elif plan is None:
        assert message
        assert not message.endswith(".")
    elif plan.names is not None:
        assert tuple(params[0][name] for name in plan.names) == values
    elif plan.order is not None:
        assert tuple(params[index] for index in plan.order) == values
    else:
        assert values in (params, params[0])


@pytest.mark.parametrize("target", MARKS)
@given(text=ANY_TEXT, value=st.text("0123456789abcdef", min_size=30, max_size=30))
def test_no_value_is_in_the_text_or_in_a_message(target, text, value):
    for params in ((value,), (value, value), ({"a": value},), ({"a": value, "b": value},)):
        plan, _, message = outcome("postgresql", target, text, params)
        assert value not in (message if plan is None else plan.sql)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(first=ANY_TEXT, second=ANY_TEXT)
def test_the_traits_of_two_statements_are_those_of_either(dialect, first, second):
    def traits(text):
        plan, _ = Translator(dialect, "qmark").bind(text.replace("\0", " "), ())
        return plan.writes, plan.session

    may_open_a_literal = any(mark in first for mark in ("'", '"', "`", "[", "#", "$", "\\", "--", "/*"))
    if may_open_a_literal:
        first = "select 1"
    expected = tuple(one or other for one, other in zip(traits(first), traits(second), strict=True))
    assert traits(f"{first} ; {second}") == expected


# With quadratic time, one of these would run for minutes.

LONG = 150_000


@pytest.mark.parametrize(
    ("dialect", "piece"),
    [
        *(
            ("postgresql", piece)
            for piece in ("'", '"', "e'", "e'\\'", "$", "$a", "$a$", "/*", "*/", "--", ":", "?", "%(", "@")
        ),
        *(("mysql", piece) for piece in ("\\", "'\\", '"\\', "#", "/*!", "`", "@x")),
        *(("sqlite", piece) for piece in ("[", "]", "@", "$x", "/*")),
        *(("odbc", piece) for piece in ("[", "]]", "[]]", "(")),
        *(
            ("odbc", piece)
            for piece in ("set ", "pragma ", "explain analyze ", "with ( update ", "read_only ", "create temp")
        ),
    ],
)
def test_long_monotonous_texts_are_planned(dialect, piece):
    text = piece * (LONG // len(piece))
    translator = Translator(dialect, "qmark")
    assert text == translator.bind(text, ())[0].sql
    assert text == translator.bind("select 1" + text, ())[0].sql[len("select 1") :]


def test_a_statement_with_many_values_is_planned():
    text = "insert into t values " + ",".join(["(?, ?, ?)"] * 10_000)
    plan, values = Translator("postgresql", "numeric_dollar").bind(text, tuple(range(30_000)))
    assert (plan.sql[-24:], len(values)) == ("($29998, $29999, $30000)", 30_000)
