"""A password that comes as bytes, as secret stores give it, is the text that they encode (hostile test)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest

from aio_databases import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases import Database

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.targets(dialect={"postgresql", "mysql"}, pooled=True, loop={"asyncio", "trio"}),
]


async def test_bytes_log_in_as_their_text_does(make_database: Callable[..., Any], url: str) -> None:
    """Not as the text that Python writes for bytes."""
    split = urlsplit(url)
    password = unquote(split.password or "").encode()
    address = split._replace(netloc=split.netloc.replace(f":{split.password}@", "@")).geturl()
    for given in (password, bytearray(password), lambda: password):
        db: Database = await make_database(address, password=given)
        assert await db.fetchval("select 1") == 1


async def test_bytes_that_are_no_text_are_refused(make_database: Callable[..., Any], url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="UTF-8"):
        await (await make_database(url, password=b"\xff")).fetchval("select 1")
