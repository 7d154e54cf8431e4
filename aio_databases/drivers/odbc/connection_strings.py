"""ODBC's connection strings: ``Driver={PostgreSQL Unicode};Server=localhost;Uid=app;Pwd={se;cret}``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PAIR = re.compile(r"\s*([^=;]+?)\s*=\s*(\{(?:[^}]|\}\})*\}|[^;]*)")
_SECRET = re.compile(r"(?i)\b(p(?:ass)?w(?:or)?d)\s*=\s*(?:\{(?:[^}]|\}\})*\}?|[^;]*)")


def keywords(text: str) -> dict[str, str]:
    """Return what a connection string says, with its keywords in lower case and without braces."""
    return {name.lower(): _bare(value.strip()) for name, value in _PAIR.findall(text)}


def _bare(value: str) -> str:
    return value[1:-1].replace("}}", "}") if value.startswith("{") else value


def is_plain(value: str) -> bool:
    """Return whether a value means itself in a connection string, without braces."""
    return re.search(r"[;{}]|^\s|\s$", value) is None


def in_braces(value: str) -> str:
    """Return a value in braces, so that none of its characters ends it."""
    return f"{{{value.replace('}', '}}')}}}"


def extended(text: str, more: Mapping[str, str]) -> str:
    """Return a connection string with more keywords; their values are as they are to be written."""
    return ";".join([*filter(None, [text.strip().rstrip(";")]), *(f"{name}={value}" for name, value in more.items())])


def redacted(text: str) -> str:
    """Return a text without the passwords of connection strings that it quotes."""
    return _SECRET.sub(r"\1=***", text)
