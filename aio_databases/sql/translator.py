"""Turn the SQL and parameters of a caller into what a driver takes, by one cached plan per SQL text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aio_databases.dialects import dialect_named
from aio_databases.errors import ConfigurationError, DataError, ProgrammingError, name_row
from aio_databases.sql.lists import SINGLE, is_list, list_places, nothing, shape_of, values_in
from aio_databases.sql.query_objects import row_kind
from aio_databases.sql.statements import copy_of, effects_of, scan, statements

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from aio_databases.sql.lists import ListPlaces, Shape
    from aio_databases.sql.statements import StatementEffects, Token

MAX_PLANS = 2048  # of each kind: without parameters, with a mapping, positional, with lists written out
MAX_CACHED_LENGTH = 10_000  # characters; most of the longer texts are made for one use
MAX_CACHED_LIST = 1024  # values behind IN; with more, the plan takes more memory than time

Values = Sequence[Any] | Mapping[str, Any]
Layout = tuple[tuple[int, int], ...]  # for each placeholder the number of its value, and the number in its list
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, eq=False)
class CompiledQuery:
    """Tells what to send for one SQL text, how the values are laid out, and what the text does.

    ``writes``: a replica must refuse it; SQLite's writers queue for it.  ``session``: it changes state of the session
    that outlives it, so the connection must be reset before another user gets it.  ``selects``: it is one query, of the
    kind that a cursor can be declared for.  ``ends``: it ends the transaction that it is run in.
    """

    sql: str  # in the paramstyle of the driver
    writes: bool
    session: bool
    selects: bool = False
    ends: bool = False
    names: tuple[str, ...] | None = None  # of the values, in the order the driver wants them; None: not by name
    order: tuple[int, ...] | None = None  # of positional values, as the driver wants them; None: as given
    count: int | None = None  # how many values the caller must pass; None: any number
    style: str = ""  # what the caller's text is written in; empty: left to the driver
    named: bool = False  # the one parameter is a mapping, and the driver takes it as it is
    keys: AbstractSet[str] = frozenset()  # the distinct ones of the names
    lists: ListPlaces | None = None  # where a list is written out: behind IN
    sources: tuple[str, ...] = ()  # the distinct names in order
    subscripts: AbstractSet[str] = frozenset()  # names that may as well be the ends of slices: a[:n]
    takes_json: bool = False  # the one value is an argument of a function for JSON
    takes: int = field(init=False)  # how many positional values go to the driver as they are given; -1: look closer

    def __post_init__(self) -> None:
        as_given = self.names is None and self.order is None and not self.named and self.lists is None
        object.__setattr__(self, "takes", -1 if self.count is None or not as_given else self.count)

    def fit(self, params: tuple[Any, ...]) -> Values:
        """Return the values of ``params`` as the driver wants them.

        Raises `ProgrammingError` if they do not match the placeholders.
        """
        if self.names is not None:
            mapping: Mapping[str, Any] = params[0]
            if mapping.keys() != self.keys:
                raise _unmatched(self.keys, mapping)
            return tuple(map(mapping.__getitem__, self.names))
        if self.named:
            return cast("Mapping[str, Any]", params[0])
        if self.count is not None and len(params) != self.count:
            raise _miscounted(self, params)
        return params if self.order is None else tuple(map(params.__getitem__, self.order))


NO_STATEMENT = CompiledQuery("", writes=False, session=False)
"""What stands for a call that is not a caller's statement, such as BEGIN."""


