"""Write a list of values out where it stands behind IN: one placeholder for each of its values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aio_databases.errors import ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aio_databases.dialects.base import Dialect
    from aio_databases.sql.statements import Token

Shape = tuple[int, ...]
"""For each value behind IN, how many placeholders its list gets; `SINGLE` for a value that is no list."""

SINGLE = -1
_LISTS = (list, tuple, set, frozenset)


class Place(NamedTuple):
    """A placeholder in a text; behind IN with the brackets around it."""

    start: int
    end: int
    source: int  # the number of its value among those of the caller, from 0
    behind: str  # "IN", "NOT IN", or empty


class ListPlaces(NamedTuple):
    """A text in which lists may stand behind IN, with all of its placeholders."""

    text: str
    places: tuple[Place, ...]
    escaped: tuple[Place, ...]  # question marks that are not placeholders
    lists: tuple[int, ...]  # the numbers of the values behind IN
    rows: frozenset[int] = frozenset()  # the numbers of those among them that are compared with rows: (a, b) IN (?)

    def is_list(self, source: int, value: object) -> bool:
        """Return whether the value with a number is written out; a tuple may be a row."""
        return is_list(value) and not (source in self.rows and isinstance(value, tuple))


def list_places(text: str, tokens: list[Token], sources: dict[int, int]) -> ListPlaces | None:
    """Return the placeholders of a text, or None if none of them stands behind IN alone.

    ``sources`` has the number of the value for each placeholder, by the place where that begins; -1 for ``??``.
    """
    places = [_place(tokens, number, sources[t.start]) for number, t in enumerate(tokens) if t.start in sources]
    lists = tuple(dict.fromkeys(place.source for place in places if place.behind))
    if not lists:
        return None
    escaped = tuple(place for place in places if place.source < 0)
    rows = frozenset(
        sources[token.start]
        for number, token in enumerate(tokens)
        if sources.get(token.start) in lists and _is_behind_row(tokens, number)
    )
    return ListPlaces(text, tuple(place for place in places if place.source >= 0), escaped, lists, rows)


def _is_behind_row(tokens: list[Token], number: int) -> bool:
    """Return whether what stands before IN is a row such as ``(a, b)``, and no call of a function."""
    before = [token.text.upper() for token in tokens[max(number - _LONGEST_ROW, 0) : number] if token.kind != "quoted"]
    while before and before[-1] in {"(", "IN", "NOT"}:
        before.pop()
    depth = commas = 0
    for place in range(len(before) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(before[place], 0)
        commas += depth == 1 and before[place] == ","
        if depth <= 0:
            return commas > 0 and before[place - 1 : place] in _BEFORE_ROWS
    return False


_LONGEST_ROW = 100  # tokens
_BEFORE_ROWS = [[], *([word] for word in ("WHERE", "AND", "OR", "NOT", "ON", "WHEN", "HAVING", "SELECT", "(", ","))]


def _place(tokens: list[Token], number: int, source: int) -> Place:
    token = tokens[number]
    start, end = token.start, token.end
    before = [each.text.upper() for each in tokens[max(number - 3, 0) : number] if each.kind == "word"]
    if before[-1:] == ["("] and tokens[number + 1 : number + 2] and tokens[number + 1].text == ")":
        before.pop()
        start, end = tokens[number - 1].start, tokens[number + 1].end
    if before[-1:] != ["IN"] or source < 0:
        return Place(token.start, token.end, source, "")
    return Place(start, end, source, "NOT IN" if before[-2:-1] == ["NOT"] else "IN")


def is_list(value: object) -> bool:
    """Return whether a value is written out behind IN."""
    return isinstance(value, _LISTS)


def shape_of(where: ListPlaces, rows: Sequence[Sequence[Any]]) -> Shape | None:
    """Return how many placeholders the lists in these rows of values get; None if there is no list among them.

    Raises ProgrammingError where one statement cannot serve all rows.
    """
    shape = tuple([_places_for(where, source, [row[source] for row in rows]) for source in where.lists])
    return shape if max(shape) > SINGLE else None


def _places_for(where: ListPlaces, source: int, values: list[Any]) -> int:
    found = [where.is_list(source, value) for value in values]
    if not any(found):
        return SINGLE
    sizes = {len(value) if listed else 1 for value, listed in zip(values, found, strict=True)}
    if len(sizes) > 1 and 0 in sizes and any(p.source == source and p.behind == "NOT IN" for p in where.places):
        raise ProgrammingError(_MIXED)
    return _room(max(sizes))


_MIXED = "an empty list and others behind NOT IN need different SQL; run the rows one by one"


def _room(size: int) -> int:
    """Return how many placeholders a list gets, so that lists of many sizes share a few plans."""
    if size <= _SMALL:
        return 1 << (size - 1).bit_length() if size else 0
    rounded = -(-size // _STEP) * _STEP
    return rounded if rounded <= _MOST else size


_SMALL = 1024
_STEP = 1000
_MOST = 32_000  # the databases end at 32,766 values and more


def values_in(where: ListPlaces, shape: Shape, row: Sequence[Any]) -> dict[int, list[Any]]:
    """Return the values of each list behind IN: as many as it has placeholders, the last one repeated."""
    found: dict[int, list[Any]] = {}
    for source, size in zip(where.lists, shape, strict=True):
        if size == SINGLE:
            continue
        value = row[source]
        values: list[Any] = list(value) if where.is_list(source, value) else [value]
        # NULL equals nothing, as an empty list in a batch should
        found[source] = values + [values[-1] if values else None] * (size - len(values))
    return found


def nothing(place: Place, dialect: Dialect) -> str:
    """Return what stands for an empty list: with it IN is false for every row, NULL too, and NOT IN is true."""
    return dialect.empty_list.format("" if place.behind == "NOT IN" else "NOT ")
