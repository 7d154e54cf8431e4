"""A connection as its user sees it: a lease with verbs and transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aio_databases.pool.lease import Lease
from aio_databases.streams import RecordStream
from aio_databases.transaction import Transaction
from aio_databases.transactions.options import split_arguments
from aio_databases.verbs import Verbs

if TYPE_CHECKING:
    from typing import Unpack

    from aio_databases.transactions.options import BlockArguments

    Args = tuple[Any, ...]


class Connection(Lease, Verbs):
    """A connection that is yours until it is released.

    Tasks may share it: their calls run one at a time, and while a nested transaction is open only calls made inside
    its block run.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        state = "ready" if self.is_ready else "released"
        return f"<Connection {state}{' read-only' if self.read_only else ''} to {self.pool.driver.address}>"

    @property
    def role(self) -> str:
        """The role of the server: ``"primary"`` or ``"replica"``."""
        return self.pool.role

    def transaction(self, *, silent: bool = False, **options: Unpack[BlockArguments]) -> Transaction[Connection]:
        """Return a transaction on this connection, to be used with ``async with``; see `Database.transaction`."""
        begin, timeout = split_arguments(options)
        return Transaction(self.owner, begin, self.sibling, connection=self, silent=silent, timeout=timeout)

    _run = Lease.run  # pyright: ignore[reportAssignmentType] - the same, without another call

    def _stream(self, query: Any, params: Args, into: Any, chunk_size: int) -> RecordStream[Any]:
        return RecordStream(lambda: self, self.sibling, query, params, into, chunk_size)
