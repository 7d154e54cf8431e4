"""How far a server is in the history of its database: WAL locations of PostgreSQL, GTIDs of MariaDB and MySQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from aio_databases.errors import ConfigurationError, NotSupportedError, ProgrammingError, TargetNotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aio_databases.drivers.base import Driver

__all__ = ("MYSQL_READS_ONLY", "Position", "ask_position")


class Position(NamedTuple):
    """A point in the history of a database."""

    text: str
    """As the server writes it, but for spaces and commas: fit for a cookie or a header."""
    numbers: dict[str, int]
    """How many changes of each stream there are up to this point, or up to which byte; most databases have one stream.

    A stream is called by the history that its numbers count: the identifier of the system and its timeline on
    PostgreSQL, domain and server on MariaDB, and the UUID of the server or cluster on MySQL and Galera.
    """
    server: str = ""
    """Which server of PostgreSQL that is no standby was asked: when it was started."""

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that a text stands for.  Raises ConfigurationError if it stands for none.

        A location of PostgreSQL without its history, as earlier versions of this library returned it, is a position
        that no server is known to have.
        """
        if isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users without type checkers
            if location := _LOCATION.fullmatch(text):
                number = (int(location["high"], 16) << 32) + int(location["low"], 16)
                return cls(text, {location["stream"] or "": number})
            if numbers := _gtids(text.split(".")):
                return cls(text, numbers)
        message = "a position is a text that db.position() has returned, such as '0-1-42', not "
        message += repr(text) if len(repr(text)) <= _LONG else f"{repr(text)[:_LONG]}..."
        raise ConfigurationError(message)

    def covers(self, other: Position) -> bool:
        """Return whether all that had happened at another point has happened at this one, as far as that is known.

        Of another history nothing is known: its numbers count other changes.
        """
        return all(self.numbers.get(stream, -1) >= number for stream, number in other.numbers.items())

    def is_apart_from(self, other: Position) -> bool:
        """Return whether a server at another point is of another history, and will not come to this point soon.

        A standby of PostgreSQL is in one history at a time; where changes have GTIDs, the first one of a server may be
        on its way.
        """
        return "/" in self.text and not self.numbers.keys() & other.numbers.keys()


def _gtids(parts: Iterable[str]) -> dict[str, int]:
    """Return the highest number of each stream, or nothing if one of the parts is no GTID."""
    numbers: dict[str, int] = {}
    for part in parts:
        match = _GTID.fullmatch(part)
        if match is None:
            return {}
        numbers[match["stream"]] = max(int(match["number"]), numbers.get(match["stream"], -1))
    return numbers


_LONG = 80  # characters of what is shown
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_LOCATION = re.compile(r"(?:(?P<stream>[0-9a-f]{1,16}-[0-9a-f]{1,8})-)?(?P<high>[0-9A-F]{1,8})/(?P<low>[0-9A-F]{1,8})")
# MariaDB writes domain-server-number.  Two servers that both were the primary have given the same numbers.
_GTID = re.compile(rf"(?P<stream>\d{{1,10}}-\d{{1,10}}(?=-)|{_UUID}(?=:))[-:](?P<number>\d{{1,20}})")
_SET = rf"{_UUID}(?::\d+(?:-\d+)?)+"
_EXECUTED = re.compile(rf"{_SET}(?:,\s*{_SET})*", re.IGNORECASE)
_START = Position("0/0", {"": 0})


class Question(NamedTuple):
    """How a server is asked for its position."""

    replica: str
    """For what it has replayed, be it a replica or not."""
    primary: str
    """For all that it has committed; a replica answers NULL."""


# All of these functions may be called by every user, unlike IDENTIFY_SYSTEM.  The location up to which WAL was handed
# over is asked for, and not how far it was written: a commit that does not wait for that (synchronous_commit is off for
# some transactions) would be missed.
_NO_STANDBY = """(SELECT pg_catalog.concat_ws('-', pg_catalog.to_hex(system.system_identifier),
    pg_catalog.left(wal.file_name, 8), here.location, wal.file_offset,
    pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()))
    FROM pg_catalog.pg_control_system() AS system, pg_catalog.pg_current_wal_insert_lsn() AS here(location),
    pg_catalog.pg_walfile_name_offset(here.location) AS wal)"""
# A standby that has come to a new timeline says so in its control file at its next restart point, and at once to those
# who may see what it receives (pg_read_all_stats).
_STANDBY = """(SELECT pg_catalog.concat_ws('-', pg_catalog.to_hex(system.system_identifier),
    pg_catalog.to_hex(GREATEST(point.timeline_id, recovery.min_recovery_end_timeline, receiver.received_tli)),
    pg_catalog.pg_last_wal_replay_lsn())
    FROM pg_catalog.pg_control_system() AS system, pg_catalog.pg_control_checkpoint() AS point,
    pg_catalog.pg_control_recovery() AS recovery LEFT JOIN pg_catalog.pg_stat_wal_receiver AS receiver ON true)"""
