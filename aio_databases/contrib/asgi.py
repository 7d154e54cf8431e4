"""ASGI middleware that reads from replicas, and shows each client what it wrote.

A signed cookie tells how far the primary's history was when the client last wrote; what the client reads then comes
from where that position was reached.  A position is no secret, and whose it is does not matter: without the signature a
client could ask for one that is never reached, and let each of its requests wait in vain.

Answers to requests that ran side by side may arrive in another order than their positions have, so that of the last one
to arrive is not always the newest.  That is why each request that writes sets a cookie with a name of its own, and
deletes those that it has met, which its position covers: what another request set meanwhile stays.  A client with
several cookies is served by the primary once, which sums them up in one.  The name of that follows from theirs, so
requests side by side sum up to the same one; and as a request that only reads has nothing to add, it does not matter
which of them comes last.

Where a position cannot be had, or would come too early because the commit is still to come, the cookie holds none and
leads to the primary.  When the time for late commits is over, the next request asks for the position after all.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from hashlib import sha256
from secrets import token_hex
from time import time
from typing import TYPE_CHECKING, Any

import anyio

from aio_databases import ConfigurationError, Error, Writes
from aio_databases.contrib.cookies import PositionCookies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence

    from aio_databases import Database
    from aio_databases.contrib.cookies import Mark

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ("ReadYourWrites", "reads_by_method")


def reads_by_method(scope: Scope) -> bool:
    """Return whether a request reads, as far as its method tells: GET, HEAD and OPTIONS do."""
    return scope["method"] in {"GET", "HEAD", "OPTIONS"}


class ReadYourWrites:
    """ASGI middleware: requests that read do so in a ``db.replica()`` block, after what their client wrote."""

    def __init__(
        self,
        app: App,
        db: Database,
        *,
        secret: str | bytes | Sequence[str | bytes],
        cookie: str = "aiodb_position",
        wait: float = 0.5,
        max_lag: float | None = None,
        max_age: float = 3600.0,
        pin: float = 10.0,
        reads: Callable[[Scope], bool | None] = reads_by_method,
    ) -> None:
        """Wrap ``app``, which uses ``db``.

        ``secret``, of 16 bytes or more, signs the cookies, whose names begin with ``cookie``; of several the first
        signs, and all are accepted.  ``wait`` and ``max_lag`` are those of `Database.replica`, in seconds.  After
        ``max_age`` seconds a write counts as replayed everywhere.  A client whose position cannot be had reads from the
        primary for ``pin`` seconds.

        ``reads`` is asked with the scope of each HTTP request: True runs it in a replica block, False on the primary,
        and with None the request is left alone, without the promise: it suits static files and endless streams.

        Raises ConfigurationError.
        """
        try:
            fits = 0 < pin < max_age and 1 <= max_age <= _A_YEAR
        except TypeError:
            fits = False
        if not fits:
            message = (
                f"pin={pin!r} and max_age={max_age!r} must be seconds, pin fewer than max_age, and that at most a "
            )
            raise ConfigurationError(message + "year")
        if not callable(reads):
            raise ConfigurationError(f"reads must be a function of a scope, not {reads!r}")
        db.replica(wait=wait, max_lag=max_lag)  # tells now what is wrong with them
        self._app = app
        self._db = db
        self._cookies = PositionCookies(cookie, secret, int(max_age), db.url)
        self._wait = wait
        self._max_lag = max_lag
        self._pin = pin
        self._reads = reads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, a websocket or the lifespan; only HTTP requests are changed."""
        reads = self._reads(scope) if scope["type"] == "http" else None
        if reads is None:
            await self._app(scope, receive, send)
            return
        marks, forged = self._cookies.read(scope["headers"])
        if forged:
            self._db.logger.info("ignored a cookie with a position that is too old, or not signed by this application")

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                secure = scope.get("scheme") == "https"
                values = await self._cookies_after(marks, writes, reads=reads, secure=secure)
                added = [(b"set-cookie", value) for value in values]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        async with AsyncExitStack() as stack:
            if reads and not _want_summing_up(marks):
                await self._enter_replica(stack, marks[0].position if marks else None)
            with Writes(self._db) as writes:
                await self._app(scope, receive, answer)

    async def _enter_replica(self, stack: AsyncExitStack, after: str | None) -> None:
        """Begin a replica block, if that is possible: otherwise the app runs without, and meets what is wrong."""
        try:
            block = self._db.replica(after=after, wait=self._wait, max_lag=self._max_lag)
            await stack.enter_async_context(block)
        except Error as exc:
            if after is None or not isinstance(exc, ConfigurationError):
                self._db.logger.warning("a request has no replica block: %s", exc)
                return
            self._db.logger.info("ignored a position that is none of %s", self._db.url)
            await self._enter_replica(stack, None)

    async def _cookies_after(self, marks: list[Mark], writes: Writes, *, reads: bool, secure: bool) -> list[bytes]:
        """Return the cookies to set when the response to a request starts, which came with ``marks``."""
        may_have_written = writes.any or not reads
        pins_from = time() - self._pin
        pins = [mark for mark in marks if mark.position is None and mark.issued > pins_from]
        if not may_have_written and (pins or not _want_summing_up(marks)):
            return []
        # A commit may come after the start of the response: from a dependency of FastAPI's, or from another task.
        position = None if writes.are_open else await self._position()
        if may_have_written:
            name = token_hex(4)
            covered = [mark for mark in marks if position is None or mark not in pins]
        elif position is None:
            return []
        else:
            name = sha256("".join(sorted(mark.name for mark in marks)).encode()).hexdigest()[:8]
            covered = marks
        removed = [self._cookies.removal(mark, secure=secure) for mark in covered]
        return [*removed, self._cookies.value(name, position, secure=secure)]

    async def _position(self) -> str | None:
        """Return the position of the primary, which covers all that was committed; None if it cannot be had."""
        with anyio.move_on_after(_POSITION_WITHIN):
            try:
                position = await self._db.position()
            except Error as exc:
                self._db.logger.info("a client reads from the primary for %g s: %s", self._pin, exc)
            else:
                return position if self._cookies.can_hold(position) else None
        return None


def _want_summing_up(marks: list[Mark]) -> bool:
    """Return whether more is needed than a replica at one position."""
    return len(marks) > 1 or any(mark.position is None for mark in marks)


_A_YEAR = 366 * 86400  # seconds
_POSITION_WITHIN = 5.0  # seconds for which a response may be held up
