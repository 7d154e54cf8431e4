"""Schemes that several libraries serve: the best one that is installed for the running event loop is picked."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from aio_databases.concurrency.loops import runs_on_trio
from aio_databases.drivers import driver_class
from aio_databases.drivers.base import Driver, diagnose_builtin
from aio_databases.errors import ConfigurationError, DriverNotInstalled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aio_databases.config.url import Address
    from aio_databases.drivers.base import DriverConnection
    from aio_databases.errors import Diagnosis


class AutoDriver(Driver):
    """Stands for the driver that serves the event loop, before one runs."""

    asyncio: ClassVar[tuple[str, ...]]
    """The names of the drivers that serve asyncio, the best one first."""
    trio: ClassVar[tuple[str, ...]]
    """The names of the drivers that serve trio, the best one first."""

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Keep where and how to connect.  Raises DriverNotInstalled if no event loop can be served."""
        super().__init__(address, options, connect_args)
        if not _installed((*self.asyncio, *self.trio)):
            raise _missing(type(self).dialect, self.asyncio, f"the URL {address.redacted!r}")

    def for_running_loop(self) -> Driver:
        """Return the best driver that is installed for the running event loop."""
        loop, names = ("trio", self.trio) if runs_on_trio() else ("asyncio", self.asyncio)
        name = _installed(names)
        if name is None:
            raise _missing(type(self).dialect, names, f"{self.address} on {loop}")
        chosen = driver_class(name, self.address.redacted)
        for option in self.options.keys() & self.option_types.keys() - chosen.option_types.keys():
            message = f"the driver {name}, which serves {self.address} on {loop}, has no option {option!r}; leave it "
            raise ConfigurationError(message + f"out, or name a driver in the URL: {self.dialect}+{self.asyncio[0]}://")
        return chosen(self.address, self.options, self.connect_args)

    async def connect(self, *, read_only: bool = False) -> DriverConnection:
        """Open a connection with the driver for the running event loop."""
        return await self.for_running_loop().connect(read_only=read_only)

    def diagnose(self, exc: Exception) -> Diagnosis | None:
        """Tell what an exception of the network means; a library has not been chosen yet."""
        return diagnose_builtin(exc)


def _installed(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if find_spec(name.replace("-", "_")) is not None), None)


def _missing(extra: str, names: tuple[str, ...], what: str) -> DriverNotInstalled:
    message = f"{what} needs a library: pip install 'aio-databases[{extra}]', or name one of "
    return DriverNotInstalled(f"{message}{', '.join(names)} in place of {extra}")
