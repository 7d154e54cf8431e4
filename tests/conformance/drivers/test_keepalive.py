"""A link that goes silent is noticed by the system: each socket is told to ask for signs of life."""

from __future__ import annotations

import os
import socket
from collections import Counter
from contextlib import suppress

import pytest

from aio_databases import ConfigurationError, Database

pytestmark = pytest.mark.targets(pooled=True, dialect={"postgresql", "mysql"})

ASKED = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
SECOND = 1000  # milliseconds


def links(port):
    """Tell of each open socket to a port whether it is kept alive, and how."""
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - numbers, not paths
        with suppress(OSError), socket.socket(fileno=number) as link:  # no socket, or closed since it was listed
            try:
                if link.family == socket.AF_INET and link.getpeername()[1] == port:
                    asks = [link.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in ASKED]
                    found.append((link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *asks))
            finally:
                link.detach()  # it is somebody else's
    return found


@pytest.mark.needs("keepalive")
@pytest.mark.parametrize(
    ("options", "asks"),
    [({}, (1, 60, 10, 3, 90 * SECOND)), ({"keepalive": 4}, (1, 4, 1, 3, 6 * SECOND))],
    ids=["default", "given"],
)
async def test_each_connection_is_watched(make_database, server, options, asks):
    others = Counter(links(server.port))
    db = await make_database(**options)
    async with db.connection():
        assert {asks} == set(Counter(links(server.port)) - others)


@pytest.mark.needs("keepalive")
async def test_zero_leaves_it_to_the_system(make_database, server):
    db = await make_database(keepalive=0)
    async with db.connection():  # nor does any library ask for this one by itself
        assert {0} == {unacknowledged for *_, unacknowledged in links(server.port)}


def test_what_is_no_duration_is_refused(url):
    with pytest.raises(ConfigurationError, match="keepalive"):
        Database(url, keepalive=-1)
