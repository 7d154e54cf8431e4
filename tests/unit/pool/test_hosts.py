"""URLs with several hosts: on which one a connection is opened, and what becomes of it when servers change roles."""

from __future__ import annotations

import logging
from collections import Counter

import anyio
import pytest

from aio_databases import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    Database,
    PoolTimeout,
    ReadOnlyError,
    TargetNotFound,
    errors,
)
from aio_databases.testing.fake_driver import FakeError, LinkError, make_database

ROLE = "SELECT pg_catalog.pg_is_in_recovery()"
PRIMARY, REPLICA = False, True
URL = "fake://a,b,c/db"


def cluster(*roles, url=URL, **options):
    """Return a database of hosts with these roles, and their fakes."""
    db = make_database(url=url, **options)
    fakes = [db.backend.at(index) for index in range(len(roles))] if len(roles) > 1 else [db.backend]
    for fake, role in zip(fakes, roles, strict=True):
        fake.values[ROLE] = role
    return db, fakes


def opens(fakes):
    return [fake.opens for fake in fakes]


def of_a_changed_role(kind=ReadOnlyError, **codes):
    """Return an error of the fake's library with a `sqlstate` or `errno`."""
    error = FakeError("it is read-only", kind)
    vars(error).update(codes)
    return error


# Opening


async def test_the_first_host_in_the_role_is_taken_and_the_others_are_closed_in_good_order():
    db, fakes = cluster(REPLICA, PRIMARY, PRIMARY)
    async with db:
        assert await db.fetchval("select 1") == "select 1"
    assert opens(fakes) == [1, 1, 0]
    assert ["1 connect", f"1 {ROLE}", "1 close"] == fakes[0].log[:3]
    assert [f"1 {ROLE}", "1 select 1"] == fakes[1].log[1:3]


async def test_the_host_that_worked_last_is_tried_first():
    db, fakes = cluster(REPLICA, PRIMARY, PRIMARY)
    async with db, db.connection(), db.connection(), db.connection():
        assert opens(fakes) == [1, 3, 0]


async def test_a_host_that_fails_is_tried_after_the_others_for_a_while():
    db, fakes = cluster(REPLICA, PRIMARY, PRIMARY)
    async with db:
        fakes[1].fail("connect", LinkError("refused"))
        async with db.connection(), db.connection(), db.connection():
            assert opens(fakes) == [2, 1, 2]
            assert fakes[1].attempts == 2


async def test_a_host_that_works_in_place_of_others_is_told_in_the_log(caplog):
    db, fakes = cluster(PRIMARY, REPLICA, PRIMARY)
    fakes[0].fail("connect", LinkError("refused"))
    async with db:
        pass
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == ["connected to c, as a failed (refused)"]


async def test_a_host_that_does_not_answer_has_its_share_of_the_time_only():
    db, fakes = cluster(PRIMARY, REPLICA, PRIMARY, connect_timeout=0.3)
    gate = fakes[0].wait("connect")
    with anyio.fail_after(0.25):
        await db.connect()
    gate.open()
    assert opens(fakes) == [0, 1, 1]
    await db.disconnect()


async def test_one_host_is_asked_nothing():
    db, [fake] = cluster(REPLICA, url="fake://a/db")
    async with db:
        await db.fetchval("select 1")
    assert fake.sent == ["select 1"]


async def test_the_ports_of_hosts_are_their_own():
    db = make_database(url="fake://ann:secret@a:1,b:2,[::1]/db")
    told = [str(db.backend.at(index).address) for index in range(3)]
    assert told == ["fake://a:1/db", "fake://b:2/db", "fake://[::1]/db"]
    assert db.backend.at(2).address.user == "ann"


