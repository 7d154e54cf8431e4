"""What SQLite can do, whatever speaks to it; beside the drivers, since importing sqlite3 is not for ODBC to do."""

from __future__ import annotations

from aio_databases.drivers.base import Capabilities

__all__ = ("CAPABILITIES", "CONNECT_HINT")

CONNECT_HINT = "check that its folder exists and that the file and the folder are writable"
CAPABILITIES = Capabilities(
    lastrowid=True,
    isolation_levels=frozenset({"serializable"}),
    modes=frozenset({"deferred", "immediate", "exclusive"}),
    single_writer=True,
    reusable_after_cancel=True,
)
