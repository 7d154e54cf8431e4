"""What a MySQL session is set to, and what it is left with (hostile test, users)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from aio_databases import ConfigurationError, Database, NotSupportedError, OperationalError, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.conftest import Target
    from servers import MySQLAccess

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.targets(scheme={"asyncmy", "aiomysql", "pymysql", "trio-mysql"}, pooled=True, loop={"asyncio", "trio"}),
]


async def test_a_character_set_in_connect_args_is_obeyed_or_refused(
    make_database: Callable[..., Any], url: str
) -> None:
    """The library would read another one than the server sends."""
    for name in ("mysql", urlsplit(url).scheme):
        for bad in ({"charset": "latin1"}, {"autocommit": False}):
            with pytest.raises(ConfigurationError, match=next(iter(bad))):
                Database(f"{name}://h/d", connect_args=bad)
    db: Database = await make_database(connect_args={"charset": "utf8mb3", "collation": "utf8mb3_bin"})
    for change in ("", "set names utf8mb4"):
        async with db.connection():
            if change:
                await db.execute(change)
                assert await db.fetchval("select @@character_set_connection") == "utf8mb4"
            else:
                assert await db.fetchval("select @@collation_connection") == "utf8mb3_bin"
                assert await db.fetchval("select 'é'") == "é"
    assert await db.fetchval("select @@collation_connection") == "utf8mb3_bin"


@pytest.mark.targets(dialect="mysql", scheme={"asyncmy", "aiomysql", "pymysql", "trio-mysql", "pyodbc"})
@pytest.mark.parametrize("word", ["database", "schema"])
async def test_a_dropped_database_is_not_missed_by_the_next_lease(
    make_database: Callable[..., Any], mysql: MySQLAccess, url: str, word: str
) -> None:
    """The session is left without one, also after the database was made again."""
    name = urlsplit(url).path.lstrip("/")
    db: Database = await make_database(max_size=1)
    await db.execute(f"drop {word} {name}")
    with pytest.raises((OperationalError, ProgrammingError), match="Unknown database"):
        await db.fetchval("select 1")
    mysql.create_database(name)
    assert name == await db.fetchval("select database()")
    async with db.connection() as connection:
        await connection.execute(f"drop {word} {name}")
        await connection.execute(f"create {word} {name}")
    assert name == await db.fetchval("select database()")


async def test_a_local_file_is_refused_with_advice_or_sent(
    make_database: Callable[..., Any], target: Target, tmp_path: Path, db: Database
) -> None:
    """Whether a server may ask for files is for the program to say."""
    (tmp_path / "rows.csv").write_text("1\n2\n")
    sql = f"load data local infile '{tmp_path}/rows.csv' into table numbers"
    async with db.connection():
        await db.execute("create table numbers (i integer)")
        with pytest.raises(NotSupportedError, match="connect_args="):
            await db.execute(sql)
        assert await db.fetchval("select count(*) from numbers") == 0
    if target.scheme == "asyncmy":
        with pytest.raises(ConfigurationError, match="pymysql://"):
            await make_database(connect_args={"local_infile": True})
        return
    sender: Database = await make_database(connect_args={"local_infile": True})
    assert (await sender.execute(sql)).rowcount == 2
