"""What each driver stores of a Python value, and what comes back: the tables in docs/types.md.

The file types_table.json beside this one holds what the tests have seen.  A test fails when it sees something else.
After a change that is right, run::

    AIODB_OUTCOMES=write python -m pytest tests/conformance/rows/test_types_table.py
    python scripts/pages/types_table.py
"""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from uuid import UUID

import pytest

import pages
import types_table
from aio_databases import Error, errors

pytestmark = pytest.mark.targets(pooled=True, memory=False)

FILE = Path(__file__).with_name("types_table.json")
EAST = timezone(timedelta(hours=2))


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


VALUES = {
    "None": None,
    "bool": True,
    "int": 42,
    "int, 64 bits": 2**63 - 1,
    "int, more bits": 2**64,
    "float": 1.5,
    "float, NaN": float("nan"),
    "float, infinity": float("inf"),
    "Decimal": Decimal("12.50"),
    "str": "it's",
    "bytes": b"\0\xff",
    "date": date(2026, 1, 2),
    "time": time(3, 4, 5),
    "datetime": datetime(2026, 1, 2, 3, 4, 5, 678901),  # noqa: DTZ001 - of the type without a zone
    "datetime, aware": datetime(2026, 1, 2, 3, 4, 5, tzinfo=EAST),
    "datetime, UTC": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "timedelta": timedelta(hours=26, seconds=1),
    "UUID": UUID(int=5),
    "Enum": Colour.RED,
    "IntEnum": Level.HIGH,
    "dict": {"a": [1, None]},
    "list": [1, 2],
    "list, empty": [],
    "tuple": (1, 2),
    "set": {1},
    "IPv4Address": IPv4Address("10.0.0.1"),
    "IPv4Interface": IPv4Interface("10.0.0.1/8"),
    "str, of JSON": '{"b": 1}',
    "object": object(),
}

COLUMNS = {
    "sqlite": {
        "bool": ("boolean", "integer"),
        "int": ("integer", "text"),
        "int, 64 bits": ("integer",),
        "int, more bits": ("integer",),
        "float": ("real",),
        "float, NaN": ("real",),
        "float, infinity": ("real",),
        "Decimal": ("numeric", "text"),
        "str": ("text",),
        "bytes": ("blob",),
        "date": ("date", "text"),
        "time": ("time",),
        "datetime": ("timestamp", "text"),
        "datetime, aware": ("timestamp",),
        "datetime, UTC": ("timestamp",),
        "timedelta": ("text",),
        "UUID": ("text",),
        "Enum": ("text",),
        "IntEnum": ("integer",),
        "dict": ("json", "text"),
        "list": ("json",),
        "list, empty": ("json",),
        "tuple": ("text",),
        "set": ("text",),
        "IPv4Address": ("text",),
        "str, of JSON": ("json",),
        "object": ("text",),
        "None": ("text",),
    },
    "postgresql": {
        "None": ("text",),
        "bool": ("boolean",),
        "int": ("integer", "numeric", "text", "positive"),
        "int, 64 bits": ("bigint",),
        "int, more bits": ("bigint", "numeric"),
        "float": ("float8", "numeric"),
        "float, NaN": ("float8",),
        "float, infinity": ("float8",),
        "Decimal": ("numeric", "float8"),
        "str": ("text", "varchar(9)", "citext"),
        "bytes": ("bytea",),
        "date": ("date",),
        "time": ("time",),
        "datetime": ("timestamp", "timestamptz"),
        "datetime, aware": ("timestamptz", "timestamp"),
        "datetime, UTC": ("timestamptz",),
        "timedelta": ("interval",),
        "UUID": ("uuid",),
        "Enum": ("mood", "text"),
        "IntEnum": ("integer",),
        "dict": ("jsonb", "json", "text"),
        "list": ("integer[]", "jsonb", "json", "text"),
        "list, empty": ("integer[]", "jsonb"),
        "tuple": ("integer[]", "jsonb", "pair"),
        "set": ("integer[]",),
        "IPv4Address": ("inet",),
        "IPv4Interface": ("inet",),
        "str, of JSON": ("jsonb", "json"),
        "object": ("text",),
    },
    "mysql": {
        "None": ("longtext",),
        "bool": ("boolean",),
        "int": ("integer",),
        "int, 64 bits": ("bigint",),
        "int, more bits": ("bigint",),
        "float": ("double",),
        "float, NaN": ("double",),
        "float, infinity": ("double",),
        "Decimal": ("decimal(10, 2)",),
        "str": ("longtext", "varchar(9)"),
        "bytes": ("longblob",),
        "date": ("date",),
        "time": ("time(6)",),
        "datetime": ("datetime(6)",),
        "datetime, aware": ("datetime(6)", "timestamp(6)"),
        "datetime, UTC": ("datetime(6)",),
        "timedelta": ("time(6)",),
        "UUID": ("uuid", "char(36)"),
        "Enum": ("enum('red', 'blue')",),
        "IntEnum": ("integer",),
        "dict": ("json", "longtext"),
        "list": ("json",),
        "list, empty": ("json",),
        "tuple": ("json",),
        "set": ("json",),
        "IPv4Address": ("varchar(40)",),
        "str, of JSON": ("json",),
        "object": ("longtext",),
    },
}

