"""No character in an option becomes another setting, another user, or the end of a connection.

Hostile tests: libpq's ``options`` end a word at each white space; a startup packet and a login end a text at NUL, so
that a name from a form could log in as another user.
"""

from __future__ import annotations

import pytest

from aio_databases import ConfigurationError, Database

ODD = [
    "a\t-cwork_mem=9MB",
    "a\n-cwork_mem=9MB",
    "a\r-c\vwork_mem=9MB",
    "a\f-cwork_mem=9MB",
    " 'x' \\ \"y\"\\",
    "é = ;{}",
]


@pytest.mark.targets(dialect="postgresql", odbc=False, loop={"asyncio", "trio"})
async def test_values_of_settings(make_database):
    names = [f"odd.v{number}" for number in range(len(ODD))]
    database = await make_database(server_settings=dict(zip(names, ODD, strict=True)))
    assert [await database.fetchval(f"select current_setting('{name}')") for name in names] == ODD
    assert await database.fetchval("show work_mem") != "9MB"


@pytest.mark.targets(dialect="postgresql", pooled=True, loop={"asyncio", "trio"})
@pytest.mark.parametrize("name", ["a\t-c\twork_mem=9MB", "it's \\' \\", "}'; set work_mem = '9MB"])
async def test_the_name_of_the_application(make_database, target, name):
    database = await make_database(application_name=name)
    assert await database.fetchval("show work_mem") != "9MB"
    if "\t" not in name and not target.odbc:
        assert name == await database.fetchval("show application_name")


SCHEMES = ["asyncpg", "psycopg", "aiopg", "asyncmy", "aiomysql", "pymysql", "trio-mysql"]
ODBC = "driver=PostgreSQL%20Unicode"


@pytest.mark.parametrize("option", ["user", "password", "database", "application_name", "host", "unix_socket"])
@pytest.mark.parametrize(
    "url",
    [
        *(f"{scheme}://h/d" for scheme in SCHEMES),
        # These need the driver manager unixODBC.
        pytest.param(f"pyodbc://h/d?{ODBC}", marks=pytest.mark.server),
        pytest.param(f"aioodbc://h/d?{ODBC}", marks=pytest.mark.server),
    ],
)
def test_a_zero_byte_is_refused(url, option):
    with pytest.raises(ConfigurationError, match=rf"option '{option}' of .* zero byte") as caught:
        Database(url, **{option: "sesame\0user\0postgres"})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("url", ["a%00b:c@h/d", "a:b%00c@h/d", "a@h/d%00e", "h/d?application_name=a%00b"])
def test_a_zero_byte_in_a_url_is_refused(scheme, url):
    with pytest.raises(ConfigurationError, match="zero byte") as caught:
        Database(f"{scheme}://{url}")
    assert "\0" not in str(caught.value)


@pytest.mark.server  # the driver manager unixODBC
@pytest.mark.parametrize("option", ["sslrootcert", "sslcert", "sslkey", "user", "database", "host"])
def test_no_value_ends_its_braces_in_a_connection_string(option):
    with pytest.raises(ConfigurationError, match="brace"):
        driver = Database("pyodbc://h/d?driver=psqlodbcw.so", **{option: "/x};Server=elsewhere;a={"}).backend
        driver.connection_string(None, read_only=False)


@pytest.mark.parametrize("scheme", SCHEMES[:3])
@pytest.mark.parametrize("settings", [{"a.b": "c\0d"}, {"user\0postgres": "x"}, {"a b": "c"}, {"work_mem=1": "c"}])
def test_settings_with_odd_names_or_a_zero_byte_are_refused(scheme, settings):
    with pytest.raises(ConfigurationError, match=r"zero byte|name of a setting"):
        Database(f"{scheme}://h/d", server_settings=settings)


@pytest.mark.targets(dialect={"postgresql", "mysql"}, odbc=False, pooled=True, loop={"asyncio", "trio"})
async def test_a_zero_byte_in_a_password_that_is_asked_for_is_refused(make_database):
    with pytest.raises(ConfigurationError, match=r"'password' of .* zero byte"):
        await make_database(password=lambda: "sesame\0", min_size=1)