_POSTGRESQL = Question(
    f"SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN {_STANDBY} ELSE {_NO_STANDBY} END",
    f"SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN {_NO_STANDBY} END",
)
# As a text, because newer versions of MariaDB have more than ON and OFF; innodb_read_only is what Aurora's readers say.
MYSQL_READS_ONLY = "CONCAT(@@global.read_only) NOT IN ('0', 'OFF') OR @@global.innodb_read_only"
# Galera's nodes do not agree on the numbers of their binary logs.
_GALERA = """
    SELECT GROUP_CONCAT(variable_value ORDER BY variable_name SEPARATOR ':') FROM information_schema.global_status
    WHERE variable_name IN ('WSREP_CLUSTER_STATE_UUID', 'WSREP_LAST_COMMITTED')"""
_MARIADB = Question(
    # The last number of each server, if it keeps them; of those that it has applied, the last one is always known.
    f"""SELECT IF(@@global.wsrep_on, ({_GALERA}),
    CONCAT_WS(',', NULLIF(@@global.gtid_slave_pos, ''), NULLIF(@@global.gtid_binlog_state, '')))""",
    # What the other nodes of Galera have committed by now is waited for.
    f"""/*M! SET STATEMENT wsrep_sync_wait = 1 FOR */ SELECT IF({MYSQL_READS_ONLY}, NULL,
    IF(@@global.wsrep_on, ({_GALERA}),
    CONCAT_WS(',', NULLIF(@@global.gtid_slave_pos, ''), NULLIF(@@global.gtid_binlog_pos, ''))))""",
)
_MYSQL = Question(
    "SELECT @@global.gtid_executed",
    f"SELECT IF({MYSQL_READS_ONLY}, NULL, @@global.gtid_executed)",
)
_GRANT = (
    "; grant execute on functions pg_control_system(), pg_control_checkpoint() and pg_control_recovery() to the user"
)
_QUESTIONS = {"postgresql": (_POSTGRESQL,), "mysql": (_MARIADB, _MYSQL)}


async def ask_position(driver: Driver, fetch: Callable[[str], Awaitable[Any]], *, primary: bool = False) -> Position:
    """Return how far the server is that ``fetch`` asks; of a ``primary`` that is all it has committed.

    ``fetch`` returns the single value of a query.  Raises TargetNotFound if it is to be a primary and is none, and
    NotSupportedError if the database does not tell.
    """
    if driver.dialect == "sqlite":
        return _START  # every connection to the file sees all of it
    for question in (driver.question,) if driver.question else _QUESTIONS.get(driver.dialect, ()):
        try:
            answer = await fetch(question.primary if primary else question.replica)
        except ProgrammingError as exc:
            if question is _MARIADB:
                continue  # MySQL, which does not know what this asks for
            message = f"{driver.address} does not tell its position: {exc}"
            raise NotSupportedError(message + _GRANT * (question is _POSTGRESQL)) from exc
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
    if question is _POSTGRESQL:
        return _location(answer)
    numbers = _gtids(answer.split(","))
    if not numbers:  # such as Galera's -1, of a node that has not joined yet
        return None
    if ":" in answer:
        return Position(answer, numbers)
    if primary:
        numbers = _newest_of_domains(numbers)
    return Position(".".join(f"{stream}-{number}" for stream, number in numbers.items()), numbers)


def _location(answer: str) -> Position | None:
    match = _ANSWER.fullmatch(answer)
    if match is None:
        return None
    system, timeline, high, low, offset, server = match.groups()
    number = (int(high, 16) << 32) + int(low, 16)
    if server:
        # Nothing stands on this page yet: a replica will be at the end of the last one until something does.
        header = _LONG_PAGE_HEADER if int(offset) < _PAGE else _PAGE_HEADER
        number -= header if int(offset) % _PAGE == header else 0
    stream = f"{system}-{int(timeline, 16):x}"
    return Position(f"{stream}-{number >> 32:X}/{number & 0xFFFFFFFF:X}", {stream: number}, server or "")


_ANSWER = re.compile(
    r"([0-9a-f]{1,16})-([0-9A-Fa-f]{1,8})-([0-9A-F]{1,8})/([0-9A-F]{1,8})(?:-(\d{1,10})-(\d+(?:\.\d+)?))?"
)


def _newest_of_domains(numbers: dict[str, int]) -> dict[str, int]:
    """Return the last change of each domain of MariaDB, whichever server made it: it comes after all the others."""
    newest: dict[str, tuple[str, int]] = {}
    for stream, number in numbers.items():
        domain = stream.partition("-")[0]
        if domain not in newest or number >= newest[domain][1]:
            newest[domain] = (stream, number)
    return dict(newest.values())


# Bytes of PostgreSQL's WAL; the first page of a segment begins with a longer header.
_PAGE, _PAGE_HEADER, _LONG_PAGE_HEADER = 8192, 24, 40


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
