"""What is compared: each library as its own documentation shows it, one file per library."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from systems.address import Address

OURS = "aio_databases"
PREDECESSOR = "aio-databases 2"
AGAIN = ", again"
"""Ends the name of the control, which does the same as the reference."""


class Entry(NamedTuple):
    """A system: its name in tables, its module and class, and whether it is a peer instead of a driver or ours."""

    name: str
    module: str
    cls: str
    peer: bool = False

    def make(self, address: Address, event_loop: str) -> Any:
        """Return the system, whose connections are not open yet."""
        if self.name == PREDECESSOR:
            from environments import Remote  # noqa: PLC0415 - nothing else needs it

            return Remote(self.cls, address, event_loop)
        return getattr(import_module(f"systems.{self.module}"), self.cls)(address)


def _with_peers(driver: str, predecessor: str, *entries: Entry) -> tuple[Entry, ...]:
    return (
        *entries,
        Entry("databases", "databases", driver, peer=True),
        Entry("SQLAlchemy", "sqlalchemy", driver, peer=True),
        Entry("sqlspec", "sqlspec", driver, peer=True),
        Entry("tortoise", "tortoise", driver, peer=True),
        Entry(PREDECESSOR, "predecessor", predecessor, peer=True),
    )


SYSTEMS = {
    "sqlite": _with_peers(
        "OnAiosqlite",
        "OnAiosqlite",
        Entry("aiosqlite naive", "aiosqlite", "Naive"),
        Entry(f"aiosqlite naive{AGAIN}", "aiosqlite", "Naive"),
        Entry("aiosqlite", "aiosqlite", "OneHop"),
        Entry(OURS, "ours", "SQLite"),
    ),
    "postgresql": _with_peers(
        "OnAsyncpg",
        "OnAsyncpg",
        Entry("asyncpg", "asyncpg", "Asyncpg"),
        Entry(f"asyncpg{AGAIN}", "asyncpg", "Asyncpg"),
        Entry(OURS, "ours", "OnAsyncpg"),
        Entry(f"{OURS} psycopg", "ours", "OnPsycopg"),
    ),
    "mysql": _with_peers(
        "OnAsyncmy",
        "OnAiomysql",  # 2.0 has no other driver
        Entry("asyncmy", "asyncmy", "Asyncmy"),
        Entry(f"asyncmy{AGAIN}", "asyncmy", "Asyncmy"),
        Entry(OURS, "ours", "OnAsyncmy"),
        Entry(f"{OURS} aiomysql", "ours", "OnAiomysql"),
    ),
}
"""The systems of each database; the first one is the reference, the second one the control."""
