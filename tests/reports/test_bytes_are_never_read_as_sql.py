"""Bytes stay a value in MySQL, whatever the session's character set and however that was changed (hostile test)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases import Database

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.targets(scheme={"asyncmy", "aiomysql", "pymysql", "trio-mysql"}, pooled=True, loop={"asyncio", "trio"}),
]

TRICK = (b"\xbf\\", " or 1=1 -- ")
"""Two values of which the first one's literal would end in the second one, if it were written with backslashes."""

WAYS = [
    "set names ?",
    "set character_set_client = ?",
    "execute immediate concat('set names ', ?)",
    "set character_set_client = (select ?)",
]


@pytest.mark.parametrize("charset", ["gbk", "big5", "sjis", "cp932", "gb2312", "euckr", "ujis", "eucjpms", "utf8mb3"])
async def test_no_character_set_gets_bytes_to_end_their_literal(
    make_database: Callable[..., Any], charset: str
) -> None:
    """All bytes before a backslash and before a quote, in a session with a character set of several bytes."""
    db: Database = await make_database(init_command=f"set names {charset}")
    data = b"".join(bytes([high]) + end for high in range(256) for end in (b"\\", b"'", b"\\'", b"\\\\", b"'--"))
    assert data.hex() == (await db.fetchval("select lower(hex(?)) as h", data)).replace("\0", "")
    assert data * 1000 == await db.fetchval("select ? as b", data * 1000)
    assert await db.fetchall("select 1 from (select 'x' as a, 'y' as b) as t where a = ? and b = ?", *TRICK) == []


@pytest.mark.parametrize("way", WAYS)
async def test_no_way_to_change_the_character_set_gets_bytes_to_end_their_literal(db: Database, way: str) -> None:
    """A change that does not show in the text of the statement."""
    async with db.connection():
        await db.execute(way, "gbk")
        assert await db.fetchval("select @@character_set_client") == "gbk"
        assert await db.fetchall("select 1 from (select 'x' as a, 'y' as b) as t where a = ? and b = ?", *TRICK) == []
        await db.execute("create table files (data blob)")
        await db.executemany("insert into files values (?)", (TRICK[0],), (b"",), (bytearray(TRICK[0]),))
        assert [TRICK[0], b"", TRICK[0]] == await db.fetchall("select data from files", into=bytes)
