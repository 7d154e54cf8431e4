"""The options of the drivers for PostgreSQL: what they are called, what they may hold, and what the server is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from aio_databases.config.url import anything, boolean, integer, optional, seconds
from aio_databases.drivers.keepalive import Keepalive
from aio_databases.drivers.network import NetworkDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def _settings(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        message = "expected a dict, which does not go into a URL: there write options=-c%20jit=off"
        raise TypeError(message)
    settings = {f"{name}": f"{each}" for name, each in cast("Mapping[object, object]", value).items()}
    if wrong := [name for name in settings if not _NAME.fullmatch(name)]:
        message = f"{wrong[0]!r} cannot be the name of a setting"
        raise ValueError(message)
    return settings


def _one_of(*words: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in words:
            message = f"expected one of {', '.join(words)}"
            raise ValueError(message)
        return str(value)

    return convert


_NAME = re.compile(r"[^\W\d][\w$.]*")

LIBPQ_OPTIONS: Mapping[str, Callable[[Any], Any]] = {
    "channel_binding": _one_of("disable", "prefer", "require"),
    "fallback_application_name": str,
    "gssencmode": _one_of("disable", "prefer", "require"),
    "keepalives": boolean,
    **dict.fromkeys(Keepalive._fields, integer),
    "options": str,
}
"""Those of libpq's own words that the URLs which hosts hand out may have."""

POSTGRESQL_OPTIONS: Mapping[str, Callable[[Any], Any]] = {
    **NetworkDriver.option_types,
    **LIBPQ_OPTIONS,
    "passfile": str,
    "pgbouncer": boolean,
    "server_settings": _settings,
}

ASYNCPG_OPTIONS: Mapping[str, Callable[[Any], Any]] = {
    "command_timeout": optional(seconds),
    "direct_tls": anything,
    "max_cacheable_statement_size": integer,
    "max_cached_statement_lifetime": integer,
    "statement_cache_size": integer,
}
"""asyncpg's own; here, because the scheme ``postgresql`` knows them before it has chosen a library."""

STYLES = {"DateStyle": "ISO", "IntervalStyle": "postgres"}
"""How dates and intervals have to be written, so that the libraries can read those that come as text."""


def style_in(settings: Mapping[str, str], options: str) -> str | None:
    """Return which of `STYLES` the settings, or the server's command line in ``options``, change, if any."""
    given = {f"{name}".lower(): f"{value}" for name, value in settings.items()}
    given |= {name.lower(): value for name, value in _IN_OPTIONS.findall(options)}
    return next((name for name in STYLES if not _has(name, given.get(name.lower(), ""))), None)


def styles_to_set(reported: Callable[[str], str]) -> str:
    """Return the statements for those of `STYLES` that the server reports to be others; empty if all are right."""
    return "; ".join(f"SET {name} = {style}" for name, style in STYLES.items() if not _has(name, reported(name)))


def _has(name: str, value: str) -> bool:
    return value.partition(",")[0].strip().lower() in {STYLES[name].lower(), ""}  # the rest says how dates are read


_IN_OPTIONS = re.compile(r"(?i)(datestyle|intervalstyle)=[\\'\"]*(\w*)")


def as_options(settings: Mapping[str, str], options: Iterable[str]) -> str:
    """Return the words of the server's command line for settings, and after them further ones as they are."""
    return " ".join([*(f"-c {name}={_escaped(value)}" for name, value in settings.items()), *options])


def _escaped(value: str) -> str:
    return re.sub(r"([\\ \t\n\v\f\r])", r"\\\1", value)  # the server takes each of these for the end of a word
