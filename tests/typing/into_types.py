"""What type checkers conclude from user code; read by mypy and pyright, never run."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypedDict, TypeVar, assert_type

import attrs
import msgspec
import pydantic

from aio_databases import Connection, Database, Record, Transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


@dataclass
class DataUser:
    id: int
    name: str


class TupleUser(NamedTuple):
    id: int
    name: str


class DictUser(TypedDict):
    id: int
    name: str


@attrs.define
class AttrsUser:
    id: int
    name: str


class StructUser(msgspec.Struct):
    id: int
    name: str


class ModelUser(pydantic.BaseModel):
    id: int
    name: str


@dataclass
class Box(Generic[T]):
    item: T


def label(*, id: int, name: str) -> str:  # noqa: A002 - the name of the column
    return f"{id}: {name}"


db = Database("sqlite:///:memory:")
SQL = "select id, name from users where id = :id"


async def rows_are_records_by_default() -> None:
    assert_type(await db.fetchall(SQL, {"id": 1}), list[Record])
    assert_type(await db.fetchmany(10, SQL, {"id": 1}), list[Record])
    assert_type(await db.fetchone(SQL, {"id": 1}), Record | None)
    assert_type(await db.fetchval(SQL, {"id": 1}), Any)
    async for row in db.iterate(SQL, {"id": 1}):
        assert_type(row, Record)


async def rows_become_what_into_names() -> None:
    assert_type(await db.fetchall(SQL, {"id": 1}, into=DataUser), list[DataUser])
    assert_type(await db.fetchmany(10, SQL, {"id": 1}, into=DataUser), list[DataUser])
    assert_type(await db.fetchone(SQL, {"id": 1}, into=DataUser), DataUser | None)
    async for user in db.iterate(SQL, {"id": 1}, into=DataUser):
        assert_type(user, DataUser)


async def a_row_that_may_be_missing_has_to_be_checked() -> str:
    user = await db.fetchone(SQL, {"id": 1}, into=DataUser)
    return "nobody" if user is None else user.name


async def into_takes_every_kind_of_class() -> None:
    assert_type(await db.fetchall(SQL, into=TupleUser), list[TupleUser])
    assert_type(await db.fetchall(SQL, into=DictUser), list[DictUser])
    assert_type(await db.fetchall(SQL, into=AttrsUser), list[AttrsUser])
    assert_type(await db.fetchall(SQL, into=StructUser), list[StructUser])
    assert_type(await db.fetchall(SQL, into=ModelUser), list[ModelUser])
    assert_type(await db.fetchall(SQL, into=Box[int]), list[Box[int]])


async def into_takes_builtin_classes() -> None:
    assert_type(await db.fetchall("select id from users", into=int), list[int])
    assert_type(await db.fetchone("select sum(price) from orders", into=Decimal), Decimal | None)
    assert_type(await db.fetchall(SQL, into=dict[str, Any]), list[dict[str, Any]])
    assert_type(await db.fetchall(SQL, into=tuple[int, str]), list[tuple[int, str]])


async def into_takes_dict_and_unions() -> None:
    assert_type(await db.fetchall(SQL, into=dict), list[dict[str, Any]])
    assert_type(await db.fetchmany(10, SQL, into=dict), list[dict[str, Any]])
    assert_type(await db.fetchone(SQL, into=dict), dict[str, Any] | None)
    async for row in db.iterate(SQL, into=dict):
        assert_type(row, dict[str, Any])
    ages: Sequence[int | None] = await db.fetchall("select age from users", into=int | None)
    first: int | None = await db.fetchone("select age from users", into=int | None)
    assert first in ages
    async for age in db.iterate("select age from users", into=int | None):
        assert age in ages


async def into_takes_functions() -> None:
    assert_type(await db.fetchall(SQL, into=label), list[str])
    async for text in db.iterate(SQL, into=label):
        assert_type(text, str)


async def blocks_give_their_objects() -> None:
    async with db as opened:
        assert_type(opened, Database)
    async with db.connection() as connection:
        assert_type(connection, Connection)
        assert_type(await connection.fetchall(SQL, into=DataUser), list[DataUser])
        assert_type(await connection.fetchone(SQL), Record | None)
    async with db.transaction() as transaction:
        assert_type(transaction, Transaction[Connection])
        await transaction.rollback()
