"""The harness itself: logins, URLs and databases of private and given servers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import asyncpg
import pymysql
import pytest

from servers import GivenMySQL, GivenPostgres, MariaDBServer, PostgresServer, ServerError
from servers.access import APP
from servers.mysql import SUPERUSER
from unit.clients import ERRORS, UNKNOWN_DATABASE, WRONG_PASSWORD, connect_mysql, query


@pytest.fixture(scope="module", params=[("postgres", PostgresServer), ("mysql", MariaDBServer)])
def own(request, require_server):
    """Give a private server of each kind, whatever servers are given, to tests that leave it as they found it."""
    name, private = request.param
    with require_server(name):
        server = private()
    with server:
        yield server


@pytest.fixture(params=["private", "given"])
def access(request, own):
    """Give access to a private server as its owner has it, and as a URL gives it."""
    if request.param == "private":
        return own
    return {"postgresql": GivenPostgres, "mysql": GivenMySQL}[own.scheme](own.admin_url())


def test_the_url_carries_the_percent_encoded_password(own):
    url = own.url()
    assert urlsplit(url).password == "p%40ss%3Aw%2Frd%25"
    assert query(url, "select current_user").startswith(APP.user)


def test_a_wrong_password_is_refused(own):
    with pytest.raises(ERRORS, match=WRONG_PASSWORD):
        query(own.url("app", "wrong"), "select 1")


def test_no_mysql_user_gets_in_without_a_password(own_mysql):
    users = [user for (user,) in own_mysql.execute("select user from mysql.user")]
    assert [APP.user, "mariadb.sys", SUPERUSER.user] == sorted(users)
    for user in [*users, "anybody"]:
        with pytest.raises(ERRORS, match=WRONG_PASSWORD):
            query(own_mysql.url(user, ""), "select 1")


def test_a_database_is_made_and_dropped_for_the_app_user(access):
    name = access.create_database()
    url = access.url(database=name)
    assert None is query(url, "create table made (id int)")
    assert query(url, "select count(*) from made") == 0
    access.drop_database(name)
    with pytest.raises(ERRORS, match=UNKNOWN_DATABASE):
        query(url, "select 1")
    access.drop_database(name)


def test_the_administrator_binds_parameters_and_chooses_a_database(access):
    name = access.create_database()
    sql = {"postgresql": "select $1::text, current_database()::text", "mysql": "select %s, database()"}[access.scheme]
    assert [("50% é", name)] == access.execute(sql, "50% é", database=name)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_postgres_database_is_dropped_under_its_users(own_postgres):
    name = own_postgres.create_database()
    connection = await asyncpg.connect(own_postgres.url(database=name))
    await connection.execute("create table held (id int); begin; lock table held")
    own_postgres.drop_database(name)
    with pytest.raises(asyncpg.PostgresError, match="terminating connection"):
        await connection.fetchval("select 1")
    await connection.close()


def test_a_mysql_database_is_dropped_under_its_users(own_mysql):
    name = own_mysql.create_database()
    with closing(connect_mysql(own_mysql.url(database=name))) as connection:
        cursor = connection.cursor()
        cursor.execute("create table held (id int)")
        cursor.execute("lock table held write")
        own_mysql.drop_database(name)
        with pytest.raises(pymysql.err.OperationalError):
            cursor.execute("select 1")


def test_the_postgres_app_user_owns_its_databases_and_is_no_superuser(own_postgres):
    name = own_postgres.create_database("short")
    owner = "select pg_get_userbyid(datdba) from pg_database where datname = $1"
    assert [(APP.user,)] == own_postgres.execute(owner, name)
    assert own_postgres.execute("select rolsuper from pg_roles where rolname = $1", APP.user) == [(False,)]
    rows = own_postgres.execute("select distinct left(rolpassword, 14) from pg_authid where rolcanlogin")
    assert rows == [("SCRAM-SHA-256$",)]


def test_the_mysql_app_user_may_do_everything_in_databases_for_tests(own_mysql):
    name = own_mysql.create_database()
    with closing(connect_mysql(own_mysql.url(database=name))) as connection:
        cursor = connection.cursor()
        for statement in (
            "create table t (id int primary key auto_increment, name text)",
            "create trigger before_t before insert on t for each row set new.name = upper(new.name)",
            "create procedure add_one() insert into t (name) values ('naïve 😀')",
            "create function f() returns int return 1",
            "create view v as select name from t",
            "call add_one()",
            "create database test_of_its_own",
            "drop database test_of_its_own",
        ):
            cursor.execute(statement)
        cursor.execute("select name from v")
        assert cursor.fetchall() == (("NAÏVE 😀",),)


@pytest.mark.parametrize("statement", ["create database other", "set global read_only = 1", "select * from mysql.user"])
def test_the_mysql_app_user_may_do_nothing_else(own_mysql, statement):
    with pytest.raises(pymysql.err.OperationalError, match=r"\((1044|1142|1227), "):
        query(own_mysql.url(), statement)


def test_the_mysql_app_user_is_bound_by_read_only(own_mysql):
    own_mysql.execute("create table t (id int)")
    own_mysql.execute("set global read_only = 1")
    with pytest.raises(pymysql.err.OperationalError, match=r"\(1290, .*read-only"):
        query(own_mysql.url(), "insert into t values (1)")


def test_the_mysql_app_user_may_kill_its_own_queries(own_mysql):
    url = own_mysql.url()
    with ThreadPoolExecutor(1) as thread:
        sleeping = thread.submit(query, url, "select sleep(60)", timeout=60)
        running = "select id from information_schema.processlist where info = 'select sleep(60)'"
        while not (victim := query(url, running)):
            assert not sleeping.done()
        query(url, f"kill query {victim}")
        with pytest.raises(pymysql.err.OperationalError, match=r"\(1317, "):
            sleeping.result(10)


def test_private_servers_listen_on_a_unix_socket(own):
    if own.scheme == "postgresql":
        options = {"host": str(own.sockets), "port": own.port}
        assert None is query(own.url(), "select inet_client_addr()", **options)
    else:
        options = {"unix_socket": str(own.socket)}
        assert f"{APP.user}@localhost" == query(own.url(), "select user()", **options)


@pytest.mark.parametrize(("kind", "scheme"), [(GivenPostgres, "postgresql"), (GivenMySQL, "mysql")])
def test_a_given_server_keeps_its_login_and_options(kind, scheme):
    server = kind(f"{scheme}://me:p%40ss@db.example:5433/mine?charset=x")
    assert f"{scheme}://me:p%40ss@db.example:5433/mine?charset=x" == server.admin_url()
    assert f"{scheme}://me:p%40ss@db.example:5433/x%20y?charset=x" == server.url(database="x y")
    assert f"{scheme}://you:a%2Fb@db.example:5433/mine?charset=x" == server.url("you", "a/b")
    assert server.app_user == "me"


@pytest.mark.parametrize(("kind", "database"), [(GivenPostgres, "postgres"), (GivenMySQL, "test")])
def test_a_given_url_without_a_database_gets_the_usual_one(kind, database):
    url = f"{kind.scheme}://me@db.example"
    assert f"{url}/{database}" == kind(url).url()


@pytest.mark.parametrize("kind", [GivenPostgres, GivenMySQL])
def test_a_given_url_without_a_user_is_refused(kind):
    with pytest.raises(ServerError, match=f"{kind.variable} names no user: write {kind.scheme}://user"):
        kind(f"{kind.scheme}://db.example/postgres")
