"""Write values into the SQL for MySQL and MariaDB, whose libraries do so each in its own way, and not all safely.

Besides types that some of them lack, they forget that in the SQL mode NO_BACKSLASH_ESCAPES a backslash escapes nothing
(for bytes, or for texts in a list), so that a value could end its literal and go on as SQL.
"""

from __future__ import annotations

import math
from binascii import b2a_base64
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from aio_databases.errors import DataError, ProgrammingError
from aio_databases.rows.json_values import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


def with_values(sql: str, params: Any, *, backslashes: bool, to_json: Callable[[Any], str] = dumps) -> str:
    """Return the SQL with a literal for every ``%s`` or ``%(name)s``, and one percent sign for every two.

    ``backslashes`` says whether they escape the next character in the session; ``to_json`` writes dict and list.
    Raises DataError for a value that MySQL does not have, and ProgrammingError if values and placeholders do not match.
    """
    values: Any = params
    if type(params) is not tuple and isinstance(params, Mapping):  # it takes long to ask the abstract class
        named = cast("Mapping[str, Any]", params)
        return _filled(sql, {name: literal(value, backslashes, to_json) for name, value in named.items()})
    return _filled(
        sql, tuple([literal(value, backslashes, to_json) for value in values])
    )  # a generator would take longer


def rows_with_values(
    row: str, rows: Sequence[Any], *, backslashes: bool, to_json: Callable[[Any], str] = dumps
) -> Iterator[str]:
    """Return what `with_values` makes of ``row`` with each of ``rows``, sooner: the values of a column are much alike.

    Raises what `with_values` does.
    """
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        if set(map(type, chunk)) == {tuple} and len(set(map(len, chunk))) == 1 and chunk[0]:
            columns = [_literals(values, backslashes, to_json) for values in zip(*chunk, strict=True)]
            for values in zip(*columns, strict=True):
                yield _filled(row, values)
        else:
            for params in chunk:
                yield with_values(row, params, backslashes=backslashes, to_json=to_json)


def _literals(
    values: tuple[Any, ...],
    backslashes: bool,  # noqa: FBT001 - as `literal`
    to_json: Callable[[Any], str],
) -> Iterable[Any]:
    """Return the values of one column as they are written in SQL; one at a time where they may be long."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return values  # is how they are written
    if kinds == {str} and sum(map(len, values)) < _SHORT:
        text = "".join(values)
        if text.isascii() and "'" not in text and "\\" not in text:
            return [f"'{value}'" for value in values]
    return (literal(value, backslashes, to_json) for value in values)


def _filled(sql: str, literals: Any) -> str:
    try:
        text: str = sql % literals
    except (KeyError, TypeError, ValueError):
        message = (
            "the values do not match the placeholders, %s or %(name)s, of the statement; write %% for a percent sign"
        )
        raise ProgrammingError(message) from None
    return text


def literal(
    value: object,
    backslashes: bool,  # noqa: FBT001 - called for every value
    to_json: Callable[[Any], str] = dumps,
) -> str:
    """Return a value as it is written in SQL.  Raises DataError for one that MySQL does not have."""
    kind = type(value)
    if kind is str:
        return _text(value, backslashes)
    write = _PLAIN.get(kind)
    return _other(value, backslashes, to_json) if write is None else write(value)


def _text(value: Any, backslashes: bool) -> str:  # noqa: FBT001
    text: str = value
    if not text.isascii():
        text.encode()  # or raise: half a surrogate pair would be sent as a raw byte
    if "\\" in text:
        # The flag behind ``backslashes`` can be out of date.  To double them is safe all the same, unless the user has
        # changed the character set to one whose characters may end in one; everything else is safe in hexadecimal only.
        if not (backslashes and text.isascii()):
            return f"_utf8mb4 x'{text.encode().hex()}'"
        text = text.replace("\\", "\\\\")
    return "'" + text.replace("'", "''") + "'"


def _bytes(value: Any) -> str:
    # Letters and digits only: in some character sets of a session a byte takes the quote's or the backslash's in with
    # it.  That is faster, too, than to escape.
    data = bytes(value)
    if len(data) < _LARGE:
        return f"_binary x'{data.hex()}'"
    return f"from_base64('{b2a_base64(data, newline=False).decode()}')"  # so that it fits into `max_allowed_packet`


def _other(value: Any, backslashes: bool, to_json: Callable[[Any], str]) -> str:  # noqa: FBT001
    if isinstance(value, Enum):
        return literal(value.value, backslashes, to_json)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(value)
    if isinstance(value, Mapping | list):
        return _text(to_json(value), backslashes)
    if isinstance(value, tuple):  # a row, as in (a, b) IN (:pairs)
        each = cast("Any", value)
        return f"({', '.join([literal(one, backslashes, to_json) for one in each])})"
    if isinstance(value, str):
        return _text(str.__str__(value), backslashes)
    for kind, write in _PLAIN.items():
        if isinstance(value, kind):
            return write(value)
    message = f"MySQL takes no values of the type {type(value).__name__}"
    raise DataError(message)


_NO_NUMBER = "MySQL has neither infinity nor NaN"


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise DataError(_NO_NUMBER)
    text = float.__repr__(value)
    return text if "e" in text else f"{text}e0"  # else it would be a DECIMAL


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise DataError(_NO_NUMBER)
    size = value.adjusted()
    if size >= _DIGITS and value:
        message = f"MySQL has no numbers of more than {_DIGITS} digits"
        raise DataError(message)
    return format(value, "f") if -2 * _DIGITS < size < _DIGITS else "0"


def _moment(value: datetime) -> str:
    if value.utcoffset() is not None:
        value = value.astimezone(UTC)  # MySQL's types have no time zone
    return f"'{value.replace(tzinfo=None).isoformat(' ')}'"


def _time(value: time) -> str:
    if value.tzinfo is not None:
        message = "MySQL has no times of day with a time zone"
        raise DataError(message)
    return f"'{value.isoformat()}'"


def _duration(value: timedelta) -> str:
    seconds, microseconds = divmod(abs(value) // timedelta(microseconds=1), 1_000_000)
    sign = "-" if value < timedelta() else ""
    fraction = f".{microseconds:06}" if microseconds else ""
    return f"'{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}'"


# In this order, as a datetime is a date and a bool is an int.
_PLAIN: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "NULL",
    bytes: _bytes,
    bool: lambda value: "1" if value else "0",
    int: int.__repr__,
    float: _float,
    Decimal: _decimal,
    datetime: _moment,
    date: lambda value: f"'{value.isoformat()}'",
    time: _time,
    timedelta: _duration,
    UUID: lambda value: f"'{value}'",
}

_DIGITS = 65  # of a DECIMAL before the point; behind it there are fewer
_LARGE = 1_000_000  # bytes of which the half is worth the time of a function of the server
_CHUNK = 1000  # rows whose values are looked at together
_SHORT = 100_000  # characters of the texts of a column that are put together to look at them
