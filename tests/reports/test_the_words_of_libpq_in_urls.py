"""A URL with libpq's parameters, as hosts of databases hand them out, works with every library.

neondatabase/neonctl#366 (``channel_binding=require`` in the URLs that a host hands out), and a user's look at
``?server_settings=jit=off``.
"""

from __future__ import annotations

import ssl as tls

import pytest

from aio_databases import ConfigurationError, Database

SCHEMES = ["asyncpg", "psycopg", "aiopg"]
LIVE = pytest.mark.targets(dialect="postgresql", odbc=False, pooled=True, loop={"asyncio", "trio"})


@LIVE
async def test_the_words_do_what_they_say(make_database, url):
    words = (
        "options=-c%20jit=off%20-c%20app.note=a%5C%20b&fallback_application_name=shop&gssencmode=disable&keepalives=1"
    )
    words += "&keepalives_idle=7&keepalives_interval=3&keepalives_count=2&tcp_user_timeout=9000&channel_binding=prefer"
    database = await make_database(f"{url}?{words}", server_settings={"work_mem": "5MB"}, statement_timeout=3)
    names = ("jit", "app.note", "work_mem", "statement_timeout", "application_name")
    shown = [await database.fetchval(f"select current_setting('{name}')") for name in names]
    assert shown == ["off", "a b", "5MB", "3s", "shop"]
    named = await make_database(f"{url}?fallback_application_name=shop&application_name=till&keepalives=0")
    assert await named.fetchval("show application_name") == "till"


@LIVE
async def test_options_of_connect_args_do_not_push_others_aside(make_database, target):
    given = {"server_settings": {"jit": "off"}} if target.scheme == "asyncpg" else {"options": "-c jit=off"}
    database = await make_database(statement_timeout=3, connect_args=given)
    assert [await database.fetchval(f"show {name}") for name in ("jit", "statement_timeout")] == ["off", "3s"]


@pytest.mark.parametrize("scheme", [*SCHEMES, "postgresql"])
@pytest.mark.parametrize(
    "query",
    [
        "sslmode=require&channel_binding=require",
        "options=endpoint%3Dep-cool",
        "gssencmode=prefer",
        "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=5",
        "fallback_application_name=x",
    ],
)
def test_each_is_taken(scheme, query):
    _ = Database(f"{scheme}://me@h/d?{query}").backend


@pytest.mark.parametrize(("keepalives", "idle"), [("keepalives=0", None), ("keepalives_idle=7", 7), ("x=", 60)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_keepalives_are_those_of_the_option_keepalive(scheme, keepalives, idle):
    found = Database(f"{scheme}://h/d?{keepalives.replace('x=', 'keepalive=60')}").backend.keepalive
    assert idle == (found and found.keepalives_idle)


def test_asyncpg_has_the_certificate_prove_what_a_bound_channel_would():
    driver = Database("asyncpg://h/d?sslmode=require&channel_binding=require").backend
    context = driver.arguments(read_only=False)["ssl"]
    assert (context.verify_mode, context.check_hostname) == (tls.CERT_REQUIRED, True)
    given = tls.create_default_context()
    assert given is Database("asyncpg://h/d?channel_binding=require", ssl=given).backend.ssl


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_no_channel_is_bound_without_encryption(mode):
    with pytest.raises(ConfigurationError, match="channel_binding"):
        _ = Database(f"asyncpg://h/d?channel_binding=require&sslmode={mode}").backend


def test_asyncpg_does_not_encrypt_by_gssapi():
    with pytest.raises(ConfigurationError, match="gssencmode"):
        _ = Database("asyncpg://h/d?gssencmode=require").backend


@pytest.mark.parametrize("scheme", SCHEMES)
def test_settings_as_a_text_say_where_they_go(scheme):
    with pytest.raises(ConfigurationError, match=r"'server_settings' of .*expected a dict.*options=-c%20jit=off"):
        Database(f"{scheme}://h/d?server_settings=jit=off")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_options_do_not_go_with_pgbouncer(scheme):
    with pytest.raises(ConfigurationError, match=r"options of .* pgbouncer=True"):
        _ = Database(f"{scheme}://h/d?pgbouncer=true&options=-c%20jit=off").backend


@pytest.mark.targets(dialect="postgresql", odbc=True, pooled=True, loop="asyncio")
async def test_odbcs_postgresql_hands_them_on(make_database, url):
    words = "options=-c%20jit=off%20-c%20app.note=it's%5C%20b&fallback_application_name=shop&channel_binding=prefer"
    database = await make_database(f"{url}&{words}&keepalives=0&gssencmode=disable")
    shown = [await database.fetchval(f"select current_setting('{name}')") for name in ("jit", "app.note")]
    assert shown == ["off", "it's b"]


@pytest.mark.server  # the driver manager unixODBC
@pytest.mark.parametrize("option", ["options=-c%20jit=off", "keepalives=1", "channel_binding=require"])
def test_other_databases_behind_odbc_do_not_know_them(option):
    with pytest.raises(ConfigurationError, match=r"only PostgreSQL's ODBC driver"):
        _ = Database(f"pyodbc://h/d?driver=libmaodbc.so&{option}").backend
