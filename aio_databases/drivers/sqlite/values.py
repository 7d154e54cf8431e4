"""Values that SQLite does not take, or takes with adapters that are deprecated since Python 3.12."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from itertools import chain
from operator import ne
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from aio_databases.errors import DataError
from aio_databases.rows.json_values import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def adapted(params: Any, to_json: Callable[[Any], str] = dumps) -> Any:
    """Return parameters as values that SQLite has.

    Dates, times and UUID become text, dict and list JSON, Decimal a number where that is exact, else text, an Enum its
    value, and a subclass what its base becomes.  Raises DataError for NaN, which SQLite would store as NULL, and for
    what is a mere buffer, of which it would store the bytes.
    """
    if type(params) is not tuple and isinstance(params, Mapping):
        named = cast("Mapping[str, Any]", params)
        return dict(zip(named, adapted(tuple(named.values()), to_json), strict=True))
    values = cast("Sequence[object]", params)
    if _PLAIN.issuperset(map(type, values)) or (_NUMBERS.issuperset(map(type, values)) and _are_numbers(values)):
        return values
    return [_adapted(value, to_json) for value in values]


def are_plain(rows: Sequence[Any]) -> bool:
    """Return whether SQLite takes all values of many rows as they are, so that `adapted` would change none."""
    if set(map(type, rows)) != {tuple}:
        return False
    if _PLAIN.issuperset(map(type, chain.from_iterable(rows))):
        return True
    values = list(chain.from_iterable(rows))
    return _NUMBERS.issuperset(map(type, values)) and _are_numbers(values)


def _are_numbers(values: Sequence[object]) -> bool:
    return not any(map(ne, values, values))  # as NaN is not equal to itself


def _number(value: Any) -> Any:
    if value != value:  # noqa: PLR0124 - only NaN is not, of all types of numbers
        message = "SQLite has no NaN, and would store NULL: pass None for that"
        raise DataError(message)
    return value


def _decimal(value: Decimal) -> Any:
    if value.is_nan():
        return _number(float("nan"))
    number = float(value)
    if abs(number) <= _LIMIT and -_LIMIT <= (integer := int(value)) < _LIMIT and integer == value:
        return integer  # not before it is known to be small: that of 1E+999999999 takes a gigabyte
    return number if Decimal(repr(number)) == value else str(value)


def _adapted(value: Any, to_json: Callable[[Any], str]) -> Any:
    kind = cast("type[object]", type(value))
    if kind is dict or kind is list:
        return to_json(value)
    adapt = _ADAPTERS.get(kind)
    return _other(value, to_json) if adapt is None else adapt(value)


def _other(value: Any, to_json: Callable[[Any], str]) -> Any:
    if isinstance(value, Enum):
        return adapted((value.value,), to_json)[0]
    if _has_adapter(value) or isinstance(value, tuple(_PLAIN)):
        return cast("object", value)
    if isinstance(value, dict | list):
        return to_json(value)
    for kind, adapt in _ADAPTERS.items():
        if isinstance(value, kind):
            return adapt(_number(value))  # of pandas, NaT is a datetime
    if _is_buffer(value):
        message = f"SQLite would store the bytes of a {type(value).__name__}: pass an int, a float or bytes"
        raise DataError(message)
    return value  # which the library refuses by itself


def _has_adapter(value: object) -> bool:
    """Return whether sqlite3 has an adapter for a value."""
    library = sys.modules.get("sqlite3")  # not imported here, since ODBC has no use for it
    return library is not None and ((type(value), library.PrepareProtocol) in library.adapters)


def _is_buffer(value: Any) -> bool:
    try:
        memoryview(value).release()
    except TypeError:
        return False
    return True


_LIMIT = 2**63
_PLAIN = frozenset({bool, bytearray, bytes, int, memoryview, str, type(None)})
_NUMBERS = _PLAIN | {float}
_ADAPTERS: dict[type, Callable[[Any], Any]] = {
    float: _number,
    datetime: lambda value: value.isoformat(" "),
    date: date.isoformat,
    time: time.isoformat,
    Decimal: _decimal,
    UUID: str,
}
