"""Hooks that note their calls, and some that fail."""

from __future__ import annotations

from anyio.lowlevel import checkpoint

__all__ = ("Boom", "Calls", "fail", "fail_later")


class Boom(Exception):
    """The user's own exception."""


class Calls(list):
    """Hooks that note their calls."""

    def note(self, name):
        self.append(name)

    async def note_later(self, name):
        await checkpoint()
        self.append(name)

    def add(self, transaction, name):
        """Register one hook of each kind."""
        transaction.on_commit(self.note, f"{name} committed")
        transaction.on_rollback(self.note_later, f"{name} rolled back")


def fail(message="hook"):
    raise ValueError(message)


async def fail_later(message="hook"):
    await checkpoint()
    raise ValueError(message)
