"""How values become JSON, and JSON becomes values, by one rule on every driver."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from aio_databases.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class JsonValues:
    """What the options ``json``, ``json_dumps`` and ``json_loads`` of a driver mean.

    A dict, or a list where the database has no array for it, is sent as JSON; a text is JSON already.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Take the functions of the options, or those of the standard library."""
        # Imported here, because this takes long and the package is imported more often than a driver is used.
        import json  # noqa: PLC0415 - see above

        self.reads: bool = options.get("json", "auto") is not False
        self._standard_loads = json.loads
        self.loads: Callable[[str], Any] = options.get("json_loads") or json.loads
        self._dumps: Callable[[Any], str | bytes] = (
            options.get("json_dumps") or json.JSONEncoder(allow_nan=False).encode
        )

    def dumps(self, value: object) -> str:
        """Return a value as JSON.  Raises DataError for one that JSON does not have, such as NaN."""
        try:
            text = self._dumps(value)
        except (TypeError, ValueError, RecursionError) as exc:
            message = f"a value of the type {type(value).__name__} cannot be written as JSON: there is NaN, infinity, "
            raise DataError(
                message + "itself, or a type in it that the option 'json_dumps' has to take care of"
            ) from exc
        return text if isinstance(text, str) else bytes(text).decode()

    def text(self, value: object) -> str:
        """Return a value of a parameter that is JSON: a text as it is, all else written as JSON."""
        return value if isinstance(value, str) else self.dumps(value)

    def read(self, text: str) -> Any:
        """Return the value of a column that is JSON.  Raises DataError where the option ``json_loads`` fails."""
        if not self.reads:
            return text
        try:
            return self.loads(text)
        except Exception as exc:
            raise unreadable() from exc

    def read_unchecked(self, text: str, column: str) -> Any:
        """Return the value of a column that is said to be JSON; a text that is not, as it is.

        The database may not check it, and the column may have changed since it was looked up.

        Raises DataError where the option ``json_loads`` fails.
        """
        try:
            return self.loads(text)
        except Exception as exc:
            if self.is_json(text):
                raise unreadable(f"the column {column!r}") from exc
            return text

    def is_json(self, text: str) -> bool:
        """Return whether a text is JSON, whatever the option ``json_loads`` makes of it."""
        try:
            self._standard_loads(text)
        except (ValueError, RecursionError):
            return False
        return True


def unreadable(place: str = "a column") -> DataError:
    """Return the error for JSON that the option ``json_loads`` does not take; its own text may have values in it."""
    message = f"the JSON in {place} cannot be read: the option 'json_loads' has to take what is in it, "
    return DataError(message + "or use json=False for the text")


def dumps(value: object) -> str:
    """Return a value as JSON as it is written without options.  Raises DataError for one that JSON does not have."""
    return _plain().dumps(value)


@cache
def _plain() -> JsonValues:
    return JsonValues({})
