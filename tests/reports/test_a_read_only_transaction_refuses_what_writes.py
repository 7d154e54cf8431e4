"""In a transaction that only reads, MySQL's message for a refused statement is true whatever the statement does."""

from __future__ import annotations

import pytest

from aio_databases import ReadOnlyError

pytestmark = pytest.mark.targets(dialect="mysql")

REFUSED = (
    "the transaction is readonly=True: a statement that writes is refused before it is sent; "
    "run it in a transaction that may write"
)


@pytest.mark.parametrize(
    "statement",
    [
        "insert into users (id) values (4)",
        "insert into users (id) values (4) returning id",
        "replace into users (id) values (3)",
        "update users set name = 'x'",
        "delete from users",
        "truncate users",
        "create table others (id integer)",
        "drop table users",
    ],
)
async def test_the_message_fits_whatever_was_refused(users, statement):
    """Hostile test: a DELETE was refused as one of those that "create, change or drop things"."""
    async with users.transaction(readonly=True):
        for refused in (
            users.execute(statement),
            users.executemany(statement, [()]),
            users.fetchall(statement),
            users.fetchmany(2, statement),
            users.fetchone(statement),
            users.fetchval(statement),
            anext(users.iterate(statement)),
        ):
            with pytest.raises(ReadOnlyError) as caught:
                await refused
            assert str(caught.value) == REFUSED
        assert await users.fetchval("select count(*) from users") == 3
    assert await users.fetchval("select count(*) from users") == 3
