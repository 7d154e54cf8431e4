"""Bad input gets one clear sentence: what happened, to what, what to do, and never a password or a value."""

from __future__ import annotations

import sys
from functools import partial

import anyio
import pytest

from aio_databases import ConfigurationError, Database, DriverNotInstalled, NotSupportedError, UnknownDriver
from conformance.conftest import LOOPS
from conformance.secrets_told import SECRET, everything_told

# URLs


@pytest.mark.parametrize(
    ("scheme", "near"),
    [
        ("posgresql", "'postgresql'"),
        ("postgre", "'postgres'"),
        ("sqlit", "'sqlite'"),
        ("asyncgp", "'asyncpg'"),
        ("aiosqllite", "'aiosqlite'"),
        ("postgresql+asyncgp", "'asyncpg'"),
    ],
)
def test_an_unknown_scheme_is_refused_with_what_is_near(scheme, near):
    with pytest.raises(UnknownDriver) as caught:
        Database(f"{scheme}://app:{SECRET}@localhost/test")
    message = str(caught.value)
    assert repr(scheme) in message
    assert "did you mean" in message
    assert near in message.partition("; known are")[0]
    assert SECRET not in everything_told(caught.value)
    assert isinstance(caught.value, ConfigurationError)
    assert isinstance(caught.value, ValueError)


def test_an_unknown_scheme_that_is_near_to_none_is_refused_with_the_known_ones():
    with pytest.raises(UnknownDriver) as caught:
        Database("gopher://localhost/test")
    assert "did you mean" not in str(caught.value)
    known = str(caught.value).partition("known are ")[2].split(", ")
    assert {*LOOPS, "mariadb", "mysql", "odbc", "postgres", "postgresql"} == set(known)


@pytest.mark.parametrize("url", ["sqlite+asyncpg://", "postgresql+aiosqlite://localhost/test"])
def test_a_driver_for_another_database_is_refused(url):
    with pytest.raises(UnknownDriver, match=r"is for \w+, not for \w+"):
        Database(url)


@pytest.mark.parametrize(
    "url",
    [
        f"asyncpg://app:{SECRET}@localhost:port/test",
        f"asyncpg://app:{SECRET}@localhost:99999/test",
        f"asyncpg://app:{SECRET}/2@localhost/test",
        f"asyncpg://app:{SECRET}?2@localhost/test",
        f"asyncpg://app:{SECRET}#2@localhost/test",
        f"asyncpg://app:{SECRET}@2@localhost/te@st",
        f"asyncpg://app:{SECRET}@[::1/test",
        f"app:{SECRET}@localhost/test",
        f"//app:{SECRET}@localhost/test",
        "test.db",
        "",
        "://",
    ],
)
def test_a_malformed_url_is_refused_without_its_password(url):
    with pytest.raises(ConfigurationError) as caught:
        Database(url)
    assert "URL" in str(caught.value)
    assert SECRET not in everything_told(caught.value)


@pytest.mark.parametrize("url", [None, 5, b"sqlite://", ["sqlite://"]])
def test_a_url_that_is_no_text_is_refused(url):
    with pytest.raises(ConfigurationError, match=f"must be a str, .* or a Path, not {type(url).__name__}"):
        Database(url)


def test_a_sqlite_url_with_too_few_slashes_is_refused():
    for scheme in ("sqlite", "aiosqlite"):
        with pytest.raises(ConfigurationError, match="takes three slashes"):
            Database(f"{scheme}://folder/test.db")


def test_a_bad_replica_is_refused_like_a_bad_primary():
    with pytest.raises(UnknownDriver, match="sqlit"):
        Database("sqlite://", replicas=["sqlit:///test.db"])
    with pytest.raises(ConfigurationError, match="max_siz"):
        Database("sqlite://", replicas=["sqlite:///test.db?max_siz=5"])


# Libraries


