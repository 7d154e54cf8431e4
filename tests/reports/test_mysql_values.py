"""Values that MySQL does not have are refused, and those that Python does not have are shown (hostile test, users)."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from aio_databases import DataError

if TYPE_CHECKING:
    from aio_databases import Database

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.targets(scheme={"asyncmy", "aiomysql", "pymysql", "trio-mysql"}, pooled=True, loop={"asyncio", "trio"}),
]


@pytest.mark.parametrize("value", [Decimal("1e999999999"), Decimal("-1e65")], ids=str)
async def test_a_number_of_too_many_digits_is_refused(db: Database, value: Decimal) -> None:
    """As a JSON body may have it: written out it would be a gigabyte of zeros."""
    with pytest.raises(DataError, match="65 digits"):
        await db.fetchval("select ?", value)


@pytest.mark.parametrize(
    ("value", "stored"),
    [("9e64", "9e64"), ("1e-999999999", "0"), ("0e999999999", "0"), ("0e-999999999", "0"), ("1.50", "1.50")],
)
async def test_a_number_is_written_with_as_many_digits_as_mysql_has(db: Database, value: str, stored: str) -> None:
    """Zero has as many zeros as its exponent says."""
    assert Decimal(stored) == await db.fetchval("select ? as n", Decimal(value))


@pytest.mark.parametrize("number", [float("nan"), float("inf")], ids=str)
async def test_json_with_nan_is_refused(db: Database, number: float) -> None:
    """Python would write a word that is no JSON."""
    value: Any = {"a": [number]}
    with pytest.raises(DataError, match="NaN"):
        await db.fetchval("select :v", {"v": value})


@pytest.mark.parametrize("text", ["0000-00-00", "2020-00-00", "0000-01-01"])
async def test_a_date_that_python_lacks_comes_back_as_text(db: Database, text: str) -> None:
    """The server has days and months 0, and the year 0."""
    async with db.connection() as connection:
        await connection.execute("set sql_mode = ''")
        await connection.execute("create table days (d date, t datetime)")
        await connection.execute("insert into days values (?, ?)", text, text)
        assert (text, f"{text} 00:00:00") == tuple(*await connection.fetchall("select d, t from days"))


async def test_the_instant_of_a_timestamp_depends_on_the_time_zone_of_the_session(db: Database) -> None:
    """A time zone is converted to UTC, which a session in another one takes for its own time; so UTC is best."""
    from datetime import UTC, datetime, timedelta, timezone  # noqa: PLC0415 - of this test only

    moment = datetime(2026, 7, 1, 12, 0, tzinfo=timezone(timedelta(hours=5)))
    async with db.connection() as connection:
        await connection.execute("create table moments (t timestamp null)")
        for zone, seconds in (("+00:00", 0), ("+02:00", -7200)):
            await connection.execute("set time_zone = ?", zone)
            await connection.execute("delete from moments")
            await connection.execute("insert into moments values (?)", moment)
            stored = await connection.fetchval("select unix_timestamp(t) from moments")
            assert seconds == int(stored) - moment.astimezone(UTC).timestamp()
