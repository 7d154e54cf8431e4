"""The databases that the tests of compatibility run on: each driver, on each event loop it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from aio_databases import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Target(NamedTuple):
    """A driver, by the scheme of its URL, with an event loop; SQLite is in memory or in a file."""

    scheme: str
    loop: str = "asyncio"
    memory: bool = False

    @property
    def is_sqlite(self) -> bool:
        """Tell whether the database is embedded."""
        return self.scheme.endswith("sqlite")

    def __str__(self) -> str:
        place = ("memory-" if self.memory else "file-") if self.is_sqlite else ""
        return f"{self.scheme}-{place}{self.loop}"


TARGETS = [
    Target("sqlite"),
    Target("sqlite", "trio"),
    Target("sqlite", memory=True),
    Target("sqlite", "trio", memory=True),
    Target("aiosqlite"),
    Target("aiosqlite", memory=True),
    Target("asyncpg"),
    Target("postgresql"),
]


@pytest.fixture(
    params=[pytest.param(t, id=str(t), marks=[] if t.is_sqlite else [pytest.mark.server]) for t in TARGETS]
)
def target(request: pytest.FixtureRequest) -> Target:
    """Give the driver that a test runs on."""
    chosen: Target = request.param
    return chosen


@pytest.fixture
def anyio_backend(target: Target) -> str:
    """Run each test on the event loop of its target."""
    return target.loop


@pytest.fixture
def url(target: Target, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of an empty database of the target's kind."""
    if target.is_sqlite:
        yield f"{target.scheme}:///:memory:" if target.memory else f"{target.scheme}:///{tmp_path}/test.db"
        return
    postgres = request.getfixturevalue("postgres")
    name = postgres.create_database()
    yield postgres.url(database=name).replace("postgresql://", f"{target.scheme}://", 1)
    postgres.drop_database(name)


@pytest.fixture
async def make_database(url: str) -> Any:
    """Give a function that makes a `Database` of the target, closed when the test ends."""
    made: list[Database] = []

    def make(cls: Callable[..., Any] = Database, **options: Any) -> Any:
        made.append(cls(url, **options))
        return made[-1]

    yield make
    for database in made:
        await database.disconnect()


@pytest.fixture
async def db(make_database: Callable[..., Database]) -> Database:
    """Give a connected database with a table of two users."""
    database = make_database()
    await database.connect()
    await database.execute("create table users (id integer primary key, name text)")
    await database.executemany("insert into users (id, name) values ($1, $2)", (1, "Ann"), (2, "Bob"))
    return database
