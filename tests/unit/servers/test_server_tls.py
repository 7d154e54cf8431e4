"""The harness itself: private servers show a certificate that clients can verify."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import pymysql
import pytest
import trustme

from servers import PostgresServer, ServerMissing
from servers import postgres as postgres_module
from servers.system import server_account
from servers.tls import certificate
from unit.clients import query

IS_ENCRYPTED = {
    "postgresql": "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
    "mysql": "select variable_value <> '' from information_schema.session_status where variable_name = 'Ssl_cipher'",
}
NOT_TRUSTED = "CERTIFICATE_VERIFY_FAILED"


@pytest.fixture(params=["postgres", "mysql"])
def url_and_authority(request, require_server):
    """Give the URL of each server and whom to trust."""
    authority = request.getfixturevalue(f"{request.param}_authority")
    return request.getfixturevalue(request.param).url(), authority


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_certificate_is_verified(url_and_authority, host):
    url, authority = url_and_authority
    context = ssl.create_default_context(cafile=authority)
    assert query(url.replace("127.0.0.1", host), IS_ENCRYPTED[urlsplit(url).scheme], ssl=context)


def test_an_unrelated_authority_does_not_vouch_for_the_server(url_and_authority):
    url, _ = url_and_authority
    context = ssl.create_default_context()
    trustme.CA().configure_trust(context)
    with pytest.raises((ssl.SSLCertVerificationError, pymysql.err.OperationalError), match=NOT_TRUSTED):
        query(url, "select 1", ssl=context)


def test_connections_without_tls_are_served_too(url_and_authority):
    url, _ = url_and_authority
    options = {"postgresql": {"ssl": False}, "mysql": {"ssl_disabled": True}}[urlsplit(url).scheme]
    assert not query(url, IS_ENCRYPTED[urlsplit(url).scheme], **options)


def test_the_options_of_a_postgres_url_find_the_authority(url_and_authority):
    url, authority = url_and_authority
    if url.startswith("postgresql:"):
        assert query(f"{url}?sslmode=verify-full&sslrootcert={authority}", IS_ENCRYPTED["postgresql"])


def test_the_key_belongs_to_the_servers_user_alone():
    status = certificate().key.stat()
    account = server_account()
    assert status.st_mode & 0o777 == 0o600
    assert account is None or account.uid == status.st_uid


def test_a_build_without_tls_starts_and_says_that_it_has_none(monkeypatch, require_server):
    monkeypatch.setattr(postgres_module, "_certificate", lambda: None)
    with require_server("postgres"):
        server = PostgresServer()
    with server:
        assert query(server.url(), "select true")
        with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
            query(server.url(), "select 1", ssl="require")
    assert not server.has_tls
    with pytest.raises(ServerMissing, match="postgres was built without TLS: install a server that has it"):
        _ = server.certificate_authority
