"""The library cannot read a value, or refuses to send it: no connection is lost, and the transaction goes on.

MagicStack/asyncpg#360 (an array in an anonymous record) and a hostile test (more parameters than the protocol can
carry).
"""

from __future__ import annotations

import pytest

from aio_databases import NotSupportedError, ProgrammingError, QueryTimeout

pytestmark = pytest.mark.targets(scheme="asyncpg")

MANY = 32_768
UNREADABLE = ["select row(1, array[row(1, 2)])", "select row(id, array[name]::varchar[]) from users"]


@pytest.mark.parametrize(
    ("text", "params", "error"),
    [
        *((text, (), NotSupportedError) for text in UNREADABLE),
        ("select cast($1 as record)", ((1, 2),), NotSupportedError),
        (f"select 1 where 0 in ({', '.join(f'${n}::int' for n in range(1, MANY + 1))})", range(MANY), ProgrammingError),
    ],
)
async def test_the_transaction_goes_on(users, text, params, error):
    async def iterate():
        return [row async for row in users.iterate(text, *params)]

    async with users.transaction():
        await users.execute("insert into users (id, name) values (4, 'Dee')")
        for verb in (users.fetchall, users.fetchone, lambda *_: iterate()):
            with pytest.raises(error):
                await verb(text, *params)
        with pytest.raises(error):
            await users.fetchmany(2, text, *params)
    assert await users.fetchval("select name from users where id = 4") == "Dee"


async def test_the_time_limit_of_asyncpg_itself_says_so(make_database):
    database = await make_database(command_timeout=0.05)
    with pytest.raises(QueryTimeout, match="command_timeout"):
        await database.execute("select pg_sleep(60)")
    assert await database.fetchval("select 1") == 1
