"""PostgreSQL has times, dates and intervals that Python has not: the DataError does not show which one it was.

Use of the library: psycopg's message was `can't parse time '24:00:00': hour must be in 0..23`.
"""

from __future__ import annotations

import pytest

from aio_databases import DataError

pytestmark = pytest.mark.targets(scheme={"asyncpg", "psycopg", "aiopg"}, pooled=True)


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("time '24:00'", ("24:00",)),
        ("timetz '24:00+00'", ("24:00",)),
        ("array[time '24:00']", ("24:00",)),
        ("interval '170000000 years'", ("1920457856", "170000000")),
        ("date '4713-01-01 BC'", ("4713",)),
        ("timestamp '294276-01-01'", ("294276",)),
        ("timestamptz '294276-01-01+00'", ("294276",)),
    ],
)
async def test_the_message_has_no_value(db, value, secrets):
    with pytest.raises(DataError) as caught:
        await db.fetchval(f"select {value}")
    assert not [secret for secret in secrets if secret in str(caught.value)]
