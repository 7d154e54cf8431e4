"""Clusters of real servers, each started once for all of its tests, when the first of them asks for it.

A test may stop, kill, freeze, delay or promote what it likes: afterwards `heal` undoes it.  All clusters also have
`create_database` and `wait_until_caught_up`.

| fixture           | cluster                                                           | named      |
|-------------------|-------------------------------------------------------------------|------------|
| `standbys`        | a PostgreSQL primary and two streaming standbys                   | `postgres` |
| `mariadb_replica` | a MariaDB primary and a replica                                   | `mysql`    |
| `galera`          | three nodes of Galera                                             | `galera`   |
| `patroni`         | two PostgreSQL nodes under Patroni, behind HAProxy                | `patroni`  |
| `pgpool`          | a PostgreSQL primary and a streaming standby, behind Pgpool-II    | `pgpool`   |
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from clusters.followers import Followers, clients
from servers import GaleraCluster, PatroniCluster, PgpoolCluster, ReplicaCluster, StandbyCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from clusters.followers import Client

    Require = Callable[[str], AbstractContextManager[None]]

FOLDER = Path(__file__).parent
MEASURED: list[str] = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, before `-m` selects by that mark."""
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.cluster)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the tests have measured, for the documentation."""
    if MEASURED:
        terminalreporter.section("measured on clusters")
        for line in MEASURED:
            terminalreporter.line(line)


@pytest.fixture
def measured() -> Callable[[str], None]:
    """Give a function that keeps a line for the end of the run."""
    return MEASURED.append


@pytest.fixture(scope="session")
def running_standbys(require_server: Require) -> Iterator[StandbyCluster]:
    """Start a PostgreSQL primary and its standbys."""
    yield from _running(StandbyCluster, "postgres", require_server)


@pytest.fixture
def standbys(running_standbys: StandbyCluster) -> Iterator[StandbyCluster]:
    """Give a PostgreSQL primary with two streaming standbys."""
    yield running_standbys
    running_standbys.heal()


@pytest.fixture(scope="session")
def running_mariadb_replica(require_server: Require) -> Iterator[ReplicaCluster]:
    """Start a MariaDB primary and its replica."""
    yield from _running(ReplicaCluster, "mysql", require_server)


@pytest.fixture
def mariadb_replica(running_mariadb_replica: ReplicaCluster) -> Iterator[ReplicaCluster]:
    """Give a MariaDB primary with a replica."""
    yield running_mariadb_replica
    running_mariadb_replica.heal()


@pytest.fixture(scope="session")
def running_galera(require_server: Require) -> Iterator[GaleraCluster]:
    """Start a Galera cluster."""
    yield from _running(GaleraCluster, "galera", require_server)


@pytest.fixture
def galera(running_galera: GaleraCluster) -> Iterator[GaleraCluster]:
    """Give three nodes of Galera."""
    yield running_galera
    running_galera.heal()


@pytest.fixture(scope="session")
def running_patroni(require_server: Require) -> Iterator[PatroniCluster]:
    """Start a cluster under Patroni."""
    yield from _running(PatroniCluster, "patroni", require_server)


@pytest.fixture
def patroni(running_patroni: PatroniCluster) -> Iterator[PatroniCluster]:
    """Give two PostgreSQL nodes under Patroni, behind HAProxy."""
    yield running_patroni
    running_patroni.heal()


@pytest.fixture(scope="session")
def running_pgpool(require_server: Require) -> Iterator[PgpoolCluster]:
    """Start a Pgpool-II and the servers behind it."""
    yield from _running(PgpoolCluster, "pgpool", require_server)


@pytest.fixture
def pgpool(running_pgpool: PgpoolCluster) -> Iterator[PgpoolCluster]:
    """Give a PostgreSQL primary and a streaming standby, behind Pgpool-II."""
    yield running_pgpool
    running_pgpool.heal()


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run a test on the event loop of its driver."""
    return request.getfixturevalue("client").loop if "client" in request.fixturenames else "asyncio"


@pytest.fixture(params=clients(), ids=str)
def client(request: pytest.FixtureRequest) -> Client:
    """Give the driver that the test runs with; a test may be parametrized with others."""
    chosen: Client = request.param
    return chosen


@pytest.fixture
def as_client(client: Client, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Give a function that turns the URL of a server into one for the driver of the test."""

    def convert(url: str) -> str:
        url = f"{client.scheme}://{url.partition('://')[2]}"
        if not client.scheme.endswith("odbc"):
            return url
        driver = quote(request.getfixturevalue("odbc")(client.dialect), safe="")
        return f"{url}{'&' if '?' in url else '?'}driver={driver}"

    return convert


@pytest.fixture
def followers(client: Client, as_client: Callable[[str], str], request: pytest.FixtureRequest) -> Followers:
    """Give a primary with its replicas, for the driver of the test."""
    cluster = request.getfixturevalue({"postgresql": "standbys", "mysql": "mariadb_replica"}[client.dialect])
    replicas = cluster.standbys if client.dialect == "postgresql" else cluster.replicas
    return Followers(cluster.primary, list(replicas), as_client)


def _running(kind: Callable[[], Any], name: str, require_server: Require) -> Iterator[Any]:
    with ExitStack() as stack:
        with require_server(name):
            cluster = stack.enter_context(kind())
        yield cluster
