"""Positions in the history of a database: WAL locations of PostgreSQL, GTIDs of MariaDB and MySQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol

from aio_databases.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable


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
            if numbers := gtids(text.split(".")):
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


def gtids(parts: Iterable[str]) -> dict[str, int]:
    """Return the highest number of each stream, or nothing if one of the parts is no GTID."""
    numbers: dict[str, int] = {}
    for part in parts:
        match = _GTID.fullmatch(part)
        if match is None:
            return {}
        numbers[match["stream"]] = max(int(match["number"]), numbers.get(match["stream"], -1))
    return numbers


_LONG = 80  # characters of what is shown
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_LOCATION = re.compile(r"(?:(?P<stream>[0-9a-f]{1,16}-[0-9a-f]{1,8})-)?(?P<high>[0-9A-F]{1,8})/(?P<low>[0-9A-F]{1,8})")
# MariaDB writes domain-server-number.  Two servers that both were the primary have given the same numbers.
_GTID = re.compile(rf"(?P<stream>\d{{1,10}}-\d{{1,10}}(?=-)|{UUID}(?=:))[-:](?P<number>\d{{1,20}})")


class Parse(Protocol):
    """Reads the answer to a question for a position."""

    def __call__(self, answer: str, /, *, primary: bool) -> Position | None:
        """Return the position that an answer stands for, which a ``primary`` has given or not; None if unknown."""


class PositionQuestion(NamedTuple):
    """How a server is asked for its position, and what its answer means."""

    replica: str
    """The query for what it has replayed, be it a replica or not."""
    primary: str
    """The query for all that it has committed; a replica answers NULL."""
    parse: Parse
    """Reads the answer."""
    grant: str = ""
    """What to do if the server refuses the question, for messages."""
    may_be_unknown: bool = False
    """Whether the server may not know what is asked for, so that the next question is to be tried."""
