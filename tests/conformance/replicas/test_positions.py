"""Positions on every driver, where the replica is the server itself: how clusters behave stands in tests/clusters."""

from __future__ import annotations

import re

import pytest

from aio_databases import ConfigurationError, NotSupportedError, TransactionError
from aio_databases.dialects.positions import Position

COUNT = "select count(*) from users"
INSERT = "insert into users (id, name) values (4, 'Dan')"


@pytest.mark.targets(dialect={"sqlite", "postgresql"})
async def test_a_read_after_a_position_sees_what_was_written(replicated):
    before = await replicated.position()
    await replicated.execute(INSERT)
    position = await replicated.position()
    assert re.fullmatch(r"([0-9a-f]{15,16}-1-)?[0-9A-F]+/[0-9A-F]+", position)
    assert Position.parse(position).covers(Position.parse(before))
    async with replicated.replica(after=position) as connection:
        assert connection.read_only
        assert await replicated.fetchval(COUNT) == 4
        assert await connection.fetchval(COUNT) == 4


@pytest.mark.targets(dialect={"sqlite", "postgresql"})
async def test_a_replica_that_is_the_primary_is_not_behind(replicated):
    await replicated.execute(INSERT)
    async with replicated.replica(max_lag=60):
        assert await replicated.fetchval(COUNT) == 4


@pytest.mark.targets(dialect="mysql")
async def test_a_server_without_a_binary_log_has_no_positions(replicated):
    with pytest.raises(NotSupportedError, match=r"does not report its position: .* a binary log with GTIDs"):
        await replicated.position()
    for wanted in ({"after": "0-1-1"}, {"max_lag": 60}):
        with pytest.raises(NotSupportedError, match="does not report its position"):
            await replicated.replica(**wanted).__aenter__()
    async with replicated.replica():
        assert await replicated.fetchval(COUNT) == 3


async def test_a_position_inside_of_a_transaction_is_refused_and_leaves_it_alone(users):
    async with users.transaction():
        await users.execute(INSERT)
        with pytest.raises(TransactionError, match="not known before its commit"):
            await users.position()
    assert await users.fetchval(COUNT) == 4


@pytest.mark.targets(pooled=True)
@pytest.mark.parametrize(
    "wanted", [{"after": "x"}, {"after": ""}, {"after": 7}, {"max_lag": -1}, {"max_lag": "1"}, {"wait": None}], ids=str
)
async def test_bad_wishes_are_refused_when_the_block_is_made(users, wanted):
    with pytest.raises(ConfigurationError):
        users.replica(**wanted)


@pytest.mark.targets(dialect="sqlite", memory=False)
async def test_of_a_copy_of_a_file_nothing_is_known(users, make_database, url):
    async with await make_database(url.replace("test.db", "copy.db")) as copy:
        await copy.execute("create table users (id integer primary key, name text)")
        database = await make_database(replicas=[copy.url])
        async with database.replica():
            assert await database.fetchval(COUNT) == 0
        for wanted in ({"after": await database.position()}, {"max_lag": 60}):
            async with database.replica(**wanted) as connection:
                assert connection.role == "primary"
                assert await database.fetchval(COUNT) == 3
