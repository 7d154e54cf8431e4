"""Event loops, database servers and Hypothesis profiles of the whole suite.

A test that needs PostgreSQL asks for the fixture `postgres`, `postgres_url` or `own_postgres`.  Without PostgreSQL it
is skipped with the reason, or fails where AIODB_REQUIRE says `all` or `postgres`, as scripts/test does.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from servers import GivenPostgres, PostgresServer, ServerMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from servers import PostgresAccess

hypothesis.settings.register_profile("default", max_examples=50, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("default")


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run every `async def` test on each event loop; a driver bound to one of them overrides this."""
    loop: str = request.param
    return loop


@pytest.fixture(scope="session")
def require_server() -> Callable[[str], AbstractContextManager[None]]:
    """Give a context manager that ends the test when the named server is missing, and mark the test with `server`."""
    return _missing_server_ends_test


@pytest.fixture(scope="session")
def postgres(require_server: Callable[[str], AbstractContextManager[None]]) -> Iterator[PostgresAccess]:
    """Give the PostgreSQL server that all tests share: the one that TEST_POSTGRES_URL names, or a private one."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        yield GivenPostgres(given)
        return
    with require_server("postgres"):
        server = PostgresServer()
    with server:
        yield server


@pytest.fixture(scope="module")
def postgres_url(postgres: PostgresAccess) -> Iterator[str]:
    """Give the URL of an empty PostgreSQL database that only the tests of this module use."""
    name = postgres.create_database()
    yield postgres.url(database=name)
    postgres.drop_database(name)


@pytest.fixture
def own_postgres(require_server: Callable[[str], AbstractContextManager[None]]) -> Iterator[PostgresServer]:
    """Give a running PostgreSQL server that one test has for itself and may stop, kill or fill up."""
    with require_server("postgres"):
        server = PostgresServer()
    with server:
        yield server


def pytest_configure() -> None:
    """Let SIGTERM end the run the ordinary way, so that the servers are stopped."""
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


def _end_run(*_: Any) -> None:
    pytest.exit("ended by SIGTERM", returncode=128 + signal.SIGTERM)
