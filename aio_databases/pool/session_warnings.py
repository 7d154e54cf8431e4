"""Warn of statements that change their session, where the session is reset right after them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging


class SessionWarnings:
    """The warnings of one pool: one for each text."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._warned: set[str] = set()

    def warn_of(self, sql: str) -> None:
        """Warn of a statement outside of a block whose only effect is on its session."""
        if sql in self._warned or len(self._warned) >= _MOST or ";" in sql.rstrip("; \n"):
            return
        if (found := _FOR_SESSION.match(sql)) is not None:
            self._warned.add(sql)
            self._logger.warning(
                "a statement outside of a block begins with %s, which is undone before the next statement runs: "
                "run both inside 'async with db.connection()'",
                found[1].upper(),
            )


_MOST = 100  # texts
_FOR_SESSION = re.compile(
    # what is set for the server, or an account, stays, and what is set for one statement is not meant to
    r"\s*(SET(?!\s+(?:(?:@@)?(?:GLOBAL|PERSIST(?:_ONLY)?)|PASSWORD|DEFAULT\s+ROLE|STATEMENT)\b)"
    r"|LISTEN|START\s+TRANSACTION|SAVEPOINT|USE|ATTACH|PREPARE(?!\s+TRANSACTION)|LOCK\s+TABLES?"
    # any other BEGIN is that of a block of statements
    r"|BEGIN(?=[\s;]*$|\s+(?:WORK|TRAN|TRANSACTION|DEFERRED|IMMEDIATE|EXCLUSIVE|CONCURRENT|ISOLATION|READ|DEFERRABLE"
    r"|NOT\s+DEFERRABLE)\b)|CREATE\s+(?:LOCAL\s+)?TEMP(?:ORARY)?"
    # those that are written into the file, or set for the process, stay, and some do a thing once
    r"|PRAGMA(?!\s+(?:\w+\s*\.\s*)?(?:application_id|auto_vacuum|default_cache_size|encoding|journal_mode|page_size"
    r"|schema_version|user_version|(?:hard|soft)_heap_limit|incremental_vacuum|optimize|shrink_memory|wal_checkpoint)\b))\b",
    re.IGNORECASE,
)
