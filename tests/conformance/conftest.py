"""The matrix of the conformance tests: each driver, with and without a pool, on each event loop that it can run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import pytest
from anyio.from_thread import start_blocking_portal

from aio_databases import Database
from aio_databases.drivers import driver_class

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from servers import PostgresAccess


class Target(NamedTuple):
    """What a test runs on."""

    scheme: str
    memory: bool
    loop: str
    pooled: bool

    @property
    def dialect(self) -> str:
        """Tell the kind of database."""
        return driver_class(self.scheme, self.scheme).dialect

    def __str__(self) -> str:
        place = {True: "-memory", False: "-file"}[self.memory] if self.dialect == "sqlite" else ""
        return f"{self.scheme}{place}-{self.loop}-{'pooled' if self.pooled else 'unpooled'}"


DATABASES = (("sqlite", False), ("sqlite", True), ("aiosqlite", False), ("aiosqlite", True), ("asyncpg", False))

TARGETS = {
    str(target): target
    for scheme, memory in DATABASES
    for loop in ("asyncio", "trio")
    if getattr(driver_class(scheme, scheme).capabilities, loop)
    for pooled in (True, False)
    for target in [Target(scheme, memory, loop, pooled)]
}


def pytest_configure(config: pytest.Config) -> None:
    """Explain the marker of the matrix."""
    config.addinivalue_line("markers", "targets(**fields): run on those targets only that have these fields")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every target, or on those that its markers `targets` leave."""
    if "target" in metafunc.fixturenames:
        wanted: dict[str, Any] = {}
        for mark in metafunc.definition.iter_markers("targets"):
            wanted = {**mark.kwargs, **wanted}
        chosen = [
            pytest.param(name, marks=[] if target.dialect == "sqlite" else [pytest.mark.server])
            for name, target in TARGETS.items()
            if all(value == getattr(target, field) for field, value in wanted.items())
        ]
        metafunc.parametrize("target", chosen, indirect=True)


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    """Give what the test runs on."""
    return TARGETS[request.param]


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each test on the event loop of its target."""
    return request.getfixturevalue("target").loop if "target" in request.fixturenames else "asyncio"


@pytest.fixture
def url(target: Target, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database."""
    if target.dialect == "sqlite":
        return f"{target.scheme}:///:memory:" if target.memory else f"{target.scheme}:///{tmp_path}/test.db"
    request.getfixturevalue("empty_postgres")()
    address: str = request.getfixturevalue("postgres_url")
    return address.replace("postgresql://", f"{target.scheme}://", 1)


@pytest.fixture(scope="module")
def empty_postgres(postgres: PostgresAccess, postgres_url: str) -> Iterator[Callable[[], Any]]:
    """Give a function that empties the module's PostgreSQL database, which is much faster than making a new one."""
    # Whatever an unlucky test has left open must not block the next one.
    script = f"""
        select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid();
        drop schema public cascade;
        create schema public authorization "{postgres.app_user}";
    """
    with start_blocking_portal("asyncio") as portal:
        admin = portal.call(asyncpg.connect, postgres.admin_url(postgres_url.rpartition("/")[2]))
        yield lambda: portal.call(admin.execute, script)
        portal.call(admin.close)


@pytest.fixture
async def make_database(target: Target, url: str) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that makes a `Database` of the target, with a pool if that is the target's mode."""
    made: list[Database] = []

    async def make(address: str = url, **options: Any) -> Database:
        database = Database(address, **options)
        made.append(database)
        return await database.connect() if target.pooled else database

    yield make
    stats = [pool for database in made for pool in database.stats().values()]
    for database in made:
        await database.disconnect(timeout=0)
    leaked = [pool for pool in stats if pool.size != pool.idle]
    assert [] == leaked, "connections were still leased at the end of the test"


@pytest.fixture
async def db(make_database: Callable[..., Any]) -> Database:
    """Give an empty database."""
    database: Database = await make_database()
    return database


@pytest.fixture
async def users(db: Database) -> Database:
    """Give a database with a table of three users: Ann, Bob and Cid."""
    async with db.connection() as connection:
        await connection.execute("create table users (id integer primary key, name text)")
        await connection.execute("insert into users (id, name) values (1, 'Ann'), (2, 'Bob'), (3, 'Cid')")
    return db
