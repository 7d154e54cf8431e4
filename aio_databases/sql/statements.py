"""Split an SQL text into tokens, and find out from its words what it does.

A text is scanned once, in one pass, by a lexer that knows where the strings, quoted identifiers and comments of its
dialect end.  What is said about writing and about the session is a guard, not a proof: in doubt it is yes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aio_databases.dialects.base import Dialect

_SKIPPED = ("comment", "data", "operator")

_NESTING = re.compile(r"/\*|\*/")


class Token(NamedTuple):
    """A word, literal or placeholder, and where it stands."""

    kind: str  # of a placeholder: its paramstyle
    start: int
    end: int
    text: str

    @property
    def name(self) -> str:
        """What a named placeholder is called."""
        return self.text.lstrip("%(:").removesuffix(")s")


_new = cast("Callable[..., Token]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]


def scan(text: str, lexer: re.Pattern[str]) -> list[Token]:
    """Return the tokens of a text, without its comments and operators."""
    if "/*" not in text:  # nothing is nested
        return [
            _new(Token, (kind, *match.span(), match[0]))  # in half the time that Token() takes
            for match in lexer.finditer(text)
            if (kind := match.lastgroup or "") not in _SKIPPED
        ]
    tokens: list[Token] = []
    position = depth = 0
    while match := (_NESTING if depth else lexer).search(text, position):
        position = match.end()
        if depth or match[0] == "/*":
            depth += 1 if match[0] == "/*" else -1
        elif match.lastgroup not in _SKIPPED:
            tokens.append(Token(match.lastgroup or "", match.start(), position, match[0]))
    return tokens


# What a statement does.  The patterns meet a statement in upper case, one space around each token, without comments and
# operators, and of literals only those that are one word: " SELECT F ( ? , 'A.B' ) FROM 'X' ".

_PRAGMA_READS = (
    r" PRAGMA (?:\S+ \. )?(?:(?!WAL_CHECKPOINT|OPTIMIZE|INCREMENTAL_VACUUM|SHRINK_MEMORY)\w+ $|(?:TABLE_X?INFO"
    r"|TABLE_LIST|INDEX_X?INFO|INDEX_LIST|FOREIGN_KEY_LIST|FOREIGN_KEY_CHECK|INTEGRITY_CHECK|QUICK_CHECK) [(=])"
)
_READS = re.compile(
    r"[ (]*(?:SELECT|WITH|VALUES|TABLE|SHOW|FETCH|CLOSE|MOVE|START TRANSACTION|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT"
    rf"|RELEASE|SET|RESET|USE|DEALLOCATE|LISTEN|UNLISTEN|DISCARD) |{_PRAGMA_READS}"
    r"| DECLARE \S+ (?:(?:BINARY|INSENSITIVE|ASENSITIVE|NO|SCROLL) )*CURSOR "
    # MariaDB's BEGIN may hold statements
    r"| BEGIN (?:(?:WORK|TRAN|TRANSACTION|DEFERRED|IMMEDIATE|EXCLUSIVE|CONCURRENT|ISOLATION|LEVEL|READ|UNCOMMITTED"
    r"|COMMITTED|REPEATABLE|SERIALIZABLE|ONLY|WRITE|NOT|DEFERRABLE|,) )*$"
)
_ON = r"'?(?:ON|TRUE|1|YES)'? "
_WRITES = re.compile(
    r" INTO (?!@)| FOR (?:NO KEY )?UPDATE | FOR (?:KEY )?SHARE | LOCK IN SHARE MODE | NEXT VALUE FOR "
    r"|^[ (]*WITH (?:.* )?(?:[()]|SET \S+|USING \S+) (?:UPDATE|DELETE|MERGE) (?![),=.])"
    # functions: those that write, those that a read-only transaction lets do so, and those that reach other sessions
    r"| \"?(?:NEXTVAL|SETVAL|PG_NOTIFY|LO_CREATE?|LO_EXPORT|LO_FROM_BYTEA|LO_IMPORT|LO_PUT|LO_TRUNCATE(?:64)?|LO_UNLINK"
    r"|LOWRITE|DBLINK(?:_EXEC|_OPEN|_SEND_QUERY)?|PG_(?:BACKUP_\w+|CREATE_RESTORE_POINT|FILE_\w+|LOGICAL_EMIT_MESSAGE"
    r"|LOGICAL_SLOT_GET\w*|PROMOTE|RELOAD_CONF|REPLICATION_\w+|ROTATE_LOGFILE|STAT_\w*RESET\w*|SWITCH_WAL"
    r"|WAL_REPLAY_(?:PAUSE|RESUME)|(?:CREATE|COPY|DROP)_\w+_SLOT))\"? \("
    # what changes the server
    r"|^ SET (?:.* , )?(?:(?:GLOBAL|PERSIST|PERSIST_ONLY) [^ =,]|@@(?:GLOBAL|PERSIST|PERSIST_ONLY) \."
    r"|PASSWORD (?:=|:=|FOR|TO) )|^ SET (?:STATEMENT|DEFAULT ROLE) "
    r"|^ RESET (?:MASTER|SLAVE|REPLICA|QUERY|BINARY|PERSIST) (?!\.)|^ (?:COMMIT|ROLLBACK) PREPARED "
    # what would lift the write guard, or mislead it
    r"|^ (?:RESET|DISCARD) ALL |^ RESET .*READ_ONLY|^ (?:BEGIN|START|SET) (?:.* )?READ WRITE "
    rf"|^ SET (?!(?:SESSION |LOCAL |@@(?:(?:SESSION|LOCAL) \. )?)?[\"`]?\w*READ_ONLY[\"`]? (?:=|TO) {_ON}$)"
    r".*(?:TX|TRANSACTION)_READ_ONLY[\"`']? |^ SET .*['\"]\\"
    r"|^ SET (?:(?:SESSION |LOCAL |.* , )?NAMES (?!$|[,.=])"
    r"|(?:.* )?(?:@@)?[\"`]?(?:CHARACTER_SET_CLIENT|CLIENT_ENCODING)[\"`]? (?:=|:=|TO) )(?!['\"`]?(?:UTF8|DEFAULT))"
    rf"| \"?SET_CONFIG\"? \( (?!'(?:\w*READ_ONLY' , {_ON}|(?!\w*(?:READ_ONLY|CLIENT_ENCODING)')[\w.]+' ),)"
    r"| U&\"| /\*M?! "
)
_KEEPS_SESSION = re.compile(  # what begins with any other word may do anything
    r"[ (]*(?:SELECT|WITH|VALUES|TABLE|INSERT|UPDATE|DELETE|MERGE|REPLACE|TRUNCATE|COPY|CREATE|ALTER|DROP|RENAME"
    r"|COMMENT|GRANT|REVOKE|SHOW|DECLARE|FETCH|MOVE|CLOSE|NOTIFY|ANALYZE|CHECK|CLUSTER|KILL|OPTIMIZE|REFRESH|REINDEX"
    r"|REPAIR|VACUUM|PRAGMA) "
)
_SESSION = re.compile(
    r"^ ALTER SESSION |^ DECLARE (?:.* )?WITH HOLD "
    # temporary objects: by a word, or by the schema they are put into
    r"|^ CREATE (?:.* )?(?:#|[\"'`\[]?(?:TEMP(?:ORARY)?|PG_TEMP\w*)[\"'`\]]? )"
    r"| INTO (?:@|#|\"?PG_TEMP\w*\"? \. |(?:LOCAL |GLOBAL )?TEMP(?:ORARY)? (?![(.]|(?:AS|DEFAULT|SELECT|SET|VALUES) ))"
    # what is written into this view of PostgreSQL's, is set
    r"| (?:UPDATE|MERGE INTO) (?:ONLY )?(?:\"?PG_CATALOG\"? \. )?\"?PG_SETTINGS\"? "
    r"| \"?(?:SET_CONFIG(?! \( (?:'[\w.]*'?|\?) , (?:'[\w.]*'?|\?)(?: TEXT)? , TRUE \))|SET_LIMIT|SETSEED|LO_OPEN"
    r"|PG_(?:TRY_)?ADVISORY_LOCK(?:_SHARED)?|DBLINK_CONNECT(?:_U)?|GET_LOCK|LOAD_EXTENSION)\"? \("
    rf"| @(?: ?\S+)? := |^(?!{_PRAGMA_READS}) PRAGMA "
)
_EXPLAINS = re.compile(  # only with ANALYZE the rest is run
    r"^ (?:EXPLAIN|DESCRIBE|DESC)(?:(?!.*ANALY[SZ]E| \( [^)]*[\"&]).*"
    r"|(?: ANALY[SZ]E| VERBOSE| FORMAT = \S+| \( (?!SELECT|WITH|VALUES|TABLE|\()[^)]*\))*)"
    r"|^ ANALYZE(?: FORMAT = \S+)?(?= (?:\( )*(?:SELECT|WITH) )"  # MariaDB's EXPLAIN ANALYZE
)
_COPIES = re.compile(r"^ COPY (?:\( .* \) TO|[^(]*(?:\( [^()]*\) )?(FROM|TO)) STD(?:IN|OUT) ")
# What is not run yet, and ends with a statement of its own: END.  Each of the two looks for the first place only.
_HAS_BODY = re.compile(r"^ CREATE (?:.*? )?(?:TRIGGER|FUNCTION|PROCEDURE) ")
_BODY = re.compile(r" BEGIN (?:ATOMIC|DELETE|INSERT|REPLACE|SELECT|UPDATE|WITH) ")


class StatementEffects(NamedTuple):
    """What a text does; `CompiledQuery` says what each of these means."""

    writes: bool
    session: bool
    selects: bool
    ends: bool


def effects_of(text: str, tokens: list[Token], dialect: Dialect) -> StatementEffects:
    """Return what a text does that has these tokens."""
    traits = _traits(tokens, dialect)
    if traits.writes or not (escaped := _ESCAPED_QUOTE.search(text)):
        return traits
    # With other settings the session takes the literal for ended there, and what follows it for the statement's.
    if dialect.other_lexer is not None:
        return traits._replace(writes=_traits(scan(text, dialect.other_lexer), dialect).writes)
    writes_files = dialect.writes_files
    return traits._replace(writes=writes_files is not None and bool(writes_files.search(text, escaped.end())))


def _traits(tokens: list[Token], dialect: Dialect) -> StatementEffects:
    writes = session = ends = False
    in_body = False
    for statement in filter(None, statements(tokens)):
        if in_body:
            in_body = not statement.startswith(" END ")
            continue
        has_body = _HAS_BODY.match(statement)
        in_body = bool(has_body and _BODY.search(statement, has_body.end()))
        tell = _traits_of_statement if len(statement) <= _LONG else _traits_of_statement.__wrapped__
        found = tell(statement, dialect)
        # What follows the end of a transaction is not run in the one that was begun to read only.
        writes = writes or found[0] or (ends and dialect.writes_after_end)
        session, ends = session or found[1], ends or found[2]
    first = next((token.text.upper() for token in tokens if token.text != "("), "")
    selects = first in {"SELECT", "VALUES", "TABLE", "WITH"} and not any(token.text == ";" for token in tokens[:-1])
    return StatementEffects(writes, session, selects, ends)


_ESCAPED_QUOTE = re.compile(r"\\['\"]")
_LONG = 2000  # characters of what is not worth remembering


@lru_cache(maxsize=512)  # texts that differ in their literals alone are one statement here
def _traits_of_statement(statement: str, dialect: Dialect) -> tuple[bool, bool, bool]:
    """Return whether a statement writes, changes the session, and ends its transaction."""
    ends = bool(dialect.ends.match(statement))
    writes = not _READS.match(statement) or bool(_WRITES.search(statement))
    # Elsewhere LOCAL is another word for SESSION, and TRANSACTION means the next one, on whatever lease it is.
    of_transaction = statement.startswith(dialect.of_transaction)
    session = not _KEEPS_SESSION.match(statement) or bool(_SESSION.search(statement))
    session = session or statement.startswith(dialect.of_database)
    return writes, session and not of_transaction, ends


def statements(tokens: list[Token]) -> Iterator[str]:
    """Give the statements of a text as the patterns meet them."""
    words: list[str] = []
    for kind, _, _, text in [*tokens, Token("word", 0, 0, ";")]:
        word = text.upper()
        if kind == "quoted":
            words.append(_shown(word))
        elif kind != "word":
            words.append("?")
        elif word != ";":
            words.append("10" if len(word) > 1 and word.isdecimal() else word)  # no pattern asks for larger numbers
        elif words:
            yield _EXPLAINS.sub("", f" {' '.join(words)} ")
            words = []


def copy_of(tokens: list[Token]) -> str | None:
    """Return how a COPY of PostgreSQL's among the statements of a text moves data to or from the client, if one does.

    The server waits for the data, or for the client to read it, and no statement can be run until then.
    """
    if not any(token.text.upper() == "COPY" for token in tokens):
        return None
    found = next(filter(None, map(_COPIES.match, statements(tokens))), None)
    return found and ("FROM STDIN" if found[1] == "FROM" else "TO STDOUT")


def _shown(literal: str) -> str:
    """Return what the patterns see of a literal: a word, or how it begins and whether a quote is escaped in it."""
    if _ONE_WORD.fullmatch(literal):
        return literal
    if literal.startswith("U&"):
        return literal[:3]
    return literal[0] + ("\\" if "\\'" in literal or '\\"' in literal else "")


_ONE_WORD = re.compile(r"(['\"`])[\w.]+\1|\[\w+\]")
