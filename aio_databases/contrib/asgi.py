"""ASGI middleware that reads from replicas, and shows each client what it wrote.

A signed cookie says how far the primary's history was when the client last wrote; what the client reads then comes
from where that position was reached.  A position is no secret, and whose it is does not matter: without the signature a
client could ask for one that is never reached, and let each of its requests wait for nothing.

Answers to requests that ran side by side may arrive in another order than their positions have, so that of the last one
to arrive is not always the newest.  That is why each request that writes sets a cookie with a name of its own, and
deletes those that it has met, which its position covers: what another request set meanwhile stays.  A client with
several cookies is served by the primary once, which sums them up in one.  The name of that follows from theirs, so
requests side by side sum up to the same one; and as a request that only reads has nothing to add, it does not matter
which of them comes last.

Where a position cannot be had, or would come too early because the commit is still to come, the cookie holds none and
leads to the primary.  When the time for late commits is over, the next request asks for the position after all.  Such a
cookie has the name of the stretch of time in which it was set, and the same value all the while, so that however many
are set, and in whatever order they arrive, they are one; it is deleted when that stretch and the time for late commits
are over.  From one client that writes often side by side all but a few cookies are of this kind.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from hashlib import sha256
from inspect import iscoroutinefunction
from secrets import token_hex
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from aio_databases import ConfigurationError, Error, NotSupportedError, TransactionError, WriteTracker
from aio_databases.contrib.cookies import PositionCookies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from aio_databases import Database
    from aio_databases.contrib.cookies import Mark

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ("ReadYourWrites", "reads_by_method")


def reads_by_method(scope: Scope) -> bool:
    """Return whether a request reads, as far as its method shows: GET, HEAD and OPTIONS do."""
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
        name: str | None = None,
        wait: float = 0.5,
        max_lag: float | None = None,
        max_age: float = 3600.0,
        pin: float = 10.0,
        reads: Callable[[Scope], bool | None] = reads_by_method,
    ) -> None:
        """Wrap ``app``, which uses ``db``.

        ``secret``, of 16 bytes or more, signs the cookies, whose names begin with ``cookie``; of several the first
        signs, and all are accepted.  ``name`` says which database the positions are of, by default its name in the URL:
        a cookie of another one does not count.  ``wait`` and ``max_lag`` are those of `Database.replica`, in seconds.
        After
        ``max_age`` seconds a write counts as replayed everywhere.  A client whose position cannot be had reads from the
        primary for ``pin`` seconds or up to twice as many.

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
        chooser: Any = reads
        if not callable(chooser) or any(map(iscoroutinefunction, (chooser, type(chooser).__call__))):
            raise ConfigurationError(f"reads must be a function of a scope that is not async, not {reads!r}")
        db.replica(wait=wait, max_lag=max_lag)  # raises now what is wrong with them
        self._app = app
        self._db = db
        called = urlsplit(db.url).path.rpartition("/")[2] if name is None else f"{name}"
        self._cookies = PositionCookies(cookie, secret, int(max_age), called)
        self._stretch = 0  # of time; how often each client has written in it
        self._written: dict[int, int] = {}
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

        block, marks = self._block_for(marks) if reads else (None, marks)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                values = await self._cookies_after(scope, marks, writes, reads=reads)
                added = [(b"set-cookie", value) for value in values]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        async with AsyncExitStack() as stack:
            if block is not None:
                await self._enter(stack, block, has_written=bool(marks))
            with WriteTracker(self._db) as writes:
                await self._app(scope, receive, answer)

    def _block_for(self, marks: list[Mark]) -> tuple[AbstractAsyncContextManager[Any], list[Mark]]:
        """Return a block for a client that came with ``marks``, and what its cookies say, as far as it is understood.

        No single position will do for some: these read from the primary, which a block makes sure of.
        """
        if not _want_summing_up(marks):
            after = marks[0].position if marks else None
            try:
                return self._db.replica(after=after, wait=self._wait, max_lag=self._max_lag), marks
            except ConfigurationError:
                self._db.logger.info(
                    "a position that does not belong to %s has its client read from the primary", self._db.url
                )
                marks = [marks[0]._replace(position=None)]
        return self._db.replica(max_lag=0), marks

    async def _enter(
        self, stack: AsyncExitStack, block: AbstractAsyncContextManager[Any], *, has_written: bool
    ) -> None:
        """Begin a block, if that is possible: otherwise the app runs without, and meets what is wrong.

        Without it a client may miss what it has written, so that is an error then, unless nothing can be asked here.
        """
        try:
            await stack.enter_async_context(block)
        except Error as exc:
            if has_written and not isinstance(exc, NotSupportedError | TransactionError):
                raise
            self._db.logger.warning("a request has no replica block: %s", exc)

    async def _cookies_after(
        self, scope: Scope, marks: list[Mark], writes: WriteTracker, *, reads: bool
    ) -> list[bytes]:
        """Return the cookies to set when the response to a request starts, which came with ``marks``."""
        may_have_written = writes.has_written or not reads
        now = time()
        pins = [mark for mark in marks if mark.position is None and mark.issued > now - self._pin]
        if not may_have_written and (pins or not _want_summing_up(marks)):
            return []
        # A commit may come after the start of the response: from a dependency of FastAPI's, or from another task.
        position = (
            None if writes.are_open or (may_have_written and self._is_one_of_many(scope)) else await self._position()
        )
        issued, name, covered = now, token_hex(4), marks
        if position is None:
            if not may_have_written:
                return []
            stretch = int(now / self._pin)
            issued, name = (stretch + 1) * self._pin, f"{stretch % 2**32:08x}"
        elif may_have_written:
            covered = [mark for mark in marks if mark not in pins]
        else:
            name = sha256("".join(sorted(mark.name for mark in marks)).encode()).hexdigest()[:8]
        secure, set_now = scope.get("scheme") == "https", self._cookies.full_name(name)
        removed = [self._cookies.removal(mark, secure=secure) for mark in covered if mark.name != set_now]
        return [*removed, self._cookies.value(name, issued, position, secure=secure)]

    def _is_one_of_many(self, scope: Scope) -> bool:
        """Return whether this request is one of many that a client makes before it has the answer to the first.

        They all have the same cookies.  Each may set one with a name of its own, but their number has a limit.
        """
        stretch = int(time() / self._pin)
        if stretch != self._stretch:
            self._stretch = stretch
            self._written.clear()
        host, *_ = scope.get("client") or ("",)
        told = (value for name, value in scope["headers"] if name in _OF_A_CLIENT)
        client = hash((host, *told))
        count = self._written[client] = self._written.get(client, 0) + 1
        return count > _MOST_SIDE_BY_SIDE

    async def _position(self) -> str | None:
        """Return the position of the primary, which covers all that was committed; None if it cannot be had."""
        with anyio.move_on_after(_POSITION_WITHIN):
            try:
                position = await self._db.position()
            except Error as exc:
                self._db.logger.info("a client reads from the primary for some time: %s", exc)
            else:
                return position if self._cookies.can_hold(position) else None
        return None


def _want_summing_up(marks: list[Mark]) -> bool:
    """Return whether more is needed than a replica at one position."""
    return len(marks) > 1 or any(mark.position is None for mark in marks)


_A_YEAR = 366 * 86400  # seconds
_MOST_SIDE_BY_SIDE = 4  # cookies with names of their own, for requests that were made with the same cookies
_OF_A_CLIENT = frozenset({b"authorization", b"cookie", b"user-agent", b"x-forwarded-for"})
_POSITION_WITHIN = 5.0  # seconds for which a response may be held up
