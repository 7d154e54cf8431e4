"""URLs: their parts, their options, and that no part of a password is ever shown."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aio_databases import ConfigurationError, Database, Error
from aio_databases.config.url import (
    boolean,
    function,
    integer,
    near_misses,
    optional,
    parse_url,
    redact,
    seconds,
    typed_options,
)


def test_the_parts_of_a_url_are_decoded():
    address = parse_url("pg://us%40er:p%2Fw@[::1]:5433/my%20db?a=1&b=&c=x%26y")
    assert address.scheme == "pg"
    assert (address.host, address.port, address.user, address.password) == ("::1", 5433, "us@er", "p/w")
    assert (address.path, address.database) == ("/my db", "my db")
    assert address.options == {"a": "1", "b": "", "c": "x&y"}


def test_a_url_may_have_several_hosts_each_with_its_own_port():
    address = parse_url("pg://us%40er:p%2Fw@a:5432,b,[::1]:5433/db?x=1")
    assert address.hosts == (("a", 5432), ("b", None), ("::1", 5433))
    assert (address.host, address.port, address.user, address.password) == ("a", 5432, "us@er", "p/w")
    assert (str(address), address.place) == ("pg://a:5432,b,[::1]:5433/db", "a:5432,b,[::1]:5433")
    assert "pg://us%40er:***@a:5432,b,[::1]:5433/db?x=1" == address.redacted == address.url.redacted


def test_the_address_of_one_of_several_hosts_keeps_all_the_rest():
    address = parse_url("pg://ann:secret@a:5432,b,[::1]:5433/db?x=1")
    shown = []
    for index in range(3):
        one = address.at(index)
        assert ((one.host, one.port),) == (address.hosts[index],) == one.hosts
        assert (one.user, one.password, one.database, one.options) == ("ann", "secret", "db", {"x": "1"})
        shown.append(one.redacted)
    assert [f"pg://ann:***@{host}/db?x=1" for host in ("a:5432", "b", "[::1]:5433")] == shown


def test_what_a_url_leaves_out_is_none():
    address = parse_url("sqlite:///x.db")
    assert address.hosts == ((None, None),)
    assert (address.host, address.port, address.user, address.password) == (None, None, None, None)
    assert (address.database, {}) == ("x.db", {})


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("sqlite://", ""),
        ("sqlite:///", ""),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite:///relative/x.db", "relative/x.db"),
        ("sqlite:////absolute/x.db", "/absolute/x.db"),
    ],
)
def test_a_path_loses_its_first_slash_only(url, database):
    assert database == parse_url(url).database


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("pg://ann:secret@server:5433/shop?x=1", "pg://server:5433/shop"),
        ("pg://ann:secret@[::1]/shop", "pg://[::1]/shop"),
        ("pg://ann:secret@a:1,b:2,[::1]:3,[::2]/shop", "pg://a:1,b:2,[::1]:3,[::2]/shop"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_an_address_is_shown_without_user_password_and_options(url, shown):
    assert shown == str(parse_url(url))


def test_the_repr_of_an_address_and_its_url_hide_the_password():
    address = parse_url("pg://ann:secret@server/shop?password=secret&x=1")
    shown = "pg://ann:***@server/shop?password=***&x=1"
    assert (f"Address({shown!r})", f"URL({shown!r})") == (repr(address), repr(address.url))
    assert f"URL({shown!r})" == str(address.url) == f"{address.url}" == repr(address.url._replace())


def test_the_parts_of_the_split_url_are_there_for_those_who_ask():
    url = parse_url("pg://ann:secret@server/shop").url
    assert (url.username, url.password, url.hostname) == ("ann", "secret", "server")


# What is no URL


@pytest.mark.parametrize("value", [None, 5, b"sqlite://"])
def test_only_a_str_is_a_url(value):
    with pytest.raises(ConfigurationError, match=f"a database URL must be a str, .*, not {type(value).__name__}"):
        parse_url(value)


@pytest.mark.parametrize("text", ["", "file.db", "/tmp/x.db", "//server/db"])  # noqa: S108 - no file is made
def test_a_url_without_a_scheme_says_how_to_write_one(text):
    with pytest.raises(ConfigurationError, match=r"has no scheme; write for example 'sqlite:///file.db'"):
        parse_url(text)


@pytest.mark.parametrize(
    "url",
    [
        "pg://server:port/db",
        "pg://server:99999/db",
        "pg://server:-1/db",
        "pg://[::1/db",
        "pg://[nonsense]/db",
        "pg://a,,b/db",
        "pg://a,/db",
        "pg://,a/db",
        "pg://a,:5432/db",
        "pg://a,b:port/db",
        "pg://a, b/db",
        "pg://a,[::1/db",
        "pg://a,[nonsense]/db",
    ],
)
def test_a_bad_host_or_port_is_malformed(url):
    with pytest.raises(ConfigurationError, match=r"is malformed: .* percent-encode"):
        parse_url(url)


# Passwords


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("pg://ann:secret@server/db", "pg://ann:***@server/db"),
        ("pg://ann@server/db", "pg://ann@server/db"),
        ("pg://:secret@server/db", "pg://:***@server/db"),
        ("pg://ann:sec,ret@a:1,b/db", "pg://ann:***@a:1,b/db"),
        ("pg://a:1,[::1]:2/db", "pg://a:1,[::1]:2/db"),
        ("pg://ann:1,secret:x/db", "pg://ann:***/db"),
        ("pg://ann:se/cr@et@server/db", "pg://ann:***"),
        ("pg://server/db?password=x&user=y&sslpassword=z", "pg://server/db?password=***&user=y&sslpassword=***"),
        ("pg://server/db?PWD=x", "pg://server/db?PWD=***"),
        ("ann:secret@server", "***"),
        ("file.db", "file.db"),
        ("sqlite:///x.db?mode=ro", "sqlite:///x.db?mode=ro"),
    ],
)
def test_a_redacted_url_keeps_all_but_its_passwords(url, shown):
    assert shown == redact(url)


def everything_shown(url):
    """Return whatever the library shows of a URL: in its texts, and in the messages of errors."""
    shown = []
    try:
        address = parse_url(url)
        shown.append(f"{address} {address!r} {address.url} {address.redacted}")
        db = Database(url)
        shown.append(f"{db!r} {db.url} {db.backend!r} {db._pool!r} {db.stats()}")
    except Error as error:
        shown.extend(traceback.format_exception_only(error))
    return "".join(shown)


@pytest.mark.parametrize(
    "url",
    [
        "dummy://ann:hunter@server/shop",
        "dummy:///shop?user=ann&password=hunter",
        "dummy://server/shop?p%61ssword=hunter",
        "dummy://server/shop?sslpassword=hunter",
        "dummy://server/shop?password=hunter;kitten",
        "dummy://ann:hunter@server:port/shop",
        "dummy://ann:hunter/shop",
        "dummy://ann:hunter",
        "dummy://ann:hunter@[::1/shop",
        "dummy://ann:hunter@a:1,b:2/shop",
        "dummy://ann:hunter,kitten@a,b/shop",
        "dummy://ann:hunter@a,b:port/shop",
        "dummy://ann:hunter@a,,b/shop",
        "dummy://ann:hunter,kitten/shop",
        "dummy://ann:73,kitten:hunter",
        "dummy://ann:hunter,kitten/hunter@a,b/shop",
        "dummy://ann:hunter,7319/kitten@a,b/shop",
        "dummy://ann:[hunter]@server/shop",
        "dummy://ann:hunter\uff03kitten@server/shop",
        "dummy://ann:hunter?kitten@server/shop",
        "dummy://ann:?hunter@server/shop",
        "dummy://ann:hunter/kitten@server/shop",
        "dummy://ann:7319/kitten@server/shop",
        "dummy://ann:7319#kitten@server/shop",
        "dummy://ann:hunter#kitten@server/shop",
        "dummy:/ann:hunter@server/shop",
        "dummy//ann:hunter@server/shop",
        "//ann:hunter@server/shop",
        "ann:hunter@dummy://server/shop",
        "ann:hunter@server/shop",
        "host=server user=ann password=hunter",
    ],
)
def test_no_part_of_a_password_is_shown_of_any_url_however_malformed(url):
    shown = everything_shown(url)
    assert [part for part in ("hunter", "kitten", "7319") if part in shown] == [], shown


PARTS = st.sampled_from(["hunter", "kitten", *":/?#@[]%&=;,+\\'\" "])


@given(st.lists(PARTS, min_size=1, max_size=6).map("".join))
@example("hunter")
@example("?hunter")
@example("hunter?kitten")
@example("hunter/kitten")
@example("/hunter")
@example("#hunter")
@example("hunter#kitten@hunter")
@example("?hunter=kitten")
def test_no_part_of_a_password_with_special_characters_is_shown(password):
    for hosts in ("server", "a:1,b"):
        shown = everything_shown(f"dummy://ann:{password}@{hosts}/shop")
        assert [part for part in ("hunter", "kitten") if part in shown] == [], shown


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_one_clear_error(text):
    try:
        address = parse_url(text)
    except ConfigurationError as error:
        assert "database URL" in str(error)  # noqa: PT017 - most texts are none, few are
    else:
        assert address.scheme


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_is_percent_encoded_comes_back(user, password):
    def encode(text):
        return "".join(f"%{byte:02x}" for byte in text.encode())

    address = parse_url(f"dummy://{encode(user)}:{encode(password)}@server/shop")
    assert (user or None, password or None, "server") == (address.user, address.password, address.host)


# Options


def test_the_bad_value_of_a_secret_option_is_not_shown():
    with pytest.raises(ConfigurationError) as caught:
        typed_options({"db_password": "hunter2"}, {"db_password": int}, {}, "here")
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).startswith("the option 'db_password' of here has a bad value")


def test_near_misses_are_two_at_most_and_none_is_no_hint():
    assert near_misses("maxsiz", ["max_size", "timeout"]) == "; did you mean 'max_size'?"
    assert near_misses("b_size", ["a_size", "c_size", "d_size"]).count("_size") == 2
    assert near_misses("zzz", ["max_size"]) == ""


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (boolean, True, True),
        (boolean, "Yes", True),
        (boolean, "off", False),
        (boolean, 1, True),
        (boolean, 0, False),
        (function, len, len),
        (integer, "7", 7),
        (seconds, "2.5", 2.5),
        (optional(str), "", None),
        (optional(str), None, None),
        (optional(integer), "3", 3),
    ],
)
def test_texts_are_converted(convert, text, value):
    assert value == convert(text)


@pytest.mark.parametrize(
    ("convert", "text"),
    [(boolean, "maybe"), (integer, -1), (integer, 1.5), (seconds, -1), (seconds, "nan"), (function, 5)],
)
def test_what_does_not_fit_is_refused(convert, text):
    with pytest.raises((TypeError, ValueError), match="expected"):
        convert(text)
