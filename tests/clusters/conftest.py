"""Clusters of real servers, each started once for all of its tests.

A test may stop, kill, freeze, delay or promote what it likes: afterwards `heal` undoes it.

| fixture           | cluster                                             | named      |
|-------------------|-----------------------------------------------------|------------|
| `standbys`        | a PostgreSQL primary, two streaming standbys        | `postgres` |
| `mariadb_replica` | a MariaDB primary, a replica                        | `mysql`    |
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from servers import ReplicaCluster, StandbyCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Require = Callable[[str], AbstractContextManager[None]]

FOLDER = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, before `-m` selects by that mark."""
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.cluster)


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


def _running(kind: Callable[[], Any], name: str, require_server: Require) -> Iterator[Any]:
    with ExitStack() as stack:
        with require_server(name):
            cluster = stack.enter_context(kind())
        yield cluster
