"""A browser, as far as an ASGI application can tell: it keeps the cookies that it is given, and sends them back."""

from __future__ import annotations

from http.cookies import SimpleCookie
from itertools import count
from typing import NamedTuple

import anyio

__all__ = ("Browser", "Response", "serve")


_ports = count(40_000)  # each request comes by a connection of its own


class Response(NamedTuple):
    """What an application has answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: str

    @property
    def set_cookies(self):
        return [value.decode() for name, value in self.headers if name == b"set-cookie"]


class Browser:
    """Makes requests of an application."""

    def __init__(self, app, scheme="http"):
        self.app = app
        self.scheme = scheme
        self.cookies = {}

    async def get(self, path="/", **options):
        return await self.request("GET", path, **options)

    async def post(self, path="/", **options):
        return await self.request("POST", path, **options)

    async def request(self, method, path="/", *, cookies=None, keep=True):
        """Make a request, with these `cookie` headers instead of the browser's own, and keep the cookies it is given.

        Without `keep` the response is still under way: hand it to `receive` later.
        """
        if cookies is None:
            cookies = ["; ".join(f"{name}={value}" for name, value in self.cookies.items()).encode()]
        messages = []
        unsent = [{"type": "http.request", "body": b"", "more_body": False}]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "scheme": self.scheme,
            "client": ("127.0.0.1", next(_ports)),
            "headers": [(b"host", b"test"), *((b"cookie", value) for value in cookies if value)],
        }

        async def receive():
            if not unsent:
                await anyio.sleep_forever()  # the browser stays
            return unsent.pop()

        async def send(message):
            messages.append(message)

        await self.app(scope, receive, send)
        start, *rest = messages
        body = b"".join(message["body"] for message in rest).decode()
        response = Response(start["status"], [tuple(header) for header in start["headers"]], body)
        if keep:
            self.receive(response)
        return response

    def receive(self, response):
        """Keep the cookies of a response, and delete those that it deletes."""
        for text in response.set_cookies:
            for name, morsel in SimpleCookie(text).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value


def serve(handler, headers=()):
    """Return an application that answers with what `handler` returns."""

    async def app(scope, receive, send):
        body = await handler(scope)
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": str(body).encode()})

    return app
