"""What a physical connection asks of the objects above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import logging

    from aio_databases.drivers.base import Driver, DriverConnection
    from aio_databases.physical_connection.lock import ConnectionLock, WriterLock
    from aio_databases.physical_connection.losses import Losses


class Connector(Protocol):
    """Opens connections to a server; a pool's `Connector`."""

    @property
    def last_host(self) -> int:
        """The index of the host, of those of the URL, that a connection was opened on last."""
        ...

    @property
    def asks_at_once(self) -> bool:
        """Whether the role of a server is asked when a connection is opened."""
        ...

    @property
    def watches_roles(self) -> bool:
        """Whether a connection is of no use any more when its server changes its role."""
        ...

    async def fits(self, connection: DriverConnection) -> bool:
        """Return whether the server of an open connection has, or still has, a role that will do."""
        ...

    def begin_cancellation(self) -> None:
        """Note that the server was asked to stop a statement."""

    def end_cancellation(self) -> None:
        """Note that it has answered, or is not waited for any more."""


class Server(Protocol):
    """What a connection asks about its server, and reports of it for other connections; a `Pool`."""

    read_only: bool
    writer_lock: WriterLock | None

    @property
    def driver(self) -> Driver:
        """The driver."""
        ...

    @property
    def cleanup_timeout(self) -> float:
        """For how many seconds the server may take to stop a statement."""
        ...

    def suspect(self) -> None:
        """Have every idle connection checked before it is lent again: another one was just found dead."""

    def suspect_roles(self) -> None:
        """Have the role of every server checked before a connection to it is lent again."""

    def leave_alone(self, reason: object) -> None:
        """Have callers use another server for a while, if they have one."""

    def warn_of_session(self, sql: str) -> None:
        """Warn of a statement that changes a session, on a lease for this one statement."""


class Caller(Protocol):
    """On whose behalf a call is run; a `Lease`."""

    owner: Any
    logger: logging.Logger
    losses: Losses | None
    lock: ConnectionLock | None
    is_for_one_statement: bool

    @property
    def pool(self) -> Server:
        """The pool that has lent the connection."""
        ...

    async def replace_lost(self) -> None:
        """Take another connection in place of one that was lost, if that is wanted."""
