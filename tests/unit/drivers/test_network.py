"""What drivers of database servers have in common, without a server: places, logins, words for TLS, PgBouncer."""

from __future__ import annotations

import ssl as tls

import anyio.lowlevel
import pytest
import trustme

from aio_databases import ConfigurationError, Database
from aio_databases.drivers.network import SSL_MODES, no_network, ssl_context, ssl_mode

SERVERS = ("asyncpg", "psycopg", "aiopg", "asyncmy", "aiomysql", "pymysql", "trio-mysql")


@pytest.fixture
def anyio_backend():
    """Run on asyncio: nothing here depends on the event loop."""
    return "asyncio"


def backend(url, **options):
    return Database(url, **options).backend


# Words for TLS


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (True, "verify-full"),
        ("true", "verify-full"),
        ("TRUE", "verify-full"),
        ("1", "verify-full"),
        (1, "verify-full"),
        (False, "disable"),
        ("False", "disable"),
        ("0", "disable"),
        (0, "disable"),
        ("Require", "require"),
        *((word, word) for word in SSL_MODES),
    ],
)
def test_a_word_for_tls_is_one_of_libpqs(given, word):
    assert word == ssl_mode(given)


@pytest.mark.parametrize("given", ["perhaps", "", "verify", None, 2, {}, b"require"], ids=str)
def test_another_word_is_refused_with_those_that_are_known(given):
    with pytest.raises(ValueError, match=r"true, false, an ssl\.SSLContext or one of disable, allow, prefer, require"):
        ssl_mode(given)


def test_a_context_is_taken_as_it_is():
    context = tls.create_default_context()
    assert context is ssl_mode(context) is ssl_context(context, None, None, None)


@pytest.mark.parametrize("mode", [None, "disable"])
def test_without_encryption_there_is_no_context(mode):
    assert ssl_context(mode, None, None, None) is None


@pytest.mark.parametrize(
    ("mode", "verifies", "checks_host"),
    [
        ("allow", tls.CERT_NONE, False),
        ("prefer", tls.CERT_NONE, False),
        ("require", tls.CERT_NONE, False),
        ("verify-ca", tls.CERT_REQUIRED, False),
        ("verify-full", tls.CERT_REQUIRED, True),
    ],
)
def test_a_word_becomes_a_context(mode, verifies, checks_host):
    context = ssl_context(mode, None, None, None)
    assert (verifies, checks_host) == (context.verify_mode, context.check_hostname)


