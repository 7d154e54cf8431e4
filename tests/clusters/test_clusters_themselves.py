"""The harness itself: clusters replicate, break as told, and heal."""

from __future__ import annotations

import pymysql
import pytest

from unit.clients import query

COUNT = "select count(*) from t"


@pytest.fixture
def postgres_numbers(standbys):
    """Give the URLs of a table `t`: on the primary and on each standby."""
    name = standbys.create_database()
    urls = [server.url(database=name) for server in (standbys.primary, *standbys.standbys)]
    query(urls[0], "create table t (x int)")
    standbys.wait_until_caught_up()
    return urls


def test_a_standby_is_read_only_and_stays_behind_while_its_replay_is_paused(standbys, postgres_numbers):
    first, second = standbys.standbys
    first.pause_replay()
    query(postgres_numbers[0], "insert into t values (1)")
    second.wait_until_caught_up()
    assert [query(url, COUNT) for url in postgres_numbers] == [1, 0, 1]
    standbys.heal()
    assert [query(url, COUNT) for url in postgres_numbers] == [1, 1, 1]
    assert [query(url, "show transaction_read_only") for url in postgres_numbers[1:]] == ["on", "on"]


def test_a_delayed_standby_replays_later(standbys, postgres_numbers):
    first, second = standbys.standbys
    first.delay(60)
    query(postgres_numbers[0], "insert into t values (1)")
    second.wait_until_caught_up()
    assert query(postgres_numbers[1], COUNT) == 0
    first.delay(0)
    first.wait_until_caught_up()
    assert query(postgres_numbers[1], COUNT) == 1


def test_a_promoted_standby_is_a_primary_until_it_is_healed(standbys, postgres_numbers):
    first = standbys.standbys[0]
    standbys.primary.kill()
    first.promote()
    query(postgres_numbers[1], "insert into t values (1)")
    assert not first.is_in_recovery
    standbys.heal()
    assert first.is_in_recovery
    assert [query(url, COUNT) for url in postgres_numbers] == [0, 0, 0]


def test_standbys_follow_their_primary_again_after_its_crash(standbys, postgres_numbers):
    standbys.primary.kill()
    standbys.standbys[1].kill()
    standbys.heal()
    query(postgres_numbers[0], "insert into t values (1)")
    standbys.wait_until_caught_up()
    assert [query(url, COUNT) for url in postgres_numbers] == [1, 1, 1]


def test_the_primary_knows_its_standbys_by_name(standbys):
    names = standbys.primary.execute("select application_name from pg_stat_replication order by 1")
    assert sorted(standby.application_name for standby in standbys.standbys) == [name for (name,) in names]


@pytest.fixture
def mysql_numbers(mariadb_replica):
    """Give the URLs of a table `t`: on the primary and on the replica."""
    name = mariadb_replica.create_database()
    urls = [server.url(database=name) for server in (mariadb_replica.primary, *mariadb_replica.replicas)]
    query(urls[0], "create table t (x int)")
    mariadb_replica.wait_until_caught_up()
    return urls


def test_a_replica_is_read_only_for_the_app_user(mysql_numbers):
    with pytest.raises(pymysql.err.OperationalError, match=r"\(1290, .*read-only"):
        query(mysql_numbers[1], "insert into t values (1)")


def test_a_replica_stays_behind_while_it_does_not_apply(mariadb_replica, mysql_numbers):
    mariadb_replica.replicas[0].stop_applying()
    query(mysql_numbers[0], "insert into t values (1)")
    assert [query(url, COUNT) for url in mysql_numbers] == [1, 0]
    mariadb_replica.heal()
    assert [query(url, COUNT) for url in mysql_numbers] == [1, 1]


def test_a_delayed_replica_applies_later(mariadb_replica, mysql_numbers):
    [replica] = mariadb_replica.replicas
    replica.delay(60)
    query(mysql_numbers[0], "insert into t values (1)")
    assert [query(url, COUNT) for url in mysql_numbers] == [1, 0]
    replica.delay(0)
    replica.wait_until_caught_up()
    assert query(mysql_numbers[1], COUNT) == 1


def test_a_promoted_replica_is_a_primary_until_it_is_healed(mariadb_replica, mysql_numbers):
    mariadb_replica.primary.kill()
    mariadb_replica.replicas[0].promote()
    query(mysql_numbers[1], "insert into t values (1)")
    assert not mariadb_replica.replicas[0].is_replica
    mariadb_replica.heal()
    assert mariadb_replica.replicas[0].is_replica
    assert [query(url, COUNT) for url in mysql_numbers] == [0, 0]


