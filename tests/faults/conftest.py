"""Drivers, servers and the network between them, for tests that break these."""

from __future__ import annotations

import functools
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest

from conformance.libraries import LIBRARIES
from conformance.secrets_told import everything_told
from faults.clients import CLIENTS
from faults.outcomes import record
from faults.stage import Stage, administrator, asking
from loops import backend
from servers import Proxy
from servers.access import APP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from faults.clients import Client
    from faults.stage import Ask
    from servers import ServerAccess


def pytest_configure(config: pytest.Config) -> None:
    """Explain the marker of the matrix."""
    config.addinivalue_line("markers", "clients(**fields): run with those drivers only that have these fields")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with every driver of a server, or with those that its marker `clients` leaves."""
    if "client" not in metafunc.fixturenames:
        return
    wanted: dict[str, Any] = {}
    for mark in metafunc.definition.iter_markers("clients"):
        wanted = {**mark.kwargs, **wanted}
    wanted.setdefault("dialect", {"postgresql", "mysql"})
    chosen = [
        pytest.param(name, marks=[pytest.mark.server] * client.needs_server)
        for name, client in CLIENTS.items()
        if all(_fits(getattr(client, key), value) for key, value in wanted.items())
    ]
    metafunc.parametrize("client", chosen, indirect=True)


def _fits(actual: Any, wanted: Any) -> bool:
    return actual in wanted if isinstance(wanted, set) else actual == wanted


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Client:
    """Give the driver that the test runs with."""
    return CLIENTS[request.param]


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run each test on the event loop of its driver."""
    return backend(request.getfixturevalue("client").loop if "client" in request.fixturenames else "asyncio")


@pytest.fixture
def server(client: Client, request: pytest.FixtureRequest) -> ServerAccess:
    """Give the server that all tests share."""
    access: ServerAccess = request.getfixturevalue({"postgresql": "postgres"}.get(client.dialect, client.dialect))
    return access


@pytest.fixture(scope="module")
def administrators() -> Iterator[Callable[[str], Ask]]:
    """Give a function that makes one administrator for each URL."""
    with ExitStack() as stack:
        yield functools.cache(lambda url: asking(stack.enter_context(closing(administrator(url)))))


@pytest.fixture
def address(client: Client, request: pytest.FixtureRequest) -> str:
    """Give the URL of the database of the test's module."""
    url: str = request.getfixturevalue({"postgresql": "postgres_url", "mysql": "mysql_url"}[client.dialect])
    return url


@pytest.fixture
def ask(server: ServerAccess, address: str, administrators: Callable[[str], Ask]) -> Ask:
    """Give the administrator of the database, whom no fault concerns."""
    return administrators(server.admin_url(address.rpartition("/")[2]))


@pytest.fixture
def proxy(server: ServerAccess) -> Iterator[Proxy]:
    """Give a proxy before the server."""
    split = urlsplit(server.url())
    with Proxy(str(split.hostname), split.port or 0) as proxy:
        yield proxy


@pytest.fixture
async def stage(
    client: Client, address: str, ask: Ask, proxy: Proxy, request: pytest.FixtureRequest
) -> AsyncIterator[Stage]:
    """Give a database that is reached through the proxy; fails if something of it is left at the end."""
    stage = Stage(client, address, ask, proxy, request.getfixturevalue("odbc")(client.dialect) if client.odbc else "")
    ask("drop table if exists t")
    ask("create table t (x integer)")
    if client.dialect == "postgresql":
        ask("grant all on t to public")
    yield stage
    stage.heal()
    await stage.strike_the_set()


@pytest.fixture
def happened(client: Client) -> Callable[[str, str], None]:
    """Give a function that writes down that a fault had this outcome."""
    return lambda fault, outcome: record(fault, client, outcome)


@pytest.fixture
def tell(client: Client) -> Callable[[str, BaseException], None]:
    """Give a function that checks what an error says of itself, and writes down that it was a fault's outcome."""
    modules = (*LIBRARIES[client.scheme].modules, "builtins")

    def check(fault: str, error: BaseException) -> None:
        told = everything_told(error)
        for secret in (APP.password, quote(APP.password, safe="")):
            assert secret not in told
        assert "\n" not in str(error)
        theirs = [each for each in type(error).__mro__ if each.__module__.partition(".")[0] in modules]
        assert theirs[0] is not Exception or error.__cause__ is None, "an error of the library's is hidden"
        record(fault, client, type(error).__qualname__)

    return check
