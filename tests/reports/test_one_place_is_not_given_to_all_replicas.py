"""A place that is given as a keyword would win over every URL: with replicas that is an error.

A hostile test: `host=` and `port=`, in `connect_args` as well, sent every read of a replica to the primary.
"""

from __future__ import annotations

import pytest

from aio_databases import ConfigurationError, Database

GIVEN = ["host", "port", "database", "unix_socket", "dsn"]
URL, REPLICA = "{}://user@one/shop", "{}://user@two/shop"


@pytest.mark.parametrize(
    "scheme",
    [
        *("asyncpg", "psycopg", "aiopg", "aiomysql", "asyncmy", "pymysql"),
        pytest.param("aioodbc", marks=pytest.mark.server),  # the driver manager unixODBC
    ],
)
@pytest.mark.parametrize("option", GIVEN)
@pytest.mark.parametrize("wrap", [dict, lambda **given: {"connect_args": given}], ids=["keyword", "connect_args"])
def test_one_place_for_all_is_refused(scheme, option, wrap):
    with pytest.raises(ConfigurationError, match=rf"the option {option}= holds for the primary and all replicas"):
        Database(URL.format(scheme), replicas=[REPLICA.format(scheme)], **wrap(**{option: 5432}))


def test_without_replicas_and_in_a_url_a_place_may_be_an_option():
    Database(URL.format("asyncpg"), host="three", port=5433)
    Database(f"{URL.format('asyncpg')}?host=three", replicas=[f"{REPLICA.format('asyncpg')}?host=four"])
    Database(URL.format("asyncpg"), replicas=[REPLICA.format("asyncpg")], connect_args={"timeout": 3})
