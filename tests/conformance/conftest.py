"""The matrix of the conformance tests: each driver, with and without a pool, on each event loop that it can run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import anyio
import psycopg
import pytest

from aio_databases import Database
from conformance.addresses import with_option
from conformance.dialects import LIMITS, UNTRIED, WORDS
from loops import ASYNCIO_LOOPS, backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from aio_databases.drivers.base import Driver, DriverConnection
    from conformance.dialects import Words
    from servers import MySQLAccess, PostgresAccess, ServerAccess


class Target(NamedTuple):
    """What a test runs on."""

    scheme: str
    dialect: str
    loop: str
    pooled: bool
    memory: bool = False

    @property
    def odbc(self) -> bool:
        """Tell whether the database is reached by ODBC."""
        return self.scheme.endswith("odbc")

    @property
    def library(self) -> str:
        """Name the async library, as anyio does."""
        return backend(self.loop)[0]

    @property
    def words(self) -> Words:
        """Tell how things are said to the database."""
        return WORDS[self.dialect]

    def lacks(self, feature: str) -> str | None:
        """Tell why the database or the driver cannot do something, or None if it can."""
        names = [f"odbc-{self.dialect}", "odbc"] if self.odbc else []
        return next(
            (LIMITS[feature][name] for name in (*names, self.scheme, self.dialect) if name in LIMITS[feature]), None
        )

    def __str__(self) -> str:
        place = self.dialect if self.odbc else {"sqlite": "memory" if self.memory else "file"}.get(self.dialect, "")
        return "-".join(filter(None, [self.scheme, place, self.loop, "pooled" if self.pooled else "unpooled"]))


ALL = (*ASYNCIO_LOOPS, "trio")
LOOPS = {
    "sqlite": ALL,
    "aiosqlite": ASYNCIO_LOOPS,
    "asyncpg": ASYNCIO_LOOPS,
    "psycopg": ALL,
    "aiopg": ASYNCIO_LOOPS,
    "asyncmy": ASYNCIO_LOOPS,
    "aiomysql": ASYNCIO_LOOPS,
    "pymysql": ALL,
    "trio-mysql": ("trio",),
    "aioodbc": ASYNCIO_LOOPS,
    "pyodbc": ALL,
}
"""The drivers, and the event loops that each runs on."""

DIALECTS = {
    "sqlite": ("sqlite", "aiosqlite", "aioodbc", "pyodbc"),
    "postgresql": ("asyncpg", "psycopg", "aiopg", "aioodbc", "pyodbc"),
    "mysql": ("asyncmy", "aiomysql", "pymysql", "trio-mysql", "aioodbc", "pyodbc"),
}
FIRST = ("sqlite", "asyncpg", "asyncmy")
"""The drivers on which all tests run without a pool, too; the others do so where a test asks for it."""

TWINS = (("pyodbc", "asyncio"), ("pymysql", "asyncio"))
"""What does the same by the same code as the driver does on trio: only tests that ask for a kind of pool run there."""

ODBC_ON_UVLOOP = {"aioodbc": "postgresql", "pyodbc": "mysql"}
"""On uvloop each driver runs once: with a pool, SQLite on a file, and ODBC on one database."""

TARGETS = {
    str(target): target
    for dialect, schemes in DIALECTS.items()
    for scheme in schemes
    for loop in LOOPS[scheme]
    for memory in ((False, True) if scheme in {"sqlite", "aiosqlite"} and loop != "uvloop" else (False,))
    for pooled in ((True,) if loop == "uvloop" else (True, False))
    if loop != "uvloop" or dialect == ODBC_ON_UVLOOP.get(scheme, dialect)
    for target in [Target(scheme, dialect, loop, pooled, memory)]
}


CORE = frozenset(
    {
        "sqlite-file-asyncio-pooled",
        "sqlite-file-trio-unpooled",
        "sqlite-memory-asyncio-unpooled",
        "sqlite-memory-trio-pooled",
        "asyncpg-uvloop-pooled",
        "psycopg-trio-pooled",
        "asyncmy-asyncio-pooled",
    }
)
"""The targets that suffice for what the core does: the drivers differ in nothing of it."""

OF_CORE = frozenset(
    {
        *("test_bad_input", "test_bad_places", "test_bad_use", "test_connections", "test_exit", "test_forks"),
        *("test_hooks", "test_into", "test_options", "test_passwords", "test_pool", "test_replica_blocks"),
        *("test_replica_choice", "test_run_transaction", "test_tasks", "test_transactions", "test_waiting"),
    }
)
"""The files whose tests are about the core; `--matrix full` runs them on all targets, too."""


def pytest_configure(config: pytest.Config) -> None:
    """Explain the markers of the matrix."""
    config.addinivalue_line("markers", "targets(**fields): run on those targets only that have these fields")
    config.addinivalue_line("markers", "needs(feature): fails where that is not there; dialects.py tells why")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every target, or on those that its markers `targets` and `needs` leave."""
    if "target" not in metafunc.fixturenames:
        return
    wanted: dict[str, Any] = {}
    for mark in metafunc.definition.iter_markers("targets"):
        wanted = {**mark.kwargs, **wanted}
    needed = [mark.args[0] for mark in metafunc.definition.iter_markers("needs")]
    chosen = {
        name: marks
        for name, target in TARGETS.items()
        if all(_fits(getattr(target, field), value) for field, value in wanted.items())
        and ("pooled" in wanted or _is_chosen(target))
        and (marks := _marks(target, needed)) is not None
    }
    if metafunc.config.getoption("--matrix") == "core" and metafunc.module.__name__.rpartition(".")[2] in OF_CORE:
        chosen = {name: chosen[name] for name in chosen if name in CORE} or chosen
    params = [pytest.param(name, marks=marks) for name, marks in chosen.items()]
    metafunc.parametrize("target", params, indirect=True)


