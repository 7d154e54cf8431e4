"""Rows that are like tuples and know the names of their columns."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class Result(NamedTuple):
    """What a statement did.

    ``rowcount`` is the number of rows it changed, -1 where that is unknown.  ``lastrowid`` is the id of the
    inserted row on databases that report one, else None.
    """

    rowcount: int
    lastrowid: Any = None


class Record:
    """One row of a result.

    It equals, hashes, orders, slices and unpacks like the tuple of its values, and finds a value by position, by
    column name (``row["name"]``; the last one where names repeat) and as an attribute (``row.name``).
    ``name in row`` asks for a column, ``dict(row)`` works.  The rows of every driver keep this contract; a driver
    whose library has fast rows of its own lends them the methods of this class.

    It is neither a ``Sequence`` nor a ``Mapping`` to ``isinstance``: code that asks means to treat rows unlike lists.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def __init__(self, values: tuple[Any, ...], /) -> None: ...
        def __getitem__(self, key: Any, /) -> Any: ...
        def __iter__(self) -> Iterator[Any]: ...
        def __len__(self) -> int: ...
        def __contains__(self, name: object, /) -> bool: ...
        def __lt__(self, other: Any, /) -> bool: ...
        def __le__(self, other: Any, /) -> bool: ...
        def __gt__(self, other: Any, /) -> bool: ...
        def __ge__(self, other: Any, /) -> bool: ...

        def keys(self) -> tuple[str, ...]:
            """Return the names of the columns."""
            ...

        def get(self, name: str, default: Any = None, /) -> Any:
            """Return the value of the column ``name``, or ``default`` if the row has no such column."""
            ...

    def values(self) -> tuple[Any, ...]:
        """Return the values in the order of the columns."""
        return tuple(self)

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Return pairs of column name and value in the order of the columns."""
        return tuple(zip(self.keys(), self, strict=True))

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(_no_column(self, name)) from None

    def __repr__(self) -> str:
        return f"<Record {' '.join(f'{name}={value!r}' for name, value in self.items())}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (tuple(self.keys()), tuple(self))


class _TupleRecord(Record):
    """A row over the plain tuple that most libraries return; each result shape has a subclass, see `record_type`."""

    __slots__ = ("_values",)
    _names: ClassVar[tuple[str, ...]]
    _positions: ClassVar[Mapping[str, int]]

    def __init__(self, values: tuple[Any, ...], /) -> None:
        self._values = values

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object, /) -> bool:
        return name in self._names

    def __eq__(self, other: object, /) -> bool:
        if isinstance(other, _TupleRecord):
            return self._values == other._values
        if isinstance(other, (tuple, Record)):
            return self._values == tuple(cast("Iterable[Any]", other))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._values)

    def __lt__(self, other: Any, /) -> bool:
        return self._values < tuple(other)

    def __le__(self, other: Any, /) -> bool:
        return self._values <= tuple(other)

    def __gt__(self, other: Any, /) -> bool:
        return self._values > tuple(other)

    def __ge__(self, other: Any, /) -> bool:
        return self._values >= tuple(other)

    def keys(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        return self._names

    def values(self) -> tuple[Any, ...]:
        """Return the values in the order of the columns."""
        return self._values

    def get(self, name: str, default: Any = None, /) -> Any:
        """Return the value of the column ``name``, or ``default`` if the row has no such column."""
        return self._values[self._positions[name]] if name in self._names else default


@lru_cache(maxsize=1024)
def record_type(names: tuple[str, ...]) -> type[Record]:
    """Return the class of rows with these columns; calling it with a tuple of values makes a row.

    It is made once per result shape, so that a row holds nothing but its values.
    """
    positions = {name: position for position, name in enumerate(names)}
    attributes = {
        name: _attribute(position)
        for name, position in positions.items()
        if name.isidentifier() and name[0] != "_" and name not in _METHODS
    }
    members = {"__slots__": (), "__getitem__": _finder(positions, len(names)), "_names": names, "_positions": positions}
    return type("Record", (_TupleRecord,), attributes | members)


_METHODS = frozenset({*dir(_TupleRecord), *dir(type)})


def _attribute(position: int) -> property:
    """Return what finds the value of one column: `Record.__getattr__` is only asked when all else has failed."""

    def value(self: Any) -> Any:
        return self._values[position]

    return property(value)


def _finder(positions: Mapping[str, int], count: int) -> Callable[[Any, Any], Any]:
    """Return the ``__getitem__`` of a class of rows; what it closes over is found sooner than what the class has."""
    # One look-up serves names and numbers; only slices and mistakes go on to the second.
    places: dict[Any, int] = {**positions, **{position: position for position in range(-count, count)}}

    def find(self: Any, key: Any, /) -> Any:
        try:
            return self._values[places[key]]
        except (KeyError, TypeError):
            if isinstance(key, str):
                raise KeyError(_no_column(self, key)) from None
            return self._values[key]

    return find


def records(names: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> list[Record]:
    """Return ``rows`` (tuples) as records with these column names."""
    return list(map(record_type(tuple(names)), rows))


def _no_column(record: Record, name: str) -> str:
    return f"no column {name!r}; the row has {', '.join(record.keys()) or 'no columns'}"


def _rebuild(names: tuple[str, ...], values: tuple[Any, ...]) -> Record:
    return record_type(names)(values)
