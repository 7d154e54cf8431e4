"""Name the parameter that a library could not send."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import Enum
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

from aio_databases.dialects.error_codes import is_type_mismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aio_databases.errors import DataError, ProgrammingError
    from aio_databases.sql.translator import CompiledQuery


def add_parameter_hint(error: DataError, plan: CompiledQuery, values: Any = ()) -> None:
    """Add to an error the name, or the number, and the type of the value that could not be sent; never the value.

    Some libraries report which one it was; for the others it is the first that is out of the ordinary, or else perhaps
    one that is made of others.
    """
    if error.parameter is None and (error.sqlstate or error.errno):
        return  # it was sent, and the database did not like it
    _forget_text(error)
    is_told = error.parameter is not None and (error.row is not None or not isinstance(values, list))
    for is_it in (_is_anything,) if is_told else (_is_odd, _is_composite):
        for row, name, value in _suspects(error, plan, values):
            if is_it(value):
                perhaps = "perhaps " if is_it is _is_composite else ""  # it may as well be a value that cannot be read
                where = f"{name} of row {row}" if row else name
                kind = type(value)
                hint = _ONE_BY_ONE if plan.count == 1 and not row and issubclass(kind, list | tuple) else ""
                error.text = f"{error} ({perhaps}parameter {where}, of type {kind.__name__}){hint}"
                error.parameter = None if perhaps else name
                error.row = error.row if perhaps else row
                return


def add_placeholder_hint(error: ProgrammingError, plan: CompiledQuery) -> None:
    """Have an error about the type of a placeholder name it as the caller does."""
    number = error.parameter
    if number is None and is_type_mismatch(error) and error.position and not plan.selects:
        found = _DOLLAR.match(plan.sql, error.position - 1)
        number = found and found[1]
    if number is None:
        return
    place = int(number) - 1
    name = f":{plan.names[place]}" if plan.names else f"{plan.order[place] + 1 if plan.order else number}"
    text = str(error)
    told = re.sub(rf"\${number}(?!\d)", lambda _: name if plan.names else f"${name}", text)
    error.text = f"{told if told != text or not plan.names else f'{text} (parameter {name})'}; {_CAST}"
    error.parameter = name


def _forget_text(error: BaseException | None) -> None:
    while error is not None:
        if isinstance(error, UnicodeEncodeError):
            error.object, error.args = "", (error.encoding, "", 0, 0, error.reason)
        error = error.__cause__


def _suspects(error: DataError, plan: CompiledQuery, values: Any) -> Iterator[tuple[int | None, str, object]]:
    """Give the values that may be meant: the number of the row in a batch, what the caller calls it, the value."""
    many = isinstance(values, list)
    first = error.row - 1 if many and error.row else 0
    rows = cast("list[Any]", values)[first : first + 1 if error.row else _MOST] if many else [values]
    for number, row in enumerate(rows, first + 1):
        for place, name, value in _items(row, plan):
            if error.parameter in {None, place}:
                yield number if many else None, name, value


def _items(row: Any, plan: CompiledQuery) -> Iterator[tuple[str, str, object]]:
    """Give each value with its number as the library counts, and what the caller calls it."""
    if isinstance(row, Mapping):
        for number, (name, value) in enumerate(cast("Mapping[str, object]", row).items(), 1):
            yield f"{number}", f":{name}", value
        return
    for place, value in enumerate(row):
        number = place if plan.order is None else plan.order[place]
        yield f"{place + 1}", f":{plan.names[place]}" if plan.names else f"{number + 1}", value


def _is_odd(value: object) -> bool:
    """Return whether there is a library that refuses such a value wherever it is to go."""
    is_extreme = next((test for kinds, test in _extremes() if isinstance(value, kinds)), None)
    try:
        return is_extreme is None or is_extreme(value)
    except (ArithmeticError, TypeError, ValueError):
        return True


def _is_anything(_: object) -> bool:
    return True


def _is_composite(value: object) -> bool:
    return isinstance(value, dict | list | tuple)


_ONE_BY_ONE = "; values are given one by one, not in a list"
_DOLLAR = re.compile(r"(?i)(?:cast\s*\(\s*)?\$(\d+)")
_CAST = "say which type it has wherever it stands, as in cast(:v as integer)"
_MOST = 100_000  # rows to look at
_LIMIT = 1 << 63


@cache
def _extremes() -> tuple[tuple[Any, Callable[[Any], bool]], ...]:
    """Return the types that all libraries know, each with a function that finds values too odd for one of them."""
    # Imported here, because this takes long and mistakes are rare.
    import json  # noqa: PLC0415 - see above
    from datetime import UTC, date, datetime, time, timedelta  # noqa: PLC0415 - see above
    from decimal import Decimal  # noqa: PLC0415 - see above
    from uuid import UUID  # noqa: PLC0415 - see above

    return (
        (Enum, lambda value: _is_odd(value.value)),
        (int, lambda value: not -_LIMIT <= value < _LIMIT),
        (str, lambda value: b"\0" in value.encode()),
        ((float, Decimal), lambda value: not math.isfinite(value)),
        (datetime, lambda value: value.tzinfo is not None and not value.astimezone(UTC)),
        (time, lambda value: value.tzinfo is not None),
        ((dict, list), lambda value: not json.dumps(value, allow_nan=False)),
        ((NoneType, bytes, bytearray, memoryview, date, timedelta, UUID), lambda _: False),
    )
