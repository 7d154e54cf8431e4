"""The server has no connection left: the error can be told from others, and its hint is about that.

Use: psycopg and aiopg had no SQLSTATE, and every driver's message spoke of host and port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aio_databases import ConnectError
from aio_databases.dialects.error_codes import is_full

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.targets(dialect={"postgresql", "mysql"}, pooled=True, loop={"asyncio", "trio"})


@pytest.fixture
def lonely(server, target, url) -> Iterator[str]:
    """Give the URL of a login that may have one connection at a time."""
    if target.dialect == "postgresql":
        server.execute("drop role if exists lonely")
        server.execute("create role lonely login password 'secret' connection limit 1")
    else:
        server.execute("create or replace user lonely identified by 'secret' with max_user_connections 1")
        server.execute("grant all on *.* to lonely")
    scheme, _, rest = url.partition("://")
    yield f"{scheme}://lonely:secret@{rest.rpartition('@')[2]}"
    server.execute("drop role lonely" if target.dialect == "postgresql" else "drop user lonely")


async def test_a_login_that_finds_no_place(lonely, make_database, target):
    first = await make_database(lonely, max_size=1)
    async with first.connection() as connection:
        await connection.fetchval("select 1")
        with pytest.raises(ConnectError, match=r"(max_user_connections|too many connections).*max_size") as caught:
            await make_database(lonely)
    assert is_full(caught.value)
    assert "host" not in str(caught.value).partition(" failed: ")[2]
    if target.dialect == "postgresql":
        assert caught.value.sqlstate == "53300"
    await first.disconnect()
