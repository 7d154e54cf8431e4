"""The harness itself: clusters replicate, break as told, and heal."""

from __future__ import annotations

import pymysql
import pytest

from unit.clients import query

COUNT = "select count(*) from t"


@pytest.fixture
def postgres_numbers(standbys):
    """Give the URLs of a table `t`: on the primary and on each standby."""
    name = standbys.primary.create_database()
    urls = [server.url(database=name) for server in (standbys.primary, *standbys.standbys)]
    query(urls[0], "create table t (x int)")
    for standby in standbys.standbys:
        standby.wait_until_caught_up()
    return urls


def test_a_standby_is_read_only_and_stays_behind_while_its_replay_is_paused(standbys, postgres_numbers):
    first, second = standbys.standbys
    first.pause_replay()
    query(postgres_numbers[0], "insert into t values (1)")
    second.wait_until_caught_up()
    assert [1, 0, 1] == [query(url, COUNT) for url in postgres_numbers]
    standbys.heal()
    assert [1, 1, 1] == [query(url, COUNT) for url in postgres_numbers]
    assert ["on", "on"] == [query(url, "show transaction_read_only") for url in postgres_numbers[1:]]


def test_a_delayed_standby_replays_later(standbys, postgres_numbers):
    first, second = standbys.standbys
    first.delay(60)
    query(postgres_numbers[0], "insert into t values (1)")
    second.wait_until_caught_up()
    assert 0 == query(postgres_numbers[1], COUNT)
    first.delay(0)
    first.wait_until_caught_up()
    assert 1 == query(postgres_numbers[1], COUNT)


def test_a_promoted_standby_is_a_primary_until_it_is_healed(standbys, postgres_numbers):
    first = standbys.standbys[0]
    standbys.primary.kill()
    first.promote()
    query(postgres_numbers[1], "insert into t values (1)")
    assert not first.is_in_recovery
    standbys.heal()
    assert first.is_in_recovery
    assert [0, 0, 0] == [query(url, COUNT) for url in postgres_numbers]


def test_standbys_follow_their_primary_again_after_its_crash(standbys, postgres_numbers):
    standbys.primary.kill()
    standbys.standbys[1].kill()
    standbys.heal()
    query(postgres_numbers[0], "insert into t values (1)")
    for standby in standbys.standbys:
        standby.wait_until_caught_up()
    assert [1, 1, 1] == [query(url, COUNT) for url in postgres_numbers]


def test_the_primary_knows_its_standbys_by_name(standbys):
    names = standbys.primary.execute("select application_name from pg_stat_replication order by 1")
    assert sorted(standby.application_name for standby in standbys.standbys) == [name for (name,) in names]


@pytest.fixture
def mysql_numbers(mariadb_replica):
    """Give the URLs of a table `t`: on the primary and on the replica."""
    name = mariadb_replica.primary.create_database()
    urls = [server.url(database=name) for server in (mariadb_replica.primary, *mariadb_replica.replicas)]
    query(urls[0], "create table t (x int)")
    mariadb_replica.replicas[0].wait_until_caught_up()
    return urls


def test_a_replica_is_read_only_for_the_app_user(mysql_numbers):
    with pytest.raises(pymysql.err.OperationalError, match=r"\(1290, .*read-only"):
        query(mysql_numbers[1], "insert into t values (1)")


def test_a_replica_stays_behind_while_it_does_not_apply(mariadb_replica, mysql_numbers):
    mariadb_replica.replicas[0].stop_applying()
    query(mysql_numbers[0], "insert into t values (1)")
    assert [1, 0] == [query(url, COUNT) for url in mysql_numbers]
    mariadb_replica.heal()
    assert [1, 1] == [query(url, COUNT) for url in mysql_numbers]


def test_a_delayed_replica_applies_later(mariadb_replica, mysql_numbers):
    [replica] = mariadb_replica.replicas
    replica.delay(60)
    query(mysql_numbers[0], "insert into t values (1)")
    assert [1, 0] == [query(url, COUNT) for url in mysql_numbers]
    replica.delay(0)
    replica.wait_until_caught_up()
    assert 1 == query(mysql_numbers[1], COUNT)


def test_a_promoted_replica_is_a_primary_until_it_is_healed(mariadb_replica, mysql_numbers):
    mariadb_replica.primary.kill()
    mariadb_replica.replicas[0].promote()
    query(mysql_numbers[1], "insert into t values (1)")
    assert not mariadb_replica.replicas[0].is_replica
    mariadb_replica.heal()
    assert mariadb_replica.replicas[0].is_replica
    assert [0, 0] == [query(url, COUNT) for url in mysql_numbers]


def test_a_replica_follows_its_primary_again_after_its_crash(mariadb_replica, mysql_numbers):
    mariadb_replica.primary.kill()
    mariadb_replica.replicas[0].kill()
    mariadb_replica.heal()
    query(mysql_numbers[0], "insert into t values (1)")
    mariadb_replica.replicas[0].wait_until_caught_up()
    assert [1, 1] == [query(url, COUNT) for url in mysql_numbers]
