"""A result that the library itself cuts off is never taken for the whole one (hostile test)."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from aio_databases import ConnectionLost, Error, InterfaceError
from aio_databases.drivers.base import TransactionOptions
from aio_databases.errors import Diagnosis
from conformance.conftest import LOOPS
from loops import ASYNCIO_LOOPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_databases import Database
    from aio_databases.drivers.base import Driver
    from conformance.conftest import Target
    from conformance.dialects import Words

ROWS = 100_000
pytestmark = pytest.mark.anyio

on_mysql = pytest.mark.targets(dialect="mysql", scheme={"asyncmy", "aiomysql", "pymysql", "trio-mysql"})


class Cutter:
    """Calls a function when bytes have come in, before the task that waits for them can go on."""

    def __init__(self) -> None:
        self.late = 3
        """How often something comes in until the middle of the rows."""
        self.countdown = 0
        self.cut: Callable[[], Any] = bool

    def arm(self, cut: Callable[[], Any], countdown: int) -> None:
        """Have ``cut`` called the next time but so many."""
        self.cut, self.countdown = cut, countdown

    def note(self) -> None:
        """Notice that bytes have come in."""
        self.countdown -= 1
        if self.countdown == 0:
            self.cut()


@pytest.fixture
def cutter(target: Target, monkeypatch: pytest.MonkeyPatch) -> Cutter:
    """Give what calls a function when bytes have come in for a connection to MySQL, whatever its library."""
    cutter = Cutter()

    def patch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any) -> Any:
            if target.loop in ASYNCIO_LOOPS and target.scheme != "pymysql":
                cutter.note()  # these wake the task, one of them at once
                return original(*args)
            answer = original(*args)
            cutter.note()
            return answer

        async def awaited(*args: Any) -> Any:
            answer = await original(*args)
            cutter.note()
            return answer

        monkeypatch.setattr(owner, name, awaited if inspect.iscoroutinefunction(original) else wrapped)

    if target.scheme == "asyncmy":
        patch(pytest.importorskip("asyncmy.connection")._MySQLProtocol, "buffer_updated")
        return cutter
    if target.scheme == "aiomysql":
        patch(asyncio.StreamReader, "feed_data")
        return cutter
    cutter.late = 200
    if target.scheme == "pymysql":
        patch(pytest.importorskip("pymysql").Connection, "_read_packet")
    else:
        patch(pytest.importorskip("trio_mysql").Connection, "_read_packet")
    return cutter


async def read(db: Database, verb: str) -> Any:
    """Read, or have the server send, rows of about 20 MB."""
    sql = f"select seq, repeat('x', 200) from seq_1_to_{ROWS}"
    if verb == "fetchmany":
        return await db.fetchmany(ROWS + 1, sql)
    if verb == "iterate":
        return [row async for row in db.iterate(sql, chunk_size=ROWS + 1)]
    return await getattr(db, verb)(sql)


@on_mysql
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("verb", ["fetchall", "fetchmany", "fetchone", "execute", "iterate"])
async def test_rows_that_were_cut_off_are_not_the_whole_result(
    cutter: Cutter, db: Database, verb: str, *, inside: bool
) -> None:
    """Bytes come in, and before the task that waits for them goes on, another one cuts the connection."""
    sent = None
    with pytest.raises(ConnectionLost):
        async with db.connection(), db.transaction() if inside or verb == "iterate" else db.connection():
            connection = db.current_conn
            assert connection is not None
            cutter.arm(connection.driver.terminate, cutter.late)
            sent = await read(db, verb)
    assert sent is None


@on_mysql
async def test_executemany_that_was_cut_off_has_failed(cutter: Cutter, db: Database) -> None:
    """The answer to BEGIN comes in, and another task cuts the connection."""
    async with db.connection() as connection:
        await db.execute("create table numbers (i text)")
        cutter.arm(connection.driver.terminate, 1)
        with pytest.raises(ConnectionLost):
            await db.executemany("insert into numbers values (?)", *(("x" * 1000,) for _ in range(3000)))
    assert await db.fetchval("select count(*) from numbers") == 0


@on_mysql
async def test_a_commit_whose_answer_came_is_a_commit(cutter: Cutter, db: Database) -> None:
    """The answer to COMMIT comes in, and before the task that waits for it goes on, another one cuts the connection."""
    ended: list[str] = []
    await db.execute("create table numbers (i text)")
    async with db.transaction() as transaction:
        transaction.on_commit(ended.append, "commit")
        transaction.on_rollback(ended.append, "rollback")
        await db.execute("insert into numbers values (1)")
        connection = db.current_conn
        assert connection is not None
        cutter.arm(connection.driver.terminate, 1)
    assert (await db.fetchval("select count(*) from numbers"), ended) == (1, ["commit"])


CALLS: dict[str, Callable[[Any], Any]] = {
    "begin": lambda link: link.begin(TransactionOptions(isolation="serializable")),
    "commit": lambda link: link.commit(),
    "rollback": lambda link: link.rollback(),
    "savepoint": lambda link: link.savepoint("s"),
    "ping": lambda link: link.ping(),
    "reset": lambda link: link.reset(),
    "execute": lambda link: link.execute("insert into numbers values (%s)", (7,)),
    "executemany": lambda link: link.executemany("update numbers set i = %s", [(1,), (2,), (3,)]),
    "fetch": lambda link: link.fetch("select * from numbers", (), None),
    "cursor": lambda link: link.cursor("select * from numbers", ()).fetch(1),
}


@on_mysql
@pytest.mark.parametrize("call", CALLS)
async def test_every_error_that_a_cut_makes_is_known(cutter: Cutter, driver: Driver, call: str) -> None:
    """Errors of Python's own, of attributes that a library has lost by then."""
    setup = await driver.connect()
    await setup.execute("create table numbers (i integer)", ())
    await setup.execute("insert into numbers values (0)", ())
    await setup.close()
    for countdown in range(1, 12):
        link = await driver.connect()
        cutter.arm(link.terminate, countdown)
        try:
            await CALLS[call](link)
        except ConnectionLost:
            pass
        except Exception as exc:
            if (driver.diagnose(exc) or Diagnosis(Error)).kind is not ConnectionLost:
                raise
        cutter.arm(bool, 0)
        await link.close()
        link.terminate()


@pytest.mark.targets(pooled=True, memory=False, scheme={*LOOPS} - {"aioodbc", "pyodbc"})
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
async def test_a_stream_that_was_cut_off_does_not_end_early(db: Database, words: Words, *, inside: bool) -> None:
    """A shutdown with a time limit, while a loop still reads."""
    with pytest.raises((ConnectionLost, InterfaceError)):
        async with db.transaction() if inside else db.connection():
            rows = db.iterate(words.numbers.format(ROWS), chunk_size=10)
            await anext(rows)
            await db.disconnect(timeout=0)
            assert [row async for row in rows] == []