@pytest.mark.parametrize(("library", "family"), [("asyncpg", "postgresql"), ("aiosqlite", "sqlite")])
def test_a_missing_library_is_refused_with_the_command_that_installs_it(library, family, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # so that its import fails as if it were not installed
    monkeypatch.delitem(sys.modules, f"aio_databases.drivers.{family}.{library}")
    with pytest.raises(DriverNotInstalled) as caught:
        Database(f"{library}:///test?password={SECRET}")
    assert f"pip install 'aio-databases[{library}]'" in str(caught.value)
    assert library in str(caught.value).partition("pip")[0]
    assert SECRET not in everything_told(caught.value)
    assert isinstance(caught.value, ConfigurationError)
    assert isinstance(caught.value, ImportError)


def test_a_broken_library_shows_its_own_error(monkeypatch, tmp_path):
    (tmp_path / "asyncpg.py").write_text("import what_it_needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "asyncpg")
    monkeypatch.delitem(sys.modules, "aio_databases.drivers.postgresql.asyncpg")
    with pytest.raises(ModuleNotFoundError, match="what_it_needs") as caught:
        Database("asyncpg://localhost/test")
    assert not isinstance(caught.value, DriverNotInstalled)


@pytest.mark.parametrize(("url", "instead"), [("asyncpg://localhost/test", ""), ("aiosqlite://", "sqlite://")])
def test_an_event_loop_that_the_driver_cannot_run_on_is_told(url, instead):
    for first in (Database.connect, partial(Database.fetchval, query="select 1")):
        with pytest.raises(NotSupportedError, match="asyncio only, not on trio") as caught:
            anyio.run(first, Database(url), backend="trio")
        assert instead in str(caught.value)


# Options


@pytest.mark.parametrize("url", ["sqlite://", "aiosqlite://", "asyncpg://localhost/test"])
@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("max_siz", "'max_size'"),
        ("maxsiz", "'maxsize'"),
        ("timeot", "'timeout'"),
        ("convert_parms", "'convert_params'"),
    ],
)
def test_an_unknown_option_is_named_with_what_is_near(url, name, near):
    for make in (lambda: Database(url, **{name: SECRET}), lambda: Database(f"{url}?{name}={SECRET}")):
        with pytest.raises(ConfigurationError) as caught:
            make()
        message = str(caught.value)
        assert repr(name) in message
        assert near in message
        assert url in message
        assert "connect_args" in message
        assert SECRET not in everything_told(caught.value)


def test_an_option_of_another_driver_is_unknown():
    with pytest.raises(ConfigurationError, match="'pragmas'"):
        Database("asyncpg://localhost/test", pragmas={})
    with pytest.raises(ConfigurationError, match="'server_settings'"):
        Database("sqlite://", server_settings={})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_size": "ten"}, "'ten'"),
        ({"max_size": -1}, "0 or more"),
        ({"max_size": 2.5}, "whole number"),
        ({"max_size": None}, "'max_size'"),
        ({"timeout": "soon"}, "'soon'"),
        ({"timeout": -1}, "0 or more"),
        ({"timeout": float("nan")}, "0 or more"),
        ({"max_lifetime": []}, "'max_lifetime'"),
        ({"pool_recycle": "x"}, "'pool_recycle'"),
        ({"reset": "sometimes"}, "'auto', 'always', 'never'"),
        ({"json": "perhaps"}, "true or false"),
        ({"convert_params": 2}, "true or false"),
        ({"pragmas": 5}, "'pragmas'"),
        ({"uri": "maybe"}, "true or false"),
        ({"init": 5}, "'init'"),
        ({"functions": 5}, "'functions'"),
        ({"functions": [("twice", 1)]}, "'functions'"),
        ({"functions": [("twice", 1, 5)]}, "'functions'"),
    ],
    ids=str,
)
def test_an_option_with_a_bad_value_is_named(options, told):
    with pytest.raises(ConfigurationError) as caught:
        Database("sqlite:///test.db", **options)
    assert told in str(caught.value)
    assert repr(next(iter(options))) in str(caught.value)
    assert "sqlite:///test.db" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"max_size": 0}, {"min_size": 3, "max_size": 2}, {"min_size": 11}, {"minsize": 2, "maxsize": 1}],
    ids=str,
)
def test_sizes_that_contradict_each_other_are_refused(options):
    with pytest.raises(ConfigurationError, match=r"max_size of sqlite:///test.db is"):
        Database("sqlite:///test.db", **options)


def test_an_unknown_way_to_treat_child_tasks_is_refused():
    with pytest.raises(ConfigurationError, match="'share', 'isolate' or 'forbid', not 'foster'"):
        Database("sqlite://", child_tasks="foster")
