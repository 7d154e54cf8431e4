"""The ASGI middleware: where requests read, and what their clients are given to remember."""

from __future__ import annotations

import logging
import re
import shutil

import anyio
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from aio_databases import (
    ConfigurationError,
    ConnectError,
    Database,
    NotSupportedError,
    PoolClosed,
    ReadOnlyError,
)
from aio_databases.contrib import asgi, cookies
from aio_databases.contrib.asgi import ReadYourWrites, reads_by_method
from unit.browser import Browser, serve

SECRET = "a secret of the tests, long enough"
INSERT = "insert into notes values ('new')"
COUNT = "select count(*) from notes"


class Scripted(Database):
    """Gives positions that go up, or what the test says, and remembers those that were asked for."""

    answers = ()
    given = 0

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.asked = []

    async def position(self):
        await super().position()  # which refuses where it has to
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        self.given += 1
        return answer or f"0/{self.given}"

    def replica(self, **options):
        if "after" in options:
            self.asked.append(options["after"])
        return super().replica(**options)


@pytest.fixture
async def db(tmp_path):
    """Give a database whose replica is a copy that never hears of what is written."""
    async with await Scripted(f"sqlite:///{tmp_path}/primary.db").connect() as primary:
        await primary.execute("create table notes (text text)")
        await primary.execute("pragma wal_checkpoint(truncate)")
    shutil.copy(tmp_path / "primary.db", tmp_path / "replica.db")
    replica = f"sqlite:///{tmp_path}/replica.db"
    async with await Scripted(f"sqlite:///{tmp_path}/primary.db", replicas=[replica]).connect() as database:
        yield database


@pytest.fixture
def clock(monkeypatch):
    """Give a clock that the test can put forward: its only item is the time."""
    now = [1_000_000.5]
    for module in (asgi, cookies):
        monkeypatch.setattr(module, "time", lambda: now[0])
    return now


def notes(db):
    """Return an application: GET tells from where it read how many notes, POST writes one."""

    async def handle(scope):
        if scope["method"] == "POST":
            return await db.execute(INSERT)
        connection = db.current_conn
        where = connection.role if connection is not None else "no block"
        return f"{where} {await db.fetchval(COUNT)}"

    return serve(handle)


def browser(db, app=None, **options):
    return Browser(ReadYourWrites(app or notes(db), db, **{"secret": SECRET, **options}))


async def reads_async(scope):
    return False


class ReadsAsync:
    async def __call__(self, _):
        return False


# What a client sees


async def test_a_client_that_has_written_nothing_reads_from_a_replica(db):
    client = browser(db)
    await db.execute(INSERT)
    for method in ("GET", "HEAD", "OPTIONS"):
        response = await client.request(method)
        assert (response.body, response.set_cookies) == ("replica 0", [])
    assert db.asked == [None] * 3


async def test_a_client_reads_what_it_has_written_where_its_position_was_reached(db):
    client, other = browser(db), browser(db)
    await client.post()
    assert (await client.get()).body == "primary 1"
    assert (await other.get()).body == "replica 0"
    assert db.asked == ["0/1", None]


async def test_each_write_moves_the_position_forward_and_leaves_one_cookie(db):
    client = browser(db)
    for number in (1, 2, 3):
        await client.post()
        assert len(client.cookies) == 1
        assert f"primary {number}" == (await client.get()).body
    assert db.asked == ["0/1", "0/2", "0/3"]


async def test_a_request_that_reads_sets_no_cookie(db):
    client = browser(db)
    await client.post()
    assert (await client.get()).set_cookies == []


async def test_the_replica_block_lasts_until_the_response_is_complete(db):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for more_body in (True, False):
            body = f"{db.current_conn.role} {await db.fetchval(COUNT)};".encode()
            await send({"type": "http.response.body", "body": body, "more_body": more_body})

    assert (await browser(db, app).get()).body == "replica 0;replica 0;"
    stats = db.stats()["replica-1"]
    assert (stats.size, stats.idle) == (1, 1)


