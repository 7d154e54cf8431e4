"""Run the tests of one database: `pytest -p databases --database mysql`, as the environments of tox.ini do.

The four names split the suite: `sqlite` has all tests that need no server, `odbc` those that need an ODBC driver,
`postgresql` and `mysql` those of their servers.  The tests of clusters belong to none of them.
"""

from __future__ import annotations

import pytest

DATABASES = {
    "odbc": ("odbc",),
    "mysql": ("mysql", "asyncmy"),
    "postgresql": ("postgres", "asyncpg", "psycopg", "aiopg"),
}
"""What the fixtures or the parameters of a test have in their names when it runs on the database."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the database."""
    help_text = "run only the tests of this database; sqlite: all that need no server"
    parser.addoption("--database", choices=["sqlite", *DATABASES], help=help_text)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests of other databases out."""
    wanted = config.getoption("--database")
    if wanted is None:
        return
    kept: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        is_wanted = database_of(item) == wanted and item.get_closest_marker("cluster") is None
        (kept if is_wanted else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = kept


def database_of(item: pytest.Item) -> str:
    """Tell which database a test runs on; a test of the servers themselves counts as one of PostgreSQL."""
    if item.get_closest_marker("server") is None:
        return "sqlite"
    names = (item.name.partition("[")[2], *getattr(item, "fixturenames", ()))
    found = (database for database, words in DATABASES.items() if any(word in name for word in words for name in names))
    return next(found, "postgresql")
