"""Signed cookies that hold a position of a database, or that none could be had."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from math import ceil
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from aio_databases import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Mark(NamedTuple):
    """What the cookie of a client says."""

    name: str
    issued: int
    """Seconds since 1970; never earlier than the moment it is about."""
    position: str | None
    """None if it could not be had: then the primary is to be read from."""


class PositionCookies:
    """Writes and reads the cookies of one application.

    A value is ``signature~issued~position``.  Name and time are signed too, so that a cookie counts under its own name,
    and no longer than it should.
    """

    def __init__(self, prefix: str, secret: str | bytes | Sequence[str | bytes], max_age: int, database: str) -> None:
        """Use cookies that are called ``prefix``, ``_`` and 8 hexadecimal digits, for ``max_age`` seconds.

        Cookies about a database of another name are not trusted.
        """
        prefix = f"{prefix}"
        if not _TOKEN.fullmatch(prefix):
            raise ConfigurationError(f"cookie={prefix!r} is no name for a cookie: use letters, digits, '-' and '_'")
        self._prefix = prefix
        self._name = re.compile(rb"%s_[0-9a-f]{8}" % re.escape(prefix.encode()))
        self._secrets = _checked(secret)
        self._max_age = max_age
        self._database = database.encode()

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[list[Mark], bool]:
        """Return what a request's cookies say, and whether there were others that cannot be trusted."""
        pairs = (pair.strip() for name, text in headers if name == b"cookie" for pair in text.split(b";"))
        named = (pair.partition(b"=") for pair in pairs)
        found = [self._mark(name, value) for name, _, value in named if self._name.fullmatch(name)]
        marks = [mark for mark in found if mark is not None]
        return list(dict.fromkeys(marks)), len(marks) < len(found)

    def _mark(self, name: bytes, value: bytes) -> Mark | None:
        match = _VALUE.fullmatch(value)
        if match is None:
            return None
        signature, told, issued, position = match.groups()
        trusted = any(hmac.compare_digest(self._signature(secret, name, told), signature) for secret in self._secrets)
        if not trusted or time() - int(issued) > self._max_age:
            return None
        return Mark(name.decode(), int(issued), None if position == _PRIMARY else position.decode())

    def can_hold(self, position: str) -> bool:
        """Return whether a position fits: a browser drops a cookie that is too long."""
        return _POSITION.fullmatch(position) is not None

    def full_name(self, name: str) -> str:
        """Return the name of the cookie that ends so."""
        return f"{self._prefix}_{name}"

    def value(self, name: str, issued: float, position: str | None, *, secure: bool) -> bytes:
        """Return the Set-Cookie header for a position; ``name`` is the end of the cookie's name."""
        full = self.full_name(name).encode()
        told = b"%d~%s" % (ceil(issued), _PRIMARY if position is None else position.encode())
        return self._header(
            full, b"%s~%s" % (self._signature(self._secrets[0], full, told), told), self._max_age, secure
        )

    def removal(self, mark: Mark, *, secure: bool) -> bytes:
        """Return the Set-Cookie header that deletes a cookie."""
        return self._header(mark.name.encode(), b"", 0, secure)

    def _header(self, name: bytes, value: bytes, max_age: int, secure: bool) -> bytes:  # noqa: FBT001 - a private one
        attributes = b"Max-Age=%d; Path=/; HttpOnly; SameSite=Lax" % max_age
        return b"%s=%s; %s" % (name, value, attributes + b"; Secure" * secure)

    def _signature(self, secret: bytes, name: bytes, told: bytes) -> bytes:
        # The first words keep it apart from what else an application signs with the same secret.
        signed = b"aio_databases position~%s~%s~%s" % (self._database, name, told)
        return urlsafe_b64encode(hmac.digest(secret, signed, "sha256")[:_SIGNATURE]).rstrip(b"=")


def _checked(secret: str | bytes | Sequence[str | bytes]) -> list[bytes]:
    several: Any = secret if isinstance(secret, list | tuple) else [secret]
    found = [each.encode() if isinstance(each, str) else each for each in several if isinstance(each, str | bytes)]
    if not found or len(found) < len(several) or min(map(len, found)) < _SHORTEST_SECRET:
        message = f"a secret has at least {_SHORTEST_SECRET} bytes; secrets.token_urlsafe(32) makes a good one"
        raise ConfigurationError(message)
    return found


_SHORTEST_SECRET = 16
_SIGNATURE = 16  # bytes; all cookies of a client together have to fit into a few kilobytes
_PRIMARY = b"primary"
_TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_POSITION = re.compile(r"""[^\s",;\\\x00-\x20\x7f-\U0010ffff]{1,500}""")
_VALUE = re.compile(rb"([\w-]{22})~((\d{1,12})~([\x21-\x7e]{1,500}))")
