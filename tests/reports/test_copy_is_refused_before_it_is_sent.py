"""COPY from or to the client, run by a verb: an error at once, and the transaction goes on.

A hostile test, psycopg/psycopg2#781 and postgresql-interfaces/psqlodbc#200.  asyncpg waited for ever, past every time
limit; the other libraries left a connection that could run nothing more, and the transaction on it was lost.
"""

from __future__ import annotations

import pytest

from aio_databases import Error, ProgrammingError

pytestmark = pytest.mark.targets(dialect="postgresql")

COPIES = {
    "copy users from stdin": "FROM STDIN",
    "/* from a /* dump */ */ -- of users\nCOPY users (id, name) FROM STDIN WITH (format csv)": "FROM STDIN",
    "copy (select id from users where id in (1, 2)) to stdout": "TO STDOUT",
    "select 1; Copy users To Stdout": "TO STDOUT",
}


@pytest.mark.parametrize("text", COPIES)
async def test_no_verb_sends_a_copy_and_the_transaction_goes_on(users, text):
    async def iterate():
        return [row async for row in users.iterate(text)]

    verbs = [
        lambda: users.execute(text),
        lambda: users.executemany(text, (), ()),
        lambda: users.fetchall(text),
        lambda: users.fetchmany(2, text),
        lambda: users.fetchone(text),
        lambda: users.fetchval(text),
        iterate,
    ]
    async with users.transaction():
        await users.execute("insert into users (id, name) values (4, 'Dee')")
        for verb in verbs:
            with pytest.raises(ProgrammingError, match=rf"COPY \.\.\. {COPIES[text]} .* connection\.raw"):
                await verb()
    assert await users.fetchval("select name from users where id = 4") == "Dee"


@pytest.mark.targets(scheme={"asyncpg", "psycopg"}, odbc=False)
async def test_the_librarys_own_connection_copies(users, target):
    async with users.connection() as connection:
        if target.scheme == "asyncpg":
            await connection.raw.copy_records_to_table("users", records=[(5, "Eve")])
        elif target.loop != "trio":
            async with connection.raw.cursor() as cursor, cursor.copy("copy users from stdin") as copy:
                await copy.write_row((5, "Eve"))
        else:
            pytest.skip("there the library's own connection belongs to a thread")
        assert await connection.fetchval("select name from users where id = 5") == "Eve"


@pytest.mark.targets(scheme={"asyncpg", "pyodbc"})
async def test_a_copy_by_the_server_itself_is_sent(users):
    with pytest.raises(Error, match=r"privilege|superuser"):
        await users.execute("copy users from '/nowhere/at/all' -- not from stdin")
