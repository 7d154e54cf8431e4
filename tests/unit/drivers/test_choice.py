"""Schemes that several libraries serve: which one is picked, and what is told when none can be."""

from __future__ import annotations

import re
import sys

import anyio
import pytest

from aio_databases import ConfigurationError, Database, DriverNotInstalled, NotSupportedError
from aio_databases.drivers.mysql.family import AutoMySQL
from aio_databases.drivers.postgresql.family import AutoPostgreSQL

LIBRARIES = ("asyncpg", "psycopg", "asyncmy", "aiomysql", "pymysql", "trio_mysql")


@pytest.fixture
def install(monkeypatch):
    """Give a function that lets only some of the libraries be found."""

    def install(*names):
        for name in set(LIBRARIES).difference(names):
            monkeypatch.setitem(sys.modules, name, None)
            family = "postgresql" if name in {"asyncpg", "psycopg"} else "mysql"
            monkeypatch.delitem(sys.modules, f"aio_databases.drivers.{family}.{name}", raising=False)

    return install


def picked(database, loop):
    """Return the driver that serves a database on an event loop."""

    async def pick():
        return database.backend.for_running_loop()

    return anyio.run(pick, backend=loop)


@pytest.mark.parametrize(
    ("scheme", "installed", "asyncio", "trio"),
    [
        ("postgresql", LIBRARIES, "asyncpg", "psycopg"),
        ("postgres", ("psycopg",), "psycopg", "psycopg"),
        ("postgresql+pool", ("asyncpg",), "asyncpg", None),
        ("mysql", LIBRARIES, "asyncmy", "pymysql"),
        ("mariadb", ("aiomysql", "pymysql"), "aiomysql", "pymysql"),
        ("mysql", ("pymysql",), "pymysql", "pymysql"),
        ("mysql", ("pymysql", "trio_mysql"), "pymysql", "pymysql"),
        ("mysql", ("trio_mysql",), None, "trio-mysql"),
        ("mysql", ("asyncmy",), "asyncmy", None),
    ],
)
def test_the_best_library_that_is_installed_for_the_event_loop_is_picked(install, scheme, installed, asyncio, trio):
    install(*installed)
    database = Database(f"{scheme}://app:secret@server/db", max_size=3, json=True)
    for loop, name in (("asyncio", asyncio), ("trio", trio)):
        if name is None:
            with pytest.raises(
                DriverNotInstalled, match=re.escape(f"{scheme}://server/db on {loop} needs a library: pip")
            ) as caught:
                picked(database, loop)
            assert "secret" not in str(caught.value)
            continue
        driver = picked(database, loop)
        assert name == driver.name
        assert getattr(driver.capabilities, loop)
        assert (database.backend.address, database.backend.options) == (driver.address, driver.options)
        assert driver.options["json"] is True


@pytest.mark.parametrize(
    ("scheme", "ways"),
    [
        (
            "postgresql",
            "pip install 'aio-databases[postgresql]', or name one of asyncpg, psycopg in place of postgresql",
        ),
        ("mysql", "pip install 'aio-databases[mysql]', or name one of asyncmy, aiomysql, pymysql in place of mysql"),
    ],
)
def test_when_nothing_is_installed_the_commands_that_would_help_are_told(install, scheme, ways):
    install()
    with pytest.raises(DriverNotInstalled) as caught:
        Database(f"{scheme}://app:secret@server/db")
    assert f"the URL '{scheme}://app:***@server/db' needs a library: {ways}" == str(caught.value)
    assert isinstance(caught.value, ImportError)


@pytest.mark.parametrize(
    ("scheme", "library"), [("asyncpg", "asyncpg"), ("postgresql+asyncpg", "asyncpg"), ("mysql+asyncmy", "asyncmy")]
)
def test_a_library_that_is_named_is_the_only_one(install, scheme, library):
    install("psycopg", "pymysql", "aiomysql")
    with pytest.raises(DriverNotInstalled, match=rf"needs the library {library}: pip install"):
        Database(f"{scheme}://server/db")


def test_a_library_that_is_named_does_not_give_way_on_the_other_event_loop():
    with pytest.raises(NotSupportedError, match=r"asyncpg runs on asyncio only, not on trio; the scheme psycopg://"):
        picked(Database("postgresql+asyncpg://server/db"), "trio")


def test_an_option_of_one_library_is_refused_where_another_is_picked():
    database = Database("postgresql://server/db", statement_cache_size=0)
    assert picked(database, "asyncio").options["statement_cache_size"] == 0
    with pytest.raises(ConfigurationError, match=r"psycopg, .* on trio, has no option 'statement_cache_size'"):
        picked(database, "trio")


@pytest.mark.parametrize(("url", "choice"), [("postgresql://s/d", AutoPostgreSQL), ("mysql://s/d", AutoMySQL)])
def test_before_the_first_connect_the_backend_is_the_choice(url, choice):
    database = Database(url)
    assert choice is type(database.backend)
    assert choice.dialect == database.backend.name == database.backend.db_type == str(database.backend)
    assert url == database.url


def test_a_library_that_is_broken_shows_its_own_error(monkeypatch, tmp_path):
    (tmp_path / "asyncpg.py").write_text("import what_it_needs")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("asyncpg", "aio_databases.drivers.postgresql.asyncpg"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ModuleNotFoundError, match="what_it_needs") as caught:
        picked(Database("postgresql://server/db"), "asyncio")
    assert not isinstance(caught.value, DriverNotInstalled)
