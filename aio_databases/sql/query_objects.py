"""Turn template strings, SQLAlchemy statements and other query objects into SQL text and parameters.

They are recognised by their shape, so that neither SQLAlchemy nor a new Python has to be there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from functools import lru_cache
from importlib import import_module
from types import GeneratorType
from typing import Any, cast

from aio_databases.dialects import dialect_named
from aio_databases.errors import ProgrammingError, name_row, note_row


def text_and_params(query: Any, params: tuple[Any, ...], dialect: str) -> tuple[str, tuple[Any, ...]]:
    """Return the SQL text of ``query`` and the parameters that go with it.

    ``query`` is a template string (:pep:`750`), a statement of SQLAlchemy Core, or any object whose ``str`` is SQL,
    such as PyPika's.  ``params`` are those of the caller: none beside a template string; beside a statement of
    SQLAlchemy one mapping, or one for each row, whose values replace the statement's own.  Where the object brings
    values, the text names them.

    Raises `ProgrammingError` if the object is no query or cannot take the parameters.
    """
    kind = cast("type[object]", type(query))
    if _is_template(query):
        return _from_template(query, params)
    if any(cls.__name__ == "ClauseElement" and cls.__module__.startswith("sqlalchemy.") for cls in kind.__mro__):
        return _from_sqlalchemy(query, params, dialect)
    if issubclass(kind, bytes | bytearray) or kind.__str__ is object.__str__:
        raise ProgrammingError(f"a query cannot be of type {kind.__name__}; pass SQL as a str")
    return str(query), params


class Rows(list[Any]):
    """The rows of an executemany(), read once and for all: an iterator has nothing left for a second attempt."""


def rows_of(params: tuple[Any, ...]) -> Rows:
    """Return the rows that executemany() was given: one by one, or as one container or iterator of them.

    What stands alone and is not one of `_CONTAINERS` is one row, and so is one list of bare values, as it was in 1.x.

    Raises `ProgrammingError` for a generator that was read before.
    """
    only: Any = params[0] if len(params) == 1 else None
    if isinstance(only, Rows):
        return only
    if not isinstance(only, _CONTAINERS):
        return Rows(params)
    if isinstance(only, GeneratorType) and only.gi_frame is None:
        message = "the generator of the rows was read to its end before; pass a new one, or a list to use it again"
        raise ProgrammingError(message)
    rows = Rows(cast("Iterable[Any]", only))
    is_one_row = bool(rows) and isinstance(only, list) and row_kind(rows[0]) == "value"
    return Rows([tuple(rows)]) if is_one_row else rows


def row_kind(row: Any) -> str:
    """Return whether a row of executemany() is a ``"mapping"``, a ``"sequence"``, or one bare ``"value"``."""
    if isinstance(row, Mapping):
        return "mapping"
    # asyncpg's Record is no Sequence
    is_sequence = hasattr(row, "__getitem__") and hasattr(row, "__len__") and not isinstance(row, _TEXTS)
    return "sequence" if is_sequence else "value"


_CONTAINERS = (list, Iterator, AbstractSet, ValuesView, deque, range)
_TEXTS: tuple[type[object], ...] = (str, bytes, bytearray, memoryview)


# Template strings


def _is_template(query: Any) -> bool:
    # Some query builders have any attribute one asks for.
    return isinstance(getattr(query, "strings", None), tuple) and hasattr(query, "interpolations")


def _from_template(template: Any, params: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    if params:
        raise ProgrammingError("a template string brings its own values; pass no parameters beside it")
    values: dict[str, Any] = {}
    text = "".join(_pieces(template, values))
    return text, (values,) if values else ()


def _pieces(template: Any, values: dict[str, Any]) -> Iterator[str]:
    yield template.strings[0]
    for interpolation, string in zip(template.interpolations, template.strings[1:], strict=True):
        if interpolation.conversion is not None or interpolation.format_spec:
            raise ProgrammingError(
                "a template string binds values as they are; take the conversion (!) or format (:) out of its braces"
            )
        if _is_template(interpolation.value):
            yield from _pieces(interpolation.value, values)
        else:
            name = f"value_{len(values) + 1}"
            values[name] = interpolation.value
            yield f" :{name} "  # apart from a bracket or a word that stands beside it
        yield string


# SQLAlchemy


def _from_sqlalchemy(statement: Any, params: tuple[Any, ...], dialect: str) -> tuple[str, tuple[Any, ...]]:
    only: Any = params[0] if len(params) == 1 else None
    is_rows = isinstance(only, Iterable) and not isinstance(only, Mapping)
    rows: list[Any] = list(cast("Iterable[Any]", only)) if is_rows else list(params)
    if not all(isinstance(row, Mapping) for row in rows):
        raise ProgrammingError("a statement of SQLAlchemy names its parameters; pass one mapping, or one for each row")
    sqlalchemy_error: type[Exception] = import_module("sqlalchemy.exc").SQLAlchemyError
    try:
        sent = _compile(statement, [dict(row) for row in rows] or [{}], _dialect(dialect))
    except sqlalchemy_error as error:
        reason = str(error.args[0] if error.args else error).rstrip(".")
        failure = ProgrammingError(f"SQLAlchemy cannot compile the statement for {dialect}: {reason}")
        if number := getattr(error, "row", None):
            name_row(failure, number)
        raise failure from error
    text, _ = sent[0]
    if any(other != text for other, _ in sent):
        raise ProgrammingError(
            "the rows need different SQL, as the lists in them differ in length; run them one by one"
        )
    if params:
        return text, tuple(values for _, values in sent[: len(rows)])
    return text, tuple(values for _, values in sent if values)


@lru_cache
def _dialect(name: str) -> Any:
    # Those of the libraries adapt values to their own library, so the generic ones are taken.
    module, cls = dialect_named(name).sqlalchemy or ("sqlalchemy.engine.default", "DefaultDialect")
    return getattr(import_module(module), cls)(paramstyle="named")


def _compile(statement: Any, rows: list[dict[str, Any]], dialect: Any) -> list[tuple[str, dict[str, Any]]]:
    if any(cls.__module__ == "sqlalchemy.sql.ddl" for cls in type(statement).__mro__):
        _refuse_unknown(rows[0], set())
        return [(str(statement.compile(dialect=dialect)), {})]
    compiled = statement.compile(dialect=dialect, column_keys=list(rows[0]))
    filled: list[tuple[str, dict[str, Any]]] = []
    try:
        for row in rows:
            filled.append(_fill(compiled, row))  # noqa: PERF401 - its length shows which row has failed
    except ProgrammingError as error:
        if len(rows) > 1:
            name_row(error, len(filled) + 1)
        raise
    except Exception as error:
        if len(rows) > 1:
            note_row(error, len(filled) + 1)
        raise
    return filled


def _fill(compiled: Any, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    _refuse_unknown(given, compiled.binds.keys())
    state = compiled.construct_expanded_state(given, escape_names=False)  # with each IN written out
    values: dict[str, Any] = dict(state.parameters)
    for column in compiled.insert_prefetch or compiled.update_prefetch:
        default = column.default if compiled.insert_prefetch else column.onupdate
        values[column.key] = _default_value(column, default, values)
    # There is no public way to what the column types do with values.
    processors: dict[str, Any] = {**compiled._bind_processors, **state.processors}  # noqa: SLF001
    for name in values.keys() & processors.keys():
        values[name] = processors[name](values[name])
    escaped = compiled.escaped_bind_names
    return state.statement, {escaped.get(name, name): value for name, value in values.items()}


def _refuse_unknown(given: dict[str, Any], names: AbstractSet[str]) -> None:
    if unknown := given.keys() - names:
        listed = " and ".join(sorted(map(str, unknown)))
        raise ProgrammingError(f"the mapping does not match the statement: no parameter is named {listed}")


def _default_value(column: Any, default: Any, values: dict[str, Any]) -> Any:
    if default.is_scalar:
        return default.arg
    if default.is_callable:
        return default.arg(_DefaultContext(values))
    raise ProgrammingError(f"only the database can compute the default of column {column.key}; pass a value for it")


class _DefaultContext:
    """What the function of a column default may ask for."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.current_parameters = values

    def get_current_parameters(self, **_: bool) -> dict[str, Any]:
        return self.current_parameters