def test_an_authority_and_a_certificate_are_loaded(tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("client.example")
    root, chain, key = (str(tmp_path / f"{name}.pem") for name in ("root", "chain", "key"))
    authority.cert_pem.write_to_path(root)
    issued.cert_chain_pems[0].write_to_path(chain)
    issued.private_key_pem.write_to_path(key)
    context = ssl_context("verify-full", root, chain, key)
    assert len(context.get_ca_certs()) == 1
    with pytest.raises(FileNotFoundError):
        ssl_context("verify-full", f"{root}x", None, None)


@pytest.mark.parametrize("value", [False, "disable", "false", "0"])
def test_a_database_without_a_network_needs_no_encryption(value):
    assert no_network(value) is None


@pytest.mark.parametrize("value", [True, "prefer", "require", "verify-full"])
def test_a_database_without_a_network_cannot_be_encrypted(value):
    with pytest.raises(ValueError, match="no network connection that could be encrypted"):
        no_network(value)


@pytest.mark.parametrize("scheme", SERVERS)
@pytest.mark.parametrize("name", ["ssl", "sslmode"])
def test_both_names_of_the_option_work_in_the_url_and_as_keywords(scheme, name):
    expected = "verify-full"
    assert backend(f"{scheme}://s/d?{name}=true").ssl == expected
    assert backend(f"{scheme}://s/d?{name}=disable", **{name: True}).ssl == expected
    assert backend(f"{scheme}://s/d").ssl is None


# Where the server is, and who logs in


@pytest.mark.parametrize("scheme", SERVERS)
@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("://me@host:99/db", {}, ("host", 99, "me", "db", None)),
        ("://", {}, (None, None, None, None, None)),
        ("://me@host:99/db", {"host": "h", "port": 1, "user": "u", "database": "d"}, ("h", 1, "u", "d", None)),
        ("://?host=h&port=1&user=u&database=d", {}, ("h", 1, "u", "d", None)),
        ("://[::1]:99/db", {}, ("::1", 99, None, "db", None)),
        ("://[fe80::1%25eth0]/db", {}, ("fe80::1%eth0", None, None, "db", None)),
        ("://m%40e@h%C3%B6st/d%2Fb%25", {}, ("höst", None, "m@e", "d/b%", None)),
        ("://me@/db?host=/run/x", {}, ("/run/x", None, "me", "db", "/run/x")),
        ("://%2Frun%2Fx/db", {}, ("/run/x", None, None, "db", "/run/x")),
        ("://host/db", {"unix_socket": "/run/x"}, ("host", None, None, "db", "/run/x")),
        ("://host/db", {"host": "/run/x"}, ("/run/x", None, None, "db", "/run/x")),
        ("://host/", {"port": None, "database": ""}, ("host", None, None, None, None)),
    ],
    ids=str,
)
def test_options_win_over_the_url_and_a_host_with_a_slash_is_a_socket(scheme, url, options, expected):
    driver = backend(scheme + url, **options)
    assert (*map(driver.located, ("host", "port", "user", "database")), driver.socket) == expected


@pytest.mark.parametrize("scheme", ["asyncpg", "psycopg", "aiopg"])
@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("://host:99/db", {}, {"host": "host", "port": 99}),
        ("://", {}, {}),
        ("://?host=/run", {}, {"host": "/run"}),
        ("://?host=/run&port=99", {}, {"host": "/run", "port": 99}),
        ("://host:99", {"unix_socket": "/run"}, {"host": "/run", "port": 99}),
        ("://host:99", {"unix_socket": "/run/.s.PGSQL.5433"}, {"host": "/run", "port": 5433}),
    ],
    ids=str,
)
def test_to_postgresql_a_folder_with_a_socket_is_a_host(scheme, url, options, expected):
    assert backend(scheme + url, **options).place() == expected


@pytest.mark.parametrize(
    ("scheme", "given", "expected"),
    [
        *((scheme, {"host": "h", "port": 1}, {"host": "h", "port": 1}) for scheme in SERVERS[3:]),
        *((scheme, {"host": "/run/x"}, {"unix_socket": "/run/x"}) for scheme in SERVERS[3:]),
        *((scheme, {"unix_socket": "/run/x", "host": "h"}, {"unix_socket": "/run/x"}) for scheme in SERVERS[3:]),
    ],
)
async def test_to_mysql_a_socket_takes_the_place_of_a_host(scheme, given, expected):
    arguments = await backend(f"{scheme}://", **given).arguments()
    assert {name: arguments[name] for name in ("host", "port", "unix_socket") if name in arguments} == expected


async def later():
    await anyio.lowlevel.checkpoint()
    return "secret"


@pytest.mark.parametrize("scheme", SERVERS)
@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("://me:s%40cret@host", {}, "s@cret"),
        ("://me:other@host", {"password": "secret"}, "secret"),
        ("://me@host?password=secret", {}, "secret"),
        ("://me@host", {}, None),
        ("://me:other@host", {"password": lambda: "secret"}, "secret"),
        ("://me:other@host", {"password": later}, "secret"),
        ("://me:other@host", {"password": lambda: None}, None),
        ("://me:@host", {}, None),
        ("://me@host", {"password": 1234}, "1234"),
    ],
)
async def test_a_password_is_a_text_or_a_function(scheme, url, options, expected):
    assert await backend(scheme + url, **options).password() == expected


