"""What a script for the fake driver is made of: errors, gates and rules."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from aio_databases import errors


class FakeError(Exception):
    """What the library of the fake raises; `kind` is what it means."""

    def __init__(self, message: str = "refused", kind: type[errors.Error] = errors.DatabaseError) -> None:
        super().__init__(message)
        self.kind = kind


class LinkError(OSError):
    """The link to the server broke."""


class Gate:
    """Holds an operation up until the test opens it."""

    def __init__(self) -> None:
        self._reached = anyio.Event()
        self._opened = anyio.Event()

    async def reached(self) -> None:
        """Wait until the operation has come here."""
        await self._reached.wait()

    def open(self) -> None:
        """Let the operation go on."""
        self._opened.set()

    async def hold(self) -> None:
        """Wait until the gate is open."""
        self._reached.set()
        await self._opened.wait()


@dataclass
class Rule:
    """What becomes of the next `times` operations whose text begins with `start`."""

    start: str
    times: float
    error: BaseException | type[BaseException] | None = None
    gate: Gate | None = None
    drops: bool = False
    ends_transaction: bool = False
    skip: int = 0
