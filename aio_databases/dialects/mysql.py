"""MySQL, MariaDB and Galera."""

from __future__ import annotations

import re

from aio_databases.dialects.base import ENDINGS, Dialect
from aio_databases.dialects.lexer import tokens
from aio_databases.dialects.positions import UUID, Position, PositionQuestion, gtids

_QUOTED = r"""'[^'\\]*(?:\\.[^'\\]*)*'?|"[^"\\]*(?:\\.[^"\\]*)*"?|`[^`]*`?"""
# What stands in /*! */ is run, or not, as the version is: where that makes a difference to what follows, the beginning
# is left as a word.
_COMMENT = r"--(?=[\0- \x7f]|\Z)[^\n]*|#[^\n]*|/\*M?![0-9]*(?=[^'\"`#*/-]*\*/)|/\*(?!M?!).*?(?:\*/|\Z)"
_FOREIGN_CHARSET = re.compile(
    r"^ SET (?:.* )?(?:NAMES|CHARACTER SET|CHARSET|(?:@@)?CHARACTER_SET_(?:CLIENT|CONNECTION) :?=) ['\"`]?"
    r"(?!UTF8|DEFAULT |@|\?)\w"
)
_SET = rf"{UUID}(?::\d+(?:-\d+)?)+"
_EXECUTED = re.compile(rf"{_SET}(?:,\s*{_SET})*", re.IGNORECASE)
# As a text, because newer versions of MariaDB have more than ON and OFF; innodb_read_only is what Aurora's readers say.
_READS_ONLY = "CONCAT(@@global.read_only) NOT IN ('0', 'OFF') OR @@global.innodb_read_only"
# Galera's nodes do not agree on the numbers of their binary logs.
_GALERA = """
    SELECT GROUP_CONCAT(variable_value ORDER BY variable_name SEPARATOR ':') FROM information_schema.global_status
    WHERE variable_name IN ('WSREP_CLUSTER_STATE_UUID', 'WSREP_LAST_COMMITTED')"""


def _position(answer: str, /, *, primary: bool) -> Position | None:
    """Return the position that MariaDB, or a node of Galera, answers with."""
    numbers = _visible(*answer.split(";")) if ";" in answer else gtids(answer.split(","))
    if not numbers:  # such as Galera's -1, of a node that has not joined yet
        return None
    if ":" in answer:
        return Position(answer, numbers)
    if primary:
        numbers = _newest_of_domains(numbers)
    return Position(".".join(f"{stream}-{number}" for stream, number in numbers.items()), numbers)


def _visible(server: str, applied: str, logged: str) -> dict[str, int]:
    """Return the last visible change of each server, by what a replica has applied and what is in its binary log.

    The log has what each server has written last, but a change is in it a moment before readers see it.  It is visible
    if a later one of its domain was applied; what the server itself has written is, once it was acknowledged.
    """
    numbers = gtids(applied.split(",")) if applied else {}
    last = {stream.partition("-")[0]: number for stream, number in numbers.items()}
    for stream, number in (gtids(logged.split(",")) if logged else {}).items():
        domain, _, origin = stream.partition("-")
        if origin == server or number <= last.get(domain, number):
            numbers[stream] = max(number, numbers.get(stream, -1))
    return numbers


def _newest_of_domains(numbers: dict[str, int]) -> dict[str, int]:
    """Return the last change of each domain of MariaDB, whichever server made it: it comes after all the others."""
    newest: dict[str, tuple[str, int]] = {}
    for stream, number in numbers.items():
        domain = stream.partition("-")[0]
        if domain not in newest or number >= newest[domain][1]:
            newest[domain] = (stream, number)
    return dict(newest.values())


def _executed(text: str, /, *, primary: bool) -> Position | None:
    """Return the position that MySQL's sets of GTIDs stand for, or None if that is unknown.

    A replica that works in parallel leaves gaps: it is only as far as it has everything from the beginning on.
    """
    if not _EXECUTED.fullmatch(text):
        return None  # there are tags in it
    numbers: dict[str, int] = {}
    for part in re.split(r",\s*", text.lower()):
        uuid, *ranges = part.split(":")
        begin, _, end = ranges[-1 if primary else 0].partition("-")
        numbers[uuid] = int(end or begin) if primary or begin == "1" else 0
    return Position(".".join(f"{uuid}:{number}" for uuid, number in numbers.items()), numbers)


_MARIADB = PositionQuestion(
    f"""SELECT IF(@@global.wsrep_on, ({_GALERA}),
    CONCAT_WS(';', @@global.server_id, @@global.gtid_slave_pos, @@global.gtid_binlog_state))""",
    # What the other nodes of Galera have committed by now is waited for.
    f"""/*M! SET STATEMENT wsrep_sync_wait = 1 FOR */ SELECT IF({_READS_ONLY}, NULL,
    IF(@@global.wsrep_on, ({_GALERA}),
    CONCAT_WS(',', NULLIF(@@global.gtid_slave_pos, ''), NULLIF(@@global.gtid_binlog_pos, ''))))""",
    _position,
    may_be_unknown=True,  # to MySQL
)
_MYSQL = PositionQuestion(
    "SELECT @@global.gtid_executed",
    f"SELECT IF({_READS_ONLY}, NULL, @@global.gtid_executed)",
    _executed,
)

MYSQL = Dialect(
    name="mysql",
    tokens=tokens(_QUOTED, comment=_COMMENT, prefix="@{0,2}"),
    writes_files=re.compile(r"(?i)\b(?:OUT|DUMP)FILE\b"),
    ends=re.compile(rf"^ (?:{ENDINGS}|BEGIN(?! NOT )|START TRANSACTION) "),  # it begins anew where others do not
    of_database=(" DROP DATABASE ", " DROP SCHEMA "),
    foreign_charset=_FOREIGN_CHARSET,
    sqlalchemy=("sqlalchemy.dialects.mysql.base", "MySQLDialect"),
    # From a table, if not a real one: a node of Galera that has lost the others answers all questions that have none.
    role_query=f"SELECT {_READS_ONLY} FROM (SELECT 1) AS node",
    asks_replicas_at_once=True,
    position_questions=(_MARIADB, _MYSQL),
)
