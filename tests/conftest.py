"""Event loops, database servers and Hypothesis profiles of the whole suite.

A test that needs a server asks for one of these fixtures.  Where the server is not installed, the test is skipped with
the reason, or fails if AIODB_REQUIRE says `all` or names the server, as scripts/test does.

| named      | shared server             | empty database | server of its own | to verify TLS         |
|------------|---------------------------|----------------|-------------------|-----------------------|
| `postgres` | `postgres`                | `postgres_url` | `own_postgres`    | `postgres_authority`  |
| `mysql`    | `mysql`                   | `mysql_url`    | `own_mysql`       | `mysql_authority`     |
| `odbc`     | `odbc`: kind to driver    |                |                   |                       |
| `pgbouncer`| `pgbouncer`, for `postgres` |              |                   |                       |

Clusters of servers have fixtures of their own in clusters/conftest.py.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from loops import backend
from servers import (
    GivenMySQL,
    GivenPostgres,
    GivenServer,
    MariaDBServer,
    PgBouncer,
    PostgresServer,
    ServerMissing,
    odbc_driver,
)
from servers.odbc import find_odbc, load_libraries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from servers import MySQLAccess, PostgresAccess, PrivateServer, ServerAccess

    Require = Callable[[str], AbstractContextManager[None]]

hypothesis.settings.register_profile("default", max_examples=50, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("default")


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run every `async def` test on each event loop; a driver bound to one of them overrides this."""
    return backend(request.param)


@pytest.fixture(scope="session")
def require_server() -> Require:
    """Give a context manager that ends the test when the named server is missing, and mark the test with `server`."""
    return _missing_server_ends_test


@pytest.fixture(scope="session")
def postgres(require_server: Require) -> Iterator[PostgresAccess]:
    """Give the PostgreSQL server that all tests share: the one that TEST_POSTGRES_URL names, or a private one."""
    yield from _shared(GivenPostgres, PostgresServer, "postgres", require_server)


@pytest.fixture(scope="session")
def mysql(require_server: Require) -> Iterator[MySQLAccess]:
    """Give the MariaDB server that all tests share: the one that TEST_MYSQL_URL names, or a private one."""
    yield from _shared(GivenMySQL, MariaDBServer, "mysql", require_server)


@pytest.fixture(scope="module")
def postgres_url(postgres: PostgresAccess) -> Iterator[str]:
    """Give the URL of an empty PostgreSQL database that only the tests of this module use."""
    yield from _empty_database(postgres)


@pytest.fixture(scope="module")
def mysql_url(mysql: MySQLAccess) -> Iterator[str]:
    """Give the URL of an empty MariaDB database that only the tests of this module use."""
    yield from _empty_database(mysql)


@pytest.fixture
def own_postgres(require_server: Require) -> Iterator[PostgresServer]:
    """Give a running PostgreSQL server that one test has for itself and may stop, kill or fill up."""
    yield from _running(PostgresServer, "postgres", require_server)


@pytest.fixture
def own_mysql(require_server: Require) -> Iterator[MariaDBServer]:
    """Give a running MariaDB server that one test has for itself and may stop, kill or fill up."""
    yield from _running(MariaDBServer, "mysql", require_server)


@pytest.fixture(scope="session")
def postgres_authority(postgres: PostgresAccess, require_server: Require) -> Path:
    """Give the PEM file of the certificate authority that vouches for the shared PostgreSQL server."""
    with require_server("postgres"):
        return _authority(postgres)


@pytest.fixture(scope="session")
def mysql_authority(mysql: MySQLAccess, require_server: Require) -> Path:
    """Give the PEM file of the certificate authority that vouches for the shared MariaDB server."""
    with require_server("mysql"):
        return _authority(mysql)


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgresAccess, require_server: Require) -> Iterator[PgBouncer]:
    """Give a PgBouncer in transaction mode in front of the PostgreSQL server that all tests share."""
    with require_server("pgbouncer"):
        proxy = PgBouncer(postgres)
    with proxy:
        yield proxy


@pytest.fixture(scope="session")
def odbc(require_server: Require) -> Callable[[str], str]:
    """Give a function that tells what stands after `Driver=` for `sqlite`, `postgresql` or `mysql`."""
    with require_server("odbc"):
        find_odbc()
    return odbc_driver


def pytest_configure() -> None:
    """Prepare what drivers find, and let SIGTERM end the run the ordinary way, so that the servers are stopped."""
    load_libraries()
    # PostgreSQL's clients encrypt when they can, which only tests of TLS ask for: encrypted connections end some time
    # after they were closed, and cannot be cut at a certain message.
    if GivenPostgres.variable not in os.environ:
        os.environ.setdefault("PGSSLMODE", "disable")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end_run)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests whose fixtures need a server, before `-m` selects by that mark."""
    for item in items:
        if "require_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.server)


@contextmanager
def _missing_server_ends_test(name: str) -> Iterator[None]:
    try:
        yield
    except ServerMissing as error:
        if {"all", name}.intersection(os.environ.get("AIODB_REQUIRE", "").split(",")):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def _shared(
    given: type[GivenServer], private: type[PrivateServer], name: str, require_server: Require
) -> Iterator[Any]:
    url = os.environ.get(given.variable)
    if url:
        yield given(url)
    else:
        yield from _running(private, name, require_server)


def _running(private: Callable[[], PrivateServer], name: str, require_server: Require) -> Iterator[Any]:
    with require_server(name):
        server = private()
    with server:
        yield server


def _empty_database(server: ServerAccess) -> Iterator[str]:
    name = server.create_database()
    yield server.url(database=name)
    server.drop_database(name)


def _authority(server: ServerAccess) -> Path:
    if isinstance(server, GivenServer):
        pytest.skip(f"{server.variable} names a server, and the tests do not know whom they must trust to verify it")
    return server.certificate_authority


def _end_run(*_: Any) -> None:
    pytest.exit("ended by SIGTERM", returncode=128 + signal.SIGTERM)