def _marks(target: Target, needed: list[str]) -> list[pytest.MarkDecorator] | None:
    """Return the marks of a test on a target, or None if it must not even be tried there."""
    limits = {feature: why for feature in needed if (why := target.lacks(feature))}
    if not UNTRIED.isdisjoint(limits):
        return None
    server = target.odbc or target.dialect != "sqlite"
    return [pytest.mark.server] * server + [pytest.mark.xfail(reason=why) for why in limits.values()]


def _is_chosen(target: Target) -> bool:
    return target.scheme in FIRST or (target.pooled and (target.scheme, target.loop) not in TWINS)


def _fits(actual: Any, wanted: Any) -> bool:
    assert isinstance(wanted, (bool, set, str)), f"targets() takes a value or a set of them, not {wanted!r}"
    return actual in wanted if isinstance(wanted, set) else actual == wanted


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    """Give what the test runs on."""
    return TARGETS[request.param]


@pytest.fixture
def words(target: Target) -> Words:
    """Give the words of the target's dialect."""
    return target.words


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run each test on the event loop of its target."""
    return backend(request.getfixturevalue("target").loop if "target" in request.fixturenames else "asyncio")


@pytest.fixture
def as_target(target: Target, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Give a function that turns the URL of a database, or of a server, into one for the target's driver."""

    def convert(address: str) -> str:
        address = f"{target.scheme}://{address.partition('://')[2]}"
        if target.odbc:
            address = with_option(address, f"driver={quote(request.getfixturevalue('odbc')(target.dialect), safe='')}")
        return address

    return convert


@pytest.fixture
def url(target: Target, as_target: Callable[[str], str], request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database."""
    if target.dialect == "sqlite":
        return as_target("sqlite:///:memory:" if target.memory else f"sqlite:///{tmp_path}/test.db")
    name = {"postgresql": "postgres"}.get(target.dialect, target.dialect)
    request.getfixturevalue(f"empty_{name}")()
    return as_target(request.getfixturevalue(f"{name}_url"))


@pytest.fixture
def server(target: Target, request: pytest.FixtureRequest) -> ServerAccess:
    """Give the server of the target."""
    access: ServerAccess = request.getfixturevalue({"postgresql": "postgres"}.get(target.dialect, target.dialect))
    return access


@pytest.fixture
def running(url: str, server: ServerAccess, words: Words) -> Callable[[int], Awaitable[list[str]]]:
    """Give a function that waits until so many statements run in the target's database, and returns them."""
    name = unquote(urlsplit(url).path.lstrip("/"))

    async def wait(number: int) -> list[str]:
        statements: list[str] = []
        with anyio.fail_after(5):
            while True:
                statements = [row[0] for row in server.execute(words.running, database=name)]
                if number == len(statements):
                    return statements
                await anyio.sleep(0.01)

    return wait


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
    with psycopg.connect(postgres.admin_url(postgres_url.rpartition("/")[2]), autocommit=True) as admin:
        yield lambda: admin.execute(script)


@pytest.fixture(scope="module")
def empty_mysql(mysql: MySQLAccess, mysql_url: str) -> Callable[[], Any]:
    """Give a function that empties the module's MariaDB database."""
    name = mysql_url.rpartition("/")[2]

    def empty() -> None:
        mysql.drop_database(name)
        mysql.create_database(name)

    return empty


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
    assert leaked == [], "connections were still leased at the end of the test"


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


@pytest.fixture
async def shop(db: Database, words: Words) -> Database:
    """Give a database whose tables have a constraint of every kind."""
    async with db.connection():
        await db.execute("create table authors (id integer primary key, name varchar(20) not null unique)")
        await db.execute(
            "create table books (id integer primary key, price integer, author integer, other integer, "
            "shelf integer, place integer, constraint spot unique (shelf, place), "
            "constraint positive check (price > 0), "
            "constraint writer foreign key (author) references authors (id), "
            f"constraint editor foreign key (other) references authors (id) {words.deferred})"
        )
        await db.execute("insert into authors (id, name) values (1, 'Ann')")
        await db.execute("insert into books (id, price, author, shelf, place) values (1, 5, 1, 1, 1)")
    return db


@pytest.fixture
async def replicated(users: Database, make_database: Callable[..., Any], url: str, target: Target) -> Database:
    """Give a database of three users with a replica; in memory it stands in for its own replica."""
    return users if target.memory else await make_database(replicas=[url])  # type: ignore[no-any-return]


# Below the pool


@pytest.fixture
def driver(url: str) -> Driver:
    """Give the driver of the target."""
    return Database(url).backend


@pytest.fixture
async def connection(driver: Driver) -> AsyncIterator[DriverConnection]:
    """Give a connection of the driver's to a database with the table `numbers`, which has the row 0."""
    connection = await driver.connect()
    await connection.execute("create table numbers (i integer primary key)", ())
    await connection.execute("insert into numbers values (0)", ())
    yield connection
    await connection.close()
