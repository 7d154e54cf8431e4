"""Map rows to the types of the user: ``await db.fetchall(sql, into=User)``.

All questions about a type are answered once per shape (type and column names), so that a row costs little more than the
call of its type.  Libraries of types are recognised by what their classes carry, and never imported from here.
"""

from __future__ import annotations

import re
import sys
from enum import Enum
from functools import cache, lru_cache, partial
from inspect import Parameter, signature
from operator import itemgetter
from types import UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Union, cast, get_origin

from aio_databases.errors import ConfigurationError, DataError
from aio_databases.rows.annotations import class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Mapper = Callable[[Any], Any]

if sys.version_info >= (3, 14):
    from annotationlib import Format

    # Annotations may name what is only imported for type checkers; evaluating them would fail.
    _SIGNATURE: dict[str, Any] = {"annotation_format": Format.FORWARDREF}
else:
    _SIGNATURE: dict[str, Any] = {}

T = TypeVar("T")


def mapper(into: Callable[..., T], names: tuple[str, ...]) -> Callable[[Any], T]:
    """Return a function that turns a row with the columns ``names`` into what ``into`` makes.

    * ``tuple``, ``list`` and ``dict`` hold the values as the database returned them.
    * A dataclass, NamedTuple, attrs class or any other callable is called with the columns as keyword arguments.  Those
      annotated with ``bool``, a date or time, ``timedelta``, Decimal, UUID or an Enum are converted as scalars are, as
      are the items of a TypedDict: some databases have no such types.
    * A pydantic model or msgspec Struct checks and converts the values; aliases and renamed fields work.
    * A scalar (``int``, ``str``, ``float``, ``bool``, ``bytes``, Decimal, UUID, ``datetime``, ``date``, ``time``,
      ``timedelta``, an Enum, a NewType of these) takes a row of one column.  NULL stays None, other values are
      converted where that loses nothing.

    Raises `ConfigurationError` if the columns do not fit ``into``.  The returned function raises `DataError`, caused by
    the error of the type, if the type refuses a value, and `ConfigurationError` if a pydantic model misses a column.
    """
    try:
        hash(into)
    except TypeError:
        return cast("Callable[[Any], T]", _build(into, names))
    return cast("Callable[[Any], T]", _build_once(into, names))


def _build(into: Callable[..., Any], names: tuple[str, ...]) -> Mapper:
    while hasattr(into, "__supertype__"):
        into = cast("Any", into).__supertype__  # what a NewType stands for
    kind: Any = get_origin(into) or into  # Page[User], dict[str, int]
    if kind is Union or kind is UnionType or not callable(kind):
        given = type(into).__name__
        raise ConfigurationError(f"into= takes one class or callable, not a {given}: pass the type that a row becomes")

    if kind is tuple or kind is list:
        return cast("Mapper", kind)
    convert = _scalar_converter(kind)
    return _by_name(into, kind, names) if convert is None else _scalar(kind, convert, names)


_build_once = lru_cache(maxsize=256)(_build)


# One way to make each kind of type


def _by_name(into: Any, kind: Any, names: tuple[str, ...]) -> Mapper:
    _refuse_duplicates(kind, names)
    if kind is dict:
        return _labelled(names)
    if hasattr(kind, "__required_keys__"):
        return _typed_dict(kind, names)
    if hasattr(kind, "__struct_fields__"):
        return _struct(into, kind, names)
    if hasattr(kind, "model_fields") and hasattr(kind, "model_validate"):
        # Nothing is checked ahead: validators of the model may rename columns and fill in fields.
        return _from_dict(kind, kind.model_validate, names, _REFUSALS)
    return _called(kind, names)


def _labelled(names: tuple[str, ...]) -> Mapper:
    return lambda row: dict(zip(names, row))  # noqa: B905 - saying strict= makes it 1.5 times as slow


