"""A TCP proxy before a server, on which a test breaks the network: for all connections, or for one of them.

The modes say what becomes of connections and their bytes.  They are changed while connections are open; a change is in
force when the assignment returns::

    with Proxy("127.0.0.1", server.port) as proxy:
        db = Database(proxy.through(server.url()))
        proxy.mode = BLACKHOLE                      # of connections there are and that will be
        proxy.mode = PASS                           # the network heals
        proxy.connections[0].mode = RESET           # of one
        proxy.mode = on(b"COMMIT", then=LOSE_ANSWERS)
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SECONDS = 10.0
"""How long the proxy may take to do as it is told."""

SO_ATTACH_FILTER, SO_DETACH_FILTER, BPF_RET = 26, 27, 6
"""Linux's numbers, which Python does not have."""

PASSES = 5
"""How many passes of the event loop it takes for bytes to be received and sent."""

RESETTING = struct.pack("ii", 1, 0)
"""The SO_LINGER that makes `close` reset a connection."""


class Way(Enum):
    """A direction in which bytes travel."""

    REQUESTS = "to the server"
    ANSWERS = "to the client"


class End(Enum):
    """How a connection ends, for both its sides."""

    CLOSED = "FIN"
    RESET = "RST"


@dataclass(frozen=True)
class Trigger:
    """What a connection waits for, and the mode it changes into then."""

    pattern: bytes
    """The empty one is found in whatever comes next."""
    then: Mode
    way: Way = Way.REQUESTS
    before: bool = False
    """Whether the pattern itself falls under the new mode already, instead of all that arrived together with it."""


@dataclass(frozen=True)
class Mode:
    """What becomes of connections and their bytes."""

    refuse: bool = False
    """Refuse new connections."""
    end: End | None = None
    """End connections, new ones as soon as they are accepted."""
    lose: frozenset[Way] = frozenset()
    """Lose what travels these ways, the ends of connections included, which arrive when the network has healed.

    Bytes are lost for ever, so that a connection that has lost some stays silent on that way."""
    unplugged: bool = False
    """Let no packet of the client's through, not even what its system sends by itself to ask for a sign of life, and
    hold the answers back: as if the cable were pulled.  Nothing is lost, it is sent again later.  Linux only."""
    delay: float = 0.0
    """Seconds by which each chunk is late."""
    rate: float = inf
    """Bytes per second, each way."""
    chunk: int = 65536
    """Bytes that travel together, at most."""
    when: Trigger | None = None


PASS = Mode()
REFUSE = Mode(refuse=True)
CUT = Mode(end=End.CLOSED)
RESET = Mode(end=End.RESET)
GONE = Mode(refuse=True, end=End.RESET)
"""As if the server's host had been restarted without the server."""
BLACKHOLE = Mode(lose=frozenset(Way))
UNPLUGGED = Mode(unplugged=True)
LOSE_REQUESTS = Mode(lose=frozenset({Way.REQUESTS}))
LOSE_ANSWERS = Mode(lose=frozenset({Way.ANSWERS}))


def on(pattern: bytes, then: Mode, way: Way = Way.REQUESTS, *, before: bool = False) -> Mode:
    """Return a mode that changes into another one where a pattern is seen, on each connection by itself."""
    return Mode(when=Trigger(pattern, then, way, before))


def on_answer(then: Mode, *, before: bool = True) -> Mode:
    """Return a mode that changes into another one with the server's next answer, which it still holds back."""
    return on(b"", then, Way.ANSWERS, before=before)