def test_a_replica_follows_its_primary_again_after_its_crash(mariadb_replica, mysql_numbers):
    mariadb_replica.primary.kill()
    mariadb_replica.replicas[0].kill()
    mariadb_replica.heal()
    query(mysql_numbers[0], "insert into t values (1)")
    mariadb_replica.wait_until_caught_up()
    assert [query(url, COUNT) for url in mysql_numbers] == [1, 1]


@pytest.fixture
def galera_numbers(galera):
    """Give the URLs of a table `t` on each node."""
    urls = galera.urls(galera.create_database())
    query(urls[0], "create table t (x int primary key)")
    galera.wait_until_caught_up()
    return urls


def test_every_node_of_galera_can_be_written_to(galera, galera_numbers):
    for x, url in enumerate(galera_numbers):
        query(url, f"insert into t values ({x})")
    galera.wait_until_caught_up()
    assert [query(url, COUNT) for url in galera_numbers] == [3, 3, 3]


def test_a_killed_node_of_galera_gets_what_it_has_missed(galera, galera_numbers):
    galera.nodes[2].kill()
    galera.nodes[0].wait_until_sees(2)
    query(galera_numbers[1], "insert into t values (1)")
    galera.heal()
    assert query(galera_numbers[2], COUNT) == 1


def test_a_frozen_node_of_galera_is_left_out_and_comes_back(galera, galera_numbers):
    galera.nodes[2].pause()
    galera.nodes[0].wait_until_sees(2)
    query(galera_numbers[1], "insert into t values (1)")
    galera.heal()
    assert query(galera_numbers[2], COUNT) == 1


def test_a_minority_of_galera_refuses_to_work_until_it_is_told_to(galera, galera_numbers):
    galera.nodes[1].kill()
    galera.nodes[2].kill()
    galera.nodes[0].wait_until_sees(1)
    assert not galera.nodes[0].is_primary
    with pytest.raises(pymysql.err.OperationalError, match=r"\(1047, "):
        query(galera_numbers[0], COUNT)
    galera.nodes[0].bootstrap()
    query(galera_numbers[0], "insert into t values (1)")
    galera.heal()
    assert [query(url, COUNT) for url in galera_numbers] == [1, 1, 1]


def test_a_galera_cluster_that_was_killed_starts_again(galera, galera_numbers):
    query(galera_numbers[0], "insert into t values (1)")
    for node in galera.nodes:
        node.kill()
    galera.heal()
    assert [query(url, COUNT) for url in galera_numbers] == [1, 1, 1]


@pytest.fixture
def patroni_database(patroni):
    """Name a database with a table `t`."""
    name = patroni.create_database()
    query(patroni.write_url(name), "create table t (x int)")
    patroni.wait_until_caught_up()
    return name


def test_haproxy_leads_to_the_leader_and_to_its_replica(patroni, patroni_database):
    port = "select inet_server_port()"
    assert patroni.leader.port == query(patroni.write_url(patroni_database), port)
    assert [patroni.replicas[0].port] == [query(patroni.read_url(patroni_database), port)]
    assert {node.port for node in patroni.nodes} == {query(url, port) for url in patroni.urls(patroni_database)}


def test_another_node_leads_after_the_leader_was_killed(patroni, patroni_database):
    query(patroni.write_url(patroni_database), "insert into t values (1)")
    patroni.wait_until_caught_up()
    killed = patroni.kill_leader()
    assert patroni.wait_for_leader() is not killed
    patroni.wait_until_routed()
    query(patroni.write_url(patroni_database), "insert into t values (2)")
    patroni.heal()
    assert [killed] == patroni.replicas
    assert query(killed.url(database=patroni_database), COUNT) == 2


def test_a_switchover_makes_another_node_the_leader(patroni, patroni_database):
    before = patroni.leader
    after = patroni.switch_over()
    assert after is patroni.leader
    assert after is not before
    patroni.wait_until_routed()
    query(patroni.write_url(patroni_database), "insert into t values (1)")


def test_pgpool_reads_from_the_standby_and_writes_to_the_primary(pgpool):
    url = pgpool.url(pgpool.create_database())
    query(url, "create table t (x int)")
    pgpool.wait_until_caught_up()
    pgpool.standbys[0].pause_replay()
    query(url, "insert into t values (1)")
    assert query(url, COUNT) == 0
    pgpool.heal()
    assert query(url, COUNT) == 1


def test_pgpool_gets_along_without_the_standby_until_it_is_back(pgpool):
    url = pgpool.url(pgpool.create_database())
    query(url, "create table t (x int)")
    pgpool.standbys[0].kill()
    pgpool.pgpool.wait_until_used(pgpool.primary)
    assert query(url, COUNT) == 0
    pgpool.heal()
    pgpool.pgpool.wait_until_used(pgpool.primary, *pgpool.standbys)