class Translator:
    """Plans the SQL texts for one driver.

    ``dialect`` is the name of one in `dialects`; texts of others are read like ODBC's.
    ``paramstyle`` is what the driver takes: "qmark", "format", "pyformat" (used like "format") or "numeric_dollar".
    With ``convert=False`` texts and parameters are passed on as they are.

    Raises `ConfigurationError` for any other paramstyle.
    """

    def __init__(self, dialect: str, paramstyle: str, *, convert: bool = True) -> None:
        self._dialect = dialect_named(dialect)
        self._paramstyle = "format" if paramstyle == "pyformat" else paramstyle
        self._convert = convert
        if self._paramstyle not in _MARKS:
            raise ConfigurationError(f"the paramstyle {paramstyle!r} is not known; use one of {', '.join(_MARKS)}")
        self._raw: dict[str, CompiledQuery] = {}
        self._named: dict[str, CompiledQuery] = {}
        self._subscripted: dict[str, CompiledQuery] = {}  # by name, where [:n] holds one, too
        self._positional: dict[str, CompiledQuery] = {}
        self._written_out: dict[tuple[CompiledQuery, Shape], tuple[CompiledQuery, Layout]] = {}
        self._lock = Lock()

    def bind(self, text: str, params: tuple[Any, ...]) -> tuple[CompiledQuery, Values]:
        """Return the plan of ``text`` and the values to send with it.

        ``params`` is empty, one mapping for ``:name`` or ``%(name)s``, or one value for each ``?``, ``%s`` or ``$1``.
        Without parameters the text is never touched.

        Raises `ProgrammingError` if the parameters do not match the placeholders, and `DataError` for a list in place
        of the values.
        """
        if not params:
            return self._raw.get(text) or self._remember(self._raw, text), ()
        count = len(params)
        plans = self._positional
        if count == 1 and type(params[0]) not in _PLAIN:
            only: object = params[0]
            if type(only) is dict or isinstance(only, Mapping):
                plans = self._named
            elif is_list(only):
                self._check_alone(text)
        plan = plans.get(text) or self._remember(plans, text)
        if plan.takes == count:
            return plan, params
        if plan.subscripts and plan.subscripts <= params[0].keys():
            plan = self._subscripted.get(text) or self._remember(self._subscripted, text)
        values = plan.fit(params)
        if plan.lists is not None and (found := self._write_out(plan, [_by_source(plan, params)])):
            return found[0], found[1][0]
        return plan, values

    def bind_many(self, text: str, rows: Iterable[Any]) -> tuple[CompiledQuery, list[Values]]:
        """Return the one plan of ``text`` for all ``rows``, and the values of each.

        A row is a mapping, a sequence, or a bare value (text and bytes are values, too).

        Raises `ProgrammingError`, with the number of the row, if one does not match or is of another kind than row 1.
        """
        rows = list(rows)
        if set(map(type, rows)) == {tuple}:
            plan = self._positional.get(text) or self._remember(self._positional, text)
            if set(map(len, rows)) == {plan.takes}:
                return plan, rows  # as most are, which shows without looking at each
        pairs = [_kind_and_params(row) for row in rows]
        if not pairs:
            return self.bind(text, ())[0], []
        first = pairs[0][0]
        plans = self._named if first == "mapping" else self._positional
        plan = plans.get(text) or self._remember(plans, text)
        if plan.subscripts and plan.subscripts <= pairs[0][1][0].keys():
            plan = self._subscripted.get(text) or self._remember(self._subscripted, text)
        by_name = plan.named or plan.names is not None  # elsewhere a mapping is a value like any other
        fitted: list[Values] = []
        for number, (kind, params) in enumerate(pairs, 1):
            if kind != first and (by_name or "sequence" in (kind, first)):
                error = ProgrammingError(f"it is a {kind}, but row 1 is a {first}; pass rows of one kind")
                name_row(error, number)
                raise error
            try:
                fitted.append(plan.fit(params))
            except ProgrammingError as error:
                name_row(error, number)
                raise
        if plan.lists is not None:
            return self._write_out(plan, [_by_source(plan, params) for _, params in pairs]) or (plan, fitted)
        return plan, fitted

    def _check_alone(self, text: str) -> None:
        """Raise DataError for a list that comes alone to a place which takes one value, as far as the text shows."""
        if self._dialect.has_arrays:
            return
        plan = self._positional.get(text) or self._remember(self._positional, text)
        if plan.count == 1 and plan.lists is None and not plan.takes_json:
            raise DataError(_ONE_BY_ONE)

    def _write_out(self, plan: CompiledQuery, rows: list[Sequence[Any]]) -> tuple[CompiledQuery, list[Values]] | None:
        """Return the plan and the values with the lists behind IN written out; None if there is no list there."""
        where = cast("ListPlaces", plan.lists)
        shape = shape_of(where, rows)
        if shape is None:
            return None
        found = self._written_out.get((plan, shape))
        if found is None:
            found = self._plan_lists(plan, where, shape)
            if len(where.text) <= MAX_CACHED_LENGTH and sum(shape) <= MAX_CACHED_LIST:
                self._keep(self._written_out, (plan, shape), found)
        written, layout = found
        values: list[Values] = []
        for row in rows:
            lists = values_in(where, shape, row)
            values.append(tuple([row[source] if number < 0 else lists[source][number] for source, number in layout]))
        return written, values

    def _plan_lists(self, plan: CompiledQuery, where: ListPlaces, shape: Shape) -> tuple[CompiledQuery, Layout]:
        sizes = dict(zip(where.lists, shape, strict=True))
        layout: list[tuple[int, int]] = []
        numbers: dict[tuple[int, int], int] = {}

        def mark(source: int, number: int) -> str:
            value = (source, number)
            if value not in numbers or self._paramstyle != "numeric_dollar":
                layout.append(value)
                numbers[value] = len(layout)
            return _MARKS[self._paramstyle].format(numbers[value])

        changes = [(place.start, place.end, "?") for place in where.escaped]
        for place in where.places:
            size = sizes[place.source] if place.behind else SINGLE
            if size == SINGLE:
                written = mark(place.source, SINGLE)
                written = f"({written})" if where.text[place.start] == "(" else written
            elif size:
                written = f"({', '.join([mark(place.source, number) for number in range(size)])})"
            else:
                written = nothing(place, self._dialect)
            changes.append((place.start, place.end, written))
        sql = self._replaced(where.text, sorted(changes), plan.style, doubled=bool(layout))
        names = tuple([plan.sources[source] for source, _ in layout]) if plan.sources else None
        order = None if plan.sources else tuple([source for source, _ in layout])
        return replace(plan, sql=sql, names=names, order=order, lists=None), tuple(layout)

    def _remember(self, plans: dict[str, CompiledQuery], text: str) -> CompiledQuery:
        if "\0" in text:  # to some libraries it is the end of the statement
            message = "the statement has a NUL character in its text, which no database takes; pass it as a parameter"
            raise ProgrammingError(message)
        tokens = scan(text, self._dialect.lexer)
        traits = effects_of(text, tokens, self._dialect)
        foreign = self._dialect.foreign_charset
        if foreign is not None and traits.session and any(map(foreign.search, statements(tokens))):
            message = "the character set of the connection is utf8mb4 and must stay so, as values are written in it; "
            raise ProgrammingError(message + "leave the statement out: the server converts for columns of other sets")
        if traits.writes and self._dialect.copies and (copy := copy_of(tokens)):
            message = f"COPY ... {copy} moves its data beside the statement, which no verb does: use the methods for "
            raise ProgrammingError(message + "COPY of the library's own connection, connection.raw")
        if plans is self._raw or not self._convert:
            plan = CompiledQuery(text, *traits, named=plans is self._named)
        elif plans is self._positional:
            plan = self._plan_positional(text, tokens, traits)
        else:
            plan = self._plan_named(text, tokens, traits, subscripts=plans is self._subscripted)
        if len(text) <= MAX_CACHED_LENGTH:
            self._keep(plans, text, plan)
        return plan

    def _keep(self, plans: dict[K, V], key: K, plan: V) -> None:
        with self._lock:
            if len(plans) >= MAX_PLANS:
                del plans[next(iter(plans))]
            plans[key] = plan

    def _plan_named(
        self, text: str, tokens: list[Token], traits: StatementEffects, *, subscripts: bool
    ) -> CompiledQuery:
        kinds = {token.kind for token in tokens}
        if "foreign_name" in kinds:
            return CompiledQuery(text, *traits, named=True)
        chosen = [token for token in tokens if token.kind in _NAMED or (subscripts and token.kind == "subscript")]
        slices = frozenset(token.name for token in tokens if token.kind == "subscript" and token not in chosen)
        if not chosen:
            positional = kinds & {*_MARKS, "foreign_number"}
            if positional:
                return self._plan_positional(text, tokens, traits)
            return CompiledQuery(text, *traits, names=(), subscripts=slices)
        found = [token.name for token in chosen]
        if mixed := kinds & {self._paramstyle, "foreign_number"}:
            mark = next(token.text for token in tokens if token.kind in mixed)
            raise ProgrammingError(f"the statement mixes {_listed(found)} with {mark}; use placeholders of one kind")
        numbers = {name: number for number, name in enumerate(dict.fromkeys(found), 1)}
        numbered = [numbers[name] for name in found]
        sql = self._substitute(text, chosen, numbered)
        names = numbers if self._paramstyle == "numeric_dollar" else found  # only $1 can use a value twice
        style = "pyformat" if any(token.text[0] == "%" for token in chosen) else "named"
        return CompiledQuery(
            sql,
            *traits,
            names=tuple(names),
            keys=frozenset(numbers),
            style=style,
            lists=_lists(text, tokens, chosen, numbered),
            sources=tuple(numbers),
            subscripts=slices,
        )

    def _plan_positional(self, text: str, tokens: list[Token], traits: StatementEffects) -> CompiledQuery:
        kinds = {token.kind for token in tokens}
        if kinds & {"foreign_name", "foreign_number"}:
            return CompiledQuery(text, *traits)
        style = next((style for style in (self._paramstyle, *_MARKS) if style in kinds), "")
        if not style and kinds & _NAMED:
            names = _listed(token.name for token in tokens if token.kind in _NAMED)
            raise ProgrammingError(f"the statement names {names}; pass one mapping")
        chosen = [token for token in tokens if token.kind == style]
        dollars = style == "numeric_dollar"
        numbers = [int(token.text[1:]) if dollars else number for number, token in enumerate(chosen, 1)]
        count = max(numbers, default=0)
        takes_json = count == len(chosen) == 1 and _is_for_json(tokens, tokens.index(chosen[0]))
        more: dict[str, Any] = {"count": count, "style": style, "takes_json": takes_json}
        if style == self._paramstyle != "format":
            return CompiledQuery(text, *traits, lists=_lists(text, tokens, chosen, numbers), **more)
        lists = _lists(text, tokens, chosen, numbers)
        if style == "qmark":
            chosen = [token for token in tokens if token.kind in ("qmark", "escaped")]
        sql = self._substitute(text, chosen, numbers)
        order = None if numbers == [*range(1, count + 1)] else tuple(number - 1 for number in numbers)
        return CompiledQuery(sql, *traits, order=order, lists=lists, **more)

    def _substitute(self, text: str, chosen: list[Token], numbers: list[int]) -> str:
        marks = map(_MARKS[self._paramstyle].format, numbers)
        changes = [(token.start, token.end, "?" if token.kind == "escaped" else next(marks)) for token in chosen]
        style = "pyformat" if any(token.text[0] == "%" for token in chosen) else ""
        return self._replaced(text, changes, style)

    def _replaced(self, text: str, changes: list[tuple[int, int, str]], style: str, *, doubled: bool = True) -> str:
        # Where the style is one of %, a percent sign is doubled in the whole text, literals included.
        percent_of_caller = "%%?" if style in {"format", "pyformat"} else "%"
        percent_of_driver = "%%" if self._paramstyle == "format" and doubled else "%"
        parts: list[str] = []
        position = 0
        for start, end, written in changes:
            parts.append(re.sub(percent_of_caller, percent_of_driver, text[position:start]))
            parts.append(written)
            position = end
        return "".join(parts) + re.sub(percent_of_caller, percent_of_driver, text[position:])


