"""A user of a web application always reads what it wrote, however far the replicas are behind."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import anyio
import pytest

from aio_databases import Database
from aio_databases.contrib.asgi import ReadYourWrites
from unit.browser import Browser, serve

CLIENTS, ROUNDS = 6, 15


class Followers(NamedTuple):
    """A database that has replicas which can be held back."""

    primary: str
    replicas: list[str]
    hold: list
    go_on: list
    catch_up: list


@pytest.fixture(params=["postgresql", "mariadb"])
def followers(request):
    """Give a database with a table `notes`, and the handles of its replicas."""
    if request.param == "postgresql":
        cluster = request.getfixturevalue("standbys")
        servers = cluster.standbys
        hold, go_on = [each.pause_replay for each in servers], [each.resume_replay for each in servers]
    else:
        cluster = request.getfixturevalue("mariadb_replica")
        servers = cluster.replicas
        hold, go_on = [each.stop_applying for each in servers], [each.start_applying for each in servers]
    name = cluster.primary.create_database()
    urls = [server.url(database=name) for server in servers]
    return Followers(
        cluster.primary.url(database=name), urls, hold, go_on, [each.wait_until_caught_up for each in servers]
    )


@pytest.fixture
async def db(followers):
    """Give the database; the table is on all of its servers."""
    async with await Database(followers.primary, replicas=followers.replicas).connect() as database:
        await database.execute("create table notes (client int)")
        for catch_up in followers.catch_up:
            catch_up()
        yield database


def notes(db):
    """Return an application: POST notes a client's number, GET tells where it counted that client's notes."""

    async def handle(scope):
        number = int(scope["path"].removeprefix("/"))
        if scope["method"] == "POST":
            return await db.execute("insert into notes values (:number)", {"number": number})
        where = db.current_conn.role if db.current_conn else "no block"
        count = await db.fetchval("select count(*) from notes where client = :number", {"number": number})
        return f"{where} {count}"

    return serve(handle)


def browser(db, **options):
    return Browser(ReadYourWrites(notes(db), db, secret="the tests' own secret", **options))


async def test_while_no_replica_has_it_who_wrote_reads_from_the_primary_and_others_do_not(db, followers):
    for hold in followers.hold:
        hold()
    writer, other = browser(db, wait=0.05), browser(db, wait=0.05)
    await writer.post("/1")
    assert (await writer.get("/1")).body == "primary 1"
    assert (await other.get("/1")).body == "replica 0"


async def test_who_wrote_reads_from_a_replica_as_soon_as_that_has_it(db, followers):
    client = browser(db, wait=30)
    for hold in followers.hold:
        hold()
    await client.post("/1")
    answers = []

    async def read():
        answers.append((await client.get("/1")).body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        for go_on in followers.go_on:
            await anyio.to_thread.run_sync(go_on)
    assert answers == ["replica 1"]


async def test_clients_of_an_application_always_read_what_they_wrote(db, followers):
    """While the replicas stop and go on, each client writes and reads, again and again."""
    read_from = Counter()

    async def use(number):
        client = browser(db, wait=0.1)
        for written in range(1, ROUNDS + 1):
            await client.post(f"/{number}")
            for _ in range(2):
                where, _, count = (await client.get(f"/{number}")).body.partition(" ")
                assert written == int(count)
                read_from[where] += 1

    async def hold_back():
        while True:
            for change in (*followers.hold, *followers.go_on):
                await anyio.to_thread.run_sync(change)
                await anyio.sleep(0.02)

    async with anyio.create_task_group() as background:
        background.start_soon(hold_back)
        async with anyio.create_task_group() as clients:
            for number in range(CLIENTS):
                clients.start_soon(use, number)
        background.cancel_scope.cancel()
    assert {"primary", "replica"} >= set(read_from)
    assert read_from.total() == CLIENTS * ROUNDS * 2
