"""Options: typed, with aliases, and refused by name."""

from __future__ import annotations

import pytest

from aio_databases import ConfigurationError, Database
from aio_databases.config.options import PoolOptions, split_options
from aio_databases.config.url import parse_url
from aio_databases.drivers.sqlite.driver import SQLiteDriver
from aio_databases.testing.fake_driver import make_database


def test_keywords_win_over_the_query_and_texts_are_typed():
    db = make_database(url="fake://server/db?maxsize=3&minsize=2&pool_recycle=60&json=1", max_size=5)
    options = db._pool.options
    assert (options.min_size, options.max_size, options.max_lifetime, db.backend.options["json"]) == (2, 5, 60.0, True)


def test_arguments_of_the_library_are_passed_on():
    assert make_database(connect_args={"x": 1}).backend.connect_args == {"x": 1}
    assert make_database(connect_args=None).backend.connect_args == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_sise": 3}, "unknown option 'max_sise' for fake://server/db; did you mean 'max_size'"),
        ({"max_size": "many"}, "the option 'max_size' of fake://server/db has a bad value 'many'"),
        ({"max_size": 1.5}, "expected a whole number, 0 or more"),
        ({"max_size": None}, "the option 'max_size' of fake://server/db has a bad value None"),
        ({"timeout": float("nan")}, "expected a number of seconds, 0 or more"),
        ({"timeout": "soon"}, "the option 'timeout' of fake://server/db has a bad value 'soon'"),
        ({"json": "perhaps"}, "expected true or false"),
        ({"init": 5}, "the option 'init' of fake://server/db has a bad value 5: expected a function"),
        ({"reset": []}, "the option 'reset' of fake://server/db has a bad value"),
        ({"qqq": 1}, "unknown option 'qqq' for fake://server/db; options of the library go into connect_args"),
        ({"timeout": -1}, "the option 'timeout' .* expected a number of seconds, 0 or more"),
        ({"max_size": 0}, "max_size of fake://server/db is 0; it must be at least 1"),
        ({"min_size": 5, "max_size": 2}, r"at least 1 and min_size \(5\)"),
        ({"reset": "sometimes"}, "expected 'auto', 'always', 'never' or a function"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options, message):
    with pytest.raises(ConfigurationError, match=message):
        make_database(**options)


def test_options_in_a_url_are_refused_alike():
    with pytest.raises(ConfigurationError, match="unknown option 'max_sise'"):
        make_database(url="fake://server/db?max_sise=3")


def test_the_defaults_are_those_of_the_documentation():
    assert PoolOptions() == (0, 10, 30, 600, 3600, 0, 30, 10, 5, 60, 5, None, None, False, "auto", None)
    assert PoolOptions() == make_database()._pool.options


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("min_size", "2", 2),
        ("max_size", "7", 7),
        ("timeout", "1.5", 1.5),
        ("max_idle", "1", 1.0),
        ("max_lifetime", "0", 0.0),
        ("max_waiting", "3", 3),
        ("check_after", "0.1", 0.1),
        ("leak_warning", "60", 60.0),
        ("leak_warning", "", None),
        ("debug", "true", True),
        ("connect_timeout", "2", 2.0),
        ("cleanup_timeout", "2", 2.0),
        ("commit_timeout", "2", 2.0),
        ("cool_down", "2", 2.0),
        ("target", "read-only", "read-only"),
        ("target", "", None),
        ("reset", "always", "always"),
    ],
)
def test_every_option_of_the_pool_may_stand_in_the_url_or_be_a_keyword(name, text, value):
    assert value == getattr(make_database(url=f"fake://server/db?{name}={text}")._pool.options, name)
    assert value == getattr(make_database(**{name: value})._pool.options, name)


def test_an_alias_among_the_keywords_wins_over_the_name_in_the_url():
    assert make_database(url="fake://server/db?max_size=2", maxsize=3)._pool.options.max_size == 3


def test_reset_and_init_may_be_functions():
    options = make_database(reset=print, init=repr)._pool.options
    assert (print, repr) == (options.reset, options.init)


def test_a_replica_takes_the_options_but_for_min_size():
    db = make_database(replicas=["fake://other/db?max_size=4"], min_size=2, timeout=1.5)
    (replica,) = db._replicas.own
    options = replica.pool.options
    assert (options.min_size, options.max_size, options.timeout) == (0, 4, 1.5)
    assert db._replicas.fallback.options.min_size == 0


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("sqlite:///file:x?mode=memory&cache=shared&max_size=3", {"uri": True}),
        ("sqlite:///file:x?uri=1&mode=memory&max_size=3", {}),
    ],
)
def test_the_parameters_of_an_sqlite_uri_are_no_options(url, given):
    pool, options, _ = split_options(SQLiteDriver, parse_url(url), given)
    assert (pool.max_size, options) == (3, {"connect_timeout": 10, "uri": True})


def test_without_uri_such_parameters_are_unknown_options():
    with pytest.raises(ConfigurationError, match="unknown option 'cache' for sqlite:///x"):
        Database("sqlite:///x?cache=shared")


@pytest.mark.parametrize("functions", [3, [("f", 1)], [("f", "many", len)], [("f", 1, "len")]])
def test_bad_functions_for_sqlite_are_refused_in_one_sentence(functions):
    with pytest.raises(ConfigurationError, match=r"the option 'functions' of sqlite:// .*expected triples of a name"):
        Database("sqlite://", functions=functions)


def test_connect_args_that_are_no_dict_are_refused():
    with pytest.raises(ConfigurationError, match="connect_args of fake://server/db must be a dict of arguments"):
        make_database(connect_args=["timeout"])
