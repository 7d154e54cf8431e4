"""What the tasks of the soak do with a database: each operation checks its own answer and notes its own writes."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.lowlevel

from aio_databases import (
    CommitUncertainError,
    ConnectionLost,
    DeadlockDetected,
    Error,
    InterfaceError,
    QueryTimeout,
    ReadOnlyError,
    TransactionError,
)
from soak_checks import Attempt
from soak_tally import Hooks

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator

    from aio_databases import Database
    from soak_checks import Ledger
    from soak_tally import Tally

FACTS = 300
ACCOUNTS = 6
BALANCE = 1_000_000


class Words(NamedTuple):
    """What is spelled differently."""

    number: str
    """A number that was passed as `:nonce`."""
    slow: str
    """A query that takes `:moment` seconds, or some such time, and returns `:nonce`."""
    mark_session: str
    session_mark: str
    unmarked: tuple[Any, ...]
    """What the mark is in a session that nobody has marked."""
    strictest: str | None = None
    """The isolation level under which transactions get into each other's way."""
    impatience: str = ""
    """A change of the transaction that lets the next statement run for some milliseconds only."""
    too_slow: str = ""
    """A query that the server stops because it takes too long."""


WORDS = {
    "sqlite": Words(
        number="cast(:nonce as integer)",
        slow="with recursive n (i) as (select 1 union all select i + 1 from n where i < 1 + 2000000 * :moment) "
        "select cast(:nonce as integer) as nonce from (select max(i) from n)",
        mark_session="pragma cache_size = -77",
        session_mark="pragma cache_size",
        unmarked=(-2000,),
    ),
    "postgresql": Words(
        number="cast(:nonce as integer)",
        slow="select cast(:nonce as integer) as nonce from (select pg_sleep(:moment)) as t",
        mark_session="set soak.mark = '7'",
        session_mark="select current_setting('soak.mark', true)",
        unmarked=(None, ""),
        strictest="serializable",
        impatience="set local statement_timeout = 20",
        too_slow="select pg_sleep(5)",
    ),
    "mysql": Words(
        number="cast(:nonce as signed)",
        slow="select cast(:nonce as signed) as nonce from (select sleep(:moment)) as t",
        mark_session="set @mark = 7",
        session_mark="select @mark",
        unmarked=(None,),
        strictest="serializable",
        impatience="set session max_statement_time = 0.05",  # which the next user of the connection must not meet
        too_slow="select max(a.seq + b.seq) from seq_1_to_1000000000 as a, seq_1_to_1000000000 as b",
    ),
}


class Undo(Exception):
    """Leaves a transaction that is to be rolled back."""


def statement_leaves_open(exc: Exception) -> bool:
    """Tell whether a statement that commits itself may have been run in spite of this."""
    return isinstance(exc, ConnectionLost) or not isinstance(exc, Error)


def commit_leaves_open(exc: Exception) -> bool:
    """Tell whether a transaction may have been committed in spite of this."""
    return isinstance(exc, CommitUncertainError) or not isinstance(exc, Error)


