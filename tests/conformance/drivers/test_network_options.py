"""Options of every driver that reaches its database by a network: where it is, who logs in, how long it may take."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from urllib.parse import quote

import anyio
import anyio.lowlevel
import pytest

from aio_databases import ConfigurationError, ConnectError, Database, QueryTimeout
from conformance.addresses import placed, with_option
from servers import GivenServer, MariaDBServer, PostgresServer

pytestmark = pytest.mark.targets(dialect={"postgresql", "mysql"})

SCHEMES = {
    "asyncpg": ("asyncpg", "postgresql+asyncpg", "postgres+asyncpg", "asyncpg+pool", "postgressql+asyncpg"),
    "psycopg": ("psycopg", "postgresql+psycopg", "psycopg+pool"),
    "aiopg": ("aiopg", "postgresql+aiopg", "aiopg+pool"),
    "asyncmy": ("asyncmy", "mysql+asyncmy", "mariadb+asyncmy", "asyncmy+pool"),
    "aiomysql": ("aiomysql", "mysql+aiomysql", "aiomysql+pool"),
    "pymysql": ("pymysql", "mysql+pymysql", "mariadb+pymysql"),
    "trio-mysql": ("trio-mysql", "mysql+trio-mysql", "trio-mysql+pool"),
    "aioodbc": ("aioodbc", "odbc+aioodbc", "aioodbc+pool"),
    "pyodbc": ("pyodbc", "odbc+pyodbc", "pyodbc+pool"),
}


async def one(make_database, address, **options):
    """Return the name of the database that an address leads to."""
    database = await make_database(address, **options)
    query = "select current_database()" if database.backend.dialect == "postgresql" else "select database()"
    return await database.fetchval(query)


def parts_of(url):
    """Return user, password, host, port and database of a URL as keyword options."""
    address = Database(url).backend.address
    return {name: getattr(address, name) for name in ("user", "password", "host", "port", "database")}


# Where it is


async def test_every_spelling_of_the_scheme_works(make_database, target, url):
    for scheme in SCHEMES[target.scheme]:
        database = await make_database(url.replace(target.scheme, scheme, 1))
        assert target.scheme == database.backend.name
        assert await database.fetchval("select 1") == 1


async def test_parts_of_the_url_can_be_given_as_options(make_database, url, as_target):
    parts = parts_of(url)
    assert parts["database"] == await one(make_database, as_target("://"), **parts)
    query = f"host={parts.pop('host')}&port={parts.pop('port')}&user={quote(parts.pop('user'))}"
    assert parts["database"] == await one(make_database, with_option(as_target("://"), query), **parts)


async def test_options_win_over_the_url(make_database, url):
    parts = parts_of(url)
    wrong = placed(url, host="no-such-host.invalid", port=1, user="nobody", password="wrong", database="nothing")
    assert parts["database"] == await one(make_database, wrong, **parts)


async def test_every_character_may_stand_in_user_password_and_database(make_database, url, server):
    user, password, database = "a p%p@:/x", "p@:/?# [%ü]'\"\\&=", "test d%t@:/x"
    server.create_database(database)
    try:
        for statement in server_user(server, user, password, database):
            server.execute(statement)
        address = placed(url, user=user, password=password, database=database)
        assert database == await one(make_database, address)
        parts = {"user": user, "password": password, "database": database}
        assert database == await one(make_database, placed(url, user="", password="", database=""), **parts)
    finally:
        server.drop_database(database)
        server.execute(f'drop user "{user}"' if server.scheme == "postgresql" else f"drop user `{user}`")


def server_user(server, user, password, database):
    """Return the statements that make a user."""
    if server.scheme == "postgresql":
        secret = password.replace("'", "''")
        return [f"""create user "{user}" password '{secret}'"""]
    secret = password.replace("\\", "\\\\").replace("'", "''")
    pattern = database.replace("%", "\\%")
    return [f"create user `{user}` identified by '{secret}'", f"grant all on `{pattern}`.* to `{user}`"]


@pytest.fixture
def socket_path(server):
    """Give the path of the server's unix socket: PostgreSQL's libraries take its folder, too."""
    if isinstance(server, GivenServer):
        pytest.skip(f"{server.variable} names a server, and the tests do not know its unix socket")
    return f"{server.sockets}/.s.PGSQL.{server.port}" if server.scheme == "postgresql" else str(server.socket)


async def test_a_unix_socket_is_an_option_or_a_host_with_a_slash(make_database, url, as_target, socket_path):
    parts = parts_of(url)
    del parts["host"], parts["port"]
    nowhere = as_target("://")
    for address, options in (
        (nowhere, {"unix_socket": socket_path}),
        (nowhere, {"host": socket_path}),
        (with_option(nowhere, f"unix_socket={quote(socket_path)}"), {}),
        (with_option(nowhere, f"host={quote(socket_path)}"), {}),
        (as_target(f"://{quote(socket_path, safe='')}/"), {}),
    ):
        assert parts["database"] == await one(make_database, address, **options, **parts), (address, options)


@pytest.mark.targets(dialect="postgresql")
async def test_the_socket_of_postgresql_may_be_a_folder(make_database, url, as_target, server, socket_path):
    parts = parts_of(url)
    del parts["host"]
    folder = str(server.sockets)
    assert parts["database"] == await one(make_database, as_target("://"), unix_socket=folder, **parts)
    port = parts.pop("port")
    address = with_option(as_target("://"), f"host={quote(folder)}&port={port}")
    assert parts["database"] == await one(make_database, address, **parts)


@pytest.fixture(scope="module")
def servers_on_ipv6(require_server):
    """Give a function that returns a server of a dialect that listens on ::1."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"this machine has no IPv6: {error}")
    settings = {
        "postgresql": (PostgresServer, "postgres", {"listen_addresses": "127.0.0.1,::1"}),
        "mysql": (MariaDBServer, "mysql", {"bind-address": "::"}),
    }
    running = {}
    with ExitStack() as stack:

        def start(dialect):
            if dialect not in running:
                kind, name, options = settings[dialect]
                with require_server(name):
                    running[dialect] = stack.enter_context(kind(options))
            return running[dialect]

        yield start