def _typed_dict(kind: Any, names: tuple[str, ...]) -> Mapper:
    accepted = kind.__required_keys__ | kind.__optional_keys__
    _Fields(accepted, _required_keys(kind)).check(kind, names)
    return _with_conversions(kind, _labelled(names), names, _annotations(kind))


def _struct(into: Any, kind: Any, names: tuple[str, ...]) -> Mapper:
    """Columns may have the names of the fields, or those that ``rename=`` gives them."""
    encoded = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    field_of = {key: field for field, key in encoded.items()} | {field: field for field in encoded}
    fields = tuple(field_of.get(name, name) for name in names)
    _refuse_duplicates(kind, fields)
    _fields_of_signature(kind).check(kind, fields)
    msgspec = sys.modules["msgspec"]  # its errors are a ValueError only in recent versions
    make = partial(msgspec.convert, type=into, strict=False)
    return _from_dict(kind, make, tuple(map(encoded.__getitem__, fields)), (*_REFUSALS, msgspec.ValidationError))


def _from_dict(kind: Any, make: Mapper, keys: tuple[str, ...], refusals: tuple[type[Exception], ...]) -> Mapper:
    def make_row(row: Any) -> Any:
        try:
            return make(dict(zip(keys, row)))  # noqa: B905 - as above
        except refusals as exc:
            raise _refusal(kind, exc) from exc

    return make_row


def _called(kind: Any, names: tuple[str, ...]) -> Mapper:
    fields = _fields_of_signature(kind)
    fields.check(kind, names)
    # By position takes a quarter of the time, but pydantic's dataclasses name the fields they refuse only by keyword.
    order = fields.positional[: len(names)]
    if hasattr(kind, "__pydantic_validator__"):
        return _from_dict(kind, lambda values: kind(**values), names, _REFUSALS)
    if set(order) != set(names):
        by_keyword = _from_dict(kind, lambda values: kind(**values), names, _REFUSALS)
        return _with_conversions(kind, by_keyword, names, fields.annotations)
    pick = None if order == names else itemgetter(*map(names.index, order))

    def call(row: Any) -> Any:
        try:
            return kind(*row) if pick is None else kind(*pick(tuple(row)))
        except _REFUSALS as exc:
            raise _refusal(kind, exc) from exc

    return _with_conversions(kind, call, names, fields.annotations)


def _with_conversions(kind: Any, make: Mapper, names: tuple[str, ...], annotations: Mapping[str, Any]) -> Mapper:
    """Return ``make`` for rows in which the values are of the types that the fields are annotated with."""
    wanted = ((position, name, class_of(annotations.get(name), kind, name)) for position, name in enumerate(names))
    conversions = [
        (position, name, _test_of(cls), convert)
        for position, name, cls in wanted
        if cls is not None and _differs_by_database(cls) and (convert := _scalar_converter(cls)) is not None
    ]
    if not conversions:
        return make

    def convert_row(row: Any) -> Any:
        values = list(row)
        for position, name, is_one, convert in conversions:
            value = values[position]
            if not (value is None or is_one(value)):
                try:
                    values[position] = convert(value)
                except _REFUSALS as exc:
                    raise _refusal(kind, exc, name) from exc
        return make(values)

    return convert_row


def _scalar(kind: Any, convert: Mapper, names: tuple[str, ...]) -> Mapper:
    if len(names) != 1:
        raise ConfigurationError(
            f"{_name_of(kind)} takes one column, but the query returns {len(names)}: select only that one"
        )
    is_one = _test_of(kind)

    def convert_row(row: Any) -> Any:
        value = row[0]
        if value is None or is_one(value):
            return value
        try:
            return convert(value)
        except _REFUSALS as exc:
            raise _refusal(kind, exc) from exc

    return convert_row


# What a type takes


class _Fields(NamedTuple):
    accepted: frozenset[str] | None  # None: any
    required: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = {}

    def check(self, kind: Any, names: tuple[str, ...]) -> None:
        missing = [field for field in self.required if field not in names]
        extra = [] if self.accepted is None else [name for name in names if name not in self.accepted]
        if missing or extra:
            raise _misfit(kind, missing, extra)


