"""Database servers of our own for the tests: private, thrown away at the end of the run."""

from __future__ import annotations

from servers.errors import ServerError, ServerMissing
from servers.postgres import GivenPostgres, PostgresAccess, PostgresServer

__all__ = ("GivenPostgres", "PostgresAccess", "PostgresServer", "ServerError", "ServerMissing")
