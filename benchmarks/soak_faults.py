"""What is done to the databases while the soak runs: one fault after the other, at random."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from contextlib import closing, suppress
from time import sleep
from typing import TYPE_CHECKING

from servers.proxy import BLACKHOLE, CUT, LOSE_ANSWERS, PASS, RESET, Mode
from soak_sites import FileSite, ServerSite

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from servers import PrivateServer
    from soak_sites import Site

PAUSES = (0.1, 1.5)  # seconds between faults
ON_SERVERS = 0.1
"""The part of the faults that hit a server with all its databases."""
SLOW = Mode(delay=0.05, chunk=100)


class Faults:
    """Does something to one of the sites, or to all sites of a server.

    Args:
        sites: the databases, by the name of their driver.
        servers: the servers, by dialect.
        choose: what decides.
    """

    def __init__(self, sites: dict[str, Site], servers: dict[str, PrivateServer], choose: random.Random) -> None:
        self.sites = sites
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._servers = servers
        self._choose = choose
        self._on_network: dict[Callable[[str, ServerSite], None], int] = {
            self._terminate: 4,
            self._cut: 3,
            self._reset: 3,
            self._blackhole: 2,
            self._lose_answers: 2,
            self._slow: 1,
        }

    def strike(self) -> None:
        """Do one thing, and wait until it is over."""
        choose = self._choose
        networked = [(name, site) for name, site in self.sites.items() if isinstance(site, ServerSite)]
        files = [(name, site) for name, site in self.sites.items() if isinstance(site, FileSite)]
        if files and (not networked or choose.random() < len(files) / len(self.sites)):
            self._lock(*choose.choice(files))
        elif choose.random() < ON_SERVERS:
            choose.choice((self._freeze, self._kill))(choose.choice(list(self._servers.values())))
        else:
            # On several at once, or the run would be too short for so many drivers.
            fault = choose.choices(list(self._on_network), list(self._on_network.values()))[0]
            for name, site in choose.sample(networked, -(-len(networked) // 3)):
                fault(name, site)
        sleep(choose.uniform(*PAUSES))
        self.heal()

    def heal(self) -> None:
        """Let everything be well again."""
        for site in self.sites.values():
            if isinstance(site, ServerSite) and site.proxy.mode is not PASS:
                lost, site.proxy.mode = site.proxy.mode.lose, PASS
                for connection in site.proxy.connections if lost else ():
                    connection.mode = RESET  # it has lost bytes, and would stay silent for ever

    # One driver

    def _lock(self, name: str, site: FileSite) -> None:
        """Keep others from writing to a file, for longer than some of them want to wait or not."""
        self.counts[name]["locked"] += 1
        with closing(site.connect()) as connection, suppress(sqlite3.OperationalError):
            connection.execute("begin immediate")
            sleep(self._choose.choice((0.1, 0.5, 2.0)))

    def _terminate(self, name: str, site: ServerSite) -> None:
        """End one or all sessions."""
        backends = site.backends()
        some = self._choose.sample(backends, min(len(backends), self._choose.choice((1, 2, 100))))
        for backend in some:
            with suppress(Exception):  # it has ended by itself meanwhile
                site.terminate(backend)
                self.counts[name]["terminated"] += 1

    def _cut(self, name: str, site: ServerSite) -> None:
        self._end(name, site, CUT)

    def _reset(self, name: str, site: ServerSite) -> None:
        self._end(name, site, RESET)

    def _end(self, name: str, site: ServerSite, mode: Mode) -> None:
        for connection in site.proxy.connections:
            if self._choose.choice((True, False)):
                connection.mode = mode
                self.counts[name]["cut" if mode is CUT else "reset"] += 1

    def _blackhole(self, name: str, site: ServerSite) -> None:
        self.counts[name]["blackholed"] += 1
        site.proxy.mode = BLACKHOLE

    def _lose_answers(self, name: str, site: ServerSite) -> None:
        self.counts[name]["answers lost"] += 1
        site.proxy.mode = LOSE_ANSWERS

    def _slow(self, name: str, site: ServerSite) -> None:
        self.counts[name]["slowed"] += 1
        site.proxy.mode = SLOW

    # One server

    def _freeze(self, server: PrivateServer) -> None:
        self._count(server, "frozen")
        server.pause()
        sleep(1)
        server.resume()

    def _kill(self, server: PrivateServer) -> None:
        self._count(server, "killed")
        server.kill()
        sleep(self._choose.random())
        server.start()

    def _count(self, server: PrivateServer, what: str) -> None:
        for name, site in self.sites.items():
            if isinstance(site, ServerSite) and site.server is server:
                self.counts[name][what] += 1
