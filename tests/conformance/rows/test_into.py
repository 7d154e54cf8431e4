"""Rows become what `into=` asks for, by every verb on every driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import attrs
import msgspec
import pydantic
import pytest

from aio_databases import ConfigurationError, DataError

QUERY = "select id, name from users order by id"


@dataclass
class AsDataclass:
    id: int
    name: str


class AsNamedTuple(NamedTuple):
    id: int
    name: str


class AsTypedDict(TypedDict):
    id: int
    name: str


class AsStruct(msgspec.Struct):
    id: int
    name: str


class AsModel(pydantic.BaseModel):
    id: int
    name: str


@attrs.define
class AsAttrs:
    id: int
    name: str


def label(id, name):  # noqa: A002 - the name of a column
    return f"{id}:{name}"


KINDS = [
    (AsDataclass, AsDataclass(1, "Ann")),
    (AsNamedTuple, AsNamedTuple(1, "Ann")),
    (AsTypedDict, {"id": 1, "name": "Ann"}),
    (AsStruct, AsStruct(1, "Ann")),
    (AsModel, AsModel(id=1, name="Ann")),
    (AsAttrs, AsAttrs(1, "Ann")),
    (dict, {"id": 1, "name": "Ann"}),
    (tuple, (1, "Ann")),
    (list, [1, "Ann"]),
    (label, "1:Ann"),
]

by_kind = pytest.mark.parametrize(("into", "expected"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])


@by_kind
@pytest.mark.targets(pooled=True)
async def test_every_verb_makes_what_is_asked_for(users, into, expected):
    assert await users.fetchone(QUERY, into=into) == expected
    assert await users.fetchmany(1, QUERY, into=into) == [expected]
    every = await users.fetchall(QUERY, into=into)
    assert every[0] == expected
    assert type(expected) is type(every[0])
    assert len(every) == 3
    assert every == [made async for made in users.iterate(QUERY, into=into, chunk_size=2)]


@pytest.mark.parametrize(("into", "expected"), [(int, [1, 2, 3]), (str, ["1", "2", "3"]), (float, [1.0, 2.0, 3.0])])
async def test_the_only_column_becomes_a_scalar(users, into, expected):
    assert await users.fetchall("select id from users order by id", into=into) == expected
    assert [value async for value in users.iterate("select id from users order by id", into=into)] == expected
    assert await users.fetchone("select id from users order by id", into=into) == expected[0]


@by_kind
@pytest.mark.targets(pooled=True)
async def test_nothing_becomes_nothing(users, into, expected):
    nothing = "select id, name from users where id = 0"
    assert await users.fetchone(nothing, into=into) is None
    assert await users.fetchall(nothing, into=into) == []
    assert await users.fetchmany(2, nothing, into=into) == []
    assert [made async for made in users.iterate(nothing, into=into)] == []


@pytest.mark.parametrize("into", [AsDataclass, AsNamedTuple, AsTypedDict, AsStruct, AsModel, AsAttrs, label, int])
@pytest.mark.targets(pooled=True)
async def test_columns_that_do_not_fit_are_a_configuration_error(users, into):
    query = "select id, name as nickname from users"
    async with users.connection():
        for make in (users.fetchall, users.fetchone):
            with pytest.raises(ConfigurationError):
                await make(query, into=into)
        with pytest.raises(ConfigurationError):
            await anext(users.iterate(query, into=into))
        assert await users.fetchval("select count(*) from users") == 3


@pytest.mark.parametrize("into", [AsStruct, AsModel])
@pytest.mark.targets(pooled=True)
async def test_a_value_that_the_type_refuses_is_a_data_error_without_the_value(users, into):
    with pytest.raises(DataError) as caught:
        await users.fetchall("select name as id, name from users", into=into)
    assert "Ann" not in str(caught.value)
    assert caught.value.column == "id"
