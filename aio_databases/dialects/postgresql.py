"""PostgreSQL, and what speaks its protocol."""

from __future__ import annotations

import re

from aio_databases.dialects.base import Dialect
from aio_databases.dialects.lexer import ESCAPED, MORE, tokens
from aio_databases.dialects.positions import Position, PositionQuestion

_LETTERS = r"\w\x80-\U0010ffff"  # even a no-break space is one
_QUOTED = (
    rf"""(?<![LETTERS])(?:[eE]{ESCAPED}{MORE}|[uU]&(?:"[^"]*"?|'[^']*'?))|'[^']*'?|"[^"]*"?"""
    r"""|\$(?P<tag>(?![0-9])[LETTERS]+|)\$.*?(?:\$(?P=tag)\$|\Z)"""
)
_COMMENT = r"--[^\r\n]*|/\*"  # and on to the end of what is nested in it
_OPERATORS = r"(?P<operator>::|%%|\?\|(?!\|)|\?&(?!&)|(?<!@)@\?)|(?P<escaped>\?\?)"


def _tokens(quoted: str) -> str:
    return tokens(quoted, comment=_COMMENT, others=_OPERATORS, letters=_LETTERS)


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
# Bytes of PostgreSQL's WAL; the first page of a segment begins with a longer header.
_PAGE, _PAGE_HEADER, _LONG_PAGE_HEADER = 8192, 24, 40


def _position(answer: str, /, *, primary: bool) -> Position | None:
    del primary  # only its answer names the server
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


POSTGRESQL = Dialect(
    name="postgresql",
    tokens=_tokens(_QUOTED),
    other_tokens=_tokens(_QUOTED.replace("|'[^']*'?|", f"|{ESCAPED}{MORE}|")),  # without standard_conforming_strings
    writes_after_end=True,
    of_transaction=(" SET LOCAL ", " SET TRANSACTION ", " SET CONSTRAINTS "),
    copies=True,
    has_arrays=True,
    sqlalchemy=("sqlalchemy.dialects.postgresql.base", "PGDialect"),
    role_query="SELECT pg_catalog.pg_is_in_recovery()",
    position_questions=(
        PositionQuestion(
            replica=f"SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN {_STANDBY} ELSE {_NO_STANDBY} END",
            primary=f"SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN {_NO_STANDBY} END",
            parse=_position,
            grant="; grant execute on functions pg_control_system(), pg_control_checkpoint() and "
            "pg_control_recovery() to the user",
        ),
    ),
)
