"""Turn the SQL and parameters of a caller into what a driver takes, by one cached plan per SQL text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from .errors import ConfigurationError, ProgrammingError
from .queries import row_kind
from .statements import FOREIGN_CHARSET, copy_of, lexer_of, scan, statements, traits_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from .statements import Token, Traits

__all__ = ("Plan", "Translator")

MAX_PLANS = 2048  # of each kind: without parameters, with a mapping, positional
MAX_CACHED_LENGTH = 10_000  # characters; most of the longer texts are made for one use

Values = Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
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
    takes: int = field(init=False)  # how many positional values go to the driver as they are given; -1: look closer

    def __post_init__(self) -> None:
        as_given = self.names is None and self.order is None and not self.named
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


class Translator:
    """Plans the SQL texts for one driver.

    ``dialect`` is "sqlite", "postgresql", "mysql", "odbc" or "dummy" (read like SQLite's); others are read like ODBC's.
    ``paramstyle`` is what the driver takes: "qmark", "format", "pyformat" (used like "format") or "numeric_dollar".
    With ``convert=False`` texts and parameters are passed on as they are.

    Raises `ConfigurationError` for any other paramstyle.
    """

    def __init__(self, dialect: str, paramstyle: str, *, convert: bool = True) -> None:
        self._dialect = "sqlite" if dialect == "dummy" else dialect
        self._paramstyle = "format" if paramstyle == "pyformat" else paramstyle
        self._convert = convert
        if self._paramstyle not in _MARKS:
            raise ConfigurationError(f"The paramstyle {paramstyle!r} is not known; use one of {', '.join(_MARKS)}.")
        self._lexer = lexer_of(self._dialect)
        self._raw: dict[str, Plan] = {}
        self._named: dict[str, Plan] = {}
        self._positional: dict[str, Plan] = {}
        self._lock = Lock()

    def bind(self, text: str, params: tuple[Any, ...]) -> tuple[Plan, Values]:
        """Return the plan of ``text`` and the values to send with it.

        ``params`` is empty, one mapping for ``:name`` or ``%(name)s``, or one value for each ``?``, ``%s`` or ``$1``.
        Without parameters the text is never touched.

        Raises `ProgrammingError` if the parameters do not match the placeholders.
        """
        if not params:
            return self._raw.get(text) or self._remember(self._raw, text), ()
        count = len(params)
        plans = self._positional
        if count == 1 and type(params[0]) not in _PLAIN and isinstance(params[0], Mapping):
            plans = self._named
        plan = plans.get(text) or self._remember(plans, text)
        return plan, params if plan.takes == count else plan.fit(params)

    def bind_many(self, text: str, rows: Iterable[Any]) -> tuple[Plan, list[Values]]:
        """Return the one plan of ``text`` for all ``rows``, and the values of each.

        A row is a mapping, a sequence, or a bare value (text and bytes are values, too).

        Raises `ProgrammingError`, with the number of the row, if one does not match or is of another kind than row 1.
        """
        rows = list(rows)
        if set(map(type, rows)) == {tuple}:
            plan = self._positional.get(text) or self._remember(self._positional, text)
            if set(map(len, rows)) == {plan.takes}:
                return plan, rows  # as most are, and told without looking at each
        pairs = [_kind_and_params(row) for row in rows]
        if not pairs:
            return self.bind(text, ())[0], []
        first = pairs[0][0]
        plans = self._named if first == "mapping" else self._positional
        plan = plans.get(text) or self._remember(plans, text)
        by_name = plan.named or plan.names is not None  # elsewhere a mapping is a value like any other
        fitted: list[Values] = []
        for number, (kind, params) in enumerate(pairs, 1):
            if kind != first and (by_name or "sequence" in (kind, first)):
                raise ProgrammingError(f"Row {number} is a {kind}, but row 1 is a {first}; pass rows of one kind.")
            try:
                fitted.append(plan.fit(params))
            except ProgrammingError as error:
                raise ProgrammingError(f"Row {number}: {error}") from None
        return plan, fitted

    def _remember(self, plans: dict[str, Plan], text: str) -> Plan:
        tokens = scan(text, self._lexer)
        traits = traits_of(text, tokens, self._dialect)
        if self._dialect == "mysql" and traits.session and any(map(FOREIGN_CHARSET.search, statements(tokens))):
            message = "The character set of the connection is utf8mb4 and must stay so, as values are written in it; "
            raise ProgrammingError(message + "leave the statement out: the server converts for columns of other sets.")
        if traits.writes and self._dialect in _COPYING and (copy := copy_of(tokens)):
            message = f"COPY ... {copy} moves its data beside the statement, which no verb does: use the methods for "
            raise ProgrammingError(message + "COPY of the library's own connection, connection.raw")
        if plans is self._raw or not self._convert:
            plan = Plan(text, *traits, named=plans is self._named)
        elif plans is self._named:
            plan = self._plan_named(text, tokens, traits)
        else:
            plan = self._plan_positional(text, tokens, traits)
        if len(text) <= MAX_CACHED_LENGTH:
            with self._lock:
                if len(plans) >= MAX_PLANS:
                    del plans[next(iter(plans))]
                plans[text] = plan
        return plan

    def _plan_named(self, text: str, tokens: list[Token], traits: Traits) -> Plan:
        kinds = {token.kind for token in tokens}
        if "foreign_name" in kinds:
            return Plan(text, *traits, named=True)
        chosen = [token for token in tokens if token.kind in _NAMED]
        if not chosen:
            positional = kinds & {*_MARKS, "foreign_number"}
            return self._plan_positional(text, tokens, traits) if positional else Plan(text, *traits, names=())
        found = [token.name for token in chosen]
        if mixed := kinds & {self._paramstyle, "foreign_number"}:
            mark = next(token.text for token in tokens if token.kind in mixed)
            raise ProgrammingError(f"The statement mixes {_listed(found)} with {mark}; use placeholders of one kind.")
        numbers = {name: number for number, name in enumerate(dict.fromkeys(found), 1)}
        sql = self._substitute(text, chosen, [numbers[name] for name in found])
        names = numbers if self._paramstyle == "numeric_dollar" else found  # only $1 can use a value twice
        return Plan(sql, *traits, names=tuple(names), keys=frozenset(numbers), style="named")

    def _plan_positional(self, text: str, tokens: list[Token], traits: Traits) -> Plan:
        kinds = {token.kind for token in tokens}
        if kinds & {"foreign_name", "foreign_number"}:
            return Plan(text, *traits)
        style = next((style for style in (self._paramstyle, *_MARKS) if style in kinds), "")
        if not style and kinds & _NAMED:
            names = _listed(token.name for token in tokens if token.kind in _NAMED)
            raise ProgrammingError(f"The statement names {names}; pass one mapping.")
        chosen = [token for token in tokens if token.kind == style]
        dollars = style == "numeric_dollar"
        numbers = [int(token.text[1:]) if dollars else number for number, token in enumerate(chosen, 1)]
        count = max(numbers, default=0)
        if style == self._paramstyle != "format":
            return Plan(text, *traits, count=count, style=style)
        if style == "qmark":
            chosen = [token for token in tokens if token.kind in ("qmark", "escaped")]
        sql = self._substitute(text, chosen, numbers)
        order = None if numbers == [*range(1, count + 1)] else tuple(number - 1 for number in numbers)
        return Plan(sql, *traits, order=order, count=count, style=style)

    def _substitute(self, text: str, chosen: list[Token], numbers: list[int]) -> str:
        marks = map(_MARKS[self._paramstyle].format, numbers)
        # Where the style is one of %, a percent sign is doubled in the whole text, literals included.
        percent_of_caller = "%%?" if any(token.text[0] == "%" for token in chosen) else "%"
        percent_of_driver = "%%" if self._paramstyle == "format" else "%"
        parts: list[str] = []
        position = 0
        for token in chosen:
            parts.append(re.sub(percent_of_caller, percent_of_driver, text[position : token.start]))
            parts.append("?" if token.kind == "escaped" else next(marks))
            position = token.end
        return "".join(parts) + re.sub(percent_of_caller, percent_of_driver, text[position:])


_PLAIN = frozenset({int, str, float, bool, bytes, type(None), list, tuple})  # no need to ask the slow abstract class


def _kind_and_params(row: Any) -> tuple[str, tuple[Any, ...]]:
    kind = row_kind(row)
    return kind, tuple(row) if kind == "sequence" else (row,)


def _unmatched(keys: AbstractSet[str], mapping: Mapping[str, Any]) -> ProgrammingError:
    faults: list[str] = []
    if missing := keys - mapping.keys():
        faults.append(f"it lacks {_listed(sorted(missing))}")
    if extra := mapping.keys() - keys:
        faults.append(f"the statement does not name {_listed(sorted(map(str, extra)))}")
    return ProgrammingError(f"The mapping does not match the statement: {', and '.join(faults)}.")


def _miscounted(plan: Plan, params: tuple[Any, ...]) -> ProgrammingError:
    count, given = plan.count or 0, len(params)
    sign = "$" if plan.style == "numeric_dollar" else "number "
    first = f"{sign}{given + 1}"
    fault = f"{first} is missing" if given == count - 1 else f"{first} to {sign}{count} are missing"
    if given > count:
        fault = f"{given - count} too many"
    hint = "; a mapping goes with named placeholders" if given and isinstance(params[0], Mapping) else ""
    return ProgrammingError(f"The statement takes {count} value{'s' * (count != 1)}, but got {given}: {fault}{hint}.")


def _listed(names: Iterable[str]) -> str:
    *most, last = [f":{name}" for name in dict.fromkeys(names)]
    return f"{', '.join(most)} and {last}" if most else last


_COPYING = frozenset({"postgresql", "odbc"})  # where a text may be PostgreSQL's
_MARKS = {"numeric_dollar": "${}", "format": "%s", "qmark": "?"}
_NAMED = frozenset({"named", "pyformat"})
