"""Database servers of our own for the tests: private, thrown away at the end of the run."""

from __future__ import annotations

from servers.access import GivenServer, PrivateServer, ServerAccess
from servers.errors import ServerError, ServerMissing
from servers.mysql import GivenMySQL, MariaDBServer, MySQLAccess
from servers.mysql_replica import MariaDBReplica, ReplicaCluster
from servers.odbc import odbc_driver
from servers.pgbouncer import PgBouncer
from servers.postgres import GivenPostgres, PostgresAccess, PostgresServer
from servers.proxy import Proxy
from servers.standby import Standby, StandbyCluster

__all__ = (
    "GivenMySQL",
    "GivenPostgres",
    "GivenServer",
    "MariaDBReplica",
    "MariaDBServer",
    "MySQLAccess",
    "PgBouncer",
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
