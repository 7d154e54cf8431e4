"""What can go wrong with a server of the tests."""

from __future__ import annotations


class ServerError(Exception):
    """Raised when a server does not start or does not do what the tests need of it."""


class ServerMissing(ServerError):
    """Raised when the programs of a server are not installed."""
