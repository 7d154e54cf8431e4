"""Transactions as users see them: blocks, and what begins, decorates and ends them by hand."""

from __future__ import annotations

import warnings
from functools import wraps
from inspect import currentframe, iscoroutinefunction
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from aio_databases import errors
from aio_databases.concurrency.stack_traces import generator_around, runs_within
from aio_databases.physical_connection.lock import ConnectionReleased
from aio_databases.physical_connection.scopes import TransactionState, current_block, live_connection
from aio_databases.transactions.deadline import Deadline
from aio_databases.transactions.hooks import Hooks, When
from aio_databases.transactions.scope import TransactionScope

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType, TracebackType
    from typing import ParamSpec, Self, TypeVarTuple

    from typing_extensions import TypeVar as TypeVarWithDefault

    from aio_databases.drivers.base import TransactionOptions
    from aio_databases.pool.lease import Lease

    P = ParamSpec("P")
    Ts = TypeVarTuple("Ts")
    C = TypeVarWithDefault("C", bound=Lease, default=Any)
else:
    C = TypeVar("C")

T = TypeVar("T")


class Transaction(TransactionScope, Generic[C]):
    """A transaction, or inside of one a nested transaction (a savepoint).

    Use it with ``async with``: the block commits at its end, and rolls back when an exception leaves it.  `commit` and
    `rollback` end it earlier; `start` begins one without a block.  Ending a transaction ends those inside of it first.
    As a decorator it runs each call of a coroutine function in a transaction of its own.
    """

    connection: C | None
    """The connection that it runs on, once it has begun."""

    def __init__(
        self,
        owner: Any,
        options: TransactionOptions,
        lease: Callable[[], C],
        *,
        connection: C | None = None,
        create: bool = False,
        silent: bool = False,
        timeout: float | None = None,
        outermost: bool = False,
    ) -> None:
        """Prepare a transaction on ``connection``, else on the one in use here, else (or with ``create``) a lease."""
        super().__init__(owner, options, outermost=outermost)
        self.deadline = None if timeout is None else Deadline(timeout)
        self.generator: FrameType | None = None  # that holds the block, and may be left early
        self.hooks: Hooks | None = None
        self._create = create
        self._given = connection
        self._had_guests = False  # statements of the generator's consumer
        self._make_lease = lease
        self._owned = False
        self._silent = silent
        self._starting = False
        self.was_given_up = False  # by a rollback() of the user's own

    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Decorate a coroutine function: each call runs in a new transaction like this one.

        Raises TypeError for any other function.
        """
        if not iscoroutinefunction(function):
            kind = type(function).__name__
            raise TypeError(f"transaction() decorates coroutine functions ('async def', without yield), no {kind}")
        self._check_new()

        @wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T:
            async with self._another():
                return await function(*args, **kwargs)

        return run

    def _another(self) -> Transaction[C]:
        return Transaction(
            self.owner,
            self._options,
            self._make_lease,
            connection=self._given,
            create=self._create,
            silent=self._silent,
            timeout=None if self.deadline is None else self.deadline.seconds,
        )

    # Beginning

    async def __aenter__(self) -> Self:
        self._check_new()
        self.has_block = True
        self.generator = generator_around(currentframe())
        if self.deadline is None:
            return await self.start()
        self.deadline.enter(cancels=self.generator is None)
        try:
            return await self.start()
        except BaseException as exc:
            self.deadline.leave(exc)
            raise

    async def start(self) -> Self:
        """Begin the transaction and return it; `commit` or `rollback` has to end it.

        Raises TransactionError if it was started before, InterfaceError if it has a ``timeout``, NotSupportedError for
        an option the database lacks, ReadOnlyError in a replica block unless it is ``readonly``, and what leasing a
        connection raises.
        """
        self._check_new()
        if self.deadline is not None and not self.has_block:
            raise errors.InterfaceError("a timeout needs a block: use 'async with', or start() without timeout")
        try:
            connection = await self._begin_here()
        except ConnectionReleased:
            if self._given is not None or self._owned:
                raise
            # The block around it ended while BEGIN waited for its turn: it begins where a call made now would.
            return await self.start()
        if self.generator is not None:
            connection.watch_losses()
        return self

    async def _begin_here(self) -> C:
        """Begin on the connection that a call made now would use, or on a lease, and return it."""
        connection: C | None = self._given or (None if self._create else live_connection(self.owner))
        self._owned = connection is None
        if connection is None:
            connection = self._make_lease()
        self._lease = connection
        enters = self.has_block or self._owned or _is_of_another_task(connection)  # whose block may end meanwhile
        _check(self._options, connection)
        self._starting = True
        try:
            await (connection.acquire() if self._owned else connection.make_ready())
            self.connection = connection
            await self.begin(connection)
        except GeneratorExit:
            self._abandon_lease()
            raise
        except BaseException:
            await self._give_lease_back()
            raise
        finally:
            self._starting = False
        if enters:
            self.enter(self.task)
        return connection

    def note_guest(self) -> None:
        """Note which task's statement is about to run in it, where a generator holds it.

        Raises TransactionTimeout if the generator has held it for too long: nothing is cancelled there.
        """
        if self.generator is None or self.task is None or not self.task.is_current:
            return
        if self.deadline is not None and self.deadline.is_over:
            raise self.deadline.error()
        self._had_guests = self._had_guests or not runs_within(self.generator)

    def raise_failure(self) -> None:
        """Raise TransactionError if the transaction was ended from outside."""
        if self.state is TransactionState.FAILED:
            if self._had_guests and self.generator is None:
                self.ended = True  # the generator that held it was left early: once is enough
            super().raise_failure()

    def _check_new(self) -> None:
        if self.state is not TransactionState.NEW:
            message = f"this transaction is {self.state.value} and cannot be started again; make a new one"
            raise errors.TransactionError(message)
        if self._starting:
            raise errors.TransactionError("another task is starting this transaction; make one for each of them")

    # Hooks

    def on_commit(self, function: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call ``function``, be it ordinary or a coroutine function, after the outermost transaction was committed.

        It runs where a call made after the end would run: outside of the transaction.  A nested transaction that is
        rolled back takes its hooks along.  Raises TransactionError if this transaction is not open.
        """
        self._add_hook(When.COMMITTED, function, args)

    def on_rollback(self, function: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call ``function`` after the end of the outermost transaction, if nothing that was done in this one is left.

        Raises TransactionError if this transaction is not open.
        """
        self._add_hook(When.ROLLED_BACK, function, args)

    def _add_hook(self, when: When, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.raise_failure()
        if not self.is_active:
            message = f"hooks belong to an open transaction, and this one is {self.state.value}"
            raise errors.TransactionError(message)
        if self.hooks is None:
            self.hooks = Hooks()
        self.hooks.add(when, function, args)

    @property
    def _refuses_statements(self) -> bool:
        return self.state is TransactionState.FAILED or (self.deadline is not None and self.deadline.is_over)

    def mark_ended(self, state: TransactionState) -> None:
        """Note that the transaction has ended; the one around it takes over its hooks."""
        super().mark_ended(state)
        if self.hooks is not None and self._parent is not None:
            cast("Transaction[Any]", self._parent).take_over(self.hooks, undone=not self.may_be_committed)
            self.hooks = None

    def take_over(self, hooks: Hooks, *, undone: bool) -> None:
        """Take over the hooks of a nested transaction, which was ``undone`` or not."""
        self.hooks = self.hooks or Hooks()
        self.hooks.take_over(hooks, undone=undone)

    async def _call_hooks(self, leaving: BaseException | None) -> None:
        if self.hooks is None or (not self.ended and self._refuses_statements):
            return  # they are called at the end of the block
        hooks, self.hooks = self.hooks, None
        logger = self._lease.logger
        if isinstance(leaving, GeneratorExit):
            hooks.drop(_CLOSED, logger)
        elif self.state is TransactionState.COMMITTED:
            await hooks.call(When.COMMITTED, leaving, logger)
        else:
            await hooks.call(None if self.may_be_committed else When.ROLLED_BACK, leaving, logger)

    # Ending

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()
        self.generator = None  # whose frame leads back here
        try:
            await self._end_block(exc)
        except BaseException as failure:
            await self._call_hooks(failure)
            raise
        if self.hooks is not None:
            await self._call_hooks(exc)

    async def _end_block(self, exc: BaseException | None) -> None:
        if isinstance(exc, GeneratorExit):
            self._drop()
            if self.deadline is not None:
                self.deadline.leave(exc)
            return
        try:
            try:
                deadline = self.deadline
                await (self._commit_block(exc) if deadline is None else self._commit_in_time(exc, deadline))
            finally:
                if self.is_active:
                    await self.roll_back()
        except GeneratorExit:
            self._drop()
            raise
        finally:
            self._last_error = self.cause = None  # whose tracebacks may lead back here
            await self._give_lease_back()

    async def _commit_block(self, exc: BaseException | None) -> None:
        """Commit, unless ``exc`` leaves the block."""
        if exc is None and self.is_active:
            await self._commit(at_exit=True)
        elif exc is None and not self._silent:
            self.raise_failure()

    async def _commit_in_time(self, exc: BaseException | None, deadline: Deadline) -> None:
        """Commit, unless ``exc`` leaves the block; raise what leaves it instead if its time is over."""
        if not (self.task is not None and self.task.is_current):
            deadline.stop()
            raise exc or errors.InterfaceError("a block with a timeout is left by the task that has entered it")
        try:
            await self._commit_block(exc)
        except BaseException as failure:
            deadline.leave(failure)
            raise
        deadline.leave(exc)

    def _drop(self) -> None:
        """Leave without waiting, as a coroutine that is being closed has to: the connection's next user rolls back."""
        if self.is_active:
            self._physical.abandon_transactions(_LEFT_EARLY if self._had_guests else _CLOSED)
            if self._had_guests:
                self._tell_consumer()
        self._abandon_lease()

    def _tell_consumer(self) -> None:
        """Have the next statement of the task raise that has run some in a block which it did not see."""
        message = f"statements of {self.task} are rolled back: {_LEFT_EARLY}; read such a generator to its end"
        self._lease.logger.warning(message)
        warnings.warn(message, ResourceWarning, stacklevel=1, source=self)
        self.ended = False  # for the contexts that still lead here
        if self.task is not None and self.task.is_current:
            current_block.set(self)

    async def commit(self, *, silent: bool | None = None) -> None:
        """Commit the transaction; if the database refuses, it is rolled back.

        With ``silent`` a transaction whose connection is gone is no error.  Raises TransactionError when it is not
        open, CommitUncertainError when the link breaks meanwhile, TransactionTimeout when it comes too late, what the
        database says, and an ExceptionGroup of the errors of hooks.
        """
        await self._end_by_hand("commit", self._commit, silent=silent)

    async def rollback(self, *, silent: bool | None = None) -> None:
        """Roll the transaction back; the exit of its block does nothing then.

        With ``silent`` a transaction whose connection is gone is no error.  Raises TransactionError if it is not open,
        and an ExceptionGroup of the errors of hooks.
        """
        if self.is_active:
            self.was_given_up = True
            if self.deadline is not None:
                self.deadline.stop()
        await self._end_by_hand("roll back", self._roll_back_by_hand, silent=silent)

    def _check_time(self) -> None:
        if self.deadline is not None and not self.deadline.stop():
            raise self.deadline.error()

    async def _roll_back_by_hand(self) -> None:
        await self.roll_back()
        if self.may_be_committed:  # by another task's commit(), which was faster
            self.raise_failure()
            raise self._too_late("roll back")

    async def _end_by_hand(
        self, verb: str, end: Callable[[], Coroutine[Any, Any, None]], *, silent: bool | None
    ) -> None:
        try:
            try:
                if self._can_end(verb, silent=silent):
                    await end()
            except GeneratorExit:
                if not self.has_block:
                    self._abandon_lease()
                raise
            finally:
                if self.state is TransactionState.FAILED:
                    self._lease.watch_losses().forget(self)
                if not self.has_block and not self.is_active:
                    self.leave()
                    await self._give_lease_back()
        except BaseException as failure:
            await self._call_hooks(failure)
            raise
        await self._call_hooks(None)

    def _can_end(self, verb: str, *, silent: bool | None) -> bool:
        if self.is_active:
            return True
        if self.state is TransactionState.FAILED:
            if not (self._silent if silent is None else silent):
                self.raise_failure()
            return False
        raise self._too_late(verb)

    async def _give_lease_back(self) -> None:
        if self._owned:
            self._owned = False
            await self._lease.end_lease(None)

    def _abandon_lease(self) -> None:
        if self._owned:
            self._owned = False
            self._lease.abandon()


def _check(options: TransactionOptions, connection: Lease) -> None:
    """Raise an error for options that the database, or a replica, cannot honour."""
    if connection.read_only and not options.readonly:
        nested = connection.lock is not None and connection.lock.current_transaction() is not None
        if not nested:
            raise errors.ReadOnlyError(
                "a replica only reads: use transaction(readonly=True), or db.connection() to reach the primary"
            )
    connection.pool.driver.check_options(options)


def _is_of_another_task(connection: Lease) -> bool:
    """Return whether another task has opened the block of a connection, and may end it before this one is through."""
    block = current_block.get()
    while block is not None and (block.ended or block.connection is not connection):
        block = block.outer
    return block is not None and block.task is not None and not block.task.is_current


_LEFT_EARLY = "the async generator that held the transaction was left early"
_CLOSED = "the coroutine that it was open in was closed"
