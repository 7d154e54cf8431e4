"""aiopg: what can be sent as a value can be sent inside of a list.

Use of the library: `[Decimal("Infinity")]` became `[NaN]`, and lists of Enum members or dicts were refused.
"""

from __future__ import annotations

from decimal import Decimal
from enum import Enum

import pytest

pytestmark = pytest.mark.targets(scheme={"aiopg", "psycopg"}, pooled=True)

INFINITE = [Decimal("Infinity"), Decimal("-Infinity"), Decimal("1.5"), None]


class Colour(Enum):
    """Is no str."""

    RED = "red"


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("numeric[]", INFINITE, INFINITE),
        ("numeric[]", [INFINITE, INFINITE[:]], [INFINITE, INFINITE]),
        ("text[]", [Colour.RED, Colour.RED], ["red", "red"]),
        ("jsonb[]", [{"a": 1}], [{"a": 1}]),
    ],
)
async def test_a_list_is_sent(db, kind, given, expected):
    assert await db.fetchval(f"select cast(:value as {kind})", {"value": given}) == expected
    async with db.connection():
        await db.execute(f"create temporary table kept (value {kind})")
        await db.executemany(f"insert into kept values (cast(:value as {kind}))", {"value": given}, {"value": given})
        assert await db.fetchall("select value from kept") == [(expected,), (expected,)]
