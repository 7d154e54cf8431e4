"""What a fault happens to: a database on a server, a proxy before it, and the server's own word on what it holds."""

from __future__ import annotations

import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import anyio
import psycopg
import pymysql

from aio_databases import ConnectionLost, Database
from conformance.addresses import with_option
from faults.clients import WORDS
from servers.mysql import UNKNOWN_THREAD
from servers.proxy import PASS, RESET

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.clients import Client
    from servers import Proxy

    Ask = Callable[[str], list[tuple[Any, ...]]]

SIZE = 3
"""Connections of the pool."""

SECONDS = 10.0
"""Longer than anything may take on a busy machine, after which a test fails instead of waiting for ever."""

INSERT = "insert into t (x) values (1)"


class Stage:
    """A database with the empty table `t`, which a driver reaches through a proxy.

    Args:
        client: the driver.
        url: where the database is.
        ask: runs a statement of the administrator's, who is not concerned by any fault.
        proxy: the way to the database.
        odbc_driver: what stands after `driver=` in a URL for ODBC.
    """

    def __init__(self, client: Client, url: str, ask: Ask, proxy: Proxy, odbc_driver: str) -> None:
        self.words = WORDS[client.dialect]
        self.direct_url = url
        self.ask = ask
        self.proxy = proxy
        self._made: list[Database] = []
        self._client = client
        self._odbc_driver = odbc_driver
        self._threads = worker_threads()

    # For the user

    def url(self, address: str | None = None) -> str:
        """Return a URL of the server, through the proxy by default, as one for the driver."""
        address = address or self.proxy.through(self.direct_url)
        address = f"{self._client.scheme}://{address.partition('://')[2]}"
        if self._client.dialect == "postgresql" and not self._client.odbc:
            address = with_option(address, "ssl=disable")  # the proxy has to see what travels
        return with_option(address, f"driver={quote(self._odbc_driver, safe='')}") if self._client.odbc else address

    def database(self, address: str | None = None, **options: Any) -> Database:
        """Return a database of the driver, which is disconnected at the end of the test."""
        db = Database(self.url(address), **{"max_size": SIZE, **options})
        self._made.append(db)
        return db

    async def full_pools(self, address: str | None = None) -> list[Database]:
        """Return two databases with all of their connections idle; the second has each answer before it is lent."""
        return [await self._full_pool(address, check_after) for check_after in (30, 0)]

    async def _full_pool(self, address: str | None, check_after: float) -> Database:
        db = await self.database(address, check_after=check_after).connect()
        await fill(db)
        return db

    # For the administrator

    @property
    def count(self) -> int:
        """Tell how many rows of `t` are committed."""
        return int(self.ask("select count(*) from t")[0][0])

    def end_sessions(self) -> None:
        """End every session of the database, as an administrator does."""
        for number, _ in self.ask(self.words.sessions):
            try:
                self.ask(self.words.end.format(number))
            except pymysql.err.OperationalError as error:
                if error.args[0] != UNKNOWN_THREAD:  # it has ended meanwhile
                    raise

    async def wait_until_settled(self) -> None:
        """Wait until the server has noticed the end of every transaction."""
        await wait_until(lambda: not self.ask(self.words.transactions))

    async def wait_until_asleep(self) -> None:
        """Wait until the server runs the statement `sleep`."""
        await wait_until(lambda: any(self.words.sleep == sql for _, sql in self.ask(self.words.sessions)))

    # Afterwards

    def heal(self) -> None:
        """Mend the network."""
        for connection in self.proxy.connections:
            if self._client.odbc and connection.has_lost:
                # Nobody but the system can wake a thread that waits in an ODBC driver, which it does hours later.
                connection.mode = RESET
        self.proxy.mode = PASS

    async def strike_the_set(self) -> None:
        """Disconnect, and fail if anything is left: a lease, a session, a socket or a thread."""
        stats = [pool for db in self._made for pool in db.stats().values()]
        for db in self._made:
            await db.disconnect(timeout=0)
        leaked = [pool for pool in stats if pool.size != pool.idle or pool.waiting]
        assert leaked == [], "connections were still leased at the end of the test"
        await wait_until(lambda: all(self.words.sleep == sql for _, sql in self.ask(self.words.sessions)))
        self.end_sessions()  # of those who sleep on, as the server does not notice that their clients have gone
        await wait_until(lambda: not self.ask(self.words.sessions))
        await wait_until(lambda: not self.proxy.connections)
        await wait_until(lambda: worker_threads() <= self._threads)


async def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds that nobody announces."""
    with anyio.fail_after(SECONDS):
        while not condition():  # noqa: ASYNC110 - nobody else knows
            await anyio.sleep(0.005)


def worker_threads() -> set[threading.Thread]:
    """List the threads, but for those that event loops keep for later use."""
    return {each for each in threading.enumerate() if not each.name.startswith(("Trio thread", "asyncio_"))}


async def fill(db: Database, size: int = SIZE) -> None:
    """Use so many connections of the pool at the same time, and fail unless each gives its own answers."""
    async with AsyncExitStack() as stack:
        leases = [await stack.enter_async_context(db.connection()) for _ in range(size)]
        for number, connection in enumerate(leases):
            assert number == await connection.fetchval(f"select {number}")


async def told_of_broken_connections(db: Database) -> list[ConnectionLost]:
    """Use a pool whose connections have broken while they were idle, and return the errors that told of it."""
    told: list[ConnectionLost] = []
    with anyio.fail_after(SECONDS):
        for number in range(2 * SIZE):
            try:
                assert number == await db.fetchval(f"select {number}")
            except ConnectionLost as error:
                told.append(error)
    return told


async def recovered_from_idleness(pools: list[Database]) -> None:
    """Fail unless full pools have told of their broken connections once, or never as they have checked them."""
    trusting, checking = pools
    assert len(await told_of_broken_connections(trusting)) <= 1
    assert await told_of_broken_connections(checking) == []
    for db in pools:
        await recovered(db)


async def recovered(db: Database, size: int = SIZE) -> None:
    """Fail unless the pool is as good as new: all of its connections can be had, and the database written."""
    with anyio.fail_after(SECONDS):
        stats = db.stats()["primary"]
        assert (stats.idle, 0) == (stats.size, stats.waiting)
        await fill(db, size)
        async with db.transaction():
            await db.execute("delete from t")
            await db.execute(INSERT)
            assert await db.fetchval("select count(*) from t") == 1
        stats = db.stats()["primary"]
        assert (size, size, 0) == (stats.size, stats.idle, stats.waiting)


def administrator(url: str) -> Any:
    """Open a connection that runs statements at once, in whatever task."""
    if url.startswith("postgresql"):
        return psycopg.connect(url, autocommit=True)
    split = urlsplit(url)
    login = {"user": unquote(split.username or ""), "password": unquote(split.password or "")}
    place = {"host": split.hostname, "port": split.port or 3306, "database": split.path.lstrip("/")}
    return pymysql.connect(**place, **login, autocommit=True)


def asking(connection: Any) -> Ask:
    """Return a function that runs a statement on a connection and returns its rows."""

    def ask(sql: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    return ask