class Workload:
    """The operations."""

    def __init__(self, db: Database, dialect: str, ledger: Ledger, tally: Tally, choose: random.Random) -> None:
        self.db = db
        self.tally = tally
        self._words = WORDS[dialect]
        self._ledger = ledger
        self._choose = choose
        self._ids: Iterator[int] = count(1)
        self._nonces: Iterator[int] = count(10_000)
        self.operations: dict[Callable[[], Awaitable[None]], int] = {
            self.read: 24,
            self.read_slowly: 8,
            self.read_replica: 6,
            self.read_together: 4,
            self.write: 12,
            self.write_many: 6,
            self.transfer: 14,
            self.rerun: 6,
            self.nest: 8,
            self.write_together: 6,
            self.stream: 6,
            self.stream_in_transaction: 5,
            self.share_stream: 3,
            self.reconnect: 3,
            self.leave_reader: 3,
            self.mark_session: 3,
            **({self.deadlock: 2, self.be_too_slow: 2} if self._words.too_slow else {}),
        }

    def choose(self) -> Callable[[], Awaitable[None]]:
        """Return an operation, some more often than others."""
        return self._choose.choices(list(self.operations), list(self.operations.values()))[0]

    # Reading

    async def read(self) -> None:
        """Read a row, together with a number that no other query has."""
        number, nonce = self._choose.randint(1, FACTS), next(self._nonces)
        query = f"select id, payload, {self._words.number} as nonce from facts where id = :id"
        row = await self.db.fetchone(query, {"id": number, "nonce": nonce})
        self.tally.check((number, f"fact {number}", nonce), row and tuple(row), "read")

    async def read_slowly(self) -> None:
        """Ask something that takes a moment."""
        nonce, moment = next(self._nonces), self._choose.random() * 0.01
        answer = await self.db.fetchval(self._words.slow, {"nonce": nonce, "moment": moment})
        self.tally.check(nonce, answer, "read slowly")

    async def read_replica(self) -> None:
        """Read from a replica, on which nobody can write."""
        async with self.db.replica():
            await self.read()
            with suppress(ReadOnlyError):
                await self.db.execute("insert into writes (id) values (:id)", {"id": 0})
                self.tally.check("refused", "written", "write on a replica")

    async def read_together(self) -> None:
        """Have tasks share a connection."""
        async with self.db.connection(), anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(self.read)

    async def _rows_until(self, last: int, *, asked: bool) -> None:
        query = f"select id, payload, {self._words.number} as nonce from facts where id <= :last order by id"
        nonce, expected = next(self._nonces), 0
        stop = self._choose.randint(1, FACTS)
        async for row in self.db.iterate(query, {"last": last, "nonce": nonce}, chunk_size=40):
            expected += 1
            self.tally.check((expected, f"fact {expected}", nonce), tuple(row), "stream")
            if asked and expected % 60 == 0:
                await self.read()
            if expected == stop:
                return
        self.tally.check(last, expected, "end of a stream")

    async def stream(self) -> None:
        """Read many rows, to their end or not."""
        await self._rows_until(self._choose.randint(1, FACTS), asked=False)

    async def stream_in_transaction(self) -> None:
        """Read many rows in a transaction, and ask other things meanwhile."""
        async with self.db.transaction(readonly=self._choose.choice((None, True))):
            await self._rows_until(self._choose.randint(1, FACTS), asked=True)

    async def share_stream(self) -> None:
        """Have two tasks read one stream, which refuses the second while the first reads, and loses no row."""
        rows = self.db.iterate("select id from facts order by id", chunk_size=40)
        got: list[int] = []

        async def read() -> None:
            try:
                async for row in rows:
                    got.append(row[0])
                    await anyio.lowlevel.checkpoint()
            except InterfaceError as exc:
                if isinstance(exc, RuntimeError):  # the pool was closed, the connection released
                    raise

        async with rows, anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(read)
        self.tally.check(list(range(1, FACTS + 1)), sorted(got), "a stream of two tasks")

    async def leave_reader(self) -> None:
        """End a block while another task reads on its connection, which gets everything or an error."""

        async def read() -> None:
            rows = await self.db.fetchall("select a.id from facts a, facts b where b.id < 30")
            self.tally.check(FACTS * 29, len(rows), "rows of a reader whose block has ended")

        async with anyio.create_task_group() as tasks, self.db.connection():
            tasks.start_soon(read)
            await anyio.sleep(self._choose.random() * 0.01)

    async def reconnect(self) -> None:
        """Replace a connection by hand, without and within a transaction, which must not go on then."""
        async with self.db.connection(reconnect=True) as connection:
            await self.read()
            await connection.reconnect()
            await self.read()
            with suppress(TransactionError), self._attempt("reconnected", 1, lambda _: False) as attempt:
                async with self.db.transaction():
                    await connection.reconnect()
                    await self._insert(*attempt.ids)
                self.tally.check("refused", "committed", "what a reconnected transaction wrote")

    async def mark_session(self) -> None:
        """Change the session of a connection, which its next user must not see."""
        async with self.db.connection() as connection:
            mark = await connection.fetchval(self._words.session_mark)
            self.tally.check("unmarked", "unmarked" if mark in self._words.unmarked else mark, "session")
            await connection.execute(self._words.mark_session)

    async def be_too_slow(self) -> None:
        """Have the server stop a statement."""
        with suppress(QueryTimeout):
            async with self.db.transaction():
                await self.db.execute(self._words.impatience)
                await self.db.fetchall(self._words.too_slow)
                self.tally.check("stopped", "answered", "statement that is too slow")

    # Writing

    def _attempt(self, kind: str, size: int, leaves_open: Callable[[Exception], bool]) -> Attempt:
        return Attempt(self._ledger, kind, tuple(next(self._ids) for _ in range(size)), leaves_open)

    async def _insert(self, number: int) -> None:
        result = await self.db.execute("insert into writes (id) values (:id)", {"id": number})
        self.tally.check(1, result.rowcount, "rows of an insert")

    async def _count(self, ids: tuple[int, ...]) -> int:
        first, last = min(ids), max(ids)  # they follow each other
        query = "select count(*) from writes where id between :first and :last"
        found: int = await self.db.fetchval(query, {"first": first, "last": last})
        return found

    async def write(self) -> None:
        """Write a row, and read it back."""
        with self._attempt("write", 1, statement_leaves_open) as attempt:
            attempt.at_risk = True
            await self._insert(*attempt.ids)
        self.tally.check(1, await self._count(attempt.ids), "what was written")

    async def write_many(self) -> None:
        """Write rows by one call, all or none."""
        with self._attempt("many", self._choose.choice((2, 5, 40)), statement_leaves_open) as attempt:
            attempt.at_risk = True
            await self.db.executemany("insert into writes (id) values (:id)", [{"id": each} for each in attempt.ids])

    async def transfer(
        self, source: int = 0, target: int = 0, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Move money from an account to another, write that down, and be told by hooks what became of it."""
        source, target = (source, target) if source else self._two_accounts()
        attempt = self._attempt("transfer", 1, commit_leaves_open)
        with Hooks(attempt, self.tally) as hooks, attempt:
            async with self.db.transaction() as transaction:
                hooks.join(transaction)
                await self._move(attempt, source, target, meanwhile)

    async def rerun(self) -> None:
        """Have a transfer made again until it gets past all others."""
        attempt = self._attempt("rerun", 1, commit_leaves_open)
        with Hooks(attempt, self.tally) as hooks, attempt:

            async def transfer() -> None:
                attempt.at_risk = False
                async with self.db.transaction() as nested:
                    hooks.join(nested)
                    await self._move(attempt, *self._two_accounts())

            await self.db.run_transaction(transfer, isolation=self._words.strictest, backoff=0.01)

    def _two_accounts(self) -> list[int]:
        return self._choose.sample(range(1, ACCOUNTS + 1), 2)

    async def _move(
        self, attempt: Attempt, source: int, target: int, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        amount = self._choose.randint(1, 100)
        await self._add(source, -amount)
        if meanwhile:
            await meanwhile()
        await self._add(target, amount)
        columns = {"id": attempt.ids[0], "source": source, "target": target, "amount": amount}
        insert = "insert into writes (id, source, target, amount) values (:id, :source, :target, :amount)"
        await self.db.execute(insert, columns)
        attempt.at_risk = True

    async def _add(self, account: int, amount: int) -> None:
        update = "update accounts set balance = balance + :amount where id = :id"
        result = await self.db.execute(update, {"amount": amount, "id": account})
        self.tally.check(1, result.rowcount, "rows of an update")

    async def deadlock(self) -> None:
        """Have two transactions wait for each other."""
        here, there = anyio.Event(), anyio.Event()

        async def one(source: int, target: int, own: anyio.Event, other: anyio.Event) -> None:
            async def meet() -> None:
                own.set()
                with anyio.move_on_after(1):
                    await other.wait()

            with suppress(DeadlockDetected):
                await self.transfer(source, target, meet)
                return
            self.tally.errors["DeadlockDetected"] += 1

        source, target = self._choose.sample(range(1, ACCOUNTS + 1), 2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, source, target, here, there)
            tasks.start_soon(one, target, source, there, here)

    async def nest(self) -> None:
        """Nest transactions, one of which is rolled back."""
        with self._attempt("nested", 2, commit_leaves_open) as attempt:
            async with self.db.transaction():
                await self._insert(attempt.ids[0])
                async with self.db.transaction():
                    await self._insert(attempt.ids[1])
                with suppress(Undo), self._attempt("undone", 1, commit_leaves_open) as undone:
                    async with self.db.transaction():
                        await self._insert(*undone.ids)
                        raise Undo
                self.tally.check(2, await self._count(attempt.ids), "what was written in nested transactions")
                attempt.at_risk = True
        self.tally.check(0, await self._count(undone.ids), "what was rolled back")

    async def write_together(self) -> None:
        """Have tasks write in one transaction."""
        with self._attempt("together", 3, commit_leaves_open) as attempt:
            async with self.db.transaction():
                async with anyio.create_task_group() as tasks:
                    for number in attempt.ids:
                        tasks.start_soon(self._insert, number)
                self.tally.check(3, await self._count(attempt.ids), "what tasks have written together")
                attempt.at_risk = True
