"""ODBC through aioodbc, on asyncio."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pyodbc

from aio_databases.drivers.base import DriverConnection
from aio_databases.drivers.odbc.connection import OdbcConnection
from aio_databases.drivers.odbc.family import ODBC
from aio_databases.drivers.odbc.pyodbc import PyodbcDriver, redact_connect_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases.drivers.base import Capabilities

    aioodbc: Any  # it brings no types
else:
    import aioodbc


class AioodbcConnection(OdbcConnection):
    """A connection of aioodbc, with a worker thread of its own instead of a pool of them.

    Rests on a name that aioodbc keeps private, ``_conn``: its methods take a hop for every step, and do not stop the
    statement when they are cancelled, so the verbs use the connection of pyodbc behind it.
    """

    _raw: Any = None

    @property
    def raw(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The connection of aioodbc."""
        return self._raw

    async def connect(self, text: str) -> None:
        self._text = text
        executor = _Executor(self._inbox.put)
        arguments: dict[str, Any] = {"timeout": self.driver.gives_up_after, **self.driver.connect_args}
        try:
            self._raw = await aioodbc.connect(dsn=text, autocommit=True, executor=executor, **arguments)
        except pyodbc.Error as exc:
            raise redact_connect_error(exc) from None
        await self.open(lambda: self._raw._conn)  # noqa: SLF001 - its own methods take a hop each

    async def initialise(self, init: Callable[[Any], Any]) -> None:
        """Call the user's ``init`` with the connection of aioodbc."""
        await DriverConnection.initialise(self, init)

    def terminate(self) -> None:
        self._disarm()
        super().terminate()

    def _close(self) -> None:
        self._disarm()
        super()._close()

    def _disarm(self) -> None:
        if self._raw is not None:
            self._raw._conn = None  # noqa: SLF001 - or the garbage collector would have it closed in any thread


class _Executor:
    """Has the thread of a connection do what aioodbc would have an executor of threads do."""

    def __init__(self, put: Callable[[Callable[[], object]], object]) -> None:
        self._put = put

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args))
            except BaseException as exc:  # noqa: BLE001 - the task that awaits it raises it
                future.set_exception(exc)

        self._put(call)
        return future


class AioodbcDriver(PyodbcDriver):
    """Opens connections to ODBC's data sources with aioodbc."""

    name: ClassVar[str] = "aioodbc"
    loop_hint: ClassVar[str] = "; the scheme pyodbc:// runs on both"
    capabilities: ClassVar[Capabilities] = replace(ODBC, trio=False)
    connection: ClassVar[type[OdbcConnection]] = AioodbcConnection
