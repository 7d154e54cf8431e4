"""Encryption, in one spelling on every driver: `ssl=` with a bool, one of libpq's words or an SSLContext."""

from __future__ import annotations

import ssl as tls
from contextlib import ExitStack
from functools import partial
from urllib.parse import quote

import pytest
import trustme

from aio_databases import ConfigurationError, ConnectError, Database
from conformance.addresses import with_option
from servers import MariaDBServer, PostgresServer
from servers.system import give_to_account

NETWORK = {"postgresql", "mysql"}
LIBPQ = {"psycopg", "aiopg", "aioodbc", "pyodbc"}

pytestmark = [pytest.mark.targets(dialect=NETWORK, pooled=True), pytest.mark.needs("tls_words")]


@pytest.fixture
def authority(target, request):
    """Give the path of the certificate authority that vouches for the shared server."""
    name = {"postgresql": "postgres"}.get(target.dialect, target.dialect)
    return str(request.getfixturevalue(f"{name}_authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Give the path of a certificate authority that vouches for nobody here."""
    path = tmp_path_factory.mktemp("tls") / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return str(path)


@pytest.mark.parametrize("mode", [False, "disable", "prefer", "require", "verify-ca", "verify-full", True], ids=str)
async def test_each_word_does_what_it_says(make_database, words, url, authority, mode):
    encrypted = mode not in {False, "disable"}
    options = {"sslrootcert": authority} if mode in {"verify-ca", "verify-full", True} else {}
    database = await make_database(ssl=mode, **options)
    assert encrypted is bool(await database.fetchval(words.cipher))
    query = "&".join(f"{name}={quote(str(value))}" for name, value in {"ssl": mode, **options}.items())
    for option in (query, query.replace("ssl=", "sslmode=", 1)):
        database = await make_database(with_option(url, option))
        assert encrypted is bool(await database.fetchval(words.cipher))


async def test_allow_leaves_the_choice_to_the_server(make_database, authority):
    database = await make_database(ssl="allow")
    assert await database.fetchval("select 1") == 1


@pytest.mark.parametrize("mode", [True, "verify-ca", "verify-full"], ids=str)
async def test_a_server_that_nobody_vouches_for_is_refused(url, authority, stranger, mode):
    for options in ({"sslrootcert": stranger}, {}):
        with pytest.raises(ConnectError, match=r"(?i)certificate|verif|ssl"):
            await Database(url, ssl=mode, **options).connect()


async def test_an_authority_that_is_not_there_is_told(url, authority, tmp_path):
    with pytest.raises((ConfigurationError, ConnectError), match=r"cannot connect to|nowhere\.pem"):
        await Database(url, ssl="verify-full", sslrootcert=f"{tmp_path}/nowhere.pem").connect()


@pytest.mark.targets(scheme={"asyncpg", "asyncmy", "aiomysql", "pymysql", "trio-mysql"})
async def test_a_context_of_pythons_is_taken(make_database, words, url, authority):
    database = await make_database(ssl=tls.create_default_context(cafile=authority))
    assert await database.fetchval(words.cipher)
    with pytest.raises(ConnectError, match=r"(?i)certificate|verif|ssl"):
        await Database(url, ssl=tls.create_default_context()).connect()


@pytest.mark.targets(scheme=LIBPQ)
def test_libraries_that_encrypt_by_themselves_take_no_context(url):
    with pytest.raises(ConfigurationError, match="sslrootcert"):
        Database(url, ssl=tls.create_default_context())


# Servers of other kinds


@pytest.fixture(scope="module")
def servers_by_kind(require_server):
    """Give a function that returns a server of a dialect that is `plain`, or certified for `another` name."""
    running = {}
    with ExitStack() as stack:

        def start(dialect, kind):
            if (dialect, kind) not in running:
                with require_server({"postgresql": "postgres"}.get(dialect, dialect)):
                    server = PostgresServer() if dialect == "postgresql" else MariaDBServer()
                if kind == "plain":
                    server.settings["ssl"] = "off"
                else:
                    certify(server)
                running[dialect, kind] = stack.enter_context(server)
            return running[dialect, kind]

        yield start


@pytest.fixture
def other_server(target, servers_by_kind):
    """Give a function that returns a server of the target's kind of database, by its own kind."""
    return partial(servers_by_kind, target.dialect)


def certify(server):
    """Have a server show a certificate for another host."""
    authority = trustme.CA()
    issued = authority.issue_cert("elsewhere.example")
    path, chain, key = (server.folder / f"{name}.pem" for name in ("authority", "chain", "key"))
    authority.cert_pem.write_to_path(path)
    chain.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    key.touch(mode=0o600)
    issued.private_key_pem.write_to_path(key, append=True)
    for file in (path, chain, key):
        give_to_account(file)
    names = ("ssl_cert_file", "ssl_key_file") if server.scheme == "postgresql" else ("ssl-cert", "ssl-key")
    server.settings |= dict(zip(names, (chain, key), strict=True))


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full", True], ids=str)
async def test_a_server_without_encryption_is_refused(as_target, other_server, mode, stranger):
    address = as_target(other_server("plain").url())
    with pytest.raises(ConnectError, match=r"(?i)ssl|tls"):
        await Database(address, ssl=mode, sslrootcert=stranger).connect()


@pytest.mark.parametrize("mode", ["prefer", "allow", "disable", False, None], ids=str)
async def test_a_server_without_encryption_is_taken_where_it_is_not_asked_for(
    make_database, words, as_target, other_server, mode
):
    address = as_target(other_server("plain").url())
    database = await make_database(address, **({} if mode is None else {"ssl": mode}))
    assert not await database.fetchval(words.cipher)


async def test_the_name_of_the_host_is_verified_in_full_mode_only(make_database, words, as_target, other_server):
    server = other_server("another")
    address = as_target(server.url())
    authority = str(server.folder / "authority.pem")
    database = await make_database(address, ssl="verify-ca", sslrootcert=authority)
    assert await database.fetchval(words.cipher)
    for mode in ("verify-full", True):
        with pytest.raises(ConnectError, match=r"(?i)certificate|host|verif|ssl"):
            await Database(address, ssl=mode, sslrootcert=authority).connect()
