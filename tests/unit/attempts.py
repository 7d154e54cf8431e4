"""What functions that are run again meet, and what they do."""

from __future__ import annotations

from aio_databases import SerializationFailure
from aio_databases.testing.fake_driver import FakeError

__all__ = ("again", "insert")


def again(kind=SerializationFailure):
    """Return an error of the fake that asks to run the transaction again."""
    return FakeError("met another one", kind)


async def insert(db, number=1):
    await db.execute(f"insert {number}")
    return number