async def test_a_password_function_is_asked_each_time():
    passwords = iter(["one", "two"])
    driver = backend("psycopg://me@host", password=lambda: next(passwords))
    assert [(await driver.keywords(read_only=False))["password"] for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize("scheme", SERVERS)
def test_no_function_and_no_password_is_shown(scheme):
    class Secret:
        def __call__(self):
            return "secret"

        def __repr__(self):
            return "secret"

    database = Database(f"{scheme}://me@host/db", password=Secret())
    for thing in (database, database.url, database.backend, database.backend.address, database._pool):
        assert "secret" not in f"{thing} {thing!r}"


# What PostgreSQL is told


def options_of(**options):
    async def keywords():
        return await backend("psycopg://s/d", **options).keywords(read_only=options.pop("read_only", False))

    return anyio.run(keywords)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"statement_timeout": 1.5}, "-c statement_timeout=1500"),
        ({"statement_timeout": 0.0001}, "-c statement_timeout=1"),
        ({"statement_timeout": 0}, None),
        ({"statement_timeout": None}, None),
        ({"server_settings": {"search_path": "a, b"}}, r"-c search_path=a,\ b"),
        ({"server_settings": {"x.y": r"back\slash 'quote' \ "}}, r"-c x.y=back\\slash\ 'quote'\ \\\ "),
        ({"server_settings": {"work_mem": 77}, "statement_timeout": 2}, "-c work_mem=77 -c statement_timeout=2000"),
    ],
)
def test_settings_become_options_of_libpq_in_which_spaces_and_backslashes_are_escaped(options, expected):
    assert options_of(**options).get("options") == expected


def test_the_name_of_the_application_is_a_parameter_of_its_own():
    found = options_of(application_name="my app", server_settings={"application_name": "other"})
    assert (found["application_name"], found.get("options")) == ("my app", None)


def test_a_replica_is_read_only_by_the_servers_own_means():
    async def keywords():
        return await backend("psycopg://s/d").keywords(read_only=True)

    assert anyio.run(keywords)["options"] == "-c default_transaction_read_only=on"


def test_connect_args_have_the_last_word():
    found = options_of(connect_args={"dbname": "other", "keepalives": 0})
    assert (found["dbname"], found["keepalives"]) == ("other", 0)


@pytest.mark.parametrize("scheme", ["psycopg", "aiopg"])
def test_libpq_cannot_use_a_context(scheme):
    with pytest.raises(ConfigurationError, match=f"{scheme} encrypts by libpq, .*sslrootcert"):
        backend(f"{scheme}://s/d", ssl=tls.create_default_context())


@pytest.mark.parametrize("scheme", ["asyncpg", "psycopg", "aiopg"])
@pytest.mark.parametrize("given", [{"server_settings": {"jit": "off"}}, {"statement_timeout": 5}], ids=str)
def test_behind_pgbouncer_settings_of_the_session_are_refused(scheme, given):
    with pytest.raises(ConfigurationError, match=r"does not go with pgbouncer=True.*ALTER ROLE"):
        backend(f"{scheme}://s/d", pgbouncer=True, **given)
    with pytest.raises(ConfigurationError, match="does not go with pgbouncer=True"):
        backend(f"{scheme}://s/d?pgbouncer=yes", **given)
    assert backend(f"{scheme}://s/d?pgbouncer=no", **given)


@pytest.mark.parametrize(
    ("given", "asks"),
    [
        ({}, (60, 10, 3, 90_000)),
        ({"keepalive": 0.1}, (1, 1, 3, 150)),
        ({"keepalive": 86_400}, (3600, 600, 3, 5_400_000)),
    ],
    ids=["default", "short", "long"],
)
def test_how_a_silent_link_is_noticed(given, asks):
    assert asks == Database("asyncpg://db/shop", **given).backend.keepalive


@pytest.mark.parametrize("value", [0, "0", "inf"])
def test_a_silent_link_may_be_left_to_the_system(value):
    assert Database("asyncpg://db/shop", keepalive=value).backend.keepalive is None