_PLAIN = frozenset({int, str, float, bool, bytes, type(None)})  # no need to ask the slow abstract class
_ONE_BY_ONE = (
    "values are given one by one, not in a list; "
    "if the list itself is the value, name its placeholder and pass a mapping"
)


def _kind_and_params(row: Any) -> tuple[str, tuple[Any, ...]]:
    kind = row_kind(row)
    return kind, tuple(row) if kind == "sequence" else (row,)


def _by_source(plan: CompiledQuery, params: tuple[Any, ...]) -> Sequence[Any]:
    """Return the values of the caller in the order in which they are numbered."""
    if plan.names is None:
        return params
    mapping: Mapping[str, Any] = params[0]
    return [mapping[name] for name in plan.sources]


def _lists(text: str, tokens: list[Token], chosen: list[Token], numbers: list[int]) -> ListPlaces | None:
    sources = {token.start: number - 1 for token, number in zip(chosen, numbers, strict=True)}
    if any(token.kind == "qmark" for token in chosen):
        sources |= {token.start: -1 for token in tokens if token.kind == "escaped"}
    return list_places(text, tokens, sources)


def _is_for_json(tokens: list[Token], number: int) -> bool:
    """Return whether a placeholder stands between the brackets of a function whose name begins with JSON."""
    depth = 0
    for position in range(number - 1, 0, -1):
        depth += {")": 1, "(": -1}.get(tokens[position].text, 0)
        if depth < 0 and tokens[position - 1].text.upper().startswith("JSON"):
            return True
        depth = max(depth, 0)
    return False


