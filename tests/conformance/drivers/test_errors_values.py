"""Values that cannot be sent or read are DataErrors, which name the parameter and its type, and never the value."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum

import pytest

from aio_databases import DataError, Error
from conformance.secrets_told import SECRET, everything_told

pytestmark = pytest.mark.targets(pooled=True)


class Colour(Enum):
    RED = SECRET


class Size(IntEnum):
    BIG = 3


class Kind(StrEnum):
    TALL = "tall"


class Text(str):
    __slots__ = ()


class Unknown:
    def __repr__(self):
        return SECRET


# Refused on every driver: the libraries that have a way to send them are told of a column that cannot take them.
ODD = (
    Unknown(),
    {SECRET},
    frozenset({SECRET}),
    1j,
    range(3),
    (text for text in (SECRET,)),
    Unknown,
    ValueError(SECRET),
    f"{SECRET}\ud800",
    {"a": SECRET.encode()},
    {SECRET: Unknown()},
    [SECRET, Unknown()],
)


async def test_a_value_that_nobody_can_send_is_a_data_error(users, target):
    odd = ODD
    if target.odbc and target.dialect == "postgresql":  # a list is sent as the text of an array, whatever is in it
        odd = [value for value in ODD if not isinstance(value, list)]
    update = "update users set name = :name where id = :id"
    select = "select id from users where id = ? and name = ?"
    async with users.connection():
        for value in odd:
            for parameter, statement in (
                (":name", lambda value: users.execute(update, {"id": 1, "name": value})),
                ("2", lambda value: users.execute("update users set id = ?, name = ? where id = 1", 1, value)),
                ("2", lambda value: users.fetchall(select, 1, value)),
                ("2", lambda value: anext(users.iterate(select, 1, value))),
                (
                    ":name of row 2",
                    lambda value: users.executemany(update, [{"id": 1, "name": "x"}, {"id": 2, "name": value}]),
                ),
            ):
                with pytest.raises(DataError) as caught:
                    await statement(value)
                error = caught.value
                assert f"(parameter {parameter}, of type {type(value).__name__})" in str(error)
                assert parameter == error.parameter + (f" of row {error.row}" if error.row else "")
                assert SECRET not in everything_told(error)
                assert not error.retryable
        assert await users.fetchall("select name from users order by id", into=str) == ["Ann", "Bob", "Cid"]


@pytest.mark.targets(scheme="asyncpg")
async def test_what_asyncpg_quotes_is_left_out(db):
    for kind in ("uuid", "inet", "cidr", "date", "integer", "json[]"):
        for value in (SECRET, [SECRET], {SECRET: 1}, f"({SECRET}: 'a' (b)"):
            with pytest.raises(DataError) as caught:
                await db.fetchval(f"select $1::{kind}", value if kind != "json[]" else [[SECRET], [1, 2]])
            assert SECRET not in everything_told(caught.value)
            assert caught.value.parameter == "1"


async def test_a_number_that_no_column_holds_is_a_data_error(users):
    async with users.connection():
        for value in (2**63, -(2**63) - 1, 10**30, 10**5000):
            with pytest.raises(DataError):
                await users.execute("update users set id = ? where id = 1", value)
        assert await users.fetchval("select count(*) from users") == 3


EAST = timezone(timedelta(hours=5))
WEST = timezone(timedelta(hours=-5))
EXTREMES = (
    datetime.min.replace(tzinfo=EAST),
    datetime.max.replace(tzinfo=WEST),
    Decimal("sNaN"),
    Decimal("-Infinity"),
    time(1, tzinfo=EAST),
    date.max,
)


async def test_an_extreme_value_is_kept_or_an_error_of_ours(db, words):
    async with db.connection():
        for column in ("text", "timestamp", "numeric", "time", "bigint"):
            await db.execute(f"create table {column}s (v {words.types[column]})")
            for value in EXTREMES:
                with suppress(Error):
                    await db.execute(f"insert into {column}s (v) values (?)", value)
                    await db.fetchall(f"select v from {column}s")
        assert await db.fetchval("select 1") == 1


# Subclasses of plain types


async def test_subclasses_of_plain_types_are_sent_as_those(users):
    await users.execute("update users set name = ? where id = ?", Text("Dan"), Size.BIG)
    await users.execute("update users set name = ? where id = ?", Kind.TALL, 2)
    assert await users.fetchall("select name from users order by id", into=str) == ["Ann", "tall", "Dan"]


async def test_an_enum_is_sent_as_its_value_or_refused(users, target):
    if target.scheme == "asyncpg":
        with pytest.raises(DataError, match=r"\(parameter 1, of type Colour\)$") as caught:
            await users.execute("update users set name = ? where id = 1", Colour.RED)
        assert SECRET not in everything_told(caught.value)
    else:
        await users.execute("update users set name = ? where id = 1", Colour.RED)
        assert await users.fetchval("select name from users where id = 1") == SECRET


# Values that are read


UNREADABLE = {
    "postgresql": (
        "select time '24:00'",
        "select date '0044-03-15 BC'",
        "select timestamp '0044-03-15 BC'",
        "select timestamptz '0001-01-01 00:00+05'",
        "select date '5000000-01-01'",
        "select array[date '0044-03-15 BC']",
        "select interval '178000000 years'",
    ),
    "mysql": (
        "select cast('2020-00-10' as date)",
        "select cast('838:59:59' as time)",
        "select cast('0000-00-00' as date)",
    ),
    "sqlite": ("select cast(x'ff' as text)",),
}


UNREAD = {
    "asyncpg": 5,
    "psycopg": 6,
    "aiopg": 5,
    "sqlite": 1,
    "aiosqlite": 1,
}


async def test_what_python_has_no_value_for_is_a_data_error_unless_the_library_knows_another_way(db, target):
    failed = []
    async with db.connection():
        for query in UNREADABLE[target.dialect]:
            for read in (db.fetchval, db.fetchall, lambda query: anext(db.iterate(query))):
                try:
                    await read(query)
                except DataError as error:
                    failed.append((query, error.parameter))
            assert await db.fetchval("select 1") == 1
    assert {None} >= {parameter for _, parameter in failed}
    assert len({query for query, _ in failed}) >= UNREAD.get(target.scheme, 0)


# What is dropped


@pytest.mark.targets(scheme="aiopg")
def test_a_database_that_nobody_disconnects_leaves_no_error_behind(url):
    script = f"""
import asyncio, gc
from aio_databases import Database

async def main():
    database = await Database({url!r}).connect()
    assert 1 == await database.fetchval("select 1")
    del database
    gc.collect()

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
