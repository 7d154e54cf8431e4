"""A user that the server does not know, or does not let log in, is an AuthenticationError on every driver.

Use: psycopg, aiopg and ODBC raised a plain ConnectError for it, whose hint was about host, port and database.
"""

from __future__ import annotations

import pytest

from aio_databases import AuthenticationError
from aio_databases.drivers.postgresql.family import refused_login
from aio_databases.errors import ConnectError


@pytest.mark.targets(dialect="postgresql", pooled=True, loop={"asyncio", "trio"})
async def test_a_role_that_may_not_log_in(server, make_database, url):
    server.execute("drop role if exists barred")
    server.execute("create role barred nologin password 'secret'")
    scheme, _, rest = url.partition("://")
    try:
        with pytest.raises(AuthenticationError, match="check user and password") as caught:
            await make_database(f"{scheme}://barred:secret@{rest.rpartition('@')[2]}")
    finally:
        server.execute("drop role barred")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('FATAL:  role "app" does not exist', AuthenticationError),  # where no password is asked for
        ('connection failed: FATAL: role "app" is not permitted to log in', AuthenticationError),
        ('FATAL:  password authentication failed for user "app"', AuthenticationError),
        ('FATAL:  no pg_hba.conf entry for host "::1"', AuthenticationError),
        ('FATAL:  too many connections for role "app"', ConnectError),
        ('FATAL:  database "app" does not exist', None),
        ('FATAL:  database "role "app" does not exist" does not exist', None),
    ],
)
def test_the_text_of_the_server_decides(text, kind):
    found = refused_login(text)
    assert kind == (found and found.kind)
