"""Values that SQLite does not take, or takes with adapters that are deprecated since Python 3.12."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ("adapted", "are_plain")

_PLAIN = frozenset({bool, bytearray, bytes, float, int, memoryview, str, type(None)})
_ADAPTERS: dict[type, Callable[[Any], Any]] = {
    datetime: lambda value: value.isoformat(" "),
    date: date.isoformat,
    time: time.isoformat,
    Decimal: str,
    UUID: str,
    dict: json.dumps,
    list: json.dumps,
}


def adapted(params: Any) -> Any:
    """Return parameters with dates and times, Decimal, UUID, and JSON's dict and list as text, an Enum as its value."""
    if type(params) is not tuple and isinstance(params, Mapping):
        named = cast("Mapping[str, Any]", params)
        return dict(zip(named, adapted(tuple(named.values())), strict=True))
    values = cast("Sequence[object]", params)
    if _PLAIN.issuperset(map(type, values)):
        return values
    return [_ADAPTERS.get(type(value), _other)(value) for value in values]


def are_plain(rows: Sequence[Any]) -> bool:
    """Return whether SQLite takes all values of many rows as they are, so that `adapted` would change none."""
    return set(map(type, rows)) == {tuple} and _PLAIN.issuperset(map(type, chain.from_iterable(rows)))


def _other(value: Any) -> Any:
    if isinstance(value, Enum):
        return adapted((value.value,))[0]
    return value
