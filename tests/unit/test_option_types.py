"""The options that type checkers know are those that the pool and our drivers take."""

from __future__ import annotations

from aio_databases.drivers.asyncpg import AsyncpgDriver
from aio_databases.drivers.mysql import MYSQL_OPTIONS
from aio_databases.drivers.postgresql_options import POSTGRESQL_OPTIONS
from aio_databases.drivers.sqlite import SQLiteDriver
from aio_databases.options import _ALIASES, _DRIVER, _POOL, Options


def test_each_option_has_a_type():
    drivers = [AsyncpgDriver.option_types, MYSQL_OPTIONS, POSTGRESQL_OPTIONS, SQLiteDriver.option_types]
    taken = {"connect_args", "db_type", "driver", "dsn", *_POOL, *_DRIVER, *_ALIASES}.union(*drivers)
    assert taken == set(Options.__annotations__)
