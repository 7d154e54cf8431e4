"""The databases that the tests of compatibility run on: each driver, on each event loop it has."""

from __future__ import annotations

import re
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


TARGETS = {
    str(each): each
    for each in (
        Target("sqlite"),
        Target("sqlite", "trio"),
        Target("sqlite", memory=True),
        Target("sqlite", "trio", memory=True),
        Target("aiosqlite"),
        Target("aiosqlite", memory=True),
        Target("asyncpg"),
        Target("postgresql"),
    )
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every target, or on those that its own parameters or its module's `TARGETS` (a pattern) name."""
    own = any("target" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "target" in metafunc.fixturenames and not own:
        pattern = getattr(metafunc.module, "TARGETS", "")
        chosen = [
            pytest.param(name, marks=[] if each.is_sqlite else [pytest.mark.server])
            for name, each in TARGETS.items()
            if re.match(pattern, name)
        ]
        metafunc.parametrize("target", chosen, indirect=True)


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    """Give the driver that a test runs on."""
    return TARGETS[request.param]


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
