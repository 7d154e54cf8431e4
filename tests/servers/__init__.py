"""Database servers of our own for the tests: private, thrown away at the end of the run."""

from __future__ import annotations

from servers.access import GivenServer, PrivateServer, ServerAccess
from servers.errors import ServerError, ServerMissing
from servers.galera import GaleraCluster, GaleraNode
from servers.mysql import GivenMySQL, MariaDBServer, MySQLAccess
from servers.mysql_replica import MariaDBReplica, ReplicaCluster
from servers.odbc import odbc_driver
from servers.patroni import PatroniCluster, PatroniNode
from servers.pgbouncer import PgBouncer
from servers.pgpool import Pgpool, PgpoolCluster
from servers.postgres import GivenPostgres, PostgresAccess, PostgresServer
from servers.proxy import Proxy
from servers.standby import Standby, StandbyCluster

__all__ = (
    "GaleraCluster",
    "GaleraNode",
    "GivenMySQL",
    "GivenPostgres",
    "GivenServer",
    "MariaDBReplica",
    "MariaDBServer",
    "MySQLAccess",
    "PatroniCluster",
    "PatroniNode",
    "PgBouncer",
    "Pgpool",
    "PgpoolCluster",
    "PostgresAccess",
    "PostgresServer",
    "PrivateServer",
    "Proxy",
    "ReplicaCluster",
    "ServerAccess",
    "ServerError",
    "ServerMissing",
    "Standby",
    "StandbyCluster",
    "odbc_driver",
)
