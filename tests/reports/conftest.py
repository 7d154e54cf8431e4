"""The same matrices as in conformance/ (`target`, `db`) and faults/ (`client`, `stage`), for replayed reports.

A module uses one of the two: emptying the database for a target ends the sessions of the administrator of a stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conformance.conftest import (
    as_target,
    connection,
    db,
    driver,
    empty_mysql,
    empty_postgres,
    make_database,
    replicated,
    running,
    shop,
    target,
    url,
    users,
    words,
)
from conformance.conftest import pytest_configure as explain_targets
from conformance.conftest import pytest_generate_tests as generate_targets
from faults.conftest import address, administrators, ask, client, proxy, stage
from faults.conftest import pytest_configure as explain_clients
from faults.conftest import pytest_generate_tests as generate_clients
from loops import backend

if TYPE_CHECKING:
    from servers import ServerAccess

__all__ = (
    "address",
    "administrators",
    "as_target",
    "ask",
    "client",
    "connection",
    "db",
    "driver",
    "empty_mysql",
    "empty_postgres",
    "make_database",
    "proxy",
    "replicated",
    "running",
    "shop",
    "stage",
    "target",
    "url",
    "users",
    "words",
)


def pytest_configure(config: pytest.Config) -> None:
    """Explain the markers of both matrices."""
    explain_targets(config)
    explain_clients(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every target, or with every client, as its fixtures ask for."""
    generate_targets(metafunc)
    generate_clients(metafunc)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run each test on the event loop of its target or client, or of its parameter `loop`; else on asyncio."""
    for name in ("target", "client"):
        if name in request.fixturenames:
            return backend(request.getfixturevalue(name).loop)
    return backend(request.getfixturevalue("loop") if "loop" in request.fixturenames else "asyncio")


@pytest.fixture
def server(request: pytest.FixtureRequest) -> ServerAccess:
    """Give the server of the target or client."""
    dialect = request.getfixturevalue("client" if "client" in request.fixturenames else "target").dialect
    access: ServerAccess = request.getfixturevalue({"postgresql": "postgres"}.get(dialect, dialect))
    return access