async def test_an_ipv6_address_stands_in_brackets(make_database, target, as_target, servers_on_ipv6):
    server = servers_on_ipv6(target.dialect)
    query = "select inet_server_addr()::text" if target.dialect == "postgresql" else "select current_user()"
    for place, options in (("[::1]", {}), ("localhost", {"host": "::1"})):
        database = await make_database(as_target(server.url().replace(server.host, place, 1)), **options)
        assert ("::1/128" if target.dialect == "postgresql" else "app@%") == await database.fetchval(query)


# How long it may take


async def test_a_statement_that_takes_too_long_is_stopped_by_the_server(make_database, url, words, running):
    for database in (
        await make_database(statement_timeout=0.1),
        await make_database(with_option(url, "statement_timeout=0.1")),
    ):
        async with database.connection() as connection:
            with pytest.raises(QueryTimeout):
                await connection.fetchval(words.endless)
            assert await connection.fetchval("select 1") == 1
    assert await running(0) == []


@pytest.mark.parametrize("timeout", [None, "", 0, 600])
async def test_a_timeout_of_nothing_is_none(make_database, timeout):
    database = await make_database(statement_timeout=timeout)
    assert await database.fetchval("select 1") == 1


@pytest.mark.targets(pooled=True)
async def test_a_connection_that_is_not_answered_leaves_no_socket(url):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        database = Database(placed(url, host="127.0.0.1", port=silent.getsockname()[1]), connect_timeout=0.1)
        with anyio.fail_after(5), pytest.raises(ConnectError, match=r"no answer within 0\.1 s"):
            await database.connect()
        await anyio.to_thread.run_sync(verify_hung_up, silent)


def verify_hung_up(silent):
    """Fail unless the client that has connected hangs up."""
    silent.settimeout(5)
    client, _ = silent.accept()
    with client:
        client.settimeout(5)
        while client.recv(1000):
            pass