def _unmatched(keys: AbstractSet[str], mapping: Mapping[str, Any]) -> ProgrammingError:
    faults: list[str] = []
    if missing := keys - mapping.keys():
        faults.append(f"it lacks {_listed(sorted(missing))}")
    if extra := mapping.keys() - keys:
        faults.append(f"the statement does not name {_listed(sorted(map(str, extra)))}")
    return ProgrammingError(f"the mapping does not match the statement: {', and '.join(faults)}")


def _miscounted(plan: CompiledQuery, params: tuple[Any, ...]) -> ProgrammingError:
    count, given = plan.count or 0, len(params)
    sign = "$" if plan.style == "numeric_dollar" else "number "
    first = f"{sign}{given + 1}"
    fault = f"{first} is missing" if given == count - 1 else f"{first} to {sign}{count} are missing"
    if given > count:
        fault = f"{given - count} too many"
    hint = "; a mapping goes with named placeholders" if given and isinstance(params[0], Mapping) else ""
    if given == 1 and is_list(cast("object", params[0])):
        hint = "; values are given one by one, not in a list"
    return ProgrammingError(f"the statement takes {count} value{'s' * (count != 1)}, but got {given}: {fault}{hint}")


def _listed(names: Iterable[str]) -> str:
    *most, last = [f":{name}" for name in dict.fromkeys(names)]
    return f"{', '.join(most)} and {last}" if most else last


_MARKS = {"numeric_dollar": "${}", "format": "%s", "qmark": "?"}
_NAMED = frozenset({"named", "pyformat"})