# Which role


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("read-write", 1),
        ("primary", 1),
        ("read-only", 0),
        ("standby", 0),
        ("any", 0),
        ("prefer-read-only", 0),
        ("prefer-standby", 0),
    ],
)
async def test_the_option_says_which_role_it_has_to_be(target, found):
    for options in ({"target": target}, {"target_session_attrs": target}, {"url": f"fake://a,b/db?target={target}"}):
        db, fakes = cluster(REPLICA, PRIMARY, **{"url": "fake://a,b/db", **options})
        async with db:
            assert [found] == [index for index, fake in enumerate(fakes) if fake.open_now]


async def test_of_one_host_the_role_is_asked_where_the_option_says_so():
    db, _ = cluster(REPLICA, url="fake://a/db", target="read-write", timeout=0)
    with pytest.raises(
        TargetNotFound, match=r"^cannot connect to fake://a/db with target='read-write': a is a replica; "
    ):
        await db.connect()


async def test_a_replica_is_preferred_but_a_primary_will_do():
    db, fakes = cluster(PRIMARY, PRIMARY, url="fake://a,b/db", target="prefer-read-only")
    async with db:
        assert sum(fake.open_now for fake in fakes) == 1


async def test_a_refused_login_is_no_reason_to_do_with_a_primary():
    db, fakes = cluster(PRIMARY, REPLICA, url="fake://a,b/db", target="prefer-read-only")
    fakes[1].fail("connect", FakeError("wrong password", AuthenticationError))
    with pytest.raises(AuthenticationError):
        await db.connect()


async def test_by_default_the_primarys_url_leads_to_a_primary_and_a_replicas_url_to_replicas():
    db = make_database(url="fake://a,b/db", replicas=["fake://a,b/db", "fake://a/db", "fake://a,b/db?target=any"])
    targets = [pool.connector.target for pool in (db._pool, db._replicas.fallback, *db._replicas.pools[:3])]
    assert targets == ["read-write", "read-write", "read-only", "any", "any"]


async def test_as_a_keyword_it_is_for_the_primary():
    db = make_database(url="fake://a,b/db", replicas=["fake://a,b/db"], target="any")
    assert [pool.connector.target for pool in (db._pool, db._replicas.fallback, *db._replicas.pools[:1])] == [
        "any",
        "any",
        "read-only",
    ]


async def test_reads_are_spread_over_the_replicas():
    reads = make_database(url=URL, replicas=[URL], max_size=60)._replicas.pools[0]
    for index in range(3):
        reads.driver.at(index).values[ROLE] = REPLICA
    reads.open_lazily()
    for _ in range(60):
        await reads.acquire()
    counts = Counter({index: reads.driver.at(index).opens for index in range(3)})
    assert counts.total() == 60
    assert min(counts.values()) > 0
    reads.terminate()


# Refusals


@pytest.mark.parametrize("option", ["host", "port", "unix_socket"])
@pytest.mark.parametrize("scheme", ["postgresql", "asyncpg", "mysql", "pymysql"])
def test_a_host_beside_several_in_the_url_is_refused(scheme, option):
    with pytest.raises(ConfigurationError, match=rf"^the option '{option}' does not go with several hosts"):
        Database(f"{scheme}://ann:secret@a,b/db", **{option: "1"})


@pytest.mark.parametrize("host", ["a,b", ["a", "b"], ("a",)])
def test_several_hosts_as_an_option_are_refused(host):
    with pytest.raises(ConfigurationError, match=r"the option 'host' .* several stand in the URL"):
        Database("postgresql:///db", host=host)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://a,b/db", "has several hosts; a relative path takes three slashes"),
        ("dummy://a,b/db", "the dummy connects to none"),
        ("odbc://a,b/db", "has several hosts: that goes with the option 'driver'"),
        ("odbc://a,b/db?dsn=x", "has several hosts: that goes with the option 'driver'"),
        ("odbc://a,b/db?driver=Unheard", "add db_type='postgresql' or db_type='mysql'"),
        ("odbc://a,b/db?driver=SQLite3", "add db_type='postgresql' or db_type='mysql'"),
        ("sqlite:///db?target=read-only", "nothing is known of primaries and replicas of sqlite; leave it out$"),
        ("fake://a/db?target=writable", "the option 'target' of .* expected one of read-write, read-only, any"),
    ],
)
def test_what_cannot_be_followed_is_refused(url, message):
    with pytest.raises(ConfigurationError, match=message):
        make_database(url=url) if url.startswith("fake") else Database(url)