@pytest.mark.targets(pooled=True)
async def test_a_connection_whose_opening_is_cancelled_leaves_no_socket(url):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        database = Database(placed(url, host="127.0.0.1", port=silent.getsockname()[1]), connect_timeout=1)
        with anyio.fail_after(5), anyio.move_on_after(0.1) as scope:
            await database.connect()
        assert scope.cancelled_caught
        await anyio.to_thread.run_sync(verify_hung_up, silent)


# Who logs in


async def test_a_password_may_be_a_function_that_is_called_for_each_connection(make_database, url):
    password, calls = parts_of(url)["password"], []

    def give():
        calls.append(1)
        return password

    async def give_later():
        await anyio.lowlevel.checkpoint()
        return give()

    for function in (give, give_later):
        calls.clear()
        database = await make_database(placed(url, password="wrong"), password=function)
        async with database.connection(), database.connection():
            assert await database.fetchval("select 1") == 1
        assert database.stats()["primary"].opened == len(calls)


async def test_what_a_password_function_raises_comes_through_unchanged(make_database, url, target):
    reason = ZeroDivisionError("mine")

    async def fail():
        raise reason

    database = Database(url, password=fail)
    for use in (database.connect, lambda: database.fetchval("select 1")):
        with pytest.raises(ZeroDivisionError) as caught:
            await use()
        assert reason is caught.value
    assert (database.is_connected, database.stats()["primary"].size) == (False, 0)


@pytest.mark.targets(odbc=False)
async def test_options_of_the_library_are_passed_on_or_refused(make_database, target):
    database = await make_database(connect_args=CONNECT_ARGS[target.scheme])
    assert await database.fetchval("select 1") == 1
    with pytest.raises(ConfigurationError, match="check the options of the driver and connect_args"):
        await (await make_database(connect_args={"nonsense": 1})).fetchval("select 1")


CONNECT_ARGS = {
    "asyncpg": {"statement_cache_size": 7},
    "psycopg": {"keepalives_idle": 7},
    "aiopg": {"keepalives_idle": 7},
    "asyncmy": {"read_timeout": 7},
    "aiomysql": {"server_public_key": None},
    "pymysql": {"read_timeout": 7},
    "trio-mysql": {"server_public_key": None},
}


@pytest.mark.targets(dialect="postgresql")
async def test_the_server_of_postgresql_is_told_who_is_there(make_database, url):
    for database in (
        await make_database(application_name="my app"),
        await make_database(with_option(url, "application_name=my%20app")),
    ):
        assert await database.fetchval("show application_name") == "my app"
        await database.execute("set application_name = 'changed'")
        assert await database.fetchval("show application_name") == "my app"


@pytest.fixture(scope="module")
def watchful_mysql(require_server):
    """Give a MariaDB server that notes what clients tell about themselves."""
    with require_server("mysql"):
        server = MariaDBServer({"performance-schema": "on"})
    with server:
        yield server


@pytest.mark.targets(dialect="mysql")
@pytest.mark.needs("application_name")
async def test_the_server_of_mysql_is_told_who_is_there(make_database, as_target, watchful_mysql):
    database = await make_database(with_option(as_target(watchful_mysql.url()), "application_name=my%20app"))
    async with database.connection() as connection:
        number = await connection.fetchval("select connection_id()")
        told = "select attr_value from performance_schema.session_connect_attrs "
        told += "where attr_name = 'program_name' and processlist_id = %s"
        assert watchful_mysql.execute(told, number) == [("my app",)]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("ssl", "perhaps"),
        ("port", "x"),
        ("port", -1),
        ("statement_timeout", "soon"),
        ("statement_timeout", -1),
        ("connect_timeout", "soon"),
    ],
)
async def test_a_bad_value_is_named(url, option, value):
    with pytest.raises(ConfigurationError, match=option):
        Database(url, **{option: value})
    with pytest.raises(ConfigurationError, match=option):
        Database(with_option(url, f"{option}={value}"))
