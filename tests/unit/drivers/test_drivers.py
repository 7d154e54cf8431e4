"""Which driver serves a scheme, and what the seam itself can do."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from aio_databases import Database, DriverNotInstalled, UnknownDriver
from aio_databases.drivers import ENTRY_POINTS, driver_class
from aio_databases.drivers.base import TransactionOptions, begin_statement
from aio_databases.testing.fake_driver import FakeDriver, verify_closed


@pytest.fixture
def anyio_backend():
    """Run on asyncio."""
    return "asyncio"


# Which driver serves a scheme


@pytest.mark.parametrize(
    ("scheme", "name", "dialect"),
    [
        ("sqlite", "sqlite", "sqlite"),
        ("sqllite", "sqlite", "sqlite"),
        ("sqlite+pool", "sqlite", "sqlite"),
        ("sqlite+aiosqlite", "aiosqlite", "sqlite"),
        ("sqllite+aiosqlite", "aiosqlite", "sqlite"),
        ("aiosqlite", "aiosqlite", "sqlite"),
        ("aiosqlite+pool", "aiosqlite", "sqlite"),
        ("aiosqlite+aiosqlite", "aiosqlite", "sqlite"),
        ("postgresql", "postgresql", "postgresql"),
        ("postgres", "postgresql", "postgresql"),
        ("postgressql", "postgresql", "postgresql"),
        ("postgresql+pool", "postgresql", "postgresql"),
        ("postgresql+asyncpg", "asyncpg", "postgresql"),
        ("postgres+asyncpg", "asyncpg", "postgresql"),
        ("asyncpg", "asyncpg", "postgresql"),
        ("asyncpg+pool", "asyncpg", "postgresql"),
        ("psycopg", "psycopg", "postgresql"),
        ("postgresql+psycopg", "psycopg", "postgresql"),
        ("postgres+aiopg", "aiopg", "postgresql"),
        ("mysql", "mysql", "mysql"),
        ("mariadb", "mysql", "mysql"),
        ("mysql+asyncmy", "asyncmy", "mysql"),
        ("mariadb+aiomysql", "aiomysql", "mysql"),
        ("pymysql+pool", "pymysql", "mysql"),
        ("mysql+trio-mysql", "trio-mysql", "mysql"),
        ("trio-mysql", "trio-mysql", "mysql"),
        ("dummy", "dummy", "dummy"),
    ],
)
def test_a_scheme_is_an_alias_a_dialect_a_library_or_both(scheme, name, dialect):
    driver = driver_class(scheme, f"{scheme}://")
    assert (name, dialect) == (driver.name, driver.dialect)


@pytest.mark.parametrize(
    ("scheme", "name", "is_for", "dialect"),
    [
        ("sqlite+asyncpg", "asyncpg", "postgresql", "sqlite"),
        ("postgres+aiosqlite", "aiosqlite", "sqlite", "postgresql"),
        ("mysql+asyncpg", "asyncpg", "postgresql", "mysql"),
    ],
)
def test_a_driver_for_another_dialect_is_refused(scheme, name, is_for, dialect):
    with pytest.raises(UnknownDriver) as caught:
        Database(f"{scheme}://u:secret@server/db")
    shown = f"{scheme}://u:***@server/db"
    assert f"the driver {name!r} of the URL {shown!r} is for {is_for}, not for {dialect}" == str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "hint"),
    [
        ("sqlit", "; did you mean 'sqlite'"),
        ("postgresq", "; did you mean 'postgresql'"),
        ("asyncpq", "; did you mean 'asyncpg'"),
        ("cobol", "; known are "),
        ("sqlite+aiosqllite", "; did you mean 'aiosqlite'"),
    ],
)
def test_an_unknown_scheme_is_refused_with_near_misses_and_what_is_known(scheme, hint):
    with pytest.raises(UnknownDriver) as caught:
        Database(f"{scheme}://u:secret@server/db")
    message = str(caught.value)
    assert message.startswith(f"no driver for the scheme {scheme!r} of the URL '{scheme}://u:***@server/db'{hint}")
    assert message.endswith(f"; known are {', '.join(KNOWN)}")


KNOWN = (
    *("aiomysql", "aioodbc", "aiopg", "aiosqlite", "asyncmy", "asyncpg", "mariadb", "mysql", "odbc", "postgres"),
    *("postgresql", "psycopg", "pymysql", "pyodbc", "sqlite", "trio-mysql"),
)


@pytest.fixture
def offer(monkeypatch):
    """Give a function that has other packages offer drivers, as `name="module:Class"`."""

    def offer(**drivers):
        points = EntryPoints(EntryPoint(name, value, ENTRY_POINTS) for name, value in drivers.items())
        monkeypatch.setattr("aio_databases.drivers.entry_points", lambda group: points.select(group=group))

    return offer


async def test_other_packages_offer_drivers_by_entry_points(offer):
    offer(fake="aio_databases.testing.fake_driver:FakeDriver", other="nowhere:Driver")
    db = Database("fake://server/db")
    async with db:
        assert FakeDriver is type(db.backend)
        assert await db.fetchval("select 1") == "select 1"
    verify_closed(db)


def test_drivers_of_other_packages_take_a_dialect_in_front_and_are_known(offer):
    offer(fake="aio_databases.testing.fake_driver:FakeDriver")
    assert FakeDriver is driver_class("postgresql+fake", "")
    with pytest.raises(UnknownDriver, match=r"did you mean 'fake'.*; known are aiomysql, .*, fake, mariadb"):
        driver_class("fakee", "")


def test_other_packages_cannot_replace_our_drivers(offer):
    offer(sqlite="nowhere:Driver")
    assert driver_class("sqlite", "").name == "sqlite"


def test_a_driver_of_another_package_that_is_broken_shows_its_own_error(offer):
    offer(fake="not_a_module:Driver")
    with pytest.raises(ModuleNotFoundError, match="No module named 'not_a_module'"):
        driver_class("fake", "")


@pytest.mark.parametrize(
    ("scheme", "library"),
    [("asyncpg", "asyncpg"), ("postgresql+asyncpg", "asyncpg"), ("aiosqlite", "aiosqlite"), ("psycopg", "psycopg")],
)
def test_a_library_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch, scheme, library):
    family = "sqlite" if library == "aiosqlite" else "postgresql"
    monkeypatch.delitem(sys.modules, f"aio_databases.drivers.{family}.{library}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DriverNotInstalled) as caught:
        Database(f"{scheme}://u:secret@/db")
    expected = f"the URL '{scheme}://u:***@/db' needs the library {library}: pip install 'aio-databases[{library}]'"
    assert str(caught.value) == expected
    assert isinstance(caught.value, ImportError)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import missing_dependency", "No module named 'missing_dependency'"),
        ("from os import not_there", "cannot import name 'not_there'"),
        ("raise ImportError('wrong architecture')", "wrong architecture"),
    ],
)
def test_a_broken_install_shows_its_own_error(monkeypatch, tmp_path, source, error):
    (tmp_path / "asyncpg.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("asyncpg", "aio_databases.drivers.postgresql.asyncpg"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ImportError, match=error) as caught:
        driver_class("asyncpg", "")
    assert not isinstance(caught.value, DriverNotInstalled)


# The seam's own


@pytest.mark.parametrize(
    ("options", "statement"),
    [
        (TransactionOptions(), "BEGIN"),
        (TransactionOptions(mode="immediate"), "BEGIN IMMEDIATE"),
        (TransactionOptions("serializable", readonly=True), "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"),
        (TransactionOptions(deferrable=True), "BEGIN DEFERRABLE"),
        (TransactionOptions(readonly=False, deferrable=False), "BEGIN READ WRITE NOT DEFERRABLE"),
    ],
)
def test_the_statement_that_begins_a_transaction(options, statement):
    assert statement == begin_statement(options)


async def test_the_dummy_does_nothing_at_once():
    async with Database("dummy://server/db") as db:
        async with db.transaction():
            assert ((await db.execute("x")).rowcount, (await db.executemany("? x", [(1,)] * 3)).rowcount) == (0, 3)
            assert [row async for row in db.iterate("x")] == [(1,)]
        assert (await db.fetchmany(0, "x"), await db.fetchall("x"), await db.fetchval("x")) == ([], [(1,)], 1)
        assert str(db.backend) == "dummy"