class Proxy:
    """A proxy on a loopback port of its own, served by a thread of its own for the length of a `with` block.

    Args:
        host: where the server is.
        port: where the server is.
    """

    def __init__(self, host: str, port: int) -> None:
        self.server = (host, port)
        self.accepted = 0
        """How many connections there have been."""
        self.fired = 0
        """How often a connection has seen the pattern that it waited for."""
        self._mode = PASS
        self._open: dict[asyncio.Task[None], Connection] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        """Listen."""
        self._listener = _bound("127.0.0.1", 0)
        self.host, self.port = self._listener.getsockname()
        self._thread.start()
        self.on_loop(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def through(self, url: str) -> str:
        """Return a URL of the server as one that leads through the proxy."""
        split = urlsplit(url)
        login, at, _ = split.netloc.rpartition("@")
        return split._replace(netloc=f"{login}{at}{self.host}:{self.port}").geturl()

    @property
    def connections(self) -> list[Connection]:
        """Tell the connections that one side at least has not closed yet, oldest first."""
        return self.on_loop(lambda: list(self._open.values()))

    @property
    def mode(self) -> Mode:
        """Tell the mode of new connections; assigning one sets that of the open ones as well."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self.on_loop(lambda: self._change(mode))

    def strike(self, mode: Mode) -> None:
        """Set the mode of the open connections only."""
        self.on_loop(lambda: self._strike(mode))

    def _change(self, mode: Mode) -> None:
        was, self._mode = self._mode, mode
        if mode.refuse and not was.refuse:
            self._stop_listening()
            # The port stays ours: a socket that is bound and does not listen refuses.
            self._listener = _bound(self.host, self.port)
        elif was.refuse and not mode.refuse:
            self._listen()
        self._strike(mode)

    def _strike(self, mode: Mode) -> None:
        for connection in self._open.values():
            connection.enter(mode)

    def _listen(self) -> None:
        self._listener.listen(100)
        self._loop.add_reader(self._listener, self._accept)

    def _stop_listening(self) -> None:
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # given up while it waited to be accepted
            return
        self.accepted += 1
        connection = Connection(self, client)
        task = self._loop.create_task(connection.serve())
        self._open[task] = connection
        task.add_done_callback(self._open.pop)

    async def _close(self) -> None:
        self._stop_listening()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def on_loop(self, call: Callable[[], T]) -> T:
        """Call a function in the thread of the proxy."""

        async def run() -> T:
            for _ in range(PASSES):  # what has arrived already is carried on before
                await asyncio.sleep(0)
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(SECONDS)


class Connection:
    """One connection through the proxy, with a mode of its own."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = socket.socket()
        for side in self._sides:
            side.settimeout(0)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._mode = PASS
        self._changed = asyncio.Event()
        self._end = End.RESET
        self._carrying: asyncio.Task[None] | None = None
        self._silent: set[Way] = set()
        self._seen = dict.fromkeys(Way, b"")

    @property
    def mode(self) -> Mode:
        """Tell what becomes of the connection and its bytes; may be assigned."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._proxy.on_loop(lambda: self.enter(mode))

    @property
    def has_lost(self) -> bool:
        """Tell whether bytes were lost."""
        return bool(self._silent)

    @property
    def _sides(self) -> tuple[socket.socket, socket.socket]:
        return self._client, self._server

    def enter(self, mode: Mode) -> None:
        """Change the mode, in the thread of the proxy."""
        was, self._mode = self._mode, mode
        self._seen = dict.fromkeys(Way, b"")
        self._changed.set()
        if mode.unplugged is not was.unplugged:
            _unplug(self._client, unplugged=mode.unplugged)
        if mode.end and self._carrying and not self._carrying.done():
            self._end = mode.end
            self._carrying.cancel()

    async def serve(self) -> None:
        """Carry bytes until both sides have closed the connection, or the proxy ends it."""
        try:
            self._carrying = asyncio.create_task(self._carry())
            self.enter(self._proxy.mode)
            await asyncio.gather(self._carrying, return_exceptions=True)
            if self._end is End.CLOSED:
                await asyncio.gather(*map(self._see_off, self._sides))
        finally:
            for side in self._sides:
                if self._end is End.RESET:
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETTING)
                side.close()

    async def _carry(self) -> None:
        await asyncio.get_running_loop().sock_connect(self._server, self._proxy.server)
        async with asyncio.TaskGroup() as ways:
            ways.create_task(self._pump(Way.REQUESTS, self._client, self._server))
            ways.create_task(self._pump(Way.ANSWERS, self._server, self._client))
        self._end = End.CLOSED

    async def _pump(self, way: Way, source: socket.socket, sink: socket.socket) -> None:
        loop, failure = asyncio.get_running_loop(), None
        try:
            while data := await loop.sock_recv(source, PASS.chunk):
                await self._forward(way, data, sink)
        except OSError as exc:
            failure = exc
        while way in self._mode.lose or self._mode.unplugged:
            await self._next_mode()
        if failure is not None:
            raise failure
        sink.shutdown(socket.SHUT_WR)

    async def _forward(self, way: Way, data: bytes, sink: socket.socket) -> None:
        """Pass data on under the present mode as far as its trigger lets it, and the rest under the next one."""
        trigger = self._mode.when
        if trigger is None or trigger.way is not way:
            return await self._send(way, data, sink)
        earlier = self._seen[way]
        at = (earlier + data).find(trigger.pattern)
        if at < 0:
            self._seen[way] = (earlier + data)[-len(trigger.pattern) :]
            return await self._send(way, data, sink)
        border = max(0, at - len(earlier)) if trigger.before else len(data)
        self._proxy.fired += 1  # before the data is sent, whose reader may look at this at once
        await self._send(way, data[:border], sink)
        self.enter(trigger.then)
        if border < len(data) and not self._mode.end:
            await self._forward(way, data[border:], sink)
        return None

    async def _send(self, way: Way, data: bytes, sink: socket.socket) -> None:
        size = self._mode.chunk
        for piece in (data[start : start + size] for start in range(0, len(data), size)):
            await asyncio.sleep(self._mode.delay + len(piece) / self._mode.rate)
            while self._mode.unplugged:
                await self._next_mode()
            if way in self._mode.lose:
                self._silent.add(way)
            if way not in self._silent:
                await asyncio.get_running_loop().sock_sendall(sink, piece)

    async def _next_mode(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _see_off(self, side: socket.socket) -> None:
        with suppress(OSError):  # already gone, or never there
            side.shutdown(socket.SHUT_WR)
            while await asyncio.get_running_loop().sock_recv(side, PASS.chunk):
                pass


def _unplug(side: socket.socket, *, unplugged: bool) -> None:
    """Have the system throw away every packet that arrives for a socket, or no more of them."""
    if not unplugged:
        side.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        side.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        side.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # to learn that the client is gone, if it is
        return
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RET, 0, 0, 0))  # keep 0 bytes of it
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    side.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.settimeout(0)
    bound.bind((host, port))
    return bound
