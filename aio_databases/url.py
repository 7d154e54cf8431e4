"""Database URLs and options: parsed once, typed, and never shown with a password."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from aio_databases.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ("URL", "Address", "near_misses", "parse_url", "redact", "typed_options")


class URL(SplitResult):
    """A split URL that hides its password when it is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        # geturl() drops the slashes where there is no host.
        text = f"{self.scheme}://{self.netloc}{self.path}"
        return f"URL({redact(f'{text}?{self.query}' if self.query else text)!r})"

    __str__ = __repr__


class Address:
    """What a URL says about where a database is, percent-decoded.

    ``path`` is the URL's path as it stands, still with its leading slash; ``database`` is it without.
    """

    __slots__ = ("host", "options", "password", "path", "port", "redacted", "scheme", "url", "user")

    def __init__(self, url: URL, redacted: str) -> None:
        """Decode the parts of a URL.  Raises ValueError if its host or port is malformed."""
        self.url = url
        self.redacted = redacted
        self.scheme = url.scheme
        self.host = unquote(url.hostname) if url.hostname else None
        self.port = url.port
        self.user = unquote(url.username) if url.username else None
        self.password = unquote(url.password) if url.password else None
        self.path = unquote(url.path)
        self.options = dict(parse_qsl(url.query, keep_blank_values=True))

    @property
    def database(self) -> str:
        """The name of the database: the path without its first slash."""
        return self.path.removeprefix("/")

    def __repr__(self) -> str:
        return f"Address({self.redacted!r})"

    def __str__(self) -> str:
        """Return where the database is, without user and password."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host or ""
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{host}{port}{self.path}"


def parse_url(text: str) -> Address:
    """Return the parts of a database URL.

    Raises ConfigurationError for a text that is no URL.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users without type checkers
        message = f"a database URL must be a str, not {type(text).__name__}"
        raise ConfigurationError(message)
    try:
        address = Address(URL(*urlsplit(text)), redact(text))
    except ValueError:
        raise _malformed(text) from None  # urllib quotes the part, which may be half a password
    if not address.scheme:
        message = f"the database URL {redact(text)!r} has no scheme; write for example 'sqlite:///file.db'"
        raise ConfigurationError(message)
    if text.partition("://")[0].lower() != address.scheme or _has_stray_at(text):
        raise _malformed(text)
    return address


def _malformed(text: str) -> ConfigurationError:
    message = f"the database URL {redact(text)!r} is malformed: write 'scheme://user:password@host:port/name', and "
    return ConfigurationError(message + "percent-encode special characters in user and password")


def _has_stray_at(text: str) -> bool:
    """Return whether an at sign or ``#`` stands where hardly anything but a badly encoded password has put it."""
    rest = text.partition("://")[2]
    netloc, tail = _split_netloc(rest)
    if "#" in tail or any(character < " " for character in text):
        return True
    if not netloc:
        return False  # a file, whose path is its owner's business
    path, _, query = tail.partition("?")
    names = [pair.partition("=")[0] for pair in query.split("&")]
    return "@" in path or any("@" in name for name in names) or ("@" in query and ":" in netloc and "@" not in netloc)


def _split_netloc(rest: str) -> tuple[str, str]:
    end = min((position for mark in "/?#" if (position := rest.find(mark)) >= 0), default=len(rest))
    return rest[:end], rest[end:]


def redact(text: str) -> str:
    """Return a URL with its password, and any password among its options, replaced by ``***``."""
    head, separator, rest = text.partition("://")
    if not separator or ":" in head:
        return "***" if any(mark in text for mark in "@:=") else text
    netloc, tail = _split_netloc(rest)
    if _has_stray_at(text):
        return f"{head}://{re.split('[:/?#@]', rest, maxsplit=1)[0]}:***"
    user, at_sign, host = netloc.rpartition("@")
    if not at_sign:
        host = _without_bad_port(host)
    name, colon, _ = user.partition(":")
    path, question, query = tail.partition("?")
    if question:
        pairs = (pair.partition("=") for pair in query.split("&"))
        query = "&".join(f"{name}{eq}{'***' if _is_secret(name) else value}" for name, eq, value in pairs)
    return f"{head}://{name}{colon and ':***'}{at_sign}{host}{path}{question}{query}"


def _without_bad_port(host: str) -> str:
    """Return ``host:port``, hiding a port that may be a password whose host was forgotten."""
    bracket, closing, last = host.rpartition("]")
    name, colon, port = last.partition(":")
    return f"{bracket}{closing}{name}{colon}{port if port.isdecimal() else port and '***'}"


def _is_secret(name: str) -> bool:
    return any(word in unquote(name).lower() for word in ("dsn", "pass", "pwd", "secret", "token"))


def typed_options(
    given: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]], aliases: Mapping[str, str], where: str
) -> dict[str, Any]:
    """Return ``given`` with aliases resolved and every value converted by its entry in ``known``.

    ``where`` names the database in messages.  Raises ConfigurationError for an unknown name, naming near misses, and
    for a value that cannot be converted.
    """
    options: dict[str, Any] = {}
    for given_name, value in given.items():
        name = aliases.get(given_name, given_name)
        convert = known.get(name)
        if convert is None:
            hint = near_misses(given_name, [*known, *aliases])
            message = f"unknown option {given_name!r} for {where}{hint}; options of the library go into connect_args"
            raise ConfigurationError(message)
        try:
            options[name] = convert(value)
        except (OverflowError, TypeError, ValueError) as exc:
            shown = "" if _is_secret(name) else f" {value!r}: {exc}"
            message = f"the option {given_name!r} of {where} has a bad value{shown}"
            raise ConfigurationError(message) from None
    return options


def near_misses(name: str, known: Iterable[str]) -> str:
    """Return a hint such as ``; did you mean 'max_size'?`` if ``known`` has names like ``name``, else nothing."""
    import difflib  # noqa: PLC0415 - for mistakes only

    close = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


# Converters: they take what a keyword argument or the text of a URL's query may hold.


def boolean(value: Any) -> bool:
    """Return True or False for a bool or one of the words for them."""
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    message = "expected true or false"
    raise ValueError(message)


def integer(value: Any) -> int:
    """Return a whole number that is not negative."""
    number = int(value)
    if isinstance(value, bool) or number < 0 or number != float(value):
        message = "expected a whole number, 0 or more"
        raise ValueError(message)
    return number


def seconds(value: Any) -> float:
    """Return a duration in seconds that is not negative."""
    number = float(value)
    if isinstance(value, bool) or not number >= 0:
        message = "expected a number of seconds, 0 or more"
        raise ValueError(message)
    return number


def optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a converter that also takes None."""
    return lambda value: None if value is None or value == "" else convert(value)


def function(value: Any) -> Any:
    """Return a value that can be called."""
    if not callable(value):
        message = "expected a function"
        raise TypeError(message)
    return value


def anything(value: Any) -> Any:
    """Return the value as it is."""
    return value
