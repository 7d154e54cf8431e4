"""What is wrong with a URL or an option is said in one sentence that fits, and URL objects are taken (our tests)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from aio_databases import ConfigurationError, Database, DriverNotInstalled, UnknownDriver
from aio_databases.drivers.sqlite.files import URI_PARAMETERS


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:a.db", r"write 'sqlite:///file\.db'"),
        ("sqlite://:memory:", r"'sqlite://' for a database in memory"),
        ("sqlite:////home/C#/a.db", r"write '#' as '%23'"),
        ("sqlite:///a.db?uri=maybe", r"the option 'uri' of sqlite:///a\.db has a bad value 'maybe': expected true"),
        ("postgresql://h/d?server_settings=jit=off", "the option 'server_settings' .* has a bad value"),
        ("sqlite:///a.db?pool_size=5", "use max_size"),
        ("sqlite:///a.db?max_overflow=5", "max_size is the most connections"),
        *((f"sqlite:///a.db?{name}=ro", r"with '\?uri=true'") for name in sorted(URI_PARAMETERS)),
        ("sqlite:///a.db?echo=true", "statements are logged at level DEBUG"),
        ("sqlite:///a.db?pool_pre_ping=true", "use check_after"),
        ("postgresql://h/d?password=abc&def", r"password=\*\*\*' is malformed"),
        ("postgresql://u@h/d?password=abc&def&ghi&max_size=2", r"\?password=\*\*\*&max_size=2'"),
    ],
)
def test_one_sentence_says_what_to_write(url, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        Database(url)
    assert not any(secret in str(caught.value) for secret in ("abc", "def", "ghi"))


@pytest.mark.parametrize("scheme", ["mssql", "oracle", "db2"])
def test_what_has_an_odbc_driver_is_sent_there(scheme):
    with pytest.raises(UnknownDriver, match=r"is reached by its ODBC driver: write 'odbc://'"):
        Database(f"{scheme}://host/db")


class PostgresDsn:
    """An object as pydantic's, which is no str."""

    scheme = "postgresql"

    def __str__(self):
        return "postgresql://ann:p%40ss@host:5433/db"


def test_a_url_of_pydantic_is_taken():
    address = Database(PostgresDsn()).backend.address
    assert (
        address.user,
        address.password,
        address.host,
        address.port,
        address.database,
    ) == ("ann", "p@ss", "host", 5433, "db")


def test_a_url_of_sqlalchemy_is_taken_with_its_password():
    address = Database(sa.make_url("postgresql+asyncpg://ann:p%40ss@host/db")).backend.address
    assert (address.user, address.password, address.database) == ("ann", "p@ss", "db")


async def test_a_path_is_a_file_of_sqlite(tmp_path):
    path = tmp_path / "a b#c%3F.db"
    async with Database(path) as db:
        await db.execute("create table t (a)")
    assert path.exists()
    assert Database(Path("relative.db")).backend.address.path == "/relative.db"


@pytest.mark.parametrize("value", [None, 5, b"sqlite://", object()])
def test_what_is_no_url_is_refused(value):
    with pytest.raises(ConfigurationError, match=f"or a Path, not {type(value).__name__}"):
        Database(value)


def test_trio_mysql_without_trio_names_its_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "aio_databases.drivers.mysql.trio_mysql", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] in {"trio", "trio_mysql"}]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "aio_databases.drivers.mysql.trio_mysql", raising=False)
    monkeypatch.setitem(sys.modules, "trio", None)
    with pytest.raises(DriverNotInstalled, match=r"pip install 'aio-databases\[trio-mysql\]'"):
        Database("trio-mysql://host/db")