async def test_a_response_without_headers_gets_the_cookie(db):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body", "body": b""})

    client = browser(db, app)
    await client.post()
    assert len(client.cookies) == 1


# The cookie


async def test_the_cookie_is_fit_for_a_browser_and_others_stay(db):
    headers = [(b"set-cookie", b"session=1"), (b"x-other", b"2")]

    async def handle(scope):
        return await db.execute(INSERT)

    app = ReadYourWrites(serve(handle, headers), db, secret=SECRET)
    response = await Browser(app).post()
    pattern = r"aiodb_position_[0-9a-f]{8}=[\w-]{22}~\d+~0/\d; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"
    other, own = response.set_cookies
    assert (other, bool(re.fullmatch(pattern, own))) == ("session=1", True)
    assert (b"x-other", b"2") in response.headers
    (_, own) = (await Browser(app, scheme="https").post()).set_cookies
    assert re.fullmatch(pattern + "; Secure", own)


async def test_name_and_age_of_the_cookie_are_options(db):
    client = browser(db, cookie="__Host-at", max_age=60, pin=5)
    (cookie,) = (await client.post()).set_cookies
    assert re.match(r"__Host-at_[0-9a-f]{8}=.*; Max-Age=60;", cookie)


@pytest.mark.parametrize(
    "change",
    [
        lambda name, value: f"{name}={value[:-1]}9".encode(),
        lambda name, value: f"{name}={'AB'[value[0] == 'A']}{value[1:]}".encode(),
        lambda name, value: f"{name}={value}x".encode(),
        lambda name, value: f"{name[:-1]}{'01'[name[-1] == '0']}={value}".encode(),
        lambda name, _: f"{name}=".encode(),
        lambda name, _: f"{name}".encode(),
        lambda name, value: f"{name}={value.rpartition('~')[0]}~primary".encode(),
        lambda name, _: f"{name}={'A' * 43}~9999~0/9".encode(),
        lambda name, _: f"{name}={'~' * 30_000}".encode(),
        lambda name, _: f"{name}={'A' * 60_000}~{'9' * 5_000}~0/1".encode(),
        lambda name, _: name.encode() + b"=\xff\xfe\x00;" + name.encode() + b"=\xc3\xa9",
    ],
)
async def test_a_cookie_that_was_changed_is_ignored_and_its_value_is_not_logged(db, caplog, change):
    client = browser(db)
    await client.post()
    ((name, value),) = client.cookies.items()
    with caplog.at_level(logging.INFO, logger="aio_databases"):
        assert (await client.get(cookies=[change(name, value)])).body == "replica 0"
    (record,) = [record for record in caplog.records if record.name == "aio_databases"]
    assert "ignored a cookie with a position" in record.getMessage()
    assert (record.levelno, "0/" in record.getMessage()) == (logging.INFO, False)


async def test_a_cookie_beside_a_forged_one_counts(db):
    client = browser(db)
    await client.post()
    ((name, value),) = client.cookies.items()
    forged = f"{name}=forged; {name}=; aiodb_position_00000000=x".encode()
    own = f" {name}={value} ; other=1".encode()
    for cookies_sent in ([forged, own], [own, forged], [own, own], [forged + b";" + own + b";;=;"]):
        assert (await client.get(cookies=cookies_sent)).body == "primary 1"
    assert db.asked == ["0/1"] * 4


async def test_a_cookie_that_is_too_old_is_ignored(db, clock):
    client = browser(db, max_age=60)
    await client.post()
    clock[0] += 60
    assert (await client.get()).body == "primary 1"
    clock[0] += 2
    assert (await client.get()).body == "replica 0"


async def test_a_cookie_of_another_name_or_secret_does_not_count(db):
    client = browser(db)
    await client.post()
    ((name, value),) = client.cookies.items()
    renamed = browser(db, cookie="other")
    renamed.cookies = {name.replace("aiodb_position", "other"): value}
    foreign = browser(db, secret=SECRET + "!")
    foreign.cookies = client.cookies
    assert [(await each.get()).body for each in (renamed, foreign)] == ["replica 0"] * 2


