"""What the core asks of a database, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aio_databases.dialects.positions import PositionQuestion

ENDINGS = r"COMMIT|ABORT|END|ROLLBACK(?! (?:WORK |TRANSACTION )?TO )|PREPARE TRANSACTION"
"""A pattern of how the statements begin that end a transaction."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dialect:
    """The SQL, and the servers, of one kind of database.

    Patterns, lexers apart, meet a statement as `sql.statements` has it: in upper case, one space around each token.
    """

    name: str

    tokens: str
    """The pattern of the tokens of a text; see `dialects.lexer`."""
    other_tokens: str = ""
    """That of a text with an escaped quote, where a setting of the session decides how it is read."""
    writes_files: re.Pattern[str] | None = None
    """What writes files; looked for in the text behind an escaped quote, which a session may read as an end."""
    ends: re.Pattern[str] = re.compile(rf"^ (?:{ENDINGS}) ")
    """A statement that ends the transaction that it is run in."""
    writes_after_end: bool = False
    """Whether what follows the end of a transaction in the same text is run outside of its read-only mode."""
    of_transaction: tuple[str, ...] = ()
    """How statements begin that set something for their transaction only."""
    of_database: tuple[str, ...] = ()
    """How statements begin that may leave a session without its database."""
    foreign_charset: re.Pattern[str] | None = None
    """A statement that would have the server misread the values which the driver writes into the text."""
    copies: bool = False
    """Whether COPY may move data beside the statement."""
    has_arrays: bool = False
    """Whether a list may be the value of a place, whose type the database knows."""
    empty_list: str = "(NULL) IS {}NULL"  # the column of a query would have a type, which is not compared with others
    """What stands for an empty list behind IN; the braces are filled with ``NOT `` where it must be false."""
    sqlalchemy: tuple[str, str] | None = None
    """The module and name of SQLAlchemy's dialect."""

    is_one_place: bool = False
    """Whether all connections to a database see all of it at once: it has no servers that could be behind."""
    role_query: str | None = None
    """The query whether a server only reads; None if there are no roles, or none is known."""
    may_have_roles: bool = False
    """Whether the role may be known once the kind of database is."""
    asks_replicas_at_once: bool = False
    """Whether a server that clients can log in to may be out of order, which the query for its role finds out."""
    position_questions: tuple[PositionQuestion, ...] = ()
    """How servers are asked for their position; the first that a server understands counts."""

    # Compiled when they are needed, as that takes tens of milliseconds.

    @cached_property
    def lexer(self) -> re.Pattern[str]:
        """The pattern of tokens, compiled."""
        return re.compile(self.tokens, re.DOTALL)

    @cached_property
    def other_lexer(self) -> re.Pattern[str] | None:
        """The pattern of other tokens, compiled, if there is one."""
        return re.compile(self.other_tokens, re.DOTALL) if self.other_tokens else None
