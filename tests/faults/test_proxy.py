"""The proxy itself: each of its modes as a plain socket sees it, on both sides."""

from __future__ import annotations

import errno
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from servers import Proxy
from servers.proxy import (
    BLACKHOLE,
    CUT,
    GONE,
    LOSE_ANSWERS,
    LOSE_REQUESTS,
    PASS,
    REFUSE,
    RESET,
    UNPLUGGED,
    Mode,
    Way,
    on,
    on_answer,
)
from servers.system import free_port

SECONDS = 10
"""Longer than anything here may take."""

A_WHILE = 0.05
"""How long nothing must come for it to count as silence."""


class Echo:
    """A server that answers in capitals, and remembers what came."""

    def __init__(self) -> None:
        self.got = b""
        self.ends: list[str] = []
        self.changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._answer, args=(peer,)))
            self._threads[-1].start()

    def _answer(self, peer: socket.socket) -> None:
        end = "closed"
        with peer:
            try:
                while data := peer.recv(1 << 20):
                    with self.changed:
                        self.got += data
                        self.changed.notify_all()
                    peer.sendall(data.upper())
            except ConnectionError:
                end = "reset"
        with self.changed:
            self.ends.append(end)
            self.changed.notify_all()

    def wait_for(self, got: bytes = b"", ends: tuple[str, ...] = ()) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: (got, list(ends)) == (self.got, self.ends), SECONDS), (
                self.got,
                self.ends,
            )

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(SECONDS)


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo):
    with Proxy(echo.host, echo.port) as proxy:
        yield proxy


@pytest.fixture
def dial(proxy):
    with ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection((proxy.host, proxy.port), SECONDS))

        yield connect


def ask(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return read(client, len(text))


def read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def is_silent(client: socket.socket) -> bool:
    client.settimeout(A_WHILE)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(SECONDS)
    return False


def test_passes_bytes_and_ends_both_ways(proxy, dial, echo):
    client = dial()
    assert ask(client, b"hello") == b"HELLO"
    big = b"0123456789" * 20_000
    client.sendall(big)
    client.shutdown(socket.SHUT_WR)
    assert big == read(client, 1 << 20)
    echo.wait_for(b"hello" + big, ("closed",))
    assert proxy.accepted == 1


def test_a_reset_travels_through(dial, echo):
    client = dial()
    ask(client, b"hello")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    echo.wait_for(b"hello", ("reset",))


def test_refuses_new_connections_and_keeps_the_open_ones(proxy, dial):
    client = dial()
    proxy.mode = REFUSE
    with pytest.raises(ConnectionRefusedError):
        dial()
    assert ask(client, b"still") == b"STILL"
    proxy.mode = PASS
    assert ask(dial(), b"again") == b"AGAIN"


def test_a_server_that_is_not_there_resets(proxy, dial):
    proxy.server = ("127.0.0.1", free_port())
    with pytest.raises(ConnectionResetError):
        ask(dial(), b"hello")


def test_cuts(proxy, dial, echo):
    client = dial()
    ask(client, b"hello")
    proxy.mode = CUT
    assert client.recv(1) == b""
    echo.wait_for(b"hello", ("closed",))
    assert dial().recv(1) == b""
    client.close()
    proxy.mode = PASS
    assert ask(dial(), b"again") == b"AGAIN"


@pytest.mark.parametrize("mode", [RESET, GONE])
def test_resets(proxy, dial, echo, mode):
    client = dial()
    ask(client, b"hello")
    proxy.mode = mode
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    echo.wait_for(b"hello", ("reset",))


def test_strikes_only_those_that_are_open(proxy, dial):
    client = dial()
    ask(client, b"hello")
    proxy.strike(RESET)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert ask(dial(), b"again") == b"AGAIN"


def test_one_connection_has_a_mode_of_its_own(proxy, dial):
    first, second = dial(), dial()
    ask(first, b"hello")
    ask(second, b"hello")
    proxy.connections[0].mode = RESET
    with pytest.raises(ConnectionResetError):
        first.recv(1)
    assert ask(second, b"again") == b"AGAIN"
    assert [each.mode for each in proxy.connections] == [PASS]


@pytest.mark.parametrize(("mode", "arrives"), [(BLACKHOLE, b""), (LOSE_REQUESTS, b""), (LOSE_ANSWERS, b"lost")])
def test_loses_bytes_for_ever(proxy, dial, echo, mode, arrives):
    client = dial()
    ask(client, b"hello")
    proxy.mode = mode
    client.sendall(b"lost")
    assert is_silent(client)
    echo.wait_for(b"hello" + arrives)
    proxy.mode = PASS
    client.sendall(b"more")
    assert is_silent(client)
    assert ask(dial(), b"again") == b"AGAIN"


def test_a_connection_that_lost_nothing_goes_on_after_the_network_has_healed(proxy, dial):
    client = dial()
    ask(client, b"hello")
    proxy.mode = BLACKHOLE
    proxy.mode = PASS
    assert ask(client, b"again") == b"AGAIN"


def test_the_end_of_a_connection_arrives_when_the_network_has_healed(proxy, dial, echo):
    client = dial()
    ask(client, b"hello")
    proxy.mode = BLACKHOLE
    client.close()
    time.sleep(A_WHILE)
    assert len(proxy.connections) == 1
    echo.wait_for(b"hello")
    proxy.mode = PASS
    echo.wait_for(b"hello", ("closed",))


def test_unplugged_nothing_arrives_and_nothing_is_acknowledged(proxy, dial, echo):
    client = dial()
    ask(client, b"hello")
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 200)  # milliseconds without an acknowledgement
    proxy.mode = UNPLUGGED
    client.sendall(b"lost")
    with pytest.raises(TimeoutError) as caught:
        client.recv(1)
    assert caught.value.errno == errno.ETIMEDOUT
    echo.wait_for(b"hello")