READ = {
    "sqlite": {"json_extract(json)": "select json_extract('{\"a\": [1]}', '$.a')"},
    "postgresql": {
        "jsonb": "select '{\"a\": [1]}'::jsonb",
        "json[]": "select array['1', '{\"a\": []}']::json[]",
        "mood[]": "select '{red}'::mood[]",
        "positive[]": "select '{1}'::positive[]",
        "citext[]": "select '{a}'::citext[]",
        "pair": "select row(1, 'a')::pair",
        "pair[]": "select array[row(1, 'a')::pair]",
        "row with jsonb": "select row(1, '{\"a\": 1}'::jsonb)",
        "int4range": "select int4range(1, 5)",
        "inet of a host": "select inet '10.0.0.1'",
        "cidr": "select cidr '10.0.0.0/8'",
        "interval of a month": "select interval '1 month'",
        "money": "select '12.34'::money",
        "bit(3)": "select B'101'",
        "point": "select point '(1,2)'",
        "xml": "select '<a/>'::xml",
    },
    "mysql": {
        "json_extract(json)": "select json_extract('{\"a\": [1]}', '$.a')",
        "bit(3)": "select flags from kinds",
        "year": "select founded from kinds",
        "set('a', 'b')": "select letters from kinds",
    },
}

PREPARE = {
    "postgresql": (
        "create type mood as enum ('red', 'blue')",
        "create domain positive as integer check (value > 0)",
        "create type pair as (a integer, b text)",
    ),
    "mysql": (
        "create table kinds (flags bit(3), founded year, letters set('a', 'b'))",
        "insert into kinds values (b'101', 2026, 'a,b')",
    ),
}


@pytest.mark.parametrize("what", ["values", "reads"])
@pytest.mark.targets(loop="asyncio")
async def test_the_table_says_what_comes_back(db, target, what):
    await check(db, target, what)


@pytest.mark.parametrize("what", ["values", "reads"])
@pytest.mark.targets(scheme="trio-mysql")
async def test_the_table_says_what_comes_back_on_trio(db, target, what):
    await check(db, target, what)


@pytest.mark.parametrize(("page", "parts"), types_table.pages().items())
def test_the_page_shows_the_table(page, parts):
    assert page.read_text(encoding="utf-8") == pages.renewed(page, parts), "run `python scripts/pages/types_table.py`"


async def check(db, target, what):
    seen = {}
    async with db.connection():
        for statement in PREPARE.get(target.dialect, ()):
            await db.execute(statement)
        if target.dialect == "postgresql":
            await try_citext(db)
        if what == "values":
            for name, kinds in COLUMNS[target.dialect].items():
                for kind in kinds:
                    seen[f"{name} / {kind}"] = await returned(db, VALUES[name], kind, len(seen))
        else:
            for name, query in READ[target.dialect].items():
                seen[f"/ {name}"] = await told(db.fetchval(query))
    record(f"{'odbc: ' * target.odbc}{target.dialect}", target.scheme, seen)


async def try_citext(db):
    try:
        await db.execute("create extension if not exists citext")
    except Error:
        await db.execute("create domain citext as text")  # comes back alike


async def returned(db, value, kind, number):
    await db.execute(f"create table t{number} (value {kind})")  # libraries remember the types of a name
    try:
        await db.execute(f"insert into t{number} values (:value)", {"value": value})
    except Error as error:
        return kind_of(error)
    return await told(db.fetchval(f"select value from t{number}"), value)


async def told(call, value=...):
    try:
        found = await call
    except Error as error:
        return kind_of(error)
    same = type(found) is type(value) and (found == value or found != found)  # noqa: PLR0124 - NaN is not
    return "the same" if same else repr(found)


def kind_of(error):
    return next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == errors.__name__)


def record(table, scheme, seen):
    if os.environ.get("AIODB_OUTCOMES") != "write":
        known = json.loads(FILE.read_text(encoding="utf-8"))[table]
        assert {row: known.get(row, {}).get(scheme) for row in seen} == seen, "see the first lines of this file"
        return
    FILE.touch()
    with FILE.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # other workers of the run write, too
        outcomes = json.loads(file.read() or "{}")
        rows = outcomes.setdefault(table, {})
        for row, outcome in seen.items():
            rows[row] = dict(sorted({**rows.get(row, {}), scheme: outcome}.items()))
        order = [f"{n} / {k}" for n in VALUES for k in COLUMNS[table.removeprefix("odbc: ")].get(n, ())]
        order += [f"/ {name}" for name in READ[table.removeprefix("odbc: ")]]
        outcomes[table] = {row: rows[row] for row in order if row in rows}
        file.seek(0)
        file.truncate()
        json.dump(dict(sorted(outcomes.items())), file, indent=1, ensure_ascii=False)
        file.write("\n")
