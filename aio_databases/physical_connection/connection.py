"""One physical connection: how it is opened, what is known of its state, and how it is made fit for the next user."""

from __future__ import annotations

import random
from time import monotonic
from typing import TYPE_CHECKING

import anyio

from aio_databases.concurrency.shields import shielded
from aio_databases.physical_connection.lock import Turns

if TYPE_CHECKING:
    from aio_databases.config.options import PoolOptions
    from aio_databases.connection import Connection
    from aio_databases.drivers.base import Cursor, DriverConnection
    from aio_databases.pool.connector import Hosts
    from aio_databases.replicas.positions import Position

__all__ = ("Physical",)


class Physical:
    """One physical connection and its state."""

    __slots__ = (
        "_due",
        "_hosts",
        "_opened",
        "_options",
        "_role_in_doubt",
        "abandoned",
        "begun_by",
        "begun_by_hand",
        "cursors",
        "driver",
        "expires",
        "hand_begun_is_lost",
        "handle",
        "host",
        "in_doubt",
        "leases",
        "lent",
        "replayed",
        "session_changed",
        "turns",
        "used",
    )

    def __init__(self, driver: DriverConnection, hosts: Hosts, options: PoolOptions) -> None:
        self.driver = driver
        self.used = self.lent = self._opened = monotonic()
        self.replayed: Position | None = None  # how far its server is at least, if it was asked
        lifetime = options.max_lifetime * random.uniform(0.9, 1.0)  # noqa: S311 - against mass reconnection
        self.expires = self.used + (lifetime or float("inf"))
        self.host = hosts.last  # which of the URL's it is
        self._hosts = hosts
        self._options = options
        self._trust_role(self.used)
        self.renew()

    @classmethod
    async def open(cls, hosts: Hosts, options: PoolOptions, within: float) -> Physical:
        """Open a connection in at most ``within`` seconds.

        Raises ConnectError, TargetNotFound or AuthenticationError with one sentence, and unchanged what the user's
        ``init`` raises.
        """
        return cls(await hosts.connect(within, options.init), hosts, options)

    def needs_check(self, now: float) -> bool:
        """Whether the connection may not be lent before it has answered, or not at all."""
        return now - self.used >= self._options.check_after or now >= self._due or self.driver.is_closed

    def distrust(self) -> None:
        """Have the connection checked before it is lent again."""
        self._due = float("-inf")

    def retire(self) -> None:
        """Have the connection closed when it comes back, and not lent again."""
        self.expires = self._due = float("-inf")

    def distrust_role(self, now: float) -> None:
        """Have the role of the server checked before the connection is lent again.

        Where any server would do, that is left out for one that was found a moment ago: another would be the same.
        """
        if self._hosts.asks_at_once or now - self._opened >= _A_MOMENT:
            self._role_in_doubt = True
            self._due = float("-inf")

    def _trust_role(self, now: float) -> None:
        watched = self._hosts.watches_roles
        self._role_in_doubt = False
        self._due = min(self.expires, now + self._options.check_after) if watched else self.expires

    def renew(self) -> None:
        """Start with a clean slate, for the next user."""
        self.turns = Turns()
        self.handle: Connection | None = None  # of single statements, kept because making one takes time
        self.leases = 0
        self.session_changed = False
        self.in_doubt = False
        self.begun_by_hand = False  # a transaction, by SQL of the user's own
        self.begun_by: Connection | None = None  # the lease that has done so
        self.hand_begun_is_lost = False  # the database rolled it back, and its user was not told yet
        self.cursors: set[Cursor] = set()
        self.abandoned: list[Cursor] = []

    @property
    def is_clean(self) -> bool:
        """Whether the next user may get the connection as it is."""
        turns = self.turns
        return self.driver.is_at_rest and not (
            self.session_changed or self.in_doubt or self.cursors or turns.busy or turns.stack
        )

    @property
    def has_stray_transaction(self) -> bool:
        """Whether a transaction is open that was begun by hand, and whose user is gone."""
        turns, begun_by = self.turns, self.begun_by
        if turns.stack or not self.driver.in_transaction:
            return False
        if not self.begun_by_hand:
            return not turns.busy  # with what may be a transaction of its own
        return begun_by is None or begun_by is self.handle or begun_by.turns is not turns

    @property
    def holds_something(self) -> bool:
        """Whether a transaction, cursor or statement of its user's is still open at the database."""
        return bool(self.in_doubt or self.cursors or self.turns.stack or self.driver.in_transaction)

    async def settle(self) -> bool:
        """Clear up what a cancelled verb and abandoned streams left, and return whether the connection is usable."""
        if self.in_doubt:
            if not await self.driver.settle():
                return False
            if self.driver.in_transaction and not self.turns.stack and not self.begun_by_hand:
                await self.driver.rollback()  # its BEGIN was cancelled, too late
            self.in_doubt = False
        while self.abandoned:
            await self.close_cursor(self.abandoned.pop())
        return not self.driver.is_closed

    async def close_cursor(self, cursor: Cursor) -> None:
        """Close a cursor."""
        self.cursors.discard(cursor)
        await cursor.close()

    async def restore(self) -> bool:
        """Bring the connection into the state in which it was lent, and return whether that worked."""
        driver, turns, reset = self.driver, self.turns, self._options.reset
        if not driver.is_closed:
            await turns.take_urgently(self._options.cleanup_timeout)
        turns.end_all("its connection was released")  # its BEGIN was under way
        turns.dismiss()
        self.abandoned.extend(self.cursors)
        if driver.is_closed or not await self.settle():
            return False
        if driver.in_transaction:
            await driver.rollback()
        if callable(reset):
            await driver.initialise(reset)
        elif reset == "always" or (reset == "auto" and self.session_changed):
            if not await driver.reset():
                return False
            if self._options.init is not None:
                await driver.initialise(self._options.init)
        return True

    async def is_alive(self, within: float) -> bool:
        """Make the connection fit for a new user, and return whether its server answers in ``within`` seconds.

        One whose role is not the one that is wanted does not count.
        """
        with anyio.move_on_after(within):
            try:
                if not self.is_clean and not await self.restore():
                    return False
                if self._hosts.watches_roles or self._role_in_doubt:
                    if not await self._hosts.fits(self.driver):
                        return False
                else:
                    await self.driver.ping()
            except Exception:  # noqa: BLE001 - whatever it is, this connection is of no use to anybody
                return False
            self._trust_role(monotonic())
            self.renew()
            return True
        return False

    async def close(self, within: float = float("inf")) -> None:
        """Close the connection, in good order if that takes no longer than ``cleanup_timeout``.

        What still runs on it, of a user who is gone, has ``within`` seconds of those to end.
        """
        try:
            await shielded(lambda: self._say_good_bye(within), self._options.cleanup_timeout)
        except Exception:  # noqa: BLE001, S110 - a server that is gone cannot be told good-bye
            pass
        finally:
            self.driver.terminate()
            self.turns.end_all(_CLOSED)

    async def _say_good_bye(self, within: float) -> None:
        turns = self.turns
        if not self.driver.is_closed:
            await turns.take_urgently(min(within, self._options.cleanup_timeout))
        turns.end_all(_CLOSED)
        turns.dismiss()
        await self.driver.close()


_A_MOMENT = 1.0  # seconds
_CLOSED = "its connection was closed"
