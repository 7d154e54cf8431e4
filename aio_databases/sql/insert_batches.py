"""Split an INSERT into what comes before, in and after its row of values, so that many rows fit into one statement."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Split(NamedTuple):
    """The parts of an INSERT or REPLACE with one row of values; marks (``%s``, ``%(name)s``) stand in ``row`` only."""

    head: str
    row: str
    tail: str


@lru_cache(maxsize=512)
def split_values(sql: str) -> Split | None:
    """Return the parts of an INSERT or REPLACE whose row of values may be repeated, else None.

    None comes, too, when many rows in one statement would mean something else than many statements, or in doubt: a
    backslash ends a string or not, as the server is set up.  A percent sign outside of a mark stays doubled.
    """
    if "\\" in sql or _VERSION_COMMENT.search(sql):
        return None
    words = _words(sql)
    row = _find_row(words)
    if row is None:
        return None
    begin, end = row
    head, values, tail = sql[:begin], sql[begin:end], _without_semicolon(sql[end:])
    if tail is None or _has_mark(head) or _has_mark(sql[end:]) or not _has_mark(values):
        return None
    if any(word[0].upper() in _SEES_OTHER_ROWS for word in words if begin <= word.start() < end):
        return None
    return Split(head, values, tail)


def join_rows(split: Split, rows: Iterable[bytes], limit: int) -> Iterator[tuple[bytes, int]]:
    """Return statements of many rows each, at most ``limit`` bytes of them, and how many rows each has.

    A longer row has a statement of its own.
    """
    head, tail = (part.replace("%%", "%").encode() for part in (split.head, split.tail))
    batch: list[bytes] = []
    size = 0
    for row in rows:
        size += len(row) + 1
        if batch and size > limit:
            yield head + b",".join(batch) + tail, len(batch)
            batch, size = [], len(row) + 1
        batch.append(row)
    if batch:
        yield head + b",".join(batch) + tail, len(batch)


_WORD = re.compile(
    r"""'[^']*'|"[^"]*"|`[^`]*`|--(?=\s|\Z)[^\n]*|\#[^\n]*|/\*.*?\*/|%%|%s|%\(\w+\)s|[\w$]+|[^\s]""", re.DOTALL
)
_COMMENT = re.compile(r"(?:--|\#|/\*).+", re.DOTALL)
_VERSION_COMMENT = re.compile(r"/\*M?!")  # its content is run
_MARK = re.compile(r"%s|%\(\w+\)s")
_OTHER_SOURCES = frozenset({"SELECT", "SET", "TABLE", "WITH"})  # after which VALUES() is a function
_SEES_OTHER_ROWS = frozenset({"LAST_INSERT_ID", "SELECT"})


def _words(sql: str) -> list[re.Match[str]]:
    return [word for word in _WORD.finditer(sql) if not _COMMENT.fullmatch(word[0])]


def _has_mark(part: str) -> bool:
    return _MARK.search(part.replace("%%", "")) is not None


def _find_row(words: list[re.Match[str]]) -> tuple[int, int] | None:
    """Return where the row of values begins and ends, parentheses included."""
    depth = 0
    begin = None
    previous = ""
    for number, word in enumerate(words):
        text = word[0].upper()
        if number == 0 and text not in {"INSERT", "REPLACE"}:
            return None
        if depth == 0 and begin is None and text in _OTHER_SOURCES:
            return None
        if text == "(":
            if depth == 0 and previous in {"VALUES", "VALUE"}:
                begin = word.start()
            depth += 1
        elif text == ")":
            depth -= 1
            if depth == 0 and begin is not None:
                return begin, word.end()
        previous = text
    return None


def _without_semicolon(tail: str) -> str | None:
    """Return what follows the row, or None if it is another row or another statement."""
    words = _words(tail)
    if words and words[-1][0] == ";":
        tail = tail[: words[-1].start()]
        words.pop()
    texts = [word[0] for word in words]
    if texts[:1] == [","] or ";" in texts:
        return None
    return tail if texts else ""
