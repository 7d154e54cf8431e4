"""The options that type checkers know are those that the pool and our drivers take."""

from __future__ import annotations

from aio_databases.config.options import _ALIASES, _DRIVER, _POOL, Options
from aio_databases.drivers.mysql.family import MYSQL_OPTIONS
from aio_databases.drivers.postgresql.asyncpg import AsyncpgDriver
from aio_databases.drivers.postgresql.options import POSTGRESQL_OPTIONS
from aio_databases.drivers.sqlite.driver import SQLiteDriver


def test_each_option_has_a_type():
    drivers = [AsyncpgDriver.option_types, MYSQL_OPTIONS, POSTGRESQL_OPTIONS, SQLiteDriver.option_types]
    taken = {"connect_args", "db_type", "driver", "dsn", *_POOL, *_DRIVER, *_ALIASES}.union(*drivers)
    assert taken == set(Options.__annotations__)
