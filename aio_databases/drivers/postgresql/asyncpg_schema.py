"""What asyncpg remembers of the schema, and how all connections of a driver forget it when it has changed.

asyncpg keeps the statements it has prepared and the layout of the types it has met, for each connection by itself.
After a change of the schema each of them would fail once, and fail its transaction.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    asyncpg: Any = None  # it brings no types
else:
    import asyncpg

_OTHER_TYPES: tuple[type[Exception], ...] = (
    asyncpg.CannotCoerceError,
    asyncpg.DatatypeMismatchError,
    asyncpg.UndefinedFunctionError,
)
"""What the server says of a statement that was prepared when its columns had other types."""

OUTDATED: tuple[type[Exception], ...] = (
    *_OTHER_TYPES,
    asyncpg.DataError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.InternalServerError,
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.OutdatedSchemaCacheError,
)
"""Classes of the errors by which a change of the schema may show."""

CHANGED = "the schema has changed since the connection has read of it: run the transaction again"
UNREADABLE = (
    "the statement was run, but its answer cannot be read, as a type in it has changed: what follows reads it anew"
)


class Schema:
    """What the connections of one driver know of the schema together."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.moving: set[str] = set()
        """Statements whose columns change now and again, as with a ``search_path`` for each tenant: never kept."""
        self._connections: WeakKeyDictionary[Any, dict[str, float]] = WeakKeyDictionary()  # with what each has met when
        self._forgotten: dict[str, float] = {}  # when, for which statement

    def join(self, raw: Any) -> None:
        """Have a connection of asyncpg forget what the others do."""
        self._connections[raw] = {}

    def has_changed(self, raw: Any, sql: str, exc: Exception) -> bool:
        """Return whether ``exc`` says that ``sql`` has met another schema on a connection; then all forget theirs.

        For a value that asyncpg has refused by itself, which may be the user's mistake, only that connection does.
        """
        if not ((_is_outdated(exc) or _has_other_types(raw, sql, exc)) and self._is_news(raw, sql, exc)):
            return False
        for each in [raw] if isinstance(exc, asyncpg.DataError) else list(self._connections):
            if not each.is_closed():
                # What asyncpg's own pool does for its connections; a statement under way is not harmed.
                each._drop_local_type_cache()  # noqa: SLF001
                each._drop_local_statement_cache()  # noqa: SLF001
        return True

    def _is_news(self, raw: Any, sql: str, exc: Exception) -> bool:
        before, now = self._forgotten.pop(sql, float("-inf")), monotonic()
        self._forgotten[sql] = now
        if len(self._forgotten) > _MOST:
            del self._forgotten[next(iter(self._forgotten))]
        if isinstance(exc, asyncpg.InvalidCachedStatementError):
            met = self._connections.get(raw, {})
            # Others that were under way at the same time meet the same change.
            again = now - met.get(sql, float("-inf")) < _AN_HOUR or _A_SECOND < now - before < _AN_HOUR
            met[sql] = now
            if again and len(self.moving) < _MOST:
                self.moving.add(sql)
        # Shortly after all was forgotten, a value that does not fit is the user's mistake.
        mistake = _A_MINUTE if _is_outdated(exc) else _A_SECOND
        return not (isinstance(exc, _OTHER_TYPES) and now - before < mistake)


def _is_outdated(exc: Exception) -> bool:
    if isinstance(exc, asyncpg.DataError):  # of asyncpg's own, about an attribute that it does not know
        return isinstance(exc.__cause__, IndexError) or "valid element of composite type" in str(exc)
    if isinstance(exc, asyncpg.InvalidSQLStatementNameError):
        return '"__asyncpg_' in str(exc)  # others are the user's own
    if isinstance(exc, asyncpg.InternalServerError):
        return "cache lookup failed for type" in str(exc)
    if isinstance(exc, asyncpg.DatatypeMismatchError):
        return getattr(exc, "server_source_function", None) in {"array_recv", "record_recv"}
    return isinstance(exc, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError)


def _has_other_types(raw: Any, sql: str, exc: Exception) -> bool:
    """Return whether a statement that was once prepared does not fit the types of its parameters any more."""
    if not isinstance(exc, _OTHER_TYPES) or getattr(exc, "context", None):  # of a statement within a function
        return False
    known = (sql, raw._protocol.get_record_class(), False)  # noqa: SLF001
    return bool(raw._stmt_cache.has(known))  # noqa: SLF001 - one that was refused before is not kept


_A_SECOND = 1.0  # second
_A_MINUTE = 60.0  # seconds
_AN_HOUR = 3600.0  # seconds
_MOST = 1000  # statements