def test_sqlite_takes_an_option_that_asks_for_nothing():
    assert Database("sqlite://", target="any")._pool.connector.target == "any"


@pytest.mark.parametrize(
    "scheme",
    ["postgresql", "mysql", pytest.param("odbc", marks=pytest.mark.server)],  # the driver manager unixODBC
)
async def test_a_scheme_of_several_libraries_has_hosts_too(scheme):
    driver = Database(f"{scheme}://app@a:1,b/db{'?driver=MariaDB' if scheme == 'odbc' else ''}").backend
    for one in (driver, driver.for_running_loop()):
        other = one.at(1)
        assert (type(one), (("b", None),)) == (type(other), other.address.hosts)


# Errors


async def test_when_no_host_has_the_role_each_is_told():
    db, fakes = cluster(REPLICA, PRIMARY, REPLICA, timeout=0)
    fakes[1].fail("connect", LinkError("refused"))
    with pytest.raises(TargetNotFound) as caught:
        await db.connect()
    message = "cannot connect to fake://a,b,c/db with target='read-write': a is a replica; b failed (refused); c is a "
    message += "replica; retry if a failover is in progress, otherwise check the hosts or set target='any'"
    assert message == str(caught.value)
    assert isinstance(caught.value, ConnectError)


async def test_when_no_host_answers_each_is_told():
    db, fakes = cluster(PRIMARY, PRIMARY, PRIMARY)
    for fake, reason in zip(fakes, ("refused", "no route", "no such host"), strict=True):
        fake.fail("connect", FakeError(reason))
    with pytest.raises(ConnectError) as caught:
        await db.connect()
    message = "cannot connect to fake://a,b,c/db: a failed (refused); b failed (no route); c failed (no such host); "
    assert message + "check that the server runs and that host, port and database are right" == str(caught.value)
    assert isinstance(caught.value, FakeError)
    assert not isinstance(caught.value, TargetNotFound)


async def test_a_node_that_is_not_ready_is_a_server_in_no_role():
    db, [fake] = cluster(PRIMARY, url="fake://a/db", target="read-write", timeout=0)
    fake.fail(ROLE, of_a_changed_role(errors.OperationalError, errno=1047))
    with pytest.raises(TargetNotFound, match=r"it is read-only"):
        await db.connect()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (FakeError("wrong password", AuthenticationError), AuthenticationError),
        (FakeError("no such option", ConfigurationError), ConfigurationError),
        (ZeroDivisionError("mine"), ZeroDivisionError),
    ],
)
async def test_what_would_be_the_same_on_every_host_is_raised_at_once(error, raised):
    db, fakes = cluster(PRIMARY, PRIMARY, PRIMARY)
    fakes[0].fail("connect", error)
    with pytest.raises(raised):
        await db.connect()
    assert opens(fakes[1:]) == [0, 0]


async def test_an_init_that_fails_is_raised_unchanged_and_closes_the_connection():
    reason = ZeroDivisionError("mine")

    def init(_):
        raise reason

    db, fakes = cluster(REPLICA, PRIMARY, PRIMARY, init=init)
    with pytest.raises(ZeroDivisionError) as caught:
        await db.connect()
    assert reason is caught.value
    assert (opens(fakes), sum(fake.open_now for fake in fakes)) == ([1, 1, 0], 0)


# Failovers