def _fields_of_signature(kind: Any) -> _Fields:
    try:
        parameters = signature(kind, **_SIGNATURE).parameters.values()
    except ValueError:  # some types written in C have no signature
        return _Fields(accepted=None)
    kinds = {each.kind for each in parameters}
    anywhere = tuple(each.name for each in parameters if each.kind is Parameter.POSITIONAL_OR_KEYWORD)
    by_keyword = (each.name for each in parameters if each.kind is Parameter.KEYWORD_ONLY)
    return _Fields(
        accepted=None if Parameter.VAR_KEYWORD in kinds else frozenset((*anywhere, *by_keyword)),
        required=tuple(each.name for each in parameters if each.default is each.empty and each.kind not in _VARIADIC),
        # Parameters that have no name for the caller come first: behind them no position is safe.
        positional=() if Parameter.POSITIONAL_ONLY in kinds else anywhere,
        annotations={each.name: each.annotation for each in parameters if each.annotation is not each.empty},
    )


_VARIADIC = {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}


def _required_keys(kind: Any) -> tuple[str, ...]:
    """Read the marks again: where annotations are strings, typing overlooks ``NotRequired`` and ``Required``."""
    annotations = _annotations(kind)
    required = dict.fromkeys(sorted(kind.__required_keys__))
    for key, annotation in annotations.items():
        mark = _MARK.match(getattr(annotation, "__forward_arg__", ""))
        if mark and mark[1]:
            required.pop(key, None)
        elif mark:
            required[key] = None
    return tuple(required)


def _annotations(kind: Any) -> Mapping[str, Any]:
    try:
        return cast("Mapping[str, Any]", kind.__annotations__)
    except NameError:  # annotations that are evaluated late (Python 3.14): typing has seen the marks in these
        return {}


_MARK = re.compile(r"(?:\w+\.)*(Not)?Required\[")


def _refuse_duplicates(kind: Any, names: tuple[str, ...]) -> None:
    for position, name in enumerate(names):
        if name in names[:position]:
            raise ConfigurationError(
                f"{_name_of(kind)} cannot hold two columns named {name}: leave one out, or rename one with AS."
            )


# Scalars


def _scalar_converter(kind: Any) -> Mapper | None:
    if not isinstance(kind, type):
        return None
    if issubclass(kind, Enum):
        return kind
    make = cast("Mapper", kind)
    converters = _converters()
    builtin = next((cls for cls in kind.__mro__ if cls in converters), None)
    if builtin is None or builtin is make:
        return builtin and converters[builtin]
    convert = converters[builtin]
    return lambda value: make(convert(value))


def _test_of(kind: type) -> Callable[[object], bool]:
    """Return a test for values of a type, and not of one that only inherits from it: a bool is not a number."""
    wrong = tuple(each for each in _converters() if each is not kind and issubclass(each, kind))
    return lambda value: isinstance(value, kind) and not isinstance(value, wrong)


def _differs_by_database(cls: type) -> bool:
    """Return whether some database has no such type, and returns a number or text instead."""
    return issubclass(cls, Enum) or (cls in _converters() and cls not in {bytes, float, int, str})


def _number(value: Any) -> Any:
    """Return what a number is made of.  Raises ValueError for a text that is one in Python's spelling only."""
    if type(value) in _BINARY or (isinstance(value, str) and ("_" in value or not value.isascii())):
        raise ValueError(_LOSSY)
    return value


def _to_int(value: Any) -> int:
    number = int(_number(value))
    if not isinstance(value, str) and number != value:
        raise ValueError(_LOSSY)
    return number


def _to_float(value: Any) -> float:
    return float(_number(value))


def _to_bool(value: Any) -> bool:
    if value not in _BOOLS:  # bool() would take "false" and "0" for true
        raise ValueError(_LOSSY)
    return _BOOLS[value]


