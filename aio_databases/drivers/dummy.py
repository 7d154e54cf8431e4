"""A driver that does nothing, at once: for tests, and to measure what the layers above a driver cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from aio_databases.drivers.base import Capabilities, Cursor, Driver, DriverConnection
from aio_databases.errors import ConfigurationError
from aio_databases.rows.record import Result, record_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aio_databases.config.url import Address
    from aio_databases.drivers.base import TransactionOptions
    from aio_databases.errors import Diagnosis
    from aio_databases.rows.record import Record


class DummyConnection(DriverConnection):
    """A connection to nowhere; every query finds one row with the value 1."""

    cancels_no_task: ClassVar[bool] = True

    def __init__(self) -> None:
        """Connect to nowhere."""
        self.raw = self
        self._closed = False
        self._in_transaction = False

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def in_transaction(self) -> bool:
        return self._in_transaction

    async def execute(self, _sql: str, _params: Any, /) -> Result:
        return Result(0)

    async def executemany(self, _sql: str, rows: Sequence[Any], /) -> Result:
        """Do nothing, many times."""
        return Result(len(rows))

    async def fetch(self, _sql: str, _params: Any, limit: int | None, /) -> list[Record]:
        """Return one row with the value 1, unless none is wanted."""
        return [_ROW] if limit != 0 else []

    def cursor(self, _sql: str, _params: Any, /) -> Cursor:
        """Return a cursor over one row with the value 1."""
        return _DummyCursor()

    async def begin(self, options: TransactionOptions) -> None:  # noqa: ARG002 - the seam's signature
        self._in_transaction = True

    async def commit(self) -> None:
        self._in_transaction = False

    async def rollback(self) -> None:
        self._in_transaction = False

    async def reset(self) -> bool:
        """Undo nothing."""
        return True

    async def close(self) -> None:
        self._closed = True

    def terminate(self) -> None:
        self._closed = True


class _DummyCursor(Cursor):
    def __init__(self) -> None:
        self._rows = [_ROW]

    async def fetch(self, size: int) -> list[Record]:
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    async def close(self) -> None:
        self._rows = []


class DummyDriver(Driver):
    """Connects to nowhere."""

    name: ClassVar[str] = "dummy"
    dialect: ClassVar[str] = "dummy"
    paramstyle: ClassVar[str] = "qmark"
    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Keep what is never used.  Raises ConfigurationError for several hosts."""
        super().__init__(address, options, connect_args)
        if len(address.hosts) > 1:
            message = f"{address} has several hosts, and the dummy connects to none"
            raise ConfigurationError(message)

    async def connect(self, *, read_only: bool = False) -> DriverConnection:  # noqa: ARG002 - the seam's signature
        """Return a connection to nowhere."""
        return DummyConnection()

    def diagnose(self, exc: Exception) -> Diagnosis | None:  # noqa: ARG002 - the seam's signature
        """Tell that nothing comes from a library here."""
        return None


_ROW = record_type(("value",))((1,))
