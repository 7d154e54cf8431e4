"""What SQLite can do, and what leads to it, whatever speaks to it.

It stands beside the drivers, since importing sqlite3 is not for ODBC to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aio_databases.drivers.base import Capabilities
from aio_databases.errors import ConfigurationError

if TYPE_CHECKING:
    from aio_databases.config.url import Address

__all__ = ("CAPABILITIES", "CONNECT_HINT", "refuse_uri")

CONNECT_HINT = "check that its folder exists and that the file and the folder are writable"
CAPABILITIES = Capabilities(
    lastrowid=True,
    isolation_levels=frozenset({"serializable"}),
    modes=frozenset({"deferred", "immediate", "exclusive"}),
    single_writer=True,
    reusable_after_cancel=True,
)


def refuse_uri(address: Address, remedy: str) -> None:
    """Raise ConfigurationError if a path looks like an SQLite URI where it would be the name of a file."""
    if address.url.path.removeprefix("/").startswith("file:"):
        message = f"the path of {address.redacted!r} begins with 'file:', as an SQLite URI does: {remedy}"
        raise ConfigurationError(f"{message}; a file whose name begins so is written 'file%3A'")