_BOOLS = {0: False, 1: True, b"\0": False, b"\1": True}  # bytes: BIT(1) of MySQL


def _to_str(value: Any) -> str:
    if type(value) in _BINARY:
        return bytes(value).decode()
    if isinstance(value, dict | list | tuple | set):  # str() would write Python, which no one can read back
        raise TypeError(_LOSSY)
    return str(value)


def _to_bytes(value: Any) -> bytes:
    if type(value) not in _BINARY:  # bytes(3) would be three zeros
        raise TypeError(_LOSSY)
    return bytes(value)


_BINARY = {bytes, bytearray, memoryview}
_LOSSY = "the value cannot be converted without guessing or losing a part of it"


def _refuse(_value: Any) -> Any:
    raise TypeError(_LOSSY)


@cache
def _converters() -> dict[type, Mapper]:
    """Return what converts values to each type of scalars."""
    # Imported here, because this takes long and only mappings of rows need it.
    from datetime import date, datetime, time, timedelta  # noqa: PLC0415 - see above
    from decimal import Decimal  # noqa: PLC0415 - see above
    from uuid import UUID  # noqa: PLC0415 - see above

    def to_decimal(value: Any) -> Decimal:
        return Decimal(repr(value) if isinstance(value, float) else _number(value))

    def to_uuid(value: Any) -> UUID:
        return UUID(bytes=value) if isinstance(value, bytes) else UUID(_number(str(value)))

    def to_date(value: Any) -> date:
        text = value.isoformat().removesuffix("T00:00:00") if isinstance(value, datetime) else value
        return date.fromisoformat(text)

    return {
        bool: _to_bool,
        int: _to_int,
        float: _to_float,
        str: _to_str,
        bytes: _to_bytes,
        Decimal: to_decimal,
        UUID: to_uuid,
        datetime: datetime.fromisoformat,
        date: to_date,
        time: time.fromisoformat,
        timedelta: _refuse,  # a number could count anything from microseconds to days
    }


# Errors: they name types, fields and columns, never a value

_REFUSALS = (ValueError, TypeError, ArithmeticError)


def _refusal(kind: Any, exc: Exception, field: str | None = None) -> ConfigurationError | DataError:
    """Translate an error of the type; its own text may hold the value, so only names of fields are taken from it."""
    fields = [] if field is None else [field]
    library = type(exc).__module__.partition(".")[0]
    if library == "pydantic_core":
        details = cast("Any", exc).errors(include_url=False, include_context=False, include_input=False)
        missing, extra = (
            [str(each["loc"][0]) for each in details if each["type"] == code and len(each["loc"]) == 1]
            for code in ("missing", "extra_forbidden")
        )
        if missing or extra:
            return _misfit(kind, missing, extra)
        fields = [str(each["loc"][0]) for each in details if each["loc"]]
    elif library == "msgspec" and (match := _MSGSPEC_FIELD.search(str(exc))):
        fields = [match[1]]
    refused = f"the value of {', '.join(dict.fromkeys(fields))}" if fields else "a value of the row"
    error = DataError(f"{_name_of(kind)} refuses {refused}: correct the row or the type; the cause says why")
    error.column = fields[0] if len(fields) == 1 else None
    return error


_MSGSPEC_FIELD = re.compile(r" - at `\$\.([^`.\[]+)[^`]*`$")


def _misfit(kind: Any, missing: list[str], extra: list[str]) -> ConfigurationError:
    faults = [f"it needs {', '.join(missing)}"] if missing else []
    faults += [f"it has no place for {', '.join(extra)}"] if extra else []
    return ConfigurationError(
        f"the columns do not fit {_name_of(kind)}: {' and '.join(faults)}; "
        "select exactly the columns it takes, with AS where a name differs"
    )


def _name_of(kind: Any) -> str:
    return getattr(kind, "__name__", None) or type(kind).__name__
