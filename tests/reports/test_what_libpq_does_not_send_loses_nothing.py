"""libpq refuses to send something: no connection is lost for that, and COMMIT is no matter of doubt.

libpq gives such an error the class of a lost link, and no SQLSTATE.
"""

from __future__ import annotations

import pytest

from aio_databases import CommitUncertainError, ConnectionLost, Error, OperationalError, ProgrammingError

TOO_MANY = 65_536
TEXT = "select 1 where 0 in (" + ", ".join(f"${number}::int" for number in range(1, TOO_MANY + 1)) + ")"


@pytest.mark.targets(scheme="psycopg", pooled=True)
async def test_too_many_parameters_leave_the_transaction_as_it_is(users):
    """Hostile test."""
    async with users.transaction():
        await users.execute("insert into users (id, name) values (4, 'Dee')")
        with pytest.raises(ProgrammingError, match="number of parameters"):
            await users.fetchall(TEXT, *range(TOO_MANY))
        with pytest.raises(ProgrammingError, match="number of parameters"):
            await users.executemany(TEXT, *[range(TOO_MANY)] * 2)
        assert await users.fetchval("select count(*) from users") == 4
    assert await users.fetchval("select count(*) from users") == 4


@pytest.mark.targets(scheme={"psycopg", "aiopg"}, pooled=True)
async def test_a_commit_that_was_not_sent_is_not_uncertain(users, target):
    """Hostile test: a COPY on the library's own connection, which keeps it busy."""
    called = []
    with pytest.raises(OperationalError, match="already in progress") as caught:
        async with users.connection() as connection, users.transaction() as transaction:
            transaction.on_rollback(called.append, "rolled back")
            await users.execute("insert into users (id, name) values (4, 'Dee')")
            if target.loop == "trio":
                with pytest.raises(Exception, match="COPY"):
                    connection.raw.execute("copy users to stdout")
            else:
                cursor = await connection.raw.cursor() if target.scheme == "aiopg" else connection.raw.cursor()
                with pytest.raises(Exception, match="COPY"):
                    await cursor.execute("copy users to stdout")
            with pytest.raises(Error) as refused:
                await users.fetchval("select 1")
            assert not isinstance(refused.value, ConnectionLost)
    assert not isinstance(caught.value, ConnectionLost | CommitUncertainError)
    assert called == ["rolled back"]
    assert await users.fetchval("select count(*) from users") == 3
