"""How far a server is in the history of its database: WAL locations of PostgreSQL, GTIDs of MariaDB and MySQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from aio_databases.errors import ConfigurationError, NotSupportedError, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_databases.drivers.base import Driver

__all__ = ("Position", "ask_position")


class Position(NamedTuple):
    """A point in the history of a database."""

    text: str
    """As the server writes it, but for spaces and commas: fit for a cookie or a header."""
    numbers: dict[str, int]
    """How many changes of each stream there are up to this point, or up to which byte; most databases have one stream.

    The streams are called ``""`` on PostgreSQL, by the number of their domain on MariaDB, and by the UUID of their
    server or cluster on MySQL and Galera.
    """

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that a text stands for.  Raises ConfigurationError if it stands for none."""
        if isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users without type checkers
            if location := _LOCATION.fullmatch(text):
                return cls(text, {"": (int(location[1], 16) << 32) + int(location[2], 16)})
            parts = [_STREAM.fullmatch(part) for part in text.split(".")]
            found = {part["stream"]: int(part["number"]) for part in parts if part}
            if len(found) == len(parts):
                return cls(text, found)
        message = f"a position is a text that db.position() has returned, such as '0/16B3748' or '0-1-42', not {text!r}"
        raise ConfigurationError(message)

    def covers(self, other: Position) -> bool:
        """Return whether all that had happened at another point has happened at this one."""
        return all(self.numbers.get(stream, -1) >= number for stream, number in other.numbers.items())


_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_LOCATION = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})")
# MariaDB writes domain-server-number; who has made a change does not matter here.
_STREAM = re.compile(rf"(?P<stream>\d{{1,10}}(?=-\d)|{_UUID}(?=:))(?:-\d{{1,10}}-|:)(?P<number>\d{{1,20}})")
_EXECUTED = re.compile(rf"({_UUID})((?::\d+(?:-\d+)?)+)", re.IGNORECASE)
_START = Position("0/0", {"": 0})

# What a primary has written safely, or what a replica has replayed.  A commit that nobody waits for (with
# synchronous_commit off) is not written yet, only handed over.
_POSTGRESQL = """
SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
    WHEN pg_catalog.current_setting('synchronous_commit') = 'off' THEN pg_catalog.pg_current_wal_insert_lsn()
    ELSE pg_catalog.pg_current_wal_flush_lsn() END::text
"""
# Galera's nodes do not agree on the numbers of their binary logs.
_MARIADB = """
SELECT IF(@@global.wsrep_on, (
        SELECT GROUP_CONCAT(variable_value ORDER BY variable_name SEPARATOR ':') FROM information_schema.global_status
        WHERE variable_name IN ('WSREP_CLUSTER_STATE_UUID', 'WSREP_LAST_COMMITTED')
    ), @@global.gtid_current_pos)
"""
_MYSQL = "SELECT @@global.gtid_executed"
_QUERIES = {"postgresql": (_POSTGRESQL,), "mysql": (_MARIADB, _MYSQL)}
_AFTER_ALL = "/*M! SET STATEMENT wsrep_sync_wait = 1 FOR */"  # what the other nodes of Galera have committed by now


async def ask_position(driver: Driver, fetch: Callable[[str], Awaitable[Any]], *, newest: bool = False) -> Position:
    """Return how far the server is that ``fetch`` asks; ``newest`` means the last change, others may be missing yet.

    ``fetch`` returns the single value of a query.  Raises NotSupportedError if the database does not tell.
    """
    if driver.dialect == "sqlite":
        return _START  # whoever opens the file sees all of it
    queries: tuple[str, ...] = _QUERIES.get(driver.dialect, ())
    for query in (driver.position_query,) if driver.position_query else queries:
        try:
            answer = await fetch(f"{_AFTER_ALL}{query}" if newest and query is _MARIADB else query)
        except ProgrammingError:
            if query is not _MARIADB:
                raise
            continue  # MySQL, which does not know what this asks for
        driver.position_query = query
        if answer:
            return _executed(answer, newest=newest) if query is _MYSQL else Position.parse(answer.replace(",", "."))
        break
    message = f"{driver.address} does not tell its position: PostgreSQL does, Galera, and MariaDB and MySQL that have "
    raise NotSupportedError(message + "a binary log with GTIDs")


def _executed(text: str, *, newest: bool) -> Position:
    """Return the position that MySQL's sets of GTIDs stand for.

    A replica that works in parallel leaves gaps: it is only as far as it has everything from the beginning on.
    """
    numbers: dict[str, int] = {}
    for uuid, ranges in _EXECUTED.findall(text):
        chosen = ranges.split(":")[-1 if newest else 1]
        numbers[uuid.lower()] = int(chosen.rpartition("-")[2])
    return Position(".".join(f"{uuid}:{number}" for uuid, number in numbers.items()), numbers)
