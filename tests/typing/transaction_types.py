"""What type checkers conclude from functions that are run in transactions; read by mypy and pyright, never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from aio_databases import Database

if TYPE_CHECKING:
    from aio_databases import Transaction

db = Database("sqlite:///:memory:")


@db.transaction(isolation="serializable", timeout=5)
async def rename(user: int, name: str, *, loudly: bool = False) -> str:
    return name.upper() if loudly else f"{user}: {name}"


class Shop:
    @db.transaction()
    async def sell(self, thing: str) -> int:
        return len(thing)


async def decorated_functions_keep_their_types() -> None:
    assert_type(await rename(1, "Ann", loudly=True), str)
    assert_type(await Shop().sell("bread"), int)
    await rename("1", "Ann")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await rename(1, "Ann", quietly=True)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def ordinary() -> int:
    return 1


async def only_coroutine_functions_can_be_decorated() -> None:
    db.transaction()(ordinary)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def transfer(amount: int, to: str) -> bool:
    return bool(to) and amount > 0


async def a_function_that_is_run_again_keeps_its_types() -> None:
    assert_type(await db.run_transaction(transfer, 5, "Ann", retries=5, isolation="serializable"), bool)
    assert_type(await db.run_transaction(lambda: transfer(5, to="Ann")), bool)
    await db.run_transaction(transfer, "5", "Ann")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def note(name: str, times: int) -> None:
    db.logger.info(name * times)


async def hooks_take_their_arguments(transaction: Transaction) -> None:
    transaction.on_commit(note, "sold", 2)
    transaction.on_rollback(transfer, 5, "Ann")
    transaction.on_commit(note, "sold", "twice")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