async def test_a_connect_during_a_failover_waits_for_its_end():
    db, fakes = cluster(REPLICA, REPLICA, url="fake://a,b/db", timeout=5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(db.connect)
        for _ in range(2):
            gate = fakes[1].wait(ROLE)
            await gate.reached()
            gate.open()
        fakes[1].values[ROLE] = PRIMARY
    assert await db.fetchval("select 1") == "select 1"
    await db.disconnect()


async def test_a_connect_during_a_failover_waits_for_the_pools_timeout_only():
    db, fakes = cluster(REPLICA, REPLICA, url="fake://a,b/db", timeout=0.15)
    with anyio.fail_after(1), pytest.raises(TargetNotFound):
        await db.connect()
    assert [fake.attempts for fake in fakes] == [2, 2]


async def test_who_has_another_server_to_turn_to_does_not_wait():
    db, fakes = cluster(REPLICA, REPLICA, url="fake://a,b/db")
    db._pool.open_lazily()
    with pytest.raises(TargetNotFound):
        await db._pool.acquire(1.0)
    assert [fake.attempts for fake in fakes] == [1, 1]


async def test_the_role_of_a_busy_connection_is_checked_every_now_and_then():
    db, fakes = cluster(PRIMARY, REPLICA, url="fake://a,b/db", check_after=0.02)
    async with db:
        for _ in range(3):
            await db.execute("insert 1")
        assert fakes[0].sent.count(ROLE) == 1
        fakes[0].values[ROLE], fakes[1].values[ROLE] = REPLICA, PRIMARY
        with anyio.fail_after(5):
            while not fakes[1].open_now:
                await db.execute("insert 1")
        assert (fakes[0].open_now, fakes[1].open_now) == (0, 1)
    assert "ping" not in fakes[0].sent + fakes[1].sent


async def test_a_lease_keeps_its_connection_whatever_becomes_of_the_role():
    db, fakes = cluster(PRIMARY, REPLICA, url="fake://a,b/db", check_after=0)
    async with db, db.connection() as connection:
        fakes[0].values[ROLE] = REPLICA
        await connection.execute("insert 1")
        assert fakes[0].open_now == 1


@pytest.mark.parametrize("codes", [{"sqlstate": "25006"}, {"errno": 1290}, {"errno": 1836}])
async def test_an_error_that_tells_of_a_changed_role_has_all_connections_checked(codes):
    db, fakes = cluster(PRIMARY, REPLICA, url="fake://a,b/db")
    async with db:
        async with db.connection() as lent:
            async with db.connection(), db.connection():
                pass  # three connections now, two of them idle
            fakes[0].values[ROLE], fakes[1].values[ROLE] = REPLICA, PRIMARY
            fakes[0].fail("insert", of_a_changed_role(**codes))
            with pytest.raises(ReadOnlyError):
                await db.execute("insert 1")
            await lent.execute("select 1")
        async with db.connection(), db.connection(), db.connection():
            assert (fakes[0].open_now, fakes[1].open_now) == (0, 3)


async def test_a_connection_that_is_on_the_right_server_survives_the_check():
    db, [fake] = cluster(PRIMARY, url="fake://a/db", target="read-write")
    async with db:
        fake.fail("insert", of_a_changed_role(sqlstate="25006"))
        with pytest.raises(ReadOnlyError):
            await db.execute("insert 1")
        await db.execute("insert 2")
        await db.execute("insert 3")
    assert fake.sent == [ROLE, "insert 1", ROLE, "insert 2", "insert 3"]
    assert fake.opens == 1


async def test_a_commit_that_a_new_replica_refuses_counts_too():
    db, fakes = cluster(PRIMARY, REPLICA, url="fake://a,b/db")
    async with db:
        with pytest.raises(ReadOnlyError):
            async with db.transaction():
                await db.execute("insert 1")
                fakes[0].values[ROLE], fakes[1].values[ROLE] = REPLICA, PRIMARY
                fakes[0].fail("COMMIT", of_a_changed_role(errno=1290))
        await db.execute("insert 2")
    assert "insert 2" in fakes[1].sent


@pytest.mark.parametrize("codes", [{}, {"errno": 1792}])
async def test_other_errors_of_writes_tell_nothing(codes):
    db, [fake] = cluster(PRIMARY, url="fake://a/db", target="read-write")
    async with db:
        fake.fail("insert", of_a_changed_role(**codes))
        with pytest.raises(ReadOnlyError):
            await db.execute("insert 1")
        await db.execute("insert 2")
    assert fake.sent == [ROLE, "insert 1", "insert 2"]


async def test_a_write_in_a_transaction_that_only_reads_tells_nothing():
    db, [fake] = cluster(PRIMARY, url="fake://a/db", target="read-write")
    async with db:
        fake.fail("select write()", of_a_changed_role(sqlstate="25006"))
        with pytest.raises(ReadOnlyError):
            async with db.transaction(readonly=True), db.transaction():
                await db.fetchval("select write()")
        await db.execute("insert 2")
    assert fake.sent.count(ROLE) == 1


async def test_a_write_on_a_read_only_pool_tells_nothing_but_a_node_that_is_not_ready_does():
    db, [fake] = cluster(PRIMARY, url="fake://a/db")
    async with db:
        for error in (of_a_changed_role(sqlstate="25006"), of_a_changed_role(errors.OperationalError, errno=1047)):
            fake.fail("select write()", error)
            with pytest.raises(errors.DatabaseError):
                async with db.replica():
                    await db.fetchval("select write()")
        async with db.replica():
            pass
    assert fake.sent.count(ROLE) == 0  # it is too young to be doubted


# One host, any role: a name or a load balancer that leads to the primary, or a standby that somebody only reads from


@pytest.fixture
def aged(monkeypatch):
    """Have connections that were just opened count as old ones."""
    monkeypatch.setattr("aio_databases.physical_connection.connection._A_MOMENT", 0.0)


@pytest.mark.usefixtures("aged")
async def test_behind_a_name_that_leads_elsewhere_by_now_connections_are_replaced():
    db, [fake] = cluster(PRIMARY, url="fake://a/db")
    async with db:
        fake.values[ROLE] = REPLICA
        fake.fail("insert", of_a_changed_role(sqlstate="25006"))
        with pytest.raises(ReadOnlyError):
            await db.execute("insert 1")
        await db.execute("insert 2")
        await db.execute("insert 3")
    assert fake.sent == ["insert 1", ROLE, "insert 2", "insert 3"]
    assert fake.opens == 2


async def test_connections_to_a_standby_are_not_replaced_again_and_again():
    db, [fake] = cluster(REPLICA, url="fake://a/db")
    async with db:
        for _ in range(3):
            fake.fail("insert", of_a_changed_role(sqlstate="25006"))
            with pytest.raises(ReadOnlyError):
                await db.execute("insert 1")
            assert await db.fetchval("select 1") == "select 1"
    assert fake.opens == 1
    assert ROLE not in fake.sent


@pytest.mark.usefixtures("aged")
async def test_a_read_only_pool_of_any_role_keeps_a_node_that_answers_again():
    db, [fake] = cluster(REPLICA, url="fake://a/db")
    async with db:
        fake.fail("select 1", of_a_changed_role(errors.OperationalError, errno=1047))
        for expected in (errors.OperationalError, None):
            try:
                async with db.replica():
                    await db.fetchval("select 1")
            except errors.OperationalError as exc:
                assert expected is not None, exc  # noqa: PT017 - only the first time
    assert fake.sent.count(ROLE) == 1
    assert fake.opens == 2  # one is the primary's


async def test_a_task_in_line_is_not_affected_by_who_looks_for_a_server():
    db, _ = cluster(REPLICA, REPLICA, url="fake://a,b/db", timeout=0.3, max_size=1)
    db._pool.open_lazily()
    caught = []

    async def acquire():
        try:
            await db._pool.acquire()
        except (TargetNotFound, PoolTimeout) as exc:
            caught.append(type(exc))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(acquire)
            tasks.start_soon(acquire)
    assert len(caught) == 2
    assert db._pool.stats[:3] == (0, 0, 0)
