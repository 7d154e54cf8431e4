"""The pool against a model: who holds a connection, who waits, and in which order, step by step."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aio_databases import ConnectError, ConnectionLost, PoolClosed
from aio_databases.testing.fake_driver import FakeError, make_database, script_of, verify_closed

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 60
"""Rounds of the event loop after which nothing moves any more."""


class Client:
    """A task that asks for a connection and keeps it until it is told to give it back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, db: Any) -> None:
        self.connection: Any = None
        self._ends = asyncio.Event()
        self._stays_broken = False
        self.task = loop.create_task(self._run(db))

    async def _run(self, db: Any) -> None:
        async with db.connection() as self.connection:
            await self._ends.wait()

    def give_back(self) -> None:
        """Have the task leave its block."""
        self._ends.set()

    @property
    def holds(self) -> bool:
        """Whether it has a connection."""
        return self.connection is not None and not self.task.done()


class PoolMachine(RuleBasedStateMachine):
    """Tasks come, wait, get cancelled and give back; connections break, expire, and fail to open."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.holding: list[Client] = []
        self.waiting: deque[Client] = deque()
        self.closed = False

    @initialize(size=st.integers(1, 3), open_at_once=st.booleans())
    def connect(self, size, open_at_once):
        self.size = size
        self.db = make_database(max_size=size, min_size=size if open_at_once else 0)
        self.fake = script_of(self.db)
        self.loop.run_until_complete(self.db.connect())

    # What tasks do

    @rule()
    def ask(self):
        client = self._new_client()
        if len(self.holding) < self.size:
            self.holding.append(client)
        else:
            self.waiting.append(client)
        self._settle()

    @precondition(lambda self: self.holding)
    @rule(which=st.integers(0, 2))
    def give_back(self, which):
        self._pick(which).give_back()
        self._hand_over()
        self._settle()

    @precondition(lambda self: self.holding)
    @rule(which=st.integers(0, 2))
    def cancel_a_holder(self, which):
        self._pick(which).task.cancel()
        self._hand_over()
        self._settle()

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 9))
    def cancel_a_waiter(self, which):
        client = self.waiting[which % len(self.waiting)]
        self.waiting.remove(client)
        client.task.cancel()
        self._settle()

    @precondition(lambda self: self.holding and self.waiting)
    @rule(which=st.integers(0, 2), rounds=st.integers(0, 6))
    def cancel_the_first_waiter_while_it_is_handed_a_connection(self, which, rounds):
        first = self.waiting.popleft()
        self._pick(which).give_back()
        self._step(rounds, first.task.cancel)
        self._hand_over()
        self._settle()

    @precondition(lambda self: self.holding)
    @rule(which=st.integers(0, 2))
    def give_back_with_a_transaction_open(self, which):
        client = self._pick(which)
        self.loop.run_until_complete(client.connection.driver.begin(_PLAIN))
        client.give_back()
        self._hand_over()
        self._settle()

    @precondition(lambda self: self.holding)
    @rule(which=st.integers(0, 2), expired=st.booleans())
    def give_back_what_cannot_be_kept(self, which, expired):
        client = self._pick(which)
        if expired:
            client.connection.physical.expires_at = 0.0
        else:
            client.connection.driver.terminate()
        client.give_back()
        self._hand_over()
        self._settle()

    @precondition(lambda self: self.holding)
    @rule(which=st.integers(0, 2))
    def lose_the_link_in_a_statement(self, which):
        client = self._pick(which)
        self.fake.drop("select broken")
        error = self._outcome(client.connection.fetchval("select broken"))
        assert isinstance(error, ConnectionLost)
        client.give_back()
        self._hand_over()
        self._settle()

    @precondition(lambda self: not self.waiting and len(self.holding) < self.size)
    @rule()
    def ask_when_the_server_is_gone(self):
        lost = self.db.stats()["primary"].idle == 0
        if lost:
            self.fake.fail("connect", FakeError("gone", ConnectError))
        client = self._new_client()
        if not lost:
            self.holding.append(client)
        self._settle()
        if lost:
            assert isinstance(client.task.exception(), ConnectError)

    @precondition(lambda self: len(self.waiting) > 1)
    @rule(which=st.integers(0, 2))
    def give_back_a_broken_one_while_the_server_is_gone(self, which):
        client, unlucky = self._pick(which), self.waiting.popleft()
        client.connection.driver.terminate()
        self.fake.fail("connect", FakeError("gone", ConnectError))
        client.give_back()
        self._hand_over()
        self._settle()
        assert isinstance(unlucky.task.exception(), ConnectError)

    @rule()
    def suspect_idle_connections(self):
        self.db._pool.suspect()

    @precondition(lambda self: self.waiting)
    @rule()
    def disconnect_and_connect(self):
        clients, self.waiting = list(self.waiting), deque()
        self.loop.run_until_complete(self.db.disconnect(timeout=0))
        self._settle()
        assert [PoolClosed] * len(clients) == [type(client.task.exception()) for client in clients]
        for client in self.holding:
            client.give_back()
        self.holding.clear()
        self._settle()
        self.loop.run_until_complete(self.db.connect())

    # What holds at any time

    @invariant()
    def agrees_with_the_model(self):
        assert [True] * len(self.holding) == [client.holds for client in self.holding]
        assert [None] * len(self.waiting) == [client.connection for client in self.waiting]
        assert (len(self.holding), len(self.waiting)) == (self.db._pool.lent, self.db.stats()["primary"].waiting)

    @invariant()
    def is_never_too_large(self):
        assert self.fake.max_open <= self.size, self.fake.log
        stats = self.db.stats()["primary"]
        assert stats.size == len(self.holding) + stats.idle

    @invariant()
    def lends_each_connection_once(self):
        lent = [client.connection.physical for client in self.holding]
        assert len(lent) == len(set(lent))
        assert self.fake.violations == []

    def teardown(self):
        for client in (*self.holding, *self.waiting):
            client.give_back()
        self._settle()
        self.loop.run_until_complete(self.db.disconnect(timeout=0))
        self.loop.close()
        verify_closed(self.db)

    # Details

    def _new_client(self) -> Client:
        client = Client(self.loop, self.db)
        self._step(1)
        return client

    def _pick(self, which: int) -> Client:
        return self.holding.pop(which % len(self.holding))

    def _hand_over(self) -> None:
        if self.waiting:
            self.holding.append(self.waiting.popleft())

    def _step(self, rounds: int, then: Callable[[], object] | None = None) -> None:
        async def let_run() -> None:
            for _ in range(rounds):
                await asyncio.sleep(0)
            if then is not None:  # in this round of the loop, which would go on for one more
                then()

        self.loop.run_until_complete(let_run())

    def _settle(self) -> None:
        self._step(STEPS)

    def _outcome(self, awaitable: Any) -> Any:
        async def catch() -> Any:
            return (await asyncio.gather(awaitable, return_exceptions=True))[0]

        return self.loop.run_until_complete(catch())


class _Plain:
    isolation = readonly = deferrable = mode = None


_PLAIN: Any = _Plain()

TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