async def test_secrets_can_be_replaced_one_after_the_other(db):
    old, new = "x" * 16, b"y" * 16
    client = browser(db, secret=old)
    await client.post()
    client.app = ReadYourWrites(notes(db), db, secret=[new, old])
    assert (await client.get()).body == "primary 1"
    await client.post()
    client.app = ReadYourWrites(notes(db), db, secret=new)
    assert (await client.get()).body == "primary 2"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"secret": ""}, "a secret has at least 16 bytes"),
        ({"secret": []}, "a secret has at least 16 bytes"),
        ({"secret": ["x" * 32, b"short"]}, "a secret has at least 16 bytes"),
        ({"cookie": "a b"}, "is no name for a cookie"),
        ({"cookie": ""}, "is no name for a cookie"),
        ({"pin": 0}, "must be seconds"),
        ({"pin": 10, "max_age": 5}, "must be seconds"),
        ({"pin": 0.1, "max_age": 0.5}, "must be seconds"),
        ({"wait": -1}, "wait"),
        ({"max_lag": -1}, "max_lag"),
        ({"reads": reads_async}, "a function of a scope that is not async"),
        ({"reads": ReadsAsync()}, "a function of a scope that is not async"),
        ({"reads": "GET"}, "a function of a scope that is not async"),
    ],
)
async def test_options_that_make_no_sense_are_refused_at_once(db, options, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        browser(db, **options)
    assert "short" not in str(caught.value)


# Requests side by side


async def test_answers_that_arrive_in_the_wrong_order_lose_no_write(db):
    client = browser(db)
    await client.post()
    first = await client.post(keep=False)
    second = await client.post(keep=False)
    client.receive(second)
    client.receive(first)
    assert len(client.cookies) == 2
    assert (await client.get()).body == "primary 3"
    assert len(client.cookies) == 1
    assert (await client.get()).body == "primary 3"
    assert db.asked == ["0/4"]


async def test_requests_side_by_side_sum_up_to_one_cookie(db):
    client = browser(db)
    for response in [await client.post(keep=False) for _ in range(3)]:
        client.receive(response)
    assert len(client.cookies) == 3
    for response in [await client.get(keep=False) for _ in range(4)]:
        client.receive(response)
    assert len(client.cookies) == 1
    assert (await client.get()).body == "primary 3"


async def test_a_write_sums_up_too(db):
    client = browser(db)
    for response in [await client.post(keep=False) for _ in range(3)]:
        client.receive(response)
    await client.post()
    assert len(client.cookies) == 1
    assert (await client.get()).body == "primary 4"


async def test_many_writes_side_by_side_leave_a_few_cookies_in_whatever_order_they_arrive(db, clock):
    """A hostile test: each left one, and two hundred are more than a server accepts in the headers of a request."""
    client = browser(db)
    responses = [await client.post(keep=False) for _ in range(200)]
    for response in reversed(responses):
        client.receive(response)
    assert len(client.cookies) <= 5
    assert sum(map(len, client.cookies)) + sum(map(len, client.cookies.values())) < 500
    assert (await client.get()).body == "primary 200"
    late = await client.post(keep=False)  # which arrives after what sums up
    clock[0] += 21
    assert (await client.get()).body == "primary 201"
    client.receive(late)
    assert len(client.cookies) == 2
    assert (await client.get()).body == "primary 201"
    assert len(client.cookies) == 1
    assert (await client.get()).body == "primary 201"
    assert db.asked == ["0/7"], "one position is enough again"


async def test_writes_one_after_the_other_have_a_position_each(db):
    client = browser(db)
    for number in range(1, 21):
        await client.post()
        assert f"primary {number}" == (await client.get()).body
    assert len(db.asked) == 20


# Clients that read from the primary


def committing_late(db):
    """Return an application whose POST commits when its response is complete."""
    reading = notes(db)

    async def app(scope, receive, send):
        if scope["method"] == "GET":
            await reading(scope, receive, send)
            return
        async with db.transaction():
            await db.execute(INSERT)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    return app


async def test_a_commit_after_the_response_has_the_client_read_from_the_primary(db, clock):
    client = browser(db, committing_late(db))
    await client.post()
    (value,) = client.cookies.values()
    assert value.endswith("~1000010~primary")
    for _ in range(2):
        response = await client.get()
        assert (response.body, response.set_cookies) == ("primary 1", [])
        clock[0] += 10
    response = await client.get()
    assert (response.body, len(client.cookies)) == ("primary 1", 1)
    assert (await client.get()).body == "primary 1"
    assert db.asked == ["0/1"]


async def test_a_transaction_that_is_open_in_another_task_counts_as_a_late_commit(db):
    """Starlette's BaseHTTPMiddleware runs the application in a task of its own."""
    reading = notes(db)

    async def app(scope, receive, send):
        if scope["method"] == "GET":
            await reading(scope, receive, send)
            return
        wrote, answered = anyio.Event(), anyio.Event()

        async def write():
            async with db.transaction():
                await db.execute(INSERT)
                wrote.set()
                await answered.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await wrote.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            answered.set()

    client = browser(db, app)
    await client.post()
    assert (await client.get()).body == "primary 1"


async def test_a_write_of_a_client_that_reads_from_the_primary_does_not_shorten_that(db, clock):
    client = browser(db, committing_late(db))
    await client.post()
    client.app = ReadYourWrites(notes(db), db, secret=SECRET)
    await client.post()
    assert len(client.cookies) == 2
    assert (await client.get()).body == "primary 2"
    clock[0] += 21
    await client.get()
    assert len(client.cookies) == 1
    assert (await client.get()).body == "primary 2"


@pytest.mark.parametrize(
    "answer",
    [NotSupportedError("none"), ConnectError("down"), PoolClosed("closed"), "0/1" * 2000, "0/1; Path=/x", "\u00e9"],
)
async def test_where_no_position_is_to_be_had_the_client_reads_from_the_primary(db, clock, answer):
    client = browser(db)
    db.answers = [answer]
    await client.post()
    (value,) = client.cookies.values()
    assert value.endswith("~primary")
    assert (await client.get()).body == "primary 1"
    db.answers = [NotSupportedError("none")]
    clock[0] += 21
    assert (await client.get()).body == "primary 1"
    assert [value] == list(client.cookies.values())


async def test_a_position_that_takes_too_long_does_not_hold_up_the_response(db, monkeypatch):
    monkeypatch.setattr(asgi, "_POSITION_WITHIN", 0.01)
    monkeypatch.setattr(db, "position", anyio.sleep_forever)
    client = browser(db)
    await client.post()
    (value,) = client.cookies.values()
    assert value.endswith("~primary")


# Requests that read, and write


async def test_a_request_that_reads_cannot_write_on_the_replica(db):
    async def handle(scope):
        with pytest.raises(ReadOnlyError):
            await db.execute(INSERT)
        return "refused"

    response = await browser(db, serve(handle)).get()
    assert (response.body, response.set_cookies) == ("refused", [])


@pytest.mark.parametrize("block", ["connection", "transaction", "child task"])
async def test_what_a_request_that_reads_writes_on_the_primary_is_read_by_its_client(db, block):
    async def write():
        async with db.transaction(create=True) if block == "transaction" else db.connection():
            await db.execute(INSERT)

    async def handle(scope):
        if scope["path"] == "/":
            return await db.fetchval(COUNT)
        if block != "child task":
            return await write()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
        return None

    client = browser(db, serve(handle))
    await client.get("/write")
    assert len(client.cookies) == 1
    assert (await client.get()).body == "1"
    assert db.asked == [None, "0/1"]


async def test_a_request_that_reads_from_the_primary_sets_no_cookie(db):
    async def handle(scope):
        async with db.connection(), db.transaction(readonly=True):
            return await db.fetchval(COUNT)

    assert (await browser(db, serve(handle)).get()).set_cookies == []


async def test_the_application_says_which_requests_read(db):
    answers = {"/login": False, "/static": None}

    def reads(scope):
        return answers.get(scope["path"], reads_by_method(scope))

    client = browser(db, reads=reads)
    bodies = [((await client.get(path)).body, len(client.cookies)) for path in ("/", "/static", "/login", "/static")]
    assert bodies == [("replica 0", 0), ("no block 0", 0), ("no block 0", 1), ("no block 0", 1)]
    assert db.asked == [None]


# What is left alone, and what goes wrong


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_what_is_no_http_request_passes_through_untouched(db, kind):
    seen = []

    async def app(*args):
        seen.extend(args)

    args = ({"type": kind}, object(), object())
    await ReadYourWrites(app, db, secret=SECRET)(*args)
    assert all(given is got for given, got in zip(args, seen, strict=True))


async def test_an_exception_before_the_response_passes_through_and_sends_nothing(db):
    sent = []

    async def app(scope, receive, send):
        await db.execute(INSERT)
        raise ZeroDivisionError

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    with pytest.raises(ZeroDivisionError):
        await ReadYourWrites(app, db, secret=SECRET)(scope, None, send)
    assert sent == []


async def test_an_exception_in_a_replica_block_gives_its_connection_back(db):
    async def handle(scope):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await browser(db, serve(handle)).get()
    stats = db.stats()["replica-1"]
    assert stats.size == stats.idle


async def test_an_application_that_needs_no_database_is_served_when_there_is_none(db, caplog):
    async def handle(scope):
        return "fine"

    await db.disconnect()
    client = browser(db, serve(handle))
    assert [(await client.get()).body, (await client.post()).body] == ["fine", "fine"]
    assert "a request has no replica block" in caplog.text


async def test_inside_of_a_transaction_requests_are_part_of_it(db):
    """As in tests that roll back what the application has done."""
    client = browser(db)
    async with db.transaction() as transaction:
        assert (await client.get()).body == "primary 0"
        await client.post()
        assert (await client.get()).body == "primary 1"
        await transaction.rollback()
    assert await db.fetchval(COUNT) == 0


async def test_a_position_that_is_none_of_this_database_is_replaced_by_the_primarys(db, caplog, clock):
    client = browser(db)
    db.answers = ["elsewhere:1"]
    await client.post()
    clock[0] += 21
    with caplog.at_level(logging.INFO, logger="aio_databases"):
        assert (await client.get()).body == "primary 1"
    assert "a position that does not belong to" in caplog.text
    assert (await client.get()).body == "primary 1"
    assert db.asked == ["elsewhere:1", "0/2"]


# A framework


class PassOn(BaseHTTPMiddleware):
    """Runs what is inside of it in a task of its own."""

    async def dispatch(self, request, call_next):
        return await call_next(request)


def starlette_app(db):
    async def read(request):
        return PlainTextResponse(f"{db.current_conn and db.current_conn.role} {await db.fetchval(COUNT)}")

    async def stream(request):
        async def rows():
            async for row in db.iterate("select text from notes"):
                yield f"{row.text} "

        return StreamingResponse(rows())

    async def write(request):
        await db.execute(INSERT)
        return PlainTextResponse("written")

    class WriteLate:
        async def __call__(self, scope, receive, send):
            async with db.transaction():
                await db.execute(INSERT)
                await PlainTextResponse("written")(scope, receive, send)

    return Starlette(
        routes=[
            Route("/", read),
            Route("/stream", stream),
            Route("/write", write, methods=["POST"]),
            Route("/late", WriteLate(), methods=["POST"]),
        ],
        middleware=[Middleware(ReadYourWrites, db=db, secret=SECRET), Middleware(PassOn)],
    )


async def test_a_client_of_a_starlette_application_reads_what_it_wrote(db):
    client = Browser(starlette_app(db))
    assert (await client.get()).body == "replica 0"
    assert (await client.post("/write")).body == "written"
    assert (await client.get()).body == "primary 1"
    assert (await client.post("/late")).body == "written"
    assert (await client.get()).body == "primary 2"
    assert (await client.get("/stream")).body == "new new "
