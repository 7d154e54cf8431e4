"""peewee-aio 3.3, an object mapper built on aio-databases 1.x and 2.0, runs unchanged."""

from __future__ import annotations

from types import SimpleNamespace

import anyio
import peewee
import pytest
from peewee_aio import AIOModel, Manager, fields

import aio_databases

TARGETS = "sqlite-(file|memory)-asyncio|aiosqlite|asyncpg|postgresql|sqlite-file-trio"


@pytest.fixture
async def shop(make_database):
    """Give a manager of models with its tables."""
    manager = make_database(Manager)

    @manager.register
    class Role(AIOModel):
        id = fields.AutoField()
        name = fields.CharField(unique=True)

    @manager.register
    class User(AIOModel):
        id = fields.AutoField()
        name = fields.CharField()
        role = fields.ForeignKeyField(Role, null=True, backref="users")

    await manager.connect()
    await manager.create_tables()
    return SimpleNamespace(manager=manager, Role=Role, User=User)


async def names(shop):
    """List the names of all users, through a manager that may not stream."""
    return [user.name for user in await shop.User.select().order_by(shop.User.id)]


async def test_rows_are_created_read_changed_and_deleted(shop):
    role = await shop.Role.create(name="admin")
    assert role.id == 1
    user = await shop.User.create(name="Ann", role=role)
    user.name = "Anna"
    await user.save()
    found = await shop.User.get(shop.User.name == "Anna")
    assert user.id == found.id
    assert (await found.role).name == "admin"
    assert (await shop.User.get_by_id(user.id)).name == "Anna"
    assert await shop.User.get_or_none(name="nobody") is None
    assert await shop.User.update(name="Eve").where(shop.User.id == user.id) == 1
    assert await names(shop) == ["Eve"]
    await found.delete_instance()
    assert await names(shop) == []
    with pytest.raises(shop.User.DoesNotExist):
        await shop.User.get_by_id(user.id)


async def test_creating_tables_again_and_dropping_them_works(shop):
    await shop.manager.create_tables()
    await shop.User.create_table()
    await shop.manager.drop_tables()
    with pytest.raises(peewee.DatabaseError):
        await shop.User.create(name="Ann")


async def test_many_rows_are_created_and_updated_in_bulk(shop):
    await shop.User.bulk_create([shop.User(name=f"user {number}") for number in range(5)])
    users = await shop.User.select().order_by(shop.User.id)
    for user in users:
        user.name = user.name.upper()
    assert await shop.User.bulk_update(users, fields=[shop.User.name]) == 5
    assert [f"USER {number}" for number in range(5)] == await names(shop)
    assert await shop.User.delete() == 5


async def test_queries_give_counts_slices_scalars_dicts_and_tuples(shop):
    for name in ("Ann", "Bob", "Cid"):
        await shop.User.create(name=name)
    query = shop.User.select().order_by(shop.User.id)
    assert await query.count() == 3
    assert await query.where(shop.User.name == "Bob").exists()
    assert (await query.first()).name == "Ann"
    assert [user.name for user in await query[1:3]] == ["Bob", "Cid"]
    assert await shop.User.select(shop.User.name).limit(1).order_by(shop.User.id).dicts() == [{"name": "Ann"}]
    assert await shop.User.select(shop.User.name).limit(1).order_by(shop.User.id).tuples() == [("Ann",)]
    total = shop.User.select(peewee.fn.COUNT(shop.User.id))
    assert await shop.manager.fetchval(total) == 3


async def test_a_query_is_iterated_row_by_row(shop):
    role = await shop.Role.create(name="admin")
    for name in ("Ann", "Bob"):
        await shop.User.create(name=name, role=role)
    query = shop.User.select(shop.User, shop.Role).join(shop.Role).order_by(shop.User.id)
    found = [(user.name, (await user.role).name) async for user in query]
    assert found == [("Ann", "admin"), ("Bob", "admin")]
    found = [user.name async for user in shop.manager.run(query)]
    assert found == ["Ann", "Bob"]


async def test_rows_may_be_changed_while_they_are_iterated(shop):
    for name in ("Ann", "Bob"):
        await shop.User.create(name=name)
    async with shop.manager.transaction():
        async for user in shop.User.select().order_by(shop.User.id):
            user.name = user.name.upper()
            await user.save()
    assert await names(shop) == ["ANN", "BOB"]


async def test_related_rows_are_prefetched(shop):
    for role_name in ("admin", "guest"):
        role = await shop.Role.create(name=role_name)
        for number in range(2):
            await shop.User.create(name=f"{role_name} {number}", role=role)
    roles = shop.Role.select().order_by(shop.Role.id)
    users = shop.User.select().order_by(shop.User.id)
    found = await shop.manager.prefetch(roles, users)
    assert [[user.name for user in role.users] for role in found] == [["admin 0", "admin 1"], ["guest 0", "guest 1"]]


async def test_a_violated_constraint_is_peewees_error_caused_by_ours(shop):
    await shop.Role.create(name="admin")
    with pytest.raises(peewee.IntegrityError) as caught:
        await shop.Role.create(name="admin")
    assert isinstance(caught.value.__cause__ or caught.value.__context__, aio_databases.UniqueViolation)


async def test_get_or_create_creates_once(shop):
    role, created = await shop.Role.get_or_create(name="admin")
    assert created
    same, created = await shop.Role.get_or_create(name="admin")
    assert not created
    assert role.id == same.id


async def test_get_or_create_in_racing_tasks_creates_once(shop):
    outcomes = []

    async def get_or_create():
        outcomes.append(await shop.Role.get_or_create(name="admin"))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(get_or_create)
    assert len({role.id for role, _ in outcomes}) == 1
    assert sum(created for _, created in outcomes) == 1
    assert await shop.Role.select().count() == 1


async def test_transactions_commit_roll_back_and_nest(shop):
    async with shop.manager.transaction():
        await shop.User.create(name="Ann")
        with pytest.raises(LookupError):
            async with shop.manager.transaction():
                await shop.User.create(name="Bob")
                raise LookupError
    assert await names(shop) == ["Ann"]
    async with shop.manager.transaction() as transaction:
        await shop.User.create(name="Cid")
        await transaction.rollback()
    assert await names(shop) == ["Ann"]


async def test_one_connection_serves_a_block(shop):
    async with shop.manager.connection() as conn:
        await shop.User.create(name="Ann")
        assert shop.manager.current_conn is conn
        assert (await shop.User.select().first()).name == "Ann"


async def test_raw_sql_runs_beside_the_models(shop):
    await shop.User.create(name="Ann")
    assert await shop.manager.fetchval(f'select count(*) from "{shop.User._meta.table_name}"') == 1
    row = await shop.manager.fetchone('select name from "user" where name = %s', "Ann")
    assert row == ("Ann",)


async def test_the_manager_runs_without_connect(make_database):
    manager = make_database(Manager)
    assert await manager.fetchval("select 42") == 42
