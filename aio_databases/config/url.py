"""Database URLs and options: parsed once, typed, and never shown with a password."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from aio_databases.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class URL(SplitResult):
    """A split URL that hides its password when it is printed."""

    __slots__ = ()

    @property
    def redacted(self) -> str:
        """The URL with its password replaced."""
        # geturl() drops the slashes where there is no host.
        text = f"{self.scheme}://{self.netloc}{self.path}"
        return redact(f"{text}?{self.query}" if self.query else text)

    def __repr__(self) -> str:
        return f"URL({self.redacted!r})"

    __str__ = __repr__


class Address:
    """What a URL says about where a database is, percent-decoded.

    ``path`` is the URL's path as it stands, still with its leading slash; ``database`` is it without.  ``hosts`` are
    pairs of a host and its port, one in an ordinary URL; ``host`` and ``port`` are those of the first.
    """

    __slots__ = ("_urls", "host", "hosts", "options", "password", "path", "port", "redacted", "scheme", "url", "user")

    def __init__(self, urls: Sequence[URL], redacted: str) -> None:
        """Decode the parts of a URL, given once for each of its hosts.  Raises ValueError for a malformed host or port.

        ``redacted`` is the whole URL without its password.
        """
        url = urls[0]
        self._urls = urls
        self.url = url._replace(netloc=",".join([url.netloc, *(_host_of(other.netloc) for other in urls[1:])]))
        self.redacted = redacted
        self.scheme = url.scheme
        self.hosts = tuple((unquote(each.hostname) if each.hostname else None, each.port) for each in urls)
        if len(urls) > 1 and not all(host and not re.search(r"\s", host) for host, _ in self.hosts):
            raise ValueError
        self.host, self.port = self.hosts[0]
        self.user = unquote(url.username) if url.username else None
        self.password = unquote(url.password) if url.password else None
        self.path = unquote(url.path)
        self.options = dict(parse_qsl(url.query, keep_blank_values=True))

    @property
    def database(self) -> str:
        """The name of the database: the path without its first slash."""
        return self.path.removeprefix("/")

    @property
    def place(self) -> str:
        """The hosts, each with its port, as they stand in a URL."""
        return ",".join(
            (f"[{host}]" if host and ":" in host else host or "") + (f":{port}" if port else "")
            for host, port in self.hosts
        )

    def at(self, index: int) -> Address:
        """Return the address of the same database on one of the hosts."""
        url = self._urls[index]
        return Address((url,), url.redacted)

    def __repr__(self) -> str:
        return f"Address({self.redacted!r})"

    def __str__(self) -> str:
        """Return where the database is, without user and password."""
        return f"{self.scheme}://{self.place}{self.path}"


def parse_url(text: Any) -> Address:
    """Return the parts of a database URL: a text, an object of pydantic or SQLAlchemy, or the path of a SQLite file.

    Raises ConfigurationError for what is no URL.
    """
    text = _as_text(text)
    if re.search("@[^@]*,", _split_netloc(text.partition("://")[2])[0].rpartition("@")[0]):
        raise _malformed(text)  # with a login for each host: it stands once, before the first
    try:
        address = Address([URL(*urlsplit(one)) for one in _one_for_each_host(text)], redact(text))
    except ValueError:
        raise _malformed(text) from None  # urllib quotes the part, which may be half a password
    if not address.scheme:
        message = f"the database URL {redact(text)!r} has no scheme; write for example 'sqlite:///file.db'"
        raise ConfigurationError(message)
    if text.partition("://")[0].lower() != address.scheme or _has_stray_at(text) or _has_split_secret(text):
        raise _malformed(text)
    return address


def _as_text(url: Any) -> str:
    if isinstance(url, str):
        return url
    if isinstance(url, os.PathLike):
        path = os.fsdecode(cast("os.PathLike[str]", url)).replace(os.sep, "/")
        return f"sqlite:///{quote(path, errors='surrogateescape')}"
    if callable(render := getattr(url, "render_as_string", None)):  # of SQLAlchemy, whose str() hides the password
        return str(render(hide_password=False))
    if hasattr(url, "scheme") and "://" in str(url):  # of pydantic
        return str(url)
    message = f"a database URL must be a str, a URL of SQLAlchemy or pydantic, or a Path, not {type(url).__name__}"
    raise ConfigurationError(message)


def _one_for_each_host(text: str) -> list[str]:
    """Return a URL as often as it has hosts, each time with one of them."""
    head, separator, rest = text.partition("://")
    netloc, tail = _split_netloc(rest)
    login, at_sign, hosts = netloc.rpartition("@")
    return [f"{head}{separator}{login}{at_sign}{host}{tail}" for host in hosts.split(",")]


def _host_of(netloc: str) -> str:
    return netloc.rpartition("@")[2]


def _malformed(text: str) -> ConfigurationError:
    scheme, _, rest = text.partition("://")
    if "sqlite" in scheme.lower() and "@" not in text:
        if rest.startswith("/"):
            message = f"the URL {text!r} has a '#' or a control character in its path; write '#' as '%23'"
        else:
            message = f"the URL {text!r} is malformed: write 'sqlite:///file.db', 'sqlite:////absolute/file.db', or "
            message += "'sqlite://' for a database in memory"
        return ConfigurationError(message)
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
        host = _without_bad_ports(host)
    name, colon, _ = user.partition(":")
    path, question, query = tail.partition("?")
    if question:
        query = _without_secrets(query)
    return f"{head}://{name}{colon and ':***'}{at_sign}{host}{path}{question}{query}"


def _has_split_secret(text: str) -> bool:
    """Return whether an option without a value follows a password: it is the rest of one with an ampersand in it."""
    pairs = text.partition("://")[2].partition("?")[2].split("&")
    return any(pair and "=" not in pair and _is_secret(before.partition("=")[0]) for before, pair in pairwise(pairs))


def _without_secrets(query: str) -> str:
    shown: list[str] = []
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        if not equals and shown and shown[-1].endswith("=***"):
            continue  # the rest of a password with an ampersand in it
        shown.append(f"{name}{equals}{'***' if _is_secret(name) else value}")
    return "&".join(shown)


def _without_bad_ports(hosts: str) -> str:
    """Return ``host:port,host:port``, hiding what may be a password, with commas in it, whose host was forgotten."""
    first, *others = (_without_bad_port(host) for host in hosts.split(","))
    shown = ",".join([first, *others])
    return shown if shown == hosts or not others else f"{first.partition(':')[0]}:***"


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
            raise ConfigurationError(_unknown(given_name, [*known, *aliases], where))
        try:
            options[name] = convert(value)
        except (OverflowError, TypeError, ValueError) as exc:
            shown = "" if _is_secret(name) else f" {value!r}: {exc}"
            message = f"the option {given_name!r} of {where} has a bad value{shown}"
            raise ConfigurationError(message) from None
    return options


def _unknown(name: str, known: Sequence[str], where: str) -> str:
    if name in _ELSEWHERE:
        return f"unknown option {name!r} for {where}; {_ELSEWHERE[name]}"
    hint = near_misses(name, known)
    return f"unknown option {name!r} for {where}{hint}; options of the library go into connect_args"


_ELSEWHERE = {
    "pool_size": "use max_size, the most connections of the pool",
    "max_overflow": "max_size is the most connections of the pool, without any beyond",
    "pool_timeout": "use timeout, in seconds",
    "pool_pre_ping": "use check_after, the seconds after which an idle connection has to answer",
    "max_connections": "use max_size",
    "min_connections": "use min_size",
    "max_inactive_connection_lifetime": "use max_idle, in seconds",
    "echo": "statements are logged at level DEBUG by the logger 'aio_databases'",
    "force_rollback": "tests roll back by a transaction around them",
    **dict.fromkeys(
        ("cache", "immutable", "mode", "modeof", "nolock", "psow", "vfs"),
        "the parameters of an SQLite URI are taken with '?uri=true'",
    ),
}
"""What other libraries call it: what to do here."""


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
