"""Arrays as PostgreSQL writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("array_text",)


def array_text(values: Iterable[Any], text_of: Callable[[Any], str]) -> str:
    """Return an array as text, a list within it as another dimension; ``text_of`` writes each other value."""
    return f"{{{','.join([_element(value, text_of) for value in values])}}}"


def _element(value: Any, text_of: Callable[[Any], str]) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return array_text(value, text_of)  # pyright: ignore[reportUnknownArgumentType]
    return '"' + text_of(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
