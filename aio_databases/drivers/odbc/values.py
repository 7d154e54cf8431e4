"""Values on their way through ODBC."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aio_databases.drivers.mysql.literals import literal
from aio_databases.drivers.postgresql.family import array_text
from aio_databases.drivers.sqlite.values import adapted
from aio_databases.errors import DataError
from aio_databases.rows.json_values import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def for_any(params: Sequence[Any], to_json: Callable[[Any], str] = dumps) -> list[Any]:
    """Return parameters as every ODBC driver takes them; a list is pyodbc's business, which makes a table of it."""
    return _converted(params, {**_ANY, list: _same}, to_json)


def for_postgresql(params: Sequence[Any], to_json: Callable[[Any], str] = dumps) -> list[Any]:
    """Return parameters as text where psqlodbc would cut them, or pyodbc does not know them."""
    return _converted(params, _POSTGRESQL, to_json)


def for_mysql(params: Sequence[Any], to_json: Callable[[Any], str] = dumps) -> list[Any]:
    """Return parameters as text where the ODBC driver would cut them, or pyodbc does not know them."""
    return _converted(params, _MYSQL, to_json)


def for_sqlite(params: Sequence[Any], to_json: Callable[[Any], str] = dumps) -> list[Any]:
    """Return parameters as the text that the other drivers for SQLite store."""
    return _converted(adapted(params, to_json), _COMMON, to_json)


def _converted(
    params: Sequence[Any], converters: Mapping[type, Callable[[Any], Any]], to_json: Callable[[Any], str]
) -> list[Any]:
    return [value if type(value) in _PLAIN else _convert(value, converters, to_json) for value in params]


def _convert(value: object, converters: Mapping[type, Callable[[Any], Any]], to_json: Callable[[Any], str]) -> Any:
    if isinstance(value, Enum):
        return _converted((value.value,), converters, to_json)[0]
    kind: type[object] = type(value)
    if issubclass(kind, dict) or (issubclass(kind, list) and list not in converters):
        return to_json(value)
    convert = converters.get(type(value))
    if convert is None:  # a subclass of one, or something that is pyodbc's business
        convert = next((convert for base, convert in converters.items() if isinstance(value, base)), None)
    return value if convert is None else convert(value)


def _same(value: Any) -> Any:
    return value


def _whole(text: str) -> str:
    if "\0" in text:
        message = "text with a NUL character does not pass through ODBC, whose drivers take it for the end of the text"
        raise DataError(message)
    return text


def _refused(value: Any) -> str:
    message = f"ODBC takes no values of the type {type(value).__name__} for this database"
    raise DataError(message)


def _interval(value: timedelta) -> str:
    return f"{value.days} days {value.seconds}.{value.microseconds:06} seconds"


def _outer_array(values: list[object]) -> str:
    if not values:
        message = "ODBC does not report whether an empty list is to be an array or JSON; pass the text '{}' or '[]'"
        raise DataError(message)
    return array_text(values, _element)


def _element(value: object) -> str:
    return f"\\x{value.hex()}" if isinstance(value, bytes) else _whole(str(value))


def _unquoted(value: Any) -> str:
    return literal(value, backslashes=False)[1:-1]


_PLAIN = frozenset({bool, bytes, float, int, type(None)})
_ANY: dict[type, Callable[[Any], Any]] = {memoryview: bytes, str: _whole}
_COMMON: dict[type, Callable[[Any], Any]] = {**_ANY, tuple: _refused}
_POSTGRESQL: dict[type, Callable[[Any], Any]] = {
    **_COMMON,
    datetime: datetime.isoformat,  # with its offset
    list: _outer_array,
    time: time.isoformat,
    timedelta: _interval,
    UUID: str,
}
_MYSQL: dict[type, Callable[[Any], Any]] = {
    **_COMMON,
    datetime: _unquoted,
    time: _unquoted,
    timedelta: _unquoted,
    UUID: str,
}


# Values that are read, as pyodbc hands them to a converter: raw bytes, or None.


def uuid(raw: bytes | None) -> UUID | None:
    """Return a UUID of ODBC's."""
    return None if raw is None else UUID(bytes_le=raw)


def duration(raw: bytes | None) -> timedelta | None:
    """Return what MariaDB's ODBC driver writes for TIME."""
    if raw is None:
        return None
    hours, minutes, seconds = raw.decode().lstrip("-").split(":")
    found = timedelta(hours=int(hours), minutes=int(minutes), microseconds=round(float(seconds) * 1_000_000))
    return -found if raw.startswith(b"-") else found
