"""Random programs of nested transactions in several tasks, against a model of what a database makes of them.

What the scripted driver was sent must be a well-formed nesting, with each statement inside exactly those transactions
that its task stood in; what survives must be what the model says, and each transaction must know what became of it, and
have its hooks tell it once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from aio_databases import DatabaseError, TransactionState
from aio_databases.testing.fake_driver import make_database, script_of, verify_closed

ENDINGS = ("commit", "raise", "roll back by hand", "commit by hand")


class Boom(Exception):
    """Leaves a block."""


# Programs


@dataclass(frozen=True)
class Statement:
    """A statement, which the database may refuse."""

    fails: bool


@dataclass(frozen=True)
class Pause:
    """Some awaits without a statement."""

    awaits: int


@dataclass(frozen=True)
class Nest:
    """A transaction with what is done in it, how it ends, and what its block does after it was ended by hand."""

    body: tuple[Any, ...]
    ending: str
    after: tuple[Statement, ...]


@dataclass(frozen=True)
class Children:
    """Tasks that are started here and awaited."""

    bodies: tuple[tuple[Any, ...], ...]


def programs() -> Any:
    return st.one_of(st.lists(st.lists(steps(), max_size=3).map(tuple), min_size=1, max_size=3), crowds())


def crowds() -> Any:
    """Make programs of one transaction whose children all want to nest."""
    leaves = st.one_of(st.just(Statement(fails=False)), st.builds(Pause, st.integers(1, 9)))
    bodies = st.lists(leaves, max_size=4).map(tuple)
    child = st.one_of(bodies, st.tuples(leaves, st.builds(Nest, bodies, st.sampled_from(ENDINGS), st.just(()))))
    children = st.lists(child, min_size=2, max_size=3).map(tuple)
    return children.map(lambda each: [(Nest((Children(each),), "commit", ()),)])


def steps() -> Any:
    """Make any step, with others inside of it."""
    statements = st.builds(Statement, st.booleans())
    leaves = st.one_of(statements, st.just(Statement(fails=False)), st.builds(Pause, st.integers(1, 4)))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(
                Nest,
                st.lists(inner, max_size=3).map(tuple),
                st.sampled_from(ENDINGS),
                st.lists(statements, max_size=1).map(tuple),
            ),
            st.builds(Children, st.lists(st.lists(inner, max_size=2).map(tuple), min_size=1, max_size=3).map(tuple)),
        ),
        max_leaves=12,
    )


# Running one, and noting what ought to come of it


@dataclass
class Scope:
    """A transaction of the program, as the model sees it."""

    number: int
    outer: Scope | None
    state: TransactionState = TransactionState.ACTIVE

    @property
    def path(self) -> list[int]:
        """The numbers of the transactions around, outermost first, and its own."""
        return [*(self.outer.path if self.outer else []), self.number]

    @property
    def survives(self) -> bool:
        """Whether what was done in it is in the database at the end."""
        return self.state is TransactionState.COMMITTED and (self.outer is None or self.outer.survives)


@dataclass
class Run:
    """One execution of a program."""

    db: Any
    numbers: count[int] = field(default_factory=count)
    places: dict[int, Scope | None] = field(default_factory=dict)
    scopes: dict[int, Scope] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    told: list[tuple[str, int]] = field(default_factory=list)

    async def body(self, steps: tuple[Any, ...], scope: Scope | None) -> None:
        for step in steps:
            match step:
                case Statement(fails):
                    await self.statement(scope, fails=fails)
                case Pause(awaits):
                    for _ in range(awaits):
                        await checkpoint()
                case Nest():
                    await self.nest(step, scope)
                case Children(bodies):
                    async with anyio.create_task_group() as tasks:
                        for body in bodies:
                            tasks.start_soon(self.body, body, scope)

    async def statement(self, scope: Scope | None, *, fails: bool = False) -> None:
        number = next(self.numbers)
        self.places[number] = scope
        if not fails:
            assert (await self.db.execute(f"insert {number};")).rowcount == 1
            return
        self.refused.add(number)
        script_of(self.db).fail(f"insert {number};")
        with pytest.raises(DatabaseError, match="refused"):
            await self.db.execute(f"insert {number};")

    async def nest(self, step: Nest, outer: Scope | None) -> None:
        scope = Scope(next(self.numbers), outer)
        self.scopes[scope.number] = scope
        transaction = self.db.transaction()
        try:
            async with transaction:
                transaction.on_commit(self.told.append, ("survives", scope.number))
                transaction.on_rollback(self.told.append, ("is gone", scope.number))
                await self.db.execute(f"mark {scope.number};")
                await self.body(step.body, scope)
                if step.ending == "raise":
                    raise Boom  # noqa: TRY301 - what leaves the block is the point
                if "by hand" in step.ending:
                    await (transaction.commit() if "commit" in step.ending else transaction.rollback())
                    # The block goes on without its transaction, in the one around it.
                    for statement in step.after:
                        await self.statement(outer, fails=statement.fails)
        except Boom:
            assert step.ending == "raise"
        scope.state = TransactionState.COMMITTED if "commit" in step.ending else TransactionState.ROLLED_BACK
        assert scope.state is transaction.state


# What a database would make of the log


class Session:
    """One connection to a database that keeps what was committed."""

    def __init__(self) -> None:
        self.stack: list[tuple[str, list[int], list[int]]] = []
        self.kept: list[int] = []
        self.paths: dict[int, list[int]] = {}

    def run(self, sql: str) -> None:
        """Do what a statement says; a nesting that is not well-formed is an error."""
        words = sql.rstrip(";").split()
        match words:
            case ["BEGIN"]:
                assert self.stack == []
                self.stack.append(("BEGIN", [], []))
            case ["SAVEPOINT", name]:
                assert self.stack != []
                self.stack.append((name, [], []))
            case ["COMMIT" | "ROLLBACK"]:
                (_, _, done) = self.stack.pop()
                assert self.stack == []
                self.kept += done if words == ["COMMIT"] else []
            case ["RELEASE", name]:
                (top, _, done) = self.stack.pop()
                assert top == name
                self.stack[-1][2].extend(done)
            case ["ROLLBACK", "TO", name]:
                while self.stack.pop()[0] != name:
                    pass
            case ["mark", number]:
                assert self.stack[-1][1] == []
                self.stack[-1][1].append(int(number))
            case ["insert", number]:
                self.paths[int(number)] = [mark for _, marks, _ in self.stack for mark in marks]
                assert len(self.stack) == len(self.paths[int(number)])
                (self.stack[-1][2] if self.stack else self.kept).append(int(number))
            case _:
                assert words in (["connect"], ["close"], ["ping"], ["settle"]), words


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(tasks=programs(), shared=st.booleans())
def test_a_database_makes_of_any_program_what_its_blocks_say(backend, tasks, shared):
    db = make_database(shared=shared, max_size=2, timeout=5, reset="never")
    run = Run(db)

    async def main() -> None:
        async with db, anyio.create_task_group() as group:
            for body in tasks:
                group.start_soon(run.body, body, None)

    anyio.run(main, backend=backend)
    verify_closed(db)
    sessions: dict[str, Session] = {}
    for line in script_of(db).log:
        number, _, sql = line.partition(" ")
        sessions.setdefault(number, Session()).run(sql)
    paths = {number: path for session in sessions.values() for number, path in session.paths.items()}
    assert {number: scope.path if scope else [] for number, scope in run.places.items()} == paths
    fates = [("survives" if scope.survives else "is gone", number) for number, scope in run.scopes.items()]
    assert sorted(fates) == sorted(run.told)
    survivors = {n for n, scope in run.places.items() if scope is None or scope.survives} - run.refused
    kept = {number for session in sessions.values() for number in session.kept} - run.refused
    assert survivors == kept