def test_plugged_in_again_what_was_sent_arrives(proxy, dial, echo):
    client = dial()
    ask(client, b"hello")
    proxy.mode = UNPLUGGED
    client.sendall(b"late")
    assert is_silent(client)
    echo.wait_for(b"hello")
    proxy.mode = PASS
    assert read(client, 4) == b"LATE"


def test_delays(proxy, dial):
    client = dial()
    proxy.mode = Mode(delay=A_WHILE)
    began = time.monotonic()
    assert ask(client, b"late") == b"LATE"
    assert time.monotonic() - began >= 2 * A_WHILE


def test_throttles(proxy, dial):
    client = dial()
    proxy.mode = Mode(rate=100_000, chunk=1000)
    began = time.monotonic()
    assert ask(client, b"x" * 5000) == b"X" * 5000
    assert time.monotonic() - began >= 0.05


def test_sends_small_chunks(proxy, dial, echo):
    client = dial()
    proxy.mode = Mode(chunk=1)
    client.sendall(b"abc")
    echo.wait_for(b"abc")
    assert read(client, 3) == b"ABC"


@pytest.mark.parametrize(("before", "arrives"), [(True, b"begin;"), (False, b"begin;commit;x")])
def test_cuts_at_a_pattern_on_its_way_to_the_server(proxy, dial, echo, before, arrives):
    proxy.mode = on(b"commit", CUT, before=before)
    client = dial()
    client.sendall(b"begin;commit;x")
    assert client.recv(1000).removeprefix(b"BEGIN;") == b""
    echo.wait_for(arrives, ("closed",))
    assert proxy.fired == 1


def test_finds_a_pattern_in_pieces(proxy, dial, echo):
    proxy.mode = on(b"commit", CUT)
    client = dial()
    ask(client, b"xcom")
    ask(client, b"m")
    client.sendall(b"it")
    echo.wait_for(b"xcommit", ("closed",))


def test_cuts_at_a_pattern_on_its_way_back(proxy, dial, echo):
    proxy.mode = on(b"TWO", CUT, Way.ANSWERS, before=True)
    client = dial()
    assert ask(client, b"one") == b"ONE"
    assert ask(client, b"two") == b""
    echo.wait_for(b"onetwo", ("closed",))


def test_holds_back_the_answer_to_a_pattern(proxy, dial, echo):
    proxy.mode = on(b"commit", on_answer(RESET))
    client = dial()
    assert ask(client, b"one") == b"ONE"
    with pytest.raises(ConnectionResetError):
        ask(client, b"commit")
    echo.wait_for(b"onecommit", ("reset",))
    assert proxy.fired == 2


def test_lets_the_first_answer_pass(proxy, dial):
    proxy.mode = on_answer(CUT, before=False)
    client = dial()
    assert ask(client, b"one") == b"ONE"
    assert client.recv(1) == b""


def test_the_url_leads_through_the_proxy(proxy):
    assert f"pg://u:p%40@127.0.0.1:{proxy.port}/db?x=1" == proxy.through("pg://u:p%40@host:1/db?x=1")
