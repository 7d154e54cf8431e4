"""A tour on embedded SQLite: a table, transactions, a replica and a stream.

Needs nothing but aio_databases.  Run it with `python examples/quickstart.py`, or on trio with `--trio`.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from aio_databases import Database, ReadOnlyError


async def main(url: str) -> None:
    """Go through what most programs need; the replica is the same file, opened read-only."""
    async with Database(url, replicas=[url]) as db:
        await create_a_table(db)
        await write_in_a_transaction(db)
        await roll_back_a_nested_transaction(db)
        await read_from_a_replica(db)
        await stream(db)


async def create_a_table(db: Database) -> None:
    """Run a statement."""
    await db.execute("create table users (id integer primary key, name text not null unique, visits integer)")
    print("Created the table 'users'.")


async def write_in_a_transaction(db: Database) -> None:
    """Write several rows, all or none."""
    async with db.transaction():
        result = await db.execute(
            "insert into users (name, visits) values (:name, :visits)", {"name": "Ann", "visits": 1}
        )
        await db.executemany("insert into users (name, visits) values (?, ?)", [("Bob", 2), ("Cid", 3)])
    count = await db.fetchval("select count(*) from users")
    print(f"Committed a transaction: {count} users, the first with id {result.lastrowid}.")


async def roll_back_a_nested_transaction(db: Database) -> None:
    """Undo a part of a transaction and keep the rest."""
    async with db.transaction():
        await db.execute("update users set visits = visits + 1 where name = ?", "Ann")
        async with db.transaction() as nested:
            await db.execute("delete from users")
            await nested.rollback()
    count, visits = await db.fetchone("select count(*), max(visits) filter (where name = ?) from users", "Ann") or (
        0,
        0,
    )
    print(f"Rolled a nested transaction back: still {count} users, and Ann has {visits} visits.")


async def read_from_a_replica(db: Database) -> None:
    """Read where writing is refused."""
    async with db.replica():
        names = [row.name for row in await db.fetchall("select name from users order by name")]
        print(f"Read from a replica: {', '.join(names)}.")
        try:
            await db.execute("delete from users")
        except ReadOnlyError as error:
            print(f"Tried to write there: {type(error).__name__}.")


async def stream(db: Database) -> None:
    """Read many rows without holding them all in memory."""
    numbers = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 100000) select i from n"
    total = 0
    async for row in db.iterate(numbers):
        total += row.i
    print(f"Streamed 100,000 rows; their sum is {total:,}.")


def run() -> None:
    """Read the command line and start an event loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trio", action="store_true", help="run on trio instead of asyncio")
    options = parser.parse_args()
    if options.trio and importlib.util.find_spec("trio") is None:
        parser.error("trio is not installed; get it with: pip install trio")
    loop = "trio" if options.trio else "asyncio"
    with TemporaryDirectory() as folder:
        path = Path(folder, "quickstart.db").as_posix()
        print(f"Using SQLite on {loop}, in a temporary file.")
        anyio.run(main, f"sqlite:///{path}", backend=loop)
        print("Done: all connections are closed.")


if __name__ == "__main__":
    run()
