"""aiopg: when the first address of a host refuses, libpq goes on to the next, by a socket with the same number.

Found while a hostile test's cut connections were mended: the event loop watched the closed socket, until
`connect_timeout`, and the descriptor could not be given back.  A name such as localhost often has two addresses.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from aio_databases import ConnectError

pytestmark = pytest.mark.targets(scheme="aiopg", pooled=True)

REFUSING = "127.0.0.2"


async def test_the_second_address_is_connected_to(make_database, url):
    split = urlsplit(url)
    places = {"host": f"{REFUSING},{split.hostname}", "port": f"1,{split.port}"}
    db = await make_database(connect_args=places, connect_timeout=5)
    assert await db.fetchval("select 1") == 1


async def test_no_address_at_all_is_told_at_once(make_database):
    with pytest.raises(ConnectError, match="refused"):
        await make_database(connect_args={"host": f"{REFUSING},{REFUSING}", "port": "1,2"}, connect_timeout=5)
