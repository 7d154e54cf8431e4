"""How far a server is in the history of its database: WAL locations of PostgreSQL, GTIDs of MariaDB and MySQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from aio_databases.errors import ConfigurationError, NotSupportedError, ProgrammingError, TargetNotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_databases.drivers.base import Driver

__all__ = ("MYSQL_READS_ONLY", "Position", "ask_position")


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
        message = "a position is a text that db.position() has returned, such as '0/16B3748' or '0-1-42', not "
        message += repr(text) if len(repr(text)) <= _LONG else f"{repr(text)[:_LONG]}..."
        raise ConfigurationError(message)

    def covers(self, other: Position) -> bool:
        """Return whether all that had happened at another point has happened at this one."""
        return all(self.numbers.get(stream, -1) >= number for stream, number in other.numbers.items())


_LONG = 80  # characters of what is shown
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_LOCATION = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})")
# MariaDB writes domain-server-number; who has made a change does not matter here.
_STREAM = re.compile(rf"(?P<stream>\d{{1,10}}(?=-\d)|{_UUID}(?=:))(?:-\d{{1,10}}-|:)(?P<number>\d{{1,20}})")
_SET = rf"{_UUID}(?::\d+(?:-\d+)?)+"
_EXECUTED = re.compile(rf"{_SET}(?:,\s*{_SET})*", re.IGNORECASE)
_START = Position("0/0", {"": 0})


class Question(NamedTuple):
    """How a server is asked for its position."""

    replica: str
    """For what it has replayed, be it a replica or not."""
    primary: str
    """For all that it has committed; a replica answers NULL."""


# The location up to which WAL was handed over is asked for, and not how far it was written: a commit that does not wait
# for that (synchronous_commit is off for some transactions) would be missed.
_POSTGRESQL = Question(
    """SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
    ELSE pg_catalog.pg_current_wal_insert_lsn() END::text""",
    "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_wal_insert_lsn() END::text",
)
# As a text, because newer versions of MariaDB have more than ON and OFF; innodb_read_only is what Aurora's readers say.
MYSQL_READS_ONLY = "CONCAT(@@global.read_only) NOT IN ('0', 'OFF') OR @@global.innodb_read_only"
# Galera's nodes do not agree on the numbers of their binary logs.
_GALERA = """
    SELECT GROUP_CONCAT(variable_value ORDER BY variable_name SEPARATOR ':') FROM information_schema.global_status
    WHERE variable_name IN ('WSREP_CLUSTER_STATE_UUID', 'WSREP_LAST_COMMITTED')"""
_MARIADB = Question(
    # Not what a replica has in its own binary log: ANALYZE TABLE and the like have numbers there, too.
    f"""SELECT IF(@@global.wsrep_on, ({_GALERA}),
    IF(@@global.gtid_slave_pos = '', @@global.gtid_current_pos, @@global.gtid_slave_pos))""",
    # What the other nodes of Galera have committed by now is waited for.
    f"""/*M! SET STATEMENT wsrep_sync_wait = 1 FOR */ SELECT IF({MYSQL_READS_ONLY}, NULL,
    IF(@@global.wsrep_on, ({_GALERA}), @@global.gtid_current_pos))""",
)
_MYSQL = Question(
    "SELECT @@global.gtid_executed",
    f"SELECT IF({MYSQL_READS_ONLY}, NULL, @@global.gtid_executed)",
)
_QUESTIONS = {"postgresql": (_POSTGRESQL,), "mysql": (_MARIADB, _MYSQL)}


async def ask_position(driver: Driver, fetch: Callable[[str], Awaitable[Any]], *, primary: bool = False) -> Position:
    """Return how far the server is that ``fetch`` asks; of a ``primary`` that is all it has committed.

    ``fetch`` returns the single value of a query.  Raises TargetNotFound if it is to be a primary and is none, and
    NotSupportedError if the database does not tell.
    """
    if driver.dialect == "sqlite":
        return _START  # whoever opens the file sees all of it
    for question in (driver.question,) if driver.question else _QUESTIONS.get(driver.dialect, ()):
        try:
            answer = await fetch(question.primary if primary else question.replica)
        except ProgrammingError:
            if question is not _MARIADB:
                raise
            continue  # MySQL, which does not know what this asks for
        driver.question = question
        if answer is None and primary:
            message = f"{driver.address} leads to a replica, and not to the primary: check the URL, or its target"
            raise TargetNotFound(message)
        if answer and (position := _position(question, answer, primary=primary)):
            return position
        break
    message = f"{driver.address} does not tell its position: PostgreSQL does, Galera, and MariaDB and MySQL that have "
    raise NotSupportedError(message + "a binary log with GTIDs")


def _position(question: Question, answer: str, *, primary: bool) -> Position | None:
    if question is _MYSQL:
        return _executed(answer, newest=primary)
    try:
        position = Position.parse(answer.replace(",", "."))
    except ConfigurationError:  # Galera's -1, of a node that has not joined yet
        return None
    if question is _POSTGRESQL and position.numbers[""] % _PAGE == _PAGE_HEADER:
        # Nothing stands on this page yet: a replica will be at the end of the last one until something does.
        number = position.numbers[""] - _PAGE_HEADER
        return Position(f"{number >> 32:X}/{number & 0xFFFFFFFF:X}", {"": number})
    return position


_PAGE, _PAGE_HEADER = 8192, 24  # bytes of PostgreSQL's WAL


def _executed(text: str, *, newest: bool) -> Position | None:
    """Return the position that MySQL's sets of GTIDs stand for, or None if it cannot be told.

    A replica that works in parallel leaves gaps: it is only as far as it has everything from the beginning on.
    """
    if not _EXECUTED.fullmatch(text):
        return None  # there are tags in it
    numbers: dict[str, int] = {}
    for part in re.split(r",\s*", text.lower()):
        uuid, *ranges = part.split(":")
        begin, _, end = ranges[-1 if newest else 0].partition("-")
        numbers[uuid] = int(end or begin) if newest or begin == "1" else 0
    return Position(".".join(f"{uuid}:{number}" for uuid, number in numbers.items()), numbers)
