"""The harness itself: ODBC drivers are found and reach their databases."""

from __future__ import annotations

import importlib
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from servers import ServerMissing, odbc_driver
from servers import odbc as odbc_module


def connect(driver, **options):
    # Not at the top of the file: it can only be imported where the fixture `odbc` finds the driver manager.
    pyodbc = importlib.import_module("pyodbc")
    text = ";".join(f"{name}={value}" for name, value in {"Driver": driver, **options}.items())
    return closing(pyodbc.connect(text, autocommit=True))


def address(url):
    parts = urlsplit(url)
    login = {"UID": unquote(parts.username), "PWD": f"{{{unquote(parts.password or '')}}}"}
    port = parts.port or {"postgresql": 5432, "mysql": 3306}[parts.scheme]
    return {"Server": parts.hostname, "Port": port, "Database": parts.path.lstrip("/"), **login}


def ask(connection, sql, *params):
    return [tuple(row) for row in connection.execute(sql, *params).fetchall()]


def test_sqlite_answers_through_odbc(odbc, tmp_path):
    with connect(odbc("sqlite"), Database=tmp_path / "test.db") as connection:
        assert ask(connection, "select ?, 7", "naïve 😀") == [("naïve 😀", 7)]
    assert (tmp_path / "test.db").exists()


def test_postgres_answers_through_odbc(odbc, postgres, postgres_url):
    with connect(odbc("postgresql"), **address(postgres_url)) as connection:
        assert [("naïve 😀", postgres.app_user)] == ask(connection, "select ?::text, current_user::text", "naïve 😀")


def test_mariadb_answers_through_odbc(odbc, mysql, mysql_url):
    with connect(odbc("mysql"), **address(mysql_url)) as connection:
        answer = ask(connection, "select ?, substring_index(current_user(), '@', 1)", "naïve 😀")
        assert [("naïve 😀", mysql.app_user)] == answer


def test_a_driver_is_a_file_that_needs_no_registration(odbc):
    assert all(Path(odbc(kind)).is_absolute() for kind in odbc_module.DRIVERS)


def test_a_missing_driver_is_said(odbc, monkeypatch):
    monkeypatch.setitem(odbc_module.DRIVERS, "mysql", "no-such-driver.so")
    with pytest.raises(ServerMissing, match=r"no-such-driver\.so is not installed on this machine: run scripts/test"):
        odbc_driver("mysql")


def test_a_driver_that_cannot_be_loaded_is_said(odbc, monkeypatch, tmp_path):
    (tmp_path / "broken.so").write_text("no library")
    monkeypatch.setattr(odbc_module, "SYSTEM_FOLDERS", (str(tmp_path).lstrip("/"),))
    monkeypatch.setitem(odbc_module.DRIVERS, "mysql", "broken.so")
    with pytest.raises(ServerMissing, match=r"broken\.so cannot be loaded \(.*\): run scripts/test"):
        odbc_driver("mysql")


def test_a_missing_pyodbc_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyodbc", None)
    with pytest.raises(ServerMissing, match=r"pyodbc cannot be imported \(.*\): run scripts/test"):
        odbc_driver("sqlite")


def test_unpacked_libraries_that_cannot_be_loaded_are_passed_over(monkeypatch, tmp_path):
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/broken.so.1").write_text("no library")
    monkeypatch.setattr(odbc_module, "unpacked_folder", lambda _: tmp_path)
    odbc_module.load_libraries()
